//! The time limit of a test run, and the signals that end it.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;

/// The time limit, many times the usual duration.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A deadline for all the work, and the signals that end it earlier: Ctrl-C and SIGTERM, which from
/// then on end nothing by themselves.
pub struct Bounds {
    end: Instant,
    signals: [Signal; 2],
}

impl Bounds {
    /// Returns the bounds of work that begins now.
    pub fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Signal);
        Ok(Self {
            end: Instant::now() + LIMIT,
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
            ],
        })
    }

    /// Runs `work` until it ends, the deadline passes, or a signal arrives.
    pub async fn within<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let end = self.end;
        tokio::select! {
            done = work => done,
            () = sleep_until(end) => Err(Failure::TooLong(LIMIT)),
            () = self.signalled() => Err(Failure::Interrupted),
        }
    }

    /// Waits for a signal.
    pub async fn signalled(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn hanging_work_ends_with_an_error() {
        let mut bounds = Bounds::new().unwrap();
        assert!(bounds.within(ready(Ok(()))).await.is_ok());
        bounds.end = Instant::now();
        let ended = bounds.within(pending::<Result<(), _>>()).await;
        let said = ended.unwrap_err().to_string();
        assert_eq!(said, "it was not done within 15 minutes");
    }
}
