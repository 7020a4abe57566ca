//! Handles one retry batch of a lane, each minute: due events are retried.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use app::retry::{ATTEMPT_TIME, BatchContext, RetryWorker};
use common::calls::Counter;
use common::clock::SharedClock;
use common::random;
use domain::Lane;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::Instant;
use web::start::JsonFunction;
use web::{Metrics, log};

/// The time of a batch without a usable deadline: `cargo lambda watch` gives one in 1970. It is the
/// function's timeout in the template.
const BATCH_TIME: SignedDuration = SignedDuration::from_secs(120);

/// The time that a batch has left after its last attempt: for claiming the event, writing it back,
/// and the counts, each a call to the store at its longest.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// The minutes between two counts of the events of both lanes, which our own lane makes.
const COUNTED_EVERY: i64 = 10;

/// Answers the schedule.
pub struct PendingEvents {
    worker: RetryWorker,
    metrics: Metrics,
    clock: SharedClock,
    /// The minute since 1970 of the last batch that counted all events; 0 before the first.
    counted_in: AtomicI64,
}

impl PendingEvents {
    /// Returns the function, from its parts.
    pub fn new(worker: RetryWorker, metrics: Metrics, clock: SharedClock) -> Self {
        Self {
            worker,
            metrics,
            clock,
            counted_in: AtomicI64::new(0),
        }
    }
}

impl JsonFunction for PendingEvents {
    /// Opens the connections.
    async fn warm_up(&self) {
        self.worker.warm_up().await;
    }

    /// Retries due events, and returns a summary. The schedule's payload is ignored.
    ///
    /// # Errors
    /// The store failed; every claimed event has been processed.
    async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let context = event.context;
        let began = self.clock.now();
        let deadline = i64::try_from(context.deadline).unwrap_or(i64::MAX);
        let lease = match Timestamp::from_millisecond(deadline) {
            Ok(deadline) if deadline > began => deadline,
            _ => began.checked_add(BATCH_TIME)?,
        };
        let minute = began.as_second() / 60;
        let left = Duration::try_from(lease.duration_since(began)).unwrap_or_default();
        let context = BatchContext {
            request_id: context.request_id,
            claim_until: Instant::now() + left.saturating_sub(ATTEMPT_TIME + CLOSING_TIME),
            holder_id: random::id(),
            counts: self.worker.lane() == Lane::Own
                && minute - self.counted_in.load(Ordering::Relaxed) >= COUNTED_EVERY,
            lease,
        };
        let calls = Counter::default();
        let on_event = |attempt: &_| log::event_retried(&context.request_id, attempt);
        let run = calls.count(self.worker.run(&context, on_event));
        let summary = run
            .await
            .inspect_err(|error| log::retry_batch_failed(&context.request_id, error))?;
        if summary.counts.is_some() {
            self.counted_in.store(minute, Ordering::Relaxed);
        }
        let took = self.clock.now().duration_since(began).as_millis();
        let duration_ms = u64::try_from(took).unwrap_or_default();
        log::retry_batch_finished(&context.request_id, &summary, duration_ms, &calls);
        self.metrics.retry_batch_finished(&summary, &calls);
        Ok(json!({
            "attempted": summary.attempted,
            "done": summary.done,
            "failed": summary.failed,
            "certified": summary.certified,
            "lms_paused": summary.lms_paused,
            "waiting": summary.counts.map(|counts| counts.waiting),
            "dead": summary.counts.map(|counts| counts.dead),
            "expired": summary.counts.map(|counts| counts.expired),
        }))
    }
}
