//! The lines of the structured log. A delivery writes `delivery received` before its
//! token is checked and `delivery processed` with its outcome. Between them it writes
//! `asking the LMS for the grade` if the LMS is about to be asked. A batch of
//! own-events and lms-events write `event retried` for each event, and `retry batch finished` at
//! its end. A sweep writes `learner swept` for each effect on a learner, and `sweep
//! ended` at its end, or `sweep suspended` if it is to be resumed.
//!
//! No line ever holds an email address, a token or a body. A role, a mode or a course id
//! in an unknown form could be any of these: it is logged as `other`, or by its digest.

use std::time::Duration;

use app::StoreError;
use app::retry::{Attempt, AttemptOutcome, RetrySummary};
use app::sweeping::Progress;
use common::calls::Counter;
use domain::digest::sha256_hex;
use domain::{CourseId, Effect, EventKey, EventKind, EventState, SweepKind, SweepOutcome, Tally};
use http::StatusCode;
use jiff::Timestamp;
use uuid::Uuid;

use super::course::Course;
use super::delivery::Delivery;
use super::pipeline::{Arrival, Finished};

/// The fields of the line `delivery processed`.
#[derive(Debug, Clone)]
pub struct DeliveryLine {
    /// The request.
    pub arrival: Arrival,
    /// The fields that became known of the delivery.
    pub record: DeliveryRecord,
    /// The end of the request. Its outcome is a word of the table in `docs/logs.md`.
    pub finished: Finished,
}

/// The fields that become known of a delivery.
#[derive(Debug, Clone, Default)]
pub struct DeliveryRecord {
    /// The user; absent if no user was found.
    pub user_id: Option<Uuid>,
    /// The course id as sent, or `sha256:` and 16 hex digits; absent if the body was not
    /// read or is invalid.
    pub course_id: Option<String>,
    /// The role, or `other` if Open edX is not known to use it; absent if none was sent.
    pub role: Option<&'static str>,
    /// The mode, in the same form as `role`.
    pub mode: Option<&'static str>,
    /// True if the event's mode differs from the enrollment's mode, which the event does
    /// not change.
    pub mode_differs: bool,
    /// The token if it is listed, including one that has expired, is revoked or has no
    /// rights.
    pub token: Option<UsedToken>,
    /// The pending event that the delivery was stored as, if it was.
    pub event_key: Option<EventKey>,
}

/// A listed token.
#[derive(Debug, Clone)]
pub struct UsedToken {
    /// Its id in the list.
    pub id: String,
    /// True if the token has neither expired nor been revoked.
    pub is_live: bool,
    /// The time at which a live token expires; absent if it is valid until revoked.
    pub expires_at: Option<Timestamp>,
}

impl UsedToken {
    /// Returns a token that is in force until `expires_at`.
    pub fn live(id: String, expires_at: Option<Timestamp>) -> Self {
        Self {
            id,
            is_live: true,
            expires_at,
        }
    }

    /// Returns a token that has expired or is revoked.
    pub fn dead(id: String) -> Self {
        Self {
            id,
            is_live: false,
            expires_at: None,
        }
    }
}

impl DeliveryRecord {
    /// Records the fields of the delivery in a form fit for the log.
    pub fn delivery(&mut self, delivery: &Delivery) {
        self.course_id = Some(match &delivery.course {
            Course::Run(id) => id.as_str().to_owned(),
            Course::NotAnId(text) => format!("sha256:{}", &sha256_hex(text.as_bytes())[..16]),
        });
        self.role = delivery.role.as_ref().map(|role| role.for_log());
        self.mode = delivery.mode.as_ref().map(|mode| mode.for_log());
    }
}

/// Writes the line `delivery received`.
pub fn delivery_received(kind: EventKind, request_id: &str, path: &str) {
    tracing::info!(target: TARGET, kind = kind.as_str(), request_id, path, "delivery received");
}

