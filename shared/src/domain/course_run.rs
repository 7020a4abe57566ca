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
    /// The portal's own flag. An import sets it false where the cell is empty, and no rule here
    /// reads it.
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
