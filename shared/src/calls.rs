//! How many calls to DynamoDB one request costs: counted where they are made,
//! read where the request is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

tokio::task_local! {
    static COUNTER: Counter;
}

/// The calls made so far on behalf of one request, retries included.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU32>);

impl Counter {
    /// How many until now; it grows while the work goes on.
    pub fn made(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `work`; every call it makes is counted here.
    pub async fn count<F: Future>(&self, work: F) -> F::Output {
        COUNTER.scope(self.clone(), work).await
    }
}

/// Counts one call for the request at hand; outside of one it counts nothing.
pub(crate) fn tick() {
    let _ = COUNTER.try_with(|counter| counter.0.fetch_add(1, Ordering::Relaxed));
}