/// Writes the line `asking the LMS for the grade`. From here on the sender does not
/// deliver the event again, unless this request ends without an answer.
pub fn asking_for_grade(kind: EventKind, request_id: &str, user_id: Uuid, course_id: &CourseId) {
    tracing::info!(
        target: TARGET,
        kind = kind.as_str(),
        request_id,
        user_id = %user_id,
        course_id = course_id.as_str(),
        "asking the LMS for the grade"
    );
}

/// Writes the line `delivery processed`. The level is ERROR if the request failed on our
/// side, WARN if the delivery did not take effect, and INFO if it did.
pub fn delivery_processed(kind: EventKind, line: &DeliveryLine) {
    let DeliveryLine {
        arrival,
        record,
        finished,
    } = line;
    // Absent if the webhook never asks the LMS.
    let lms_calls = kind.asks_lms().then(|| finished.calls.lms());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                kind = kind.as_str(),
                request_id = arrival.request_id,
                outcome = finished.outcome,
                reason = finished.reason.as_deref(),
                status = finished.status,
                user_id = record.user_id.map(tracing::field::display),
                course_id = record.course_id.as_deref(),
                role = record.role,
                mode = record.mode,
                mode_differs = record.mode_differs.then_some(true),
                token_id = record.token.as_ref().map(|token| token.id.as_str()),
                event_key = record.event_key.as_ref().map(EventKey::as_str),
                error_code = finished.error_code.as_deref(),
                duration_ms = finished.duration_ms,
                dynamodb_calls = finished.calls.dynamodb(),
                lms_calls,
                cold_start = arrival.cold_start,
                "delivery processed"
            )
        };
    }
    match StatusCode::from_u16(finished.status) {
        Ok(StatusCode::ACCEPTED) => line!(warn),
        Ok(status) if status.is_success() => line!(info),
        Ok(status) if status.is_client_error() => line!(warn),
        _ => line!(error),
    }
}

/// Writes the line `event retried`. The level is ERROR if the event is now dead, the store
/// failed or the attempt panicked, WARN if the event has ended otherwise, and INFO in all
/// other cases.
pub fn event_retried(request_id: &str, attempt: &Attempt) {
    let Attempt {
        event_key,
        event,
        user_id,
        outcome,
    } = attempt;
    let event = event.as_ref();
    // The event after the attempt, if that differs from the event that was claimed.
    let now = match outcome {
        AttemptOutcome::Waiting(now) | AttemptOutcome::Ended(now) => Some(now),
        _ => None,
    };
    let outcome_word = match outcome {
        AttemptOutcome::Done { effect, .. } => effect,
        AttemptOutcome::Waiting(_) => "waiting",
        AttemptOutcome::Ended(now) => now.state.as_str(),
        AttemptOutcome::Dropped(_) => "dropped",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Changed => "changed",
        AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => "failed",
    };
    let reason = match outcome {
        AttemptOutcome::Waiting(now) | AttemptOutcome::Ended(now) => {
            Some(now.reason.as_str().to_owned())
        }
        AttemptOutcome::Dropped(reason) => Some(reason.as_str().to_owned()),
        AttemptOutcome::Failed(StoreError::Corrupt(table)) => Some(format!("corrupt_item:{table}")),
        AttemptOutcome::Panicked(location) => Some(format!("panic:{location}")),
        _ => None,
    };
    let error = match outcome {
        AttemptOutcome::Done { left_over, .. } => left_over.as_ref(),
        AttemptOutcome::Failed(error) => Some(error),
        _ => None,
    };
    let last_error = now.and_then(|now| now.last_error.as_deref());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                kind = event.map(|event| event.kind.as_str()),
                request_id,
                outcome = outcome_word,
                reason,
                event_key = event_key.as_str(),
                user_id = user_id.map(tracing::field::display),
                course_id = event.map(|event| event.course_id.as_str()),
                error_code = last_error.or(error.map(StoreError::code)),
                attempts = event.map(|event| event.attempts),
                next_attempt_at = now.map(|now| tracing::field::display(now.next_attempt_at)),
                "event retried"
            )
        };
    }
    match outcome {
        AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => line!(error),
        AttemptOutcome::Ended(now) if now.state == EventState::Dead => line!(error),
        AttemptOutcome::Ended(_) | AttemptOutcome::Dropped(_) => line!(warn),
        _ => line!(info),
    }
}

