//! `coursehook events`

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;
use shared::adapters::store::kept_events::KeptEvents;
use shared::domain::{
    CourseId, CourseRole, EventKey, EventKind, KeptEvent, KeptState, Mode, Reason,
};

use crate::failure::Failure;
use crate::output::{self, Output};
use crate::stack::Stack;
use crate::{cli, time};

pub async fn run(command: cli::Events, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let kept_events = stack.tables().await.kept_events()?;
    match command {
        cli::Events::List => list(&kept_events, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(kept_events: &KeptEvents, output: Output) -> Result<(), Failure> {
    let mut events = Vec::new();
    let mut start = None;
    loop {
        let page = kept_events.page(start).await?;
        events.extend(page.entries);
        start = page.next;
        if start.is_none() {
            break;
        }
    }
    // What has ended is never looked at again: it comes last.
    events.sort_by_key(|event| (event.state != KeptState::Waiting, event.next_look));
    let shown: Vec<_> = events.iter().map(Shown::from).collect();
    output.answer(&shown, || table(&events))
}

fn table(events: &[KeptEvent]) -> String {
    output::table(
        [
            "key",
            "kind",
            "reason",
            "state",
            "email",
            "course",
            "tries",
            "next look",
            "kept since",
        ],
        events.iter().map(|event| {
            let next_look = match event.state {
                KeptState::Waiting => time::show(event.next_look),
                KeptState::Dead | KeptState::Expired => String::new(),
            };
            [
                output::key(&event.event_key),
                event.kind.as_str().to_owned(),
                event.reason.as_str().to_owned(),
                event.state.as_str().to_owned(),
                event.email.as_str().to_owned(),
                event.course_id.to_string(),
                event.tries.to_string(),
                next_look,
                time::show(event.kept_at),
            ]
        }),
    )
}

#[derive(Serialize)]
struct Shown<'a> {
    event_key: &'a EventKey,
    kind: EventKind,
    reason: Reason,
    state: KeptState,
    email: &'a str,
    course_id: &'a CourseId,
    roles: Vec<&'a CourseRole>,
    mode: Option<&'a Mode>,
    tries: u32,
    next_look: Timestamp,
    kept_at: Timestamp,
    delivered_at: Timestamp,
}

impl<'a> From<&'a KeptEvent> for Shown<'a> {
    fn from(event: &'a KeptEvent) -> Self {
        Self {
            event_key: &event.event_key,
            kind: event.kind,
            reason: event.reason,
            state: event.state,
            email: event.email.as_str(),
            course_id: &event.course_id,
            roles: event.roles.iter().collect(),
            mode: event.mode.as_ref(),
            tries: event.tries,
            next_look: event.next_look,
            kept_at: event.kept_at,
            delivered_at: event.delivered_at,
        }
    }
}
