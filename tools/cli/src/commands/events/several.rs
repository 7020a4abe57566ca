//! Retries or drops several pending events, some at the same time.

use std::fmt;
use std::process::ExitCode;

use domain::PendingEvent;
use futures::{StreamExt, stream};
use serde::Serialize;
use tokio::signal;

use super::view::{EventView, named};
use crate::cli::exit_code;
use crate::failure::Failure;
use crate::output::{self, Output, count};
use crate::progress::Progress;

/// The number of events that are changed at the same time.
const AT_ONCE: usize = 8;

/// The number of events that are listed before the confirmation to drop them.
const NAMED: usize = 5;

/// The results for several events.
struct Tally {
    /// The change in words, for one event and for any other number.
    done: (&'static str, &'static str),
    changed: Vec<PendingEvent>,
    /// The number of events that took effect or were removed in the meantime.
    gone: u64,
    failed: Vec<(PendingEvent, String)>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.changed.len() as u64;
        let done = if changed == 1 {
            self.done.0
        } else {
            self.done.1
        };
        write!(f, "{} {done}", count(changed, "event"))?;
        if self.gone > 0 {
            write!(f, "; {} already gone", self.gone)?;
        }
        match self.failed.len() {
            0 => Ok(()),
            n => write!(f, "; {n} failed"),
        }
    }
}

/// Makes one change to each of these events. An event that cannot be changed is reported,
/// and the others are still changed.
///
/// `change` returns the changed event, or `None` if it was gone.
pub async fn change_each(
    events: Vec<PendingEvent>,
    done: (&'static str, &'static str),
    output: Output,
    change: impl AsyncFn(PendingEvent) -> Result<Option<PendingEvent>, Failure>,
) -> Result<ExitCode, Failure> {
    let progress = Progress::new(Some(events.len() as u64));
    let mut tally = Tally {
        done,
        changed: Vec::new(),
        gone: 0,
        failed: Vec::new(),
    };
    let work = async {
        let changes = stream::iter(events).map(async |event| {
            let changed = change(event.clone()).await;
            (event, changed)
        });
        let mut changes = std::pin::pin!(changes.buffer_unordered(AT_ONCE));
        while let Some((event, changed)) = changes.next().await {
            match changed {
                Ok(Some(event)) => tally.changed.push(event),
                Ok(None) => tally.gone += 1,
                Err(failure) => {
                    let name = output::printable(&named(&event));
                    progress.note(&format!("{name}: {failure}"));
                    tally.failed.push((event, failure.to_string()));
                }
            }
            progress.advance(1, &tally);
        }
    };
    let is_whole = tokio::select! {
        // First, so that Ctrl-C takes effect before anything is changed.
        biased;
        Ok(()) = signal::ctrl_c() => false,
        () = work => true,
    };
    drop(progress);
    if !is_whole {
        if output.is_json() {
            // The reason is reported even if this cannot be written.
            let _ = output.answer(&Summary::of(&tally, true), String::new);
        }
        return Err(Failure::CutShort {
            reason: Box::new(Failure::Interrupted),
            done: format!(
                "so far {tally}, and perhaps some more; the same command again does the rest"
            ),
        });
    }
    output.answer(&Summary::of(&tally, false), || tally.to_string())?;
    Ok(if tally.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

/// Returns the number of events, and the first few, one per line.
pub fn overview(events: &[PendingEvent]) -> String {
    let verb = if events.len() == 1 {
        "matches"
    } else {
        "match"
    };
    let heading = format!("{} {verb}:", count(events.len() as u64, "pending event"));
    let first = events.iter().take(NAMED);
    let first = first.map(|event| format!("  {}", output::printable(&named(event))));
    let rest = events.len().checked_sub(NAMED).filter(|rest| *rest > 0);
    let rest = rest.map(|rest| format!("  and {rest} more"));
    let lines = [heading].into_iter().chain(first).chain(rest);
    Vec::from_iter(lines).join("\n")
}

/// The result in JSON, in the same form for one event and for several.
#[derive(Serialize)]
pub struct Summary<'a> {
    /// The changed events, in their new state, or before they were dropped.
    events: Vec<EventView<'a>>,
    gone: u64,
    failed: Vec<Failed<'a>>,
    /// True if the command was cut short: the result is then the least that was done.
    interrupted: bool,
}

#[derive(Serialize)]
struct Failed<'a> {
    event: EventView<'a>,
    problem: &'a str,
}

impl<'a> Summary<'a> {
    pub fn of_one(event: &'a PendingEvent) -> Self {
        Self {
            events: vec![EventView::from(event)],
            gone: 0,
            failed: Vec::new(),
            interrupted: false,
        }
    }

    fn of(tally: &'a Tally, interrupted: bool) -> Self {
        let failed = tally.failed.iter().map(|(event, problem)| Failed {
            event: EventView::from(event),
            problem,
        });
        Self {
            events: tally.changed.iter().map(EventView::from).collect(),
            gone: tally.gone,
            failed: failed.collect(),
            interrupted,
        }
    }
}