/// Writes the line `retry batch finished`: the results of a retry batch, for how long the first due
/// event of its lane had been due, and every ten minutes the numbers of waiting, dead and expired
/// events.
pub fn retry_batch_finished(
    request_id: &str,
    summary: &RetrySummary,
    duration_ms: u64,
    calls: &Counter,
) {
    tracing::info!(
        target: TARGET,
        request_id,
        lane = summary.lane.as_str(),
        attempted = summary.attempted,
        done = summary.done,
        failed = summary.failed,
        certified = summary.certified,
        lms_paused = summary.lms_paused,
        due_for_ms = ms(summary.due_for),
        waiting = summary.counts.map(|counts| counts.waiting),
        dead = summary.counts.map(|counts| counts.dead),
        expired = summary.counts.map(|counts| counts.expired),
        duration_ms,
        dynamodb_calls = calls.dynamodb(),
        lms_calls = calls.lms(),
        "retry batch finished"
    );
}

/// Returns a time in milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the line `retry batch failed`: a retry batch ended early by an
/// error.
pub fn retry_batch_failed(request_id: &str, error: &StoreError) {
    tracing::error!(target: TARGET, request_id, error_code = error.code(), "retry batch failed");
}

/// Writes the line `runs listed`: the number of runs to sweep on one page of them. A
/// malformed run cannot be swept.
pub fn runs_listed(kind: SweepKind, runs: usize, unreadable: u64) {
    let sweep = kind.as_str();
    match unreadable {
        0 => tracing::info!(target: TARGET, sweep, runs, "runs listed"),
        _ => {
            let reason = "corrupt_item:course_runs";
            tracing::error!(target: TARGET, sweep, runs, unreadable, reason, "runs listed");
        }
    }
}

/// Writes the line `sweeping by username`. The LMS's list of a run cannot be read to its
/// end, so the sweep asks for learners by username.
pub fn sweeping_by_username(kind: SweepKind, sweep_id: Uuid, course_id: &CourseId) {
    let (sweep, course_id) = (kind.as_str(), course_id.as_str());
    tracing::warn!(target: TARGET, sweep, %sweep_id, course_id, "sweeping by username");
}

/// The effect of a sweep on a learner, or the effect that a dry run would have had.
#[derive(Debug)]
pub struct SweptLearner<'a> {
    /// The kind of sweep.
    pub kind: SweepKind,
    /// The sweep's own id.
    pub sweep_id: Uuid,
    /// The run.
    pub course_id: &'a CourseId,
    /// The learner.
    pub user_id: Uuid,
    /// The effect on the learner.
    pub effect: &'a Effect,
    /// True for a dry run, which writes nothing.
    pub is_dry_run: bool,
}

impl SweptLearner<'_> {
    /// Writes the line `learner swept`, with the level WARN if something failed.
    pub fn write(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    sweep = self.kind.as_str(),
                    sweep_id = %self.sweep_id,
                    course_id = self.course_id.as_str(),
                    user_id = %self.user_id,
                    effect = %self.effect.as_str(),
                    dry_run = self.is_dry_run.then_some(true),
                    "learner swept"
                )
            };
        }
        match self.effect {
            Effect::Failed(_) => line!(warn),
            _ => line!(info),
        }
    }
}

/// The fields of the line `sweep ended` or `sweep suspended`: the result of one call that
/// sweeps a run.
#[derive(Debug)]
pub struct Swept<'a> {
    /// The kind of sweep.
    pub kind: SweepKind,
    /// Lambda's request id.
    pub request_id: &'a str,
    /// The run.
    pub course_id: &'a CourseId,
    /// The progress of the sweep.
    pub progress: &'a Progress,
    /// The effects on learners in this call.
    pub counts: &'a LearnerCounts,
    /// The duration of this call.
    pub duration_ms: u64,
    /// The calls of DynamoDB and the LMS in this call.
    pub calls: &'a Counter,
}

