//! Shows pending events.

use std::collections::BTreeMap;

use domain::{
    BlockedReason, CourseId, CourseRole, EventKey, EventKind, EventState, Mode, PendingEvent,
    Waited,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{self, Column};
use crate::time;

/// Describes an event in a sentence, with enough details to identify it.
pub fn named(event: &PendingEvent) -> String {
    format!(
        "{} ({} of {} in {}, {}: {})",
        output::key(&event.event_key),
        event.kind.as_str(),
        event.email.as_str(),
        event.course_id,
        event.state.as_str(),
        event.reason.as_str()
    )
}

pub fn table<'a>(events: impl IntoIterator<Item = &'a PendingEvent>) -> String {
    const COLUMNS: [Column<PendingEvent>; 10] = [
        ("key", |event| output::key(&event.event_key)),
        ("kind", |event| event.kind.as_str().to_owned()),
        ("reason", |event| event.reason.as_str().to_owned()),
        ("last error", |event| {
            event.last_error.clone().unwrap_or_default()
        }),
        ("state", |event| event.state.as_str().to_owned()),
        ("email", |event| event.email.as_str().to_owned()),
        ("course", |event| event.course_id.to_string()),
        ("attempts", |event| event.attempts.to_string()),
        ("next attempt", next_attempt_at),
        ("pending since", |event| time::show(event.pending_since)),
    ];
    output::table(&COLUMNS, events)
}

/// Returns the time of an event's next attempt; an empty text if it has ended.
pub fn next_attempt_at(event: &PendingEvent) -> String {
    match event.state {
        EventState::Waiting => time::show(event.next_attempt_at),
        EventState::Dead | EventState::Expired => String::new(),
    }
}

#[derive(Serialize)]
pub struct EventView<'a> {
    event_key: &'a EventKey,
    kind: EventKind,
    reason: BlockedReason,
    last_error: Option<&'a str>,
    state: EventState,
    email: &'a str,
    course_id: &'a CourseId,
    roles: Vec<&'a CourseRole>,
    mode: Option<&'a Mode>,
    unenrolled: bool,
    attempts: u32,
    waited: &'a BTreeMap<BlockedReason, Waited>,
    next_attempt_at: Timestamp,
    pending_since: Timestamp,
    delivered_at: Timestamp,
}

impl<'a> From<&'a PendingEvent> for EventView<'a> {
    fn from(event: &'a PendingEvent) -> Self {
        Self {
            event_key: &event.event_key,
            kind: event.kind,
            reason: event.reason,
            last_error: event.last_error.as_deref(),
            state: event.state,
            email: event.email.as_str(),
            course_id: &event.course_id,
            roles: event.roles.iter().collect(),
            mode: event.mode.as_ref(),
            unenrolled: event.unenrolled,
            attempts: event.attempts,
            waited: &event.waited,
            next_attempt_at: event.next_attempt_at,
            pending_since: event.pending_since,
            delivered_at: event.delivered_at,
        }
    }
}
