//! Course runs.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::Imported;
use super::events::expect_events;
use crate::adapters::store::StoreError;
use crate::adapters::store::course_runs::CourseRuns;
use crate::adapters::store::kept_events::KeptEvents;
use crate::domain::{CourseRun, KeptEvent, Reason};

/// The runs of one call of [`import_runs`], at most.
pub const RUNS_AT_ONCE: usize = 100;

/// Imports some runs, none twice and at most [`RUNS_AT_ONCE`]; the answers are
/// in the order given. A run is replaced whole; importing it again changes nothing.
pub async fn import_runs(
    course_runs: &CourseRuns,
    runs: &[CourseRun],
) -> Result<Vec<Imported>, StoreError> {
    let ids: Vec<_> = runs.iter().map(|run| run.course_id.clone()).collect();
    let before: HashMap<_, _> = course_runs
        .get_many(&ids)
        .await?
        .into_iter()
        .map(|run| (run.course_id.clone(), run))
        .collect();
    let mut answers = Vec::with_capacity(runs.len());
    for run in runs {
        answers.push(match before.get(&run.course_id) {
            Some(before) if before == run => Imported::Unchanged,
            Some(_) => {
                course_runs.put(run).await?;
                Imported::Updated
            }
            None => {
                course_runs.put(run).await?;
                Imported::Created
            }
        });
    }
    Ok(answers)
}

/// Makes the events due that wait for a run that exists by now; how many.
///
/// As [`super::expect_events_of_users`].
pub async fn expect_events_of_runs(
    kept_events: &KeptEvents,
    course_runs: &CourseRuns,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let came = async |events: &[KeptEvent]| {
        let waits = |event: &&KeptEvent| event.reason == Reason::NoSuchRun;
        let ids: BTreeSet<_> = events.iter().filter(waits).map(|e| &e.course_id).collect();
        let ids: Vec<_> = ids.into_iter().cloned().collect();
        let runs = course_runs.get_many(&ids).await?;
        let known: HashSet<_> = runs.iter().map(|run| &run.course_id).collect();
        let came = events.iter().filter(waits);
        let came = came.filter(|event| known.contains(&event.course_id));
        Ok(came.cloned().collect())
    };
    expect_events(kept_events, came, now).await
}
