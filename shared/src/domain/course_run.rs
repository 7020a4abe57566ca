//! A course run as the portal knows it.

use jiff::Timestamp;

use super::CourseId;

/// One run of a course. Where a date is absent, people read "Coming soon".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseRun {
    /// The table's key.
    pub course_id: CourseId,
    /// What people read; an import requires it.
    pub title: String,
    /// The portal's own flag, which sweeps go by. An import sets it false where the cell is empty.
    pub live: bool,
    /// Learners go at a pace of their own. False where an import's cell is empty.
    pub is_self_paced: bool,
    /// A moment in UTC, as the two below; of a plain date an import makes its midnight.
    pub start_date: Option<Timestamp>,
    /// An import refuses one that is before `start_date`.
    pub end_date: Option<Timestamp>,
    /// When certificates become available; an import compares it with neither of the others.
    pub certificate_available_date: Option<Timestamp>,
}

impl CourseRun {
    /// When it starts and ends, where it ends before it starts.
    pub fn ends_before_start(&self) -> Option<(Timestamp, Timestamp)> {
        let dates = self.start_date.zip(self.end_date);
        dates.filter(|(start, end)| end < start)
    }
}

/// What is to become of a course run, whether or not there is one. `None` leaves
/// what is there; of a new run a flag is then false, and a date absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseRunChange {
    /// Which run.
    pub course_id: CourseId,
    /// What people read.
    pub title: String,
    /// The portal's own flag.
    pub live: Option<bool>,
    /// Learners go at a pace of their own.
    pub is_self_paced: Option<bool>,
    /// `Some(None)` empties it, as it does the two below.
    pub start_date: Option<Option<Timestamp>>,
    /// A moment in UTC.
    pub end_date: Option<Option<Timestamp>>,
    /// When certificates become available.
    pub certificate_available_date: Option<Option<Timestamp>>,
}

impl CourseRunChange {
    /// The run after it, where `before` is the one that there is.
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

/// Leaves nothing of what is there.
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
