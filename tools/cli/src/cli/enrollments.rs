//! `coursehook enrollments`

use clap::{Args, Subcommand};
use shared::domain::{CourseId, Email, Mode};

use super::argument::plain;

#[derive(Debug, Subcommand)]
pub enum Enrollments {
    /// Show a user's enrollments
    #[command(after_help = "Example:\n  coursehook enrollments show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set the mode of an enrollment, and make it active or inactive
    ///
    /// The enrollment is created if there is none; user and course run must
    /// exist. A mode that is set here is no longer the LMS's affair.
    #[command(after_help = "\
Examples:
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode verified
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode audit --inactive")]
    Set(SetEnrollment),
}

#[derive(Debug, Args)]
pub struct SetEnrollment {
    pub email: Email,
    pub course_id: CourseId,
    /// audit, verified, and so on
    #[arg(long, value_parser = plain::<Mode>)]
    pub mode: Mode,
    /// Also set a mode that Open edX is not known to use
    #[arg(long)]
    pub force: bool,
    /// Unenroll the learner
    #[arg(long)]
    pub inactive: bool,
}

impl Enrollments {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::Show { .. })
    }
}
