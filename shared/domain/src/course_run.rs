//! Course run as the portal knows it.

use jiff::Timestamp;
use serde::Deserialize;

use super::CourseId;

/// One run of a course. If a date is absent, people read "Coming soon".
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CourseRun {
    /// The table's key.
    pub course_id: CourseId,
    /// The title that people read; an import requires it.
    pub title: String,
    /// The portal's own flag, which decides whether sweeps take the run. An import sets it to
    /// false if the cell is empty.
    pub live: bool,
    /// True if learners go at their own pace. False if an import's cell is empty.
    pub is_self_paced: bool,
    /// A time in UTC, as the two below. An import turns a plain date into its midnight.
    pub start_date: Option<Timestamp>,
    /// The end. An import refuses one that is before `start_date`.
    pub end_date: Option<Timestamp>,
    /// The time at which certificates become available. An import does not compare it with the
    /// other two.
    pub certificate_available_date: Option<Timestamp>,
}

impl CourseRun {
    /// The start and the end, if the end is before the start.
    pub fn ends_before_start(&self) -> Option<(Timestamp, Timestamp)> {
        let dates = self.start_date.zip(self.end_date);
        dates.filter(|(start, end)| end < start)
    }
}

/// A change of a course run that may or may not exist yet. `None` keeps the current value; in a
/// new run it makes a flag false and a date absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseRunChange {
    /// The run's id.
    pub course_id: CourseId,
    /// The title that people read.
    pub title: String,
    /// The portal's own flag.
    pub live: Option<bool>,
    /// True if learners go at their own pace.
    pub is_self_paced: Option<bool>,
    /// The start. `Some(None)` removes it, and likewise the two below.
    pub start_date: Option<Option<Timestamp>>,
    /// The end, in UTC.
    pub end_date: Option<Option<Timestamp>>,
    /// The time at which certificates become available.
    pub certificate_available_date: Option<Option<Timestamp>>,
}

impl CourseRunChange {
    /// Returns the run after the change. `before` is the existing run, if there is one.
    pub fn after(&self, before: Option<&CourseRun>) -> CourseRun {
        let flag = |given: Option<bool>, of: fn(&CourseRun) -> bool| {
            given.unwrap_or_else(|| before.is_some_and(of))
        };
        let date = |given: Option<Option<Timestamp>>, of: fn(&CourseRun) -> Option<Timestamp>| {
            given.unwrap_or_else(|| before.and_then(of))
        };
        CourseRun {
            course_id: self.course_id.clone(),
            title: self.title.clone(),
            live: flag(self.live, |run| run.live),
            is_self_paced: flag(self.is_self_paced, |run| run.is_self_paced),
            start_date: date(self.start_date, |run| run.start_date),
            end_date: date(self.end_date, |run| run.end_date),
            certificate_available_date: date(self.certificate_available_date, |run| {
                run.certificate_available_date
            }),
        }
    }
}

/// Sets every field: nothing of an existing run stays.
impl From<CourseRun> for CourseRunChange {
    fn from(run: CourseRun) -> Self {
        Self {
            course_id: run.course_id,
            title: run.title,
            live: Some(run.live),
            is_self_paced: Some(run.is_self_paced),
            start_date: Some(run.start_date),
            end_date: Some(run.end_date),
            certificate_available_date: Some(run.certificate_available_date),
        }
    }
}
