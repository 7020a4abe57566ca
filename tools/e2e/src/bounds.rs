//! How long it may take, and who may end it.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;

/// Many times what it takes where nothing hangs.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A moment until which all must be done, and the signals that end it earlier: Ctrl-C
/// and SIGTERM, which from then on end nothing by themselves.
pub struct Bounds {
    end: Instant,
    signals: [Signal; 2],
}

impl Bounds {
    /// Those of what begins now.
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

    /// Does it, as far as it comes.
    pub async fn within<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let end = self.end;
        tokio::select! {
            done = work => done,
            () = sleep_until(end) => Err(Failure::TooLong(LIMIT)),
            () = self.describe_to_end() => Err(Failure::ToldToEnd),
        }
    }

    /// Waits until somebody ends it.
    pub async fn describe_to_end(&mut self) {
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
    async fn what_hangs_ends_with_a_sentence() {
        let mut bounds = Bounds::new().unwrap();
        assert!(bounds.within(ready(Ok(()))).await.is_ok());
        bounds.end = Instant::now();
        let ended = bounds.within(pending::<Result<(), _>>()).await;
        let said = ended.unwrap_err().to_string();
        assert_eq!(said, "it was not done within 15 minutes");
    }
}
