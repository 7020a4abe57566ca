//! The lines that are logged. A delivery writes `received` before its token is
//! checked and `done` with what became of it, and in between `accepted` where
//! the LMS is about to be asked. A run of kept events writes `looked at` for
//! each, and `looked` at its end.
//!
//! None ever holds an address, a token or a body. A role, a mode or a course
//! id that is not of a known form could be any of these: it is logged as
//! `other`, or by its digest.

use http::StatusCode;
use uuid::Uuid;

use super::delivery::{Course, Delivery};
use crate::calls::Counter;
use crate::domain::digest::sha256_hex;
use crate::domain::{CourseId, EventKey, EventKind, KeptState};
use crate::use_cases::StoreError;
use crate::use_cases::looking_again::{End, Look, Summary};

/// What is known of a request by the time it is answered.
#[derive(Debug, Clone, Default)]
pub struct Record {
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
    /// The id of a token that is listed, also where it is dead or has no rights.
    pub token_id: Option<String>,
    /// The event that the delivery was kept as, where it was.
    pub event_key: Option<EventKey>,
    /// The code of whatever outside thing failed.
    pub error_code: Option<String>,
    /// From the request's arrival at the handler to its answer, by the clock on the wall.
    pub milliseconds: u64,
    /// Each attempt counts.
    pub dynamodb_calls: u32,
    /// Each attempt counts, those for a token too; absent where the webhook never asks the LMS.
    pub lms_calls: Option<u32>,
    /// It is the first request of this instance.
    pub cold_start: bool,
}

impl Record {
    /// Notes what the delivery says, in a form fit for the log.
    pub fn delivery(&mut self, delivery: &Delivery) {
        self.course_id = Some(match &delivery.course {
            Course::Run(id) => id.as_str().to_owned(),
            Course::NotAnId(text) => format!("sha256:{}", &sha256_hex(text.as_bytes())[..16]),
        });
        self.role = delivery.role.as_ref().map(|role| role.for_log());
        self.mode = delivery.mode.as_ref().map(|mode| mode.for_log());
    }
}

/// Writes the line `received`.
pub fn received(kind: EventKind, request_id: &str, path: &str) {
    tracing::info!(target: TARGET, kind = kind.as_str(), request_id, path, "received");
}

/// Writes the line `accepted`: an event is about to be asked about that the
/// sender has no part in any more, unless we end without an answer.
pub fn accepted(kind: EventKind, request_id: &str, user_id: Uuid, course_id: &CourseId) {
    tracing::info!(
        target: TARGET,
        kind = kind.as_str(),
        request_id,
        user_id = %user_id,
        course_id = course_id.as_str(),
        "accepted"
    );
}

/// Writes the line `done`: an error where we failed, a warning where the
/// delivery did not take effect, information where it did.
pub fn done(kind: EventKind, record: &Record) {
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
                token_id = record.token_id.as_deref(),
                event_key = record.event_key.as_ref().map(EventKey::as_str),
                error_code = record.error_code.as_deref(),
                milliseconds = record.milliseconds,
                dynamodb_calls = record.dynamodb_calls,
                lms_calls = record.lms_calls,
                cold_start = record.cold_start,
                "done"
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

/// Writes the line `looked at`: an error where the event is given up or the
/// store failed, a warning where it has ended, information else.
pub fn looked_at(request_id: &str, look: &Look) {
    let Look {
        event_key,
        event,
        user_id,
        end,
    } = look;
    let event = event.as_ref();
    // As it is now, where that is another than it was claimed.
    let now = match end {
        End::Waits(now) | End::Ended(now) => Some(now),
        _ => None,
    };
    let outcome = match end {
        End::Done { effect, .. } => effect,
        End::Waits(_) => "waits",
        End::Ended(now) => now.state.as_str(),
        End::Dropped(_) => "dropped",
        End::GivenBack => "given_back",
        End::Changed => "changed",
        End::Failed(_) | End::Panicked(_) => "failed",
    };
    let reason = match end {
        End::Waits(now) | End::Ended(now) => Some(now.reason.as_str().to_owned()),
        End::Dropped(reason) => Some(reason.as_str().to_owned()),
        End::Failed(StoreError::Corrupt(table)) => Some(format!("corrupt_item:{table}")),
        End::Panicked(location) => Some(format!("panic:{location}")),
        _ => None,
    };
    let error = match end {
        End::Done { left_over, .. } => left_over.as_ref(),
        End::Failed(error) => Some(error),
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
                tries = event.map(|event| event.tries),
                next_look = now.map(|now| tracing::field::display(now.next_look)),
                "looked at"
            )
        };
    }
    match end {
        End::Failed(_) | End::Panicked(_) => line!(error),
        End::Ended(now) if now.state == KeptState::Dead => line!(error),
        End::Ended(_) | End::Dropped(_) => line!(warn),
        _ => line!(info),
    }
}

/// Writes the line `looked`: what a run of kept events did, and how many there
/// are that somebody should look into.
pub fn looked(request_id: &str, summary: &Summary, milliseconds: u64, calls: &Counter) {
    tracing::info!(
        target: TARGET,
        request_id,
        looked_at = summary.looked_at,
        done = summary.done,
        failed = summary.failed,
        lms_rests = summary.lms_rests,
        dead = summary.dead,
        expired = summary.expired,
        milliseconds,
        dynamodb_calls = calls.dynamodb(),
        lms_calls = calls.lms(),
        "looked"
    );
}

/// Writes that a run of kept events was cut short, and why.
pub fn looking_failed(request_id: &str, error: &StoreError) {
    tracing::error!(target: TARGET, request_id, error_code = error.code(), "looking failed");
}

/// The one target that is logged: what libraries say could hold anything.
pub const TARGET: &str = "coursehook";
