//! `coursehook sweep list`

use std::collections::BTreeMap;

use app::StoreError;
use domain::{Checkpoint, CourseId, Stage, SweepEnd, SweepOptions, Tally};
use jiff::Timestamp;
use serde::Serialize;
use store::page::Page;
use store::sweeps::{KnownSweep, SweepRecord, Sweeps};
use uuid::Uuid;

use super::words;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::output::Output;
use crate::time;

pub async fn list(sweeps: &Sweeps, output: Output) -> Result<(), Failure> {
    let listing = Listing::new(output);
    let read = async |_| newest(sweeps).await;
    let write = async |listing: &mut Listing, records: Vec<KnownSweep>| {
        let rows: Vec<_> = records.iter().map(SweepView::from).collect();
        listing.page(
            &rows,
            &[
                ("course", |row| row.course_id.to_string()),
                ("sweep", |row| words::which(row.known)),
                ("ended", |row| row.of_last(|end| time::show(end.ended_at))),
                ("how", |row| row.of_last(words::how)),
                ("what it did", |row| {
                    row.of_last(|end| words::in_short(&end.tally))
                }),
                ("in progress", |row| {
                    let checkpoint = row.known.record.checkpoint.as_ref();
                    checkpoint.map(words::stands).unwrap_or_default()
                }),
            ],
        )?;
        Ok(())
    };
    listing.pages(read, write).await
}

/// Returns the newest record of each run and kind, by run, as one page: the table stores
/// forced sweeps and dry runs separately.
async fn newest(sweeps: &Sweeps) -> Result<Page<Result<KnownSweep, StoreError>>, StoreError> {
    let mut newest = BTreeMap::new();
    let mut entries = Vec::new();
    let mut start = None;
    loop {
        let page = sweeps.page(start).await?;
        for entry in page.entries {
            match entry {
                Ok(known) => {
                    let of = (known.course_id.clone(), known.kind.as_str());
                    let other = newest.remove(&of);
                    newest.insert(of, newer(other, known));
                }
                Err(error) => entries.push(Err(error)),
            }
        }
        start = page.next;
        if start.is_none() {
            break;
        }
    }
    entries.extend(newest.into_values().map(Ok));
    let next = None;
    Ok(Page { entries, next })
}

/// Returns the one to show of two records of one run and kind: any other before a dry
/// run, and the newer before the older, with the last end of either.
fn newer(other: Option<KnownSweep>, one: KnownSweep) -> KnownSweep {
    let Some(other) = other else { return one };
    let rank = |known: &KnownSweep| (!known.options.dry_run, stood_at(&known.record));
    let (mut shown, hidden) = if rank(&one) > rank(&other) {
        (one, other)
    } else {
        (other, one)
    };
    if shown.options.dry_run == hidden.options.dry_run {
        let ends = [shown.record.last.take(), hidden.record.last];
        let ends = ends.into_iter().flatten();
        shown.record.last = ends.max_by_key(|end| end.ended_at);
    }
    shown
}

/// Returns when such a sweep was last in progress or ended.
fn stood_at(record: &SweepRecord) -> Option<Timestamp> {
    let saved_at = record
        .checkpoint
        .as_ref()
        .map(|checkpoint| checkpoint.saved_at);
    saved_at.max(record.last.as_ref().map(|end| end.ended_at))
}

#[derive(Serialize)]
struct SweepView<'a> {
    course_id: &'a CourseId,
    sweep: &'static str,
    #[serde(flatten)]
    options: SweepOptions,
    last: Option<Last<'a>>,
    in_progress: Option<InProgress<'a>>,
    #[serde(skip)]
    known: &'a KnownSweep,
}

impl SweepView<'_> {
    /// Returns a cell about the last sweep that ended; an empty text if none has.
    fn of_last(&self, cell: fn(&SweepEnd) -> String) -> String {
        self.known
            .record
            .last
            .as_ref()
            .map(cell)
            .unwrap_or_default()
    }
}

/// The end of the last sweep that ended.
#[derive(Serialize)]
struct Last<'a> {
    sweep_id: Uuid,
    began_at: Timestamp,
    ended_at: Timestamp,
    outcome: &'static str,
    reason: Option<&'a str>,
    tally: &'a Tally,
}

/// The progress of a sweep that has not ended.
#[derive(Serialize)]
struct InProgress<'a> {
    sweep_id: Uuid,
    began_at: Timestamp,
    /// The number of pages read; `None` if the whole list was read.
    pages: Option<u32>,
    tally: &'a Tally,
}

impl<'a> From<&'a KnownSweep> for SweepView<'a> {
    fn from(known: &'a KnownSweep) -> Self {
        let record = &known.record;
        Self {
            course_id: &known.course_id,
            sweep: known.kind.as_str(),
            options: known.options,
            last: record.last.as_ref().map(Last::from),
            in_progress: record.checkpoint.as_ref().map(InProgress::from),
            known,
        }
    }
}

impl<'a> From<&'a SweepEnd> for Last<'a> {
    fn from(end: &'a SweepEnd) -> Self {
        Self {
            sweep_id: end.sweep_id,
            began_at: end.began_at,
            ended_at: end.ended_at,
            outcome: end.outcome.as_str(),
            reason: end.reason.as_deref(),
            tally: &end.tally,
        }
    }
}

impl<'a> From<&'a Checkpoint> for InProgress<'a> {
    fn from(checkpoint: &'a Checkpoint) -> Self {
        let pages = match &checkpoint.stage {
            Stage::Listing(cursor) => Some(cursor.pages()),
            Stage::ByName(by_name) => Some(by_name.pages),
            Stage::Applying => None,
        };
        Self {
            sweep_id: checkpoint.sweep_id,
            began_at: checkpoint.began_at,
            pages,
            tally: &checkpoint.tally,
        }
    }
}
