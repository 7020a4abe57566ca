//! Time enters here and nowhere else, so that tests can hold it still.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use tokio::sync::watch;

/// A source of time. There are two: the system's, and the one that tests turn by hand.
pub trait Clock: Send + Sync {
    /// Now, to the millisecond, which is what the tables keep.
    fn now(&self) -> Timestamp;

    /// Waits until that much time has passed on this clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A clock that many hold.
pub type SharedClock = Arc<dyn Clock>;

/// Whether `then` lies less than `limit` before `now`. A moment in the future
/// is no such moment: the clock was set back, and nothing is known of its age.
pub fn within(limit: SignedDuration, then: Timestamp, now: Timestamp) -> bool {
    (SignedDuration::ZERO..limit).contains(&now.duration_since(then))
}

/// The machine's own clock.
///
/// Wall time, not a monotonic counter: a function's machine is frozen between
/// requests, and a counter that stands still meanwhile would keep a revoked
/// token alive.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks for the time"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.round(
            TimestampRound::new()
                .smallest(Unit::Millisecond)
                .mode(jiff::RoundMode::Trunc),
        )
        .unwrap_or(now)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is turned by hand.
#[derive(Debug)]
pub struct FakeClock {
    time: watch::Sender<Timestamp>,
    leaps: bool,
}

impl FakeClock {
    /// A clock that shows `now`; who sleeps on it waits for it to be turned.
    pub fn at(now: Timestamp) -> Self {
        Self {
            time: watch::Sender::new(now),
            leaps: false,
        }
    }

    /// A clock that shows `now`; who sleeps on it turns it and goes on at once.
    pub fn leaping_from(now: Timestamp) -> Self {
        Self {
            leaps: true,
            ..Self::at(now)
        }
    }

    /// Lets time pass; whoever sleeps until then wakes.
    pub fn advance(&self, by: Duration) {
        self.time
            .send_modify(|now| *now = now.saturating_add(by).unwrap_or(*now));
    }

    /// Sets the clock, back or forth.
    pub fn set(&self, now: Timestamp) {
        self.time.send_replace(now);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.time.borrow()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let end = self.now().saturating_add(duration);
        if self.leaps {
            self.advance(duration);
        }
        let mut time = self.time.subscribe();
        Box::pin(async move {
            if let Ok(end) = end {
                // The sender lives as long as this clock, which is borrowed.
                let _ = time.wait_for(|now| *now >= end).await;
            }
        })
    }
}
