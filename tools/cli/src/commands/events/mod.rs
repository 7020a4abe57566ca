//! `coursehook events`

mod several;
mod view;

use std::process::ExitCode;

use app::StoreError;
use app::operator::retry_event;
use domain::{CourseRole, EventKey, EventState, PendingEvent, Waited};
use jiff::Timestamp;
use serde::Serialize;
use store::pending_events::{PendingEvents, Removal};
use thiserror::Error;

use self::several::Summary;
use self::view::{named, next_attempt_at};
use crate::cli::Filter;
use crate::commands::advice::Advice;
use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::output::{self, Output, OutputError};
use crate::{cli, time};

pub use self::view::{EventView, table};

/// Error of a key, or of a change of an event.
#[derive(Debug, Error)]
enum EventError {
    #[error(
        "no pending event has a key that begins with {0}; `coursehook events list` lists all \
         pending events, and an event that took effect is no longer there"
    )]
    NoSuchEvent(String),
    #[error(
        "several pending events have a key that begins with {prefix}; give enough of the key to \
         tell them apart: {}",
        join(.keys)
    )]
    Several { prefix: String, keys: Vec<EventKey> },
    #[error(
        "the event {0} was retried or delivered again in the meantime, so it was not dropped; \
         check it with `coursehook events show {0}`, and then drop it"
    )]
    Moved(String),
}

impl CommandError for EventError {}

fn join(keys: &[EventKey]) -> String {
    let keys: Vec<_> = keys.iter().map(EventKey::as_str).collect();
    keys.join(", ")
}

