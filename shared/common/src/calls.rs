//! Counts of the calls made for one request. They are counted where calls are made and
//! read where the request is logged.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The maximum number of LMS requests whose duration is recorded. A metric has at most
/// 100 values, and a sweep makes any number of requests.
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
    /// The number of DynamoDB calls so far. It grows while the work goes on.
    pub fn dynamodb(&self) -> u32 {
        self.0.dynamodb.load(Ordering::Relaxed)
    }

    /// The number of requests to the LMS so far, including requests for a token.
    pub fn lms(&self) -> u32 {
        self.0.lms.load(Ordering::Relaxed)
    }

    /// The number of LMS requests that did not return what was asked for, because the LMS
    /// or the network failed, the LMS refused, or the request was cancelled.
    pub fn lms_failures(&self) -> u32 {
        self.0.lms_failures.load(Ordering::Relaxed)
    }

    /// The durations of the first hundred LMS requests that have ended, each measured
    /// from sending the request until its answer was read.
    pub fn lms_times(&self) -> Vec<Duration> {
        let times = self.0.lms_times.lock();
        times.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `work` and counts every call it makes here.
    pub async fn count<F: Future>(&self, work: F) -> F::Output {
        COUNTER.scope(self.clone(), work).await
    }

    /// The counter of the current request, or `None` outside of a request.
    fn current() -> Option<Self> {
        COUNTER.try_with(Self::clone).ok()
    }
}

/// Counts one DynamoDB call for the current request. Outside of a request it counts
/// nothing.
pub fn dynamodb() {
    if let Some(Counter(made)) = Counter::current() {
        made.dynamodb.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request to the LMS that is in progress. If it is dropped before it was answered, for
/// example because its time is over, it was cancelled and counts as failed.
pub struct LmsRequest {
    counter: Option<Counter>,
    began: Instant,
    failed: bool,
}

impl LmsRequest {
    /// Counts one LMS request for the current request. Outside of a request it counts
    /// nothing.
    pub fn begin() -> Self {
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

    /// Records that the LMS request has ended by itself.
    pub fn ended(mut self, failed: bool) {
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
