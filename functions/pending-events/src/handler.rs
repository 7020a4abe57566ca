//! One run, each minute: the events that are due are looked at again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use shared::calls::Counter;
use shared::clock::SharedClock;
use shared::use_cases::looking_again::{LOOK_TIME, LookingAgain, Shift};
use shared::web::{Metrics, log};
use tokio::time::Instant;

/// How long a run has where nobody says it: `cargo lambda watch` names a
/// deadline in 1970. It is the function's time-out in the template.
const RUN_TIME: SignedDuration = SignedDuration::from_secs(120);

/// What is left of a run's time when its last event has been worked on: for
/// claiming it, writing it back, and the counts, each a call to the store at its longest.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Answers the schedule.
pub struct PendingEvents {
    looking_again: LookingAgain,
    metrics: Metrics,
    clock: SharedClock,
}

impl PendingEvents {
    pub fn new(looking_again: LookingAgain, metrics: Metrics, clock: SharedClock) -> Self {
        Self {
            looking_again,
            metrics,
            clock,
        }
    }

    /// Opens the connections.
    pub async fn warm_up(&self) {
        self.looking_again.warm_up().await;
    }

    /// Looks at what is due, and says what came of it. What the schedule sends
    /// is of no interest.
    ///
    /// # Errors
    /// The store failed; what was claimed is finished.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let context = event.context;
        let began = self.clock.now();
        let deadline = i64::try_from(context.deadline).unwrap_or(i64::MAX);
        let lease = match Timestamp::from_millisecond(deadline) {
            Ok(deadline) if deadline > began => deadline,
            _ => began.checked_add(RUN_TIME)?,
        };
        let left = Duration::try_from(lease.duration_since(began)).unwrap_or_default();
        let shift = Shift {
            request_id: context.request_id,
            claim_until: Instant::now() + left.saturating_sub(LOOK_TIME + CLOSING_TIME),
            lease,
        };
        let calls = Counter::default();
        let tell = |look: &_| log::looked_at(&shift.request_id, look);
        let run = calls.count(self.looking_again.run(&shift, tell));
        let summary = run
            .await
            .inspect_err(|error| log::looking_failed(&shift.request_id, error))?;
        let took = self.clock.now().duration_since(began).as_millis();
        let milliseconds = u64::try_from(took).unwrap_or_default();
        log::looked(&shift.request_id, &summary, milliseconds, &calls);
        self.metrics.looked(&summary, &calls);
        Ok(json!({
            "looked_at": summary.looked_at,
            "done": summary.done,
            "failed": summary.failed,
            "certified": summary.certified,
            "lms_rests": summary.lms_rests,
            "waiting": summary.waiting,
            "dead": summary.dead,
            "expired": summary.expired,
        }))
    }
}
