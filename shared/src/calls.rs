//! What one request costs: counted where calls are made, read where the request
//! is logged.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Of how many requests to the LMS the time is kept: a metric has so many
/// values at most, and a sweep makes any number of requests.
const TIMES_KEPT: usize = 100;

tokio::task_local! {
    static COUNTER: Counter;
}

/// The calls made so far on behalf of one request, retries included.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Made>);

#[derive(Debug, Default)]
struct Made {
    dynamodb: AtomicU32,
    lms: AtomicU32,
    lms_failures: AtomicU32,
    lms_times: Mutex<Vec<Duration>>,
}

impl Counter {
    /// How many calls of DynamoDB until now; it grows while the work goes on.
    pub fn dynamodb(&self) -> u32 {
        self.0.dynamodb.load(Ordering::Relaxed)
    }

    /// How many requests to the LMS until now, those for a token included.
    pub fn lms(&self) -> u32 {
        self.0.lms.load(Ordering::Relaxed)
    }

    /// Of these, those that did not give what was asked, by the LMS's or the
    /// network's fault or by its refusal, or that were given up.
    pub fn lms_failures(&self) -> u32 {
        self.0.lms_failures.load(Ordering::Relaxed)
    }

    /// How long the first hundred of them took that have ended, each from when
    /// it was sent until its answer was read.
    pub fn lms_times(&self) -> Vec<Duration> {
        let times = self.0.lms_times.lock();
        times.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `work`; every call it makes is counted here.
    pub async fn count<F: Future>(&self, work: F) -> F::Output {
        COUNTER.scope(self.clone(), work).await
    }

    /// That of the request at hand, if there is one.
    fn current() -> Option<Self> {
        COUNTER.try_with(Self::clone).ok()
    }
}

/// Counts one call of DynamoDB for the request at hand; outside of one it counts
/// nothing.
pub(crate) fn dynamodb() {
    if let Some(Counter(made)) = Counter::current() {
        made.dynamodb.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request to the LMS on its way. Where it is dropped before it was answered,
/// it was given up, as when its time is over, and counts as failed.
pub(crate) struct LmsRequest {
    counter: Option<Counter>,
    began: Instant,
    failed: bool,
}

impl LmsRequest {
    /// Counts one for the request at hand; outside of one it counts nothing.
    pub(crate) fn begin() -> Self {
        let counter = Counter::current();
        if let Some(Counter(made)) = &counter {
            made.lms.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            counter,
            began: Instant::now(),
            failed: true,
        }
    }

    /// It has ended by itself.
    pub(crate) fn ended(mut self, failed: bool) {
        self.failed = failed;
    }
}

impl Drop for LmsRequest {
    fn drop(&mut self) {
        let Some(Counter(made)) = &self.counter else {
            return;
        };
        if self.failed {
            made.lms_failures.fetch_add(1, Ordering::Relaxed);
        }
        let times = made.lms_times.lock();
        let mut times = times.unwrap_or_else(PoisonError::into_inner);
        if times.len() < TIMES_KEPT {
            times.push(self.began.elapsed());
        }
    }
}
