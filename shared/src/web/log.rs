//! The lines that are logged. A delivery writes `received` before its token is
//! checked and `done` with what became of it, and in between `accepted` where
//! the LMS is about to be asked. A run of pending events writes `event retried` for
//! each, and `retry batch finished` at its end. A sweep writes `learner` for each whom something
//! became of, and `swept` at its end, or `sweep suspended` where it is to be resumed.
//!
//! None ever holds an address, a token or a body. A role, a mode or a course
//! id that is not of a known form could be any of these: it is logged as
//! `other`, or by its digest.

use http::StatusCode;
use jiff::Timestamp;
use uuid::Uuid;

use super::delivery::{Course, Delivery};
use super::sweep::CallError;
use crate::calls::Counter;
use crate::domain::digest::sha256_hex;
use crate::domain::{
    CourseId, Effect, EventKey, EventKind, EventState, SweepKind, SweepOutcome, Tally,
};
use crate::use_cases::StoreError;
use crate::use_cases::retry::{Attempt, AttemptOutcome, RetrySummary};
use crate::use_cases::sweeping::{Progress, SweepError};

/// What is known of a request by the time it is answered.
#[derive(Debug, Clone, Default)]
pub struct DeliveryLine {
    /// Lambda's; empty outside of Lambda.
    pub request_id: String,
    /// What became of it, in a word of the table in `docs/logs.md`.
    pub outcome: &'static str,
    /// Which of an outcome's reasons it was; absent where the delivery took effect.
    pub reason: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Absent where no user was found.
    pub user_id: Option<Uuid>,
    /// As sent, or `sha256:` and 16 hex digits; absent where the body was not read or is faulty.
    pub course_id: Option<String>,
    /// The word, or `other` where Open edX is not known to use it; absent where none was sent.
    pub role: Option<&'static str>,
    /// As `role`.
    pub mode: Option<&'static str>,
    /// The event's mode is another than the enrollment's, which it does not change.
    pub mode_differs: bool,
    /// The token, where it is listed, also where it is dead or has no rights.
    pub token: Option<UsedToken>,
    /// The event that the delivery was pending as, where it was.
    pub event_key: Option<EventKey>,
    /// The code of whatever outside thing failed.
    pub error_code: Option<String>,
    /// From the request's arrival at the handler to its answer, by the clock on the wall.
    pub duration_ms: u64,
    /// Each attempt counts.
    pub dynamodb_calls: u32,
    /// Each attempt counts, those for a token too; absent where the webhook never asks the LMS.
    pub lms_calls: Option<u32>,
    /// It is the first request of this instance.
    pub cold_start: bool,
}

/// A token that is listed.
#[derive(Debug, Clone)]
pub struct UsedToken {
    /// Its id in the list.
    pub id: String,
    /// Whether it has neither expired nor been revoked.
    pub is_live: bool,
    /// When it ends that is live; absent where it is good until revoked.
    pub expires_at: Option<Timestamp>,
}

impl UsedToken {
    /// One that is in force, until that moment.
    pub fn live(id: String, expires_at: Option<Timestamp>) -> Self {
        Self {
            id,
            is_live: true,
            expires_at,
        }
    }

    /// One that has expired or is revoked.
    pub fn dead(id: String) -> Self {
        Self {
            id,
            is_live: false,
            expires_at: None,
        }
    }
}

impl DeliveryLine {
    /// Recorder what the delivery says, in a form fit for the log.
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
pub fn received(kind: EventKind, request_id: &str, path: &str) {
    tracing::info!(target: TARGET, kind = kind.as_str(), request_id, path, "delivery received");
}

/// Writes the line `asking the LMS for the grade`: an event is about to be asked about that the
/// sender has no part in any more, unless we end without an answer.
pub fn accepted(kind: EventKind, request_id: &str, user_id: Uuid, course_id: &CourseId) {
    tracing::info!(
        target: TARGET,
        kind = kind.as_str(),
        request_id,
        user_id = %user_id,
        course_id = course_id.as_str(),
        "asking the LMS for the grade"
    );
}

/// Writes the line `delivery processed`: an error where we failed, a warning where the
/// delivery did not take effect, information where it did.
pub fn done(kind: EventKind, record: &DeliveryLine) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                kind = kind.as_str(),
                request_id = record.request_id,
                outcome = record.outcome,
                reason = record.reason.as_deref(),
                status = record.status,
                user_id = record.user_id.map(tracing::field::display),
                course_id = record.course_id.as_deref(),
                role = record.role,
                mode = record.mode,
                mode_differs = record.mode_differs.then_some(true),
                token_id = record.token.as_ref().map(|token| token.id.as_str()),
                event_key = record.event_key.as_ref().map(EventKey::as_str),
                error_code = record.error_code.as_deref(),
                duration_ms = record.duration_ms,
                dynamodb_calls = record.dynamodb_calls,
                lms_calls = record.lms_calls,
                cold_start = record.cold_start,
                "delivery processed"
            )
        };
    }
    match StatusCode::from_u16(record.status) {
        Ok(StatusCode::ACCEPTED) => line!(warn),
        Ok(status) if status.is_success() => line!(info),
        Ok(status) if status.is_client_error() => line!(warn),
        _ => line!(error),
    }
}