/// The number of effects on learners, and of learners.
#[derive(Debug, Default)]
pub struct LearnerCounts {
    /// The number of each effect.
    pub tally: Tally,
    /// The number of learners. Consecutive effects on one learner count once.
    pub learners: u64,
    last: Option<Uuid>,
}

impl LearnerCounts {
    /// Counts one effect. All effects on one learner must come one after another.
    pub fn note(&mut self, user_id: Uuid, effect: &Effect) {
        self.tally.note(effect);
        if self.last.replace(user_id) != Some(user_id) {
            self.learners += 1;
        }
    }
}

impl Swept<'_> {
    /// Writes the line `sweep ended` if the sweep has ended, otherwise `sweep suspended`.
    /// The level is ERROR if the sweep failed or was halted by its safety limit.
    pub fn write(&self) {
        let (sweep_id, outcome, reason, options, tally) = match self.progress {
            Progress::Suspended {
                reason, checkpoint, ..
            } => (
                checkpoint.sweep_id,
                "suspended",
                reason,
                checkpoint.options,
                &checkpoint.tally,
            ),
            Progress::Ended(end) => {
                let outcome = end.outcome.as_str();
                (end.sweep_id, outcome, &end.reason, end.options, &end.tally)
            }
        };
        let of = |effect: &Effect| Some(tally.of(effect)).filter(|count| *count > 0);
        let (left, failed) = (tally.left(), tally.failed());
        let reasons = tally
            .reasons()
            .map(|(word, count)| format!("{word}={count}"));
        let reasons = Vec::from_iter(reasons).join(" ");
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    target: TARGET,
                    sweep = self.kind.as_str(),
                    request_id = self.request_id,
                    sweep_id = %sweep_id,
                    course_id = self.course_id.as_str(),
                    outcome,
                    reason = reason.as_deref(),
                    dry_run = options.dry_run.then_some(true),
                    listed = tally.listed(),
                    grade_stored = of(&Effect::GradeStored),
                    issued = of(&Effect::Issued),
                    restored = of(&Effect::Restored),
                    withdrawn = of(&Effect::Withdrawn),
                    created = of(&Effect::Created),
                    reactivated = of(&Effect::Reactivated),
                    deactivated = of(&Effect::Deactivated),
                    mode_changed = of(&Effect::ModeChanged),
                    confirmed = of(&Effect::Confirmed),
                    unchanged = of(&Effect::Unchanged),
                    no_user = of(&Effect::NoUser),
                    left = (left > 0).then_some(left),
                    failed = (failed > 0).then_some(failed),
                    reasons = Some(reasons.as_str()).filter(|reasons| !reasons.is_empty()),
                    duration_ms = self.duration_ms,
                    dynamodb_calls = self.calls.dynamodb(),
                    lms_calls = self.calls.lms(),
                    $message
                )
            };
        }
        match self.progress {
            Progress::Suspended { .. } => line!(info, "sweep suspended"),
            Progress::Ended(end) => match end.outcome {
                SweepOutcome::Done => line!(info, "sweep ended"),
                SweepOutcome::Halted | SweepOutcome::Failed => line!(error, "sweep ended"),
            },
        }
    }
}

/// Writes the line `sweep call failed` with the reason why a call of a sweep's function
/// failed.
pub fn sweep_call_failed(
    kind: SweepKind,
    request_id: &str,
    reason: &'static str,
    error_code: Option<&str>,
) {
    let sweep = kind.as_str();
    tracing::error!(target: TARGET, sweep, request_id, reason, error_code, "sweep call failed");
}

/// The target of our log lines. Only this target and that of the metrics are logged,
/// because lines of libraries could hold anything.
pub const TARGET: &str = "coursehook";
