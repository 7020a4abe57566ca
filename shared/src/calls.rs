//! How many calls one request costs: counted where they are made, read where
//! the request is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
}

/// Who is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callee {
    Dynamodb,
    Lms,
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

    /// Runs `work`; every call it makes is counted here.
    pub async fn count<F: Future>(&self, work: F) -> F::Output {
        COUNTER.scope(self.clone(), work).await
    }
}

/// Counts one call for the request at hand; outside of one it counts nothing.
pub(crate) fn tick(callee: Callee) {
    let _ = COUNTER.try_with(|Counter(made)| {
        let count = match callee {
            Callee::Dynamodb => &made.dynamodb,
            Callee::Lms => &made.lms,
        };
        count.fetch_add(1, Ordering::Relaxed)
    });
}