/// Writes the line `event retried`: an error where the event is given up or the
/// store failed, a warning where it has ended, information else.
pub fn event_retried(request_id: &str, attempt: &Attempt) {
    let Attempt {
        event_key,
        event,
        user_id,
        outcome: end,
    } = attempt;
    let event = event.as_ref();
    // As it is now, where that is another than it was claimed.
    let now = match end {
        AttemptOutcome::Waiting(now) | AttemptOutcome::Ended(now) => Some(now),
        _ => None,
    };
    let outcome = match end {
        AttemptOutcome::Done { effect, .. } => effect,
        AttemptOutcome::Waiting(_) => "waiting",
        AttemptOutcome::Ended(now) => now.state.as_str(),
        AttemptOutcome::Dropped(_) => "dropped",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Changed => "changed",
        AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => "failed",
    };
    let reason = match end {
        AttemptOutcome::Waiting(now) | AttemptOutcome::Ended(now) => {
            Some(now.reason.as_str().to_owned())
        }
        AttemptOutcome::Dropped(reason) => Some(reason.as_str().to_owned()),
        AttemptOutcome::Failed(StoreError::Corrupt(table)) => Some(format!("corrupt_item:{table}")),
        AttemptOutcome::Panicked(location) => Some(format!("panic:{location}")),
        _ => None,
    };
    let error = match end {
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
                outcome,
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
    match end {
        AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => line!(error),
        AttemptOutcome::Ended(now) if now.state == EventState::Dead => line!(error),
        AttemptOutcome::Ended(_) | AttemptOutcome::Dropped(_) => line!(warn),
        _ => line!(info),
    }
}

/// Writes the line `retry batch finished`: what a run of pending events did, and how many there
/// are that somebody should look into.
pub fn retry_batch_finished(
    request_id: &str,
    summary: &RetrySummary,
    duration_ms: u64,
    calls: &Counter,
) {
    tracing::info!(
        target: TARGET,
        request_id,
        attempted = summary.attempted,
        done = summary.done,
        failed = summary.failed,
        certified = summary.certified,
        lms_paused = summary.lms_paused,
        waiting = summary.waiting,
        dead = summary.dead,
        expired = summary.expired,
        duration_ms,
        dynamodb_calls = calls.dynamodb(),
        lms_calls = calls.lms(),
        "retry batch finished"
    );
}

/// Writes that a run of pending events was cut short, and why.
pub fn retry_batch_failed(request_id: &str, error: &StoreError) {
    tracing::error!(target: TARGET, request_id, error_code = error.code(), "retry batch failed");
}

/// Writes the line `runs listed`: how many runs are to be swept of a page of them.
/// One that is not of the expected shape cannot be swept.
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

/// Writes the line `sweeping by username`: the LMS's list of a run cannot be read to its end, and the
/// sweep asks for learners by name.
pub fn asked_by_name(kind: SweepKind, sweep_id: Uuid, course_id: &CourseId) {
    let (sweep, course_id) = (kind.as_str(), course_id.as_str());
    tracing::warn!(target: TARGET, sweep, %sweep_id, course_id, "sweeping by username");
}

/// What became of a learner in a sweep, or would have where it is a dry run.
#[derive(Debug)]
pub struct SweptLearner<'a> {
    /// What is swept.
    pub kind: SweepKind,
    /// The sweep's own id.
    pub sweep_id: Uuid,
    /// The run.
    pub course_id: &'a CourseId,
    /// The learner.
    pub user_id: Uuid,
    /// What became of them.
    pub effect: &'a Effect,
    /// Whether nothing was written.
    pub is_dry_run: bool,
}

impl SweptLearner<'_> {
    /// Writes the line `learner swept`, a warning where something failed.
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

/// How far a call has brought the sweep of a run.
#[derive(Debug)]
pub struct Swept<'a> {
    /// What is swept.
    pub kind: SweepKind,
    /// Lambda's id of the request.
    pub request_id: &'a str,
    /// The run.
    pub course_id: &'a CourseId,
    /// How far it came.
    pub progress: &'a Progress,
    /// What became of learners in this call.
    pub counts: &'a LearnerCounts,
    /// Of this call.
    pub duration_ms: u64,
    /// Those of this call.
    pub calls: &'a Counter,
}

/// What was told of learners.
#[derive(Debug, Default)]
pub struct LearnerCounts {
    /// What became of them, counted.
    pub tally: Tally,
    /// How many they are, one beside the next told of once.
    pub learners: u64,
    last: Option<Uuid>,
}

impl LearnerCounts {
    /// Adds one thing; all that became of a learner comes one after another.
    pub fn note(&mut self, user_id: Uuid, effect: &Effect) {
        self.tally.note(effect);
        if self.last.replace(user_id) != Some(user_id) {
            self.learners += 1;
        }
    }
}

impl Swept<'_> {
    /// Writes the line `sweep ended` where the sweep has ended, an error where it has
    /// failed or stopped at its safety limit; else the line `sweep suspended`.
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

/// Writes that a call of a sweep's function came to nothing, and why.
pub fn sweep_failed(kind: SweepKind, request_id: &str, error: &CallError) {
    let sweep = kind.as_str();
    let error_code = match error {
        CallError::Sweep(SweepError::Store(error)) => Some(error.code().to_owned()),
        CallError::Sweep(SweepError::Lms(error)) => Some(error.code()),
        _ => None,
    };
    let reason = match error {
        CallError::Malformed(_) => "malformed",
        CallError::Sweep(SweepError::Store(_)) => "store",
        CallError::Sweep(SweepError::Lms(_)) => "lms",
        CallError::Sweep(SweepError::NoSuchUser) => "no_such_user",
        CallError::Sweep(SweepError::NoUsername) => "no_username",
    };
    tracing::error!(target: TARGET, sweep, request_id, reason, error_code, "sweep call failed");
}

/// The target of our lines; beside that of the metrics no other is logged, since
/// what libraries say could hold anything.
pub const TARGET: &str = "coursehook";
