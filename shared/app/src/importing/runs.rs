//! Import of course runs.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{BlockedReason, CourseRunChange, PendingEvent};
use jiff::Timestamp;
use store::StoreError;
use store::course_runs::CourseRuns;
use store::pending_events::PendingEvents;

use super::events::wake_waiting;
use super::{Answers, Imported, RowRefusedError};

/// The greatest number of runs in one call of [`import_runs`].
pub const RUNS_AT_ONCE: usize = 100;

/// Imports some runs, none of them twice and at most [`RUNS_AT_ONCE`]. The answers are in the
/// order of the rows. Importing a run again changes nothing. The cost is one BatchGetItem, and
/// one UpdateItem for each run that changes.
///
/// A row is refused if its dates contradict a date that it leaves unchanged.
pub async fn import_runs(
    course_runs: &CourseRuns,
    runs: &[CourseRunChange],
) -> Result<Answers, StoreError> {
    let ids: Vec<_> = runs.iter().map(|run| run.course_id.clone()).collect();
    let before: HashMap<_, _> = course_runs
        .get_many(&ids)
        .await?
        .into_iter()
        .map(|run| (run.course_id.clone(), run))
        .collect();
    let mut answers = Vec::with_capacity(runs.len());
    for run in runs {
        let before = before.get(&run.course_id);
        let after = run.after(before);
        let says_dates = run.start_date.is_some() || run.end_date.is_some();
        answers.push(
            if let Some((start, end)) = after.ends_before_start()
                && says_dates
            {
                Err(RowRefusedError::EndsBeforeStart { start, end })
            } else if before == Some(&after) {
                Ok(Imported::Unchanged)
            } else {
                course_runs.change(run).await?;
                Ok(before.map_or(Imported::Created, |_| Imported::Updated))
            },
        );
    }
    Ok(answers)
}

/// Makes due the events that wait for a run that now exists, and returns their number.
///
/// Call it after each import, as [`super::wake_waiting_of_users`].
pub async fn wake_waiting_of_runs(
    pending_events: &PendingEvents,
    course_runs: &CourseRuns,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let came = async |events: &[PendingEvent]| {
        let waits = |event: &&PendingEvent| event.reason == BlockedReason::NoSuchRun;
        let ids: BTreeSet<_> = events.iter().filter(waits).map(|e| &e.course_id).collect();
        let ids: Vec<_> = ids.into_iter().cloned().collect();
        let runs = course_runs.get_many(&ids).await?;
        let known: HashSet<_> = runs.iter().map(|run| &run.course_id).collect();
        let came = events.iter().filter(waits);
        let came = came.filter(|event| known.contains(&event.course_id));
        Ok(came.cloned().collect())
    };
    wake_waiting(pending_events, came, now).await
}
