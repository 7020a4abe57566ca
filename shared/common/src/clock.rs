//! The only source of time, so that tests can control it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use tokio::sync::watch;

/// A source of time: either the system's clock or one that tests advance by hand.
pub trait Clock: Send + Sync {
    /// The current time to the millisecond, which is the precision that the tables store.
    fn now(&self) -> Timestamp;

    /// Waits until `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A clock that several owners share.
pub type SharedClock = Arc<dyn Clock>;

/// True if `then` lies less than `limit` before `now`. False if `then` is in the future:
/// the clock was set back, and the age of `then` is unknown.
pub fn within(limit: SignedDuration, then: Timestamp, now: Timestamp) -> bool {
    (SignedDuration::ZERO..limit).contains(&now.duration_since(then))
}

/// The machine's own clock.
///
/// It shows wall time and is not a monotonic counter. A function's machine is frozen
/// between requests, and a counter that stands still meanwhile would keep a revoked token
/// alive.
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

/// A clock that stands still until a test advances it.
#[derive(Debug)]
pub struct FakeClock {
    time: watch::Sender<Timestamp>,
    leaps: bool,
}

impl FakeClock {
    /// Returns a clock that shows `now`. A sleeper on it waits until the clock is
    /// advanced.
    pub fn at(now: Timestamp) -> Self {
        Self {
            time: watch::Sender::new(now),
            leaps: false,
        }
    }

    /// Returns a clock that shows `now`. A sleeper on it advances it and continues at
    /// once.
    pub fn leaping_from(now: Timestamp) -> Self {
        Self {
            leaps: true,
            ..Self::at(now)
        }
    }

    /// Lets time pass. Sleepers whose time is over wake.
    pub fn advance(&self, by: Duration) {
        self.time
            .send_modify(|now| *now = now.saturating_add(by).unwrap_or(*now));
    }

    /// Sets the clock, backwards or forwards.
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