pub async fn run(
    command: cli::Events,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let pending_events = context.tables().await.pending_events()?;
    let now = context.clock().now();
    match command {
        cli::Events::List { filter } => {
            let events = matching(&pending_events, &filter, now).await?;
            let shown: Vec<_> = events.iter().map(EventView::from).collect();
            output.answer(&shown, || table(&events))?;
        }
        cli::Events::Show { key } => show(&find(&pending_events, &key).await?, now, output)?,
        cli::Events::Retry { which } => match which.key {
            Some(key) => retry_one(&pending_events, key, now, output).await?,
            None => {
                let events = matching(&pending_events, &which.filter, now).await?;
                return retry_several(&pending_events, events, now, output).await;
            }
        },
        cli::Events::Drop { which, yes } => match which.key {
            Some(key) => drop_one(&pending_events, &key, yes, output).await?,
            None => {
                let events = matching(&pending_events, &which.filter, now).await?;
                return drop_several(&pending_events, events, yes, output).await;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the events that match a filter, ordered by their next attempt.
async fn matching(
    pending_events: &PendingEvents,
    filter: &Filter,
    now: Timestamp,
) -> Result<Vec<PendingEvent>, StoreError> {
    let mut events = all(pending_events, |event| filter.matches(event, now)).await?;
    // Dead and expired events are never retried: they come last.
    events.sort_by_key(|event| (event.state != EventState::Waiting, event.next_attempt_at));
    Ok(events)
}

fn show(event: &PendingEvent, now: Timestamp, output: Output) -> Result<(), OutputError> {
    let advice = Advice::about(event, now);
    let explained = Explained {
        event: EventView::from(event),
        advice: &advice,
    };
    output.answer(&explained, || {
        let roles: Vec<_> = event.roles.iter().map(CourseRole::as_str).collect();
        let waited = event
            .waited
            .iter()
            .map(|(reason, Waited { since, attempts })| {
                let since = time::show(*since);
                format!("{} since {since}, attempts: {attempts}", reason.as_str())
            });
        let fields = output::fields([
            ("key", event.event_key.to_string()),
            ("kind", event.kind.as_str().to_owned()),
            ("email", event.email.as_str().to_owned()),
            ("course", event.course_id.to_string()),
            ("roles", roles.join(", ")),
            (
                "mode",
                match &event.mode {
                    Some(mode) => mode.to_string(),
                    None if event.unenrolled => "none: unenrolled since then".to_owned(),
                    None => String::new(),
                },
            ),
            ("state", event.state.as_str().to_owned()),
            ("reason", event.reason.as_str().to_owned()),
            ("last error", event.last_error.clone().unwrap_or_default()),
            ("attempts", event.attempts.to_string()),
            ("waited", Vec::from_iter(waited).join("; ")),
            ("next attempt", next_attempt_at(event)),
            ("pending since", time::show(event.pending_since)),
            ("delivered", time::show(event.delivered_at)),
        ]);
        format!("{fields}\n\n{}", advice.text())
    })
}

async fn retry_one(
    pending_events: &PendingEvents,
    key: String,
    now: Timestamp,
    output: Output,
) -> Result<(), Failure> {
    let event = find(pending_events, &key).await?;
    let retried = retry_event(pending_events, event, now).await?;
    let event = retried.ok_or(EventError::NoSuchEvent(key))?;
    answer(&event, output, |event| {
        format!("{event} will be retried within a minute, with its full waiting time")
    })?;
    Ok(())
}

async fn retry_several(
    pending_events: &PendingEvents,
    events: Vec<PendingEvent>,
    now: Timestamp,
    output: Output,
) -> Result<ExitCode, Failure> {
    let done = (
        "will be retried within a minute, with its full waiting time",
        "will be retried within a minute, with their full waiting time",
    );
    several::change_each(events, done, output, async |event| {
        Ok(retry_event(pending_events, event, now).await?)
    })
    .await
}

async fn drop_one(
    pending_events: &PendingEvents,
    key: &str,
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let event = find(pending_events, key).await?;
    let question = format!("Drop the event {} for good?", named(&event));
    confirm(&question, yes)?;
    if !remove(pending_events, &event).await? {
        return Err(EventError::NoSuchEvent(key.to_owned()).into());
    }
    answer(&event, output, |event| format!("dropped {event}"))?;
    Ok(())
}

async fn drop_several(
    pending_events: &PendingEvents,
    events: Vec<PendingEvent>,
    yes: bool,
    output: Output,
) -> Result<ExitCode, Failure> {
    if !yes && !events.is_empty() {
        output::note(&several::overview(&events));
        confirm("Drop them for good?", yes)?;
    }
    let done = ("was dropped", "were dropped");
    several::change_each(events, done, output, async |event| {
        if remove(pending_events, &event).await? {
            Ok(Some(event))
        } else {
            Ok(None)
        }
    })
    .await
}

/// Removes an event that is unchanged since it was read; returns false if it was gone.
async fn remove(pending_events: &PendingEvents, event: &PendingEvent) -> Result<bool, Failure> {
    match pending_events.remove(event).await? {
        Removal::Done => Ok(true),
        Removal::Gone => Ok(false),
        Removal::Changed => Err(EventError::Moved(output::key(&event.event_key)).into()),
    }
}

/// Answers with the result for one event; `text` gets the event's description.
fn answer(
    event: &PendingEvent,
    output: Output,
    text: impl FnOnce(&str) -> String,
) -> Result<(), OutputError> {
    let summary = Summary::of_one(event);
    output.answer(&summary, || text(&output::printable(&named(event))))
}

/// Returns the one event whose key begins with `prefix`. A whole key is looked up; for a
/// prefix the whole table is read, as for the list.
async fn find(pending_events: &PendingEvents, prefix: &str) -> Result<PendingEvent, Failure> {
    let found = match prefix.parse::<EventKey>() {
        Ok(key) => {
            let found = pending_events.get_many(&[key]).await?;
            found.into_iter().collect::<Result<_, _>>()?
        }
        Err(_) => {
            let matches = |event: &PendingEvent| event.event_key.as_str().starts_with(prefix);
            all(pending_events, matches).await?
        }
    };
    let prefix = prefix.to_owned();
    match <[PendingEvent; 1]>::try_from(found) {
        Ok([event]) => Ok(event),
        Err(none) if none.is_empty() => Err(EventError::NoSuchEvent(prefix).into()),
        Err(several) => {
            let keys = several.into_iter().map(|event| event.event_key).collect();
            Err(EventError::Several { prefix, keys }.into())
        }
    }
}

/// Returns all pending events that match, in no particular order.
pub async fn all(
    pending_events: &PendingEvents,
    matches: impl Fn(&PendingEvent) -> bool,
) -> Result<Vec<PendingEvent>, StoreError> {
    let mut events = Vec::new();
    let mut start = None;
    loop {
        let page = pending_events.page(start).await?;
        for entry in page.entries {
            match entry {
                Ok(event) if matches(&event) => events.push(event),
                Ok(_) => {}
                Err(key) => output::note(&format!(
                    "warning: the event {} is not of the expected shape and is skipped; a later \
                     version of this program may be able to read it, or its item must be fixed or \
                     removed",
                    key.as_str()
                )),
            }
        }
        start = page.next;
        if start.is_none() {
            return Ok(events);
        }
    }
}

#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    event: EventView<'a>,
    #[serde(flatten)]
    advice: &'a Advice,
}
