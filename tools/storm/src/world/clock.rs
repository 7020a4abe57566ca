//! One clock for all: the runtime's, which stands still and leaps from timer to timer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use common::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The time at which every portal begins.
const BEGIN: i64 = 1_795_000_000;

/// Wall time that passes with the runtime's paused clock.
#[derive(Clone, Copy)]
pub struct StormClock {
    begin: Instant,
}

impl StormClock {
    /// Returns a clock that begins now.
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    /// Returns the milliseconds since 1970.
    pub fn ms(&self) -> i64 {
        let passed = i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(i64::MAX);
        BEGIN * 1000 + passed
    }
}

impl fmt::Debug for StormClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ms())
    }
}

impl Clock for StormClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
            .checked_add(SignedDuration::from_millis(self.ms()))
            .unwrap_or(Timestamp::MAX)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl TimeSource for StormClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.ms().unsigned_abs())
    }
}

impl dynoxide::storage_backend::Clock for StormClock {
    fn now_unix_secs(&self) -> u64 {
        self.ms().unsigned_abs() / 1000
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.now_unix_secs() as f64
    }
}

/// Returns the clock for the engine.
pub fn of_engine(clock: StormClock) -> Arc<dyn dynoxide::storage_backend::Clock> {
    Arc::new(clock)
}
