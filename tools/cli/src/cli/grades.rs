//! `coursehook grades`

use clap::{Args, Subcommand};
use shared::domain::{CourseId, Email, LetterGrade, Percent};

use super::argument::{percent, plain};

#[derive(Debug, Subcommand)]
pub enum Grades {
    /// Show a user's grades
    #[command(after_help = "Example:\n  coursehook grades show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set a grade by hand; the LMS's never replaces it
    ///
    /// User and course run must exist. Where the grade is a pass and the
    /// enrollment is active and paid ($PAID_MODES), the certificate is issued
    /// at once. A certificate that is in force stays so, whatever the grade.
    #[command(after_help = "\
Examples:
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.87 --letter B --passed
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.4 --letter F")]
    Override(OverrideGrade),
}

#[derive(Debug, Args)]
pub struct OverrideGrade {
    pub email: Email,
    pub course_id: CourseId,
    /// How much of the course, 1 being all of it; extra credit may lead up to 2
    #[arg(long, value_parser = percent, allow_negative_numbers = true)]
    pub percent: Percent,
    /// A or Pass for instance
    #[arg(long, value_parser = plain::<LetterGrade>)]
    pub letter: LetterGrade,
    /// The grade is a pass
    #[arg(long)]
    pub passed: bool,
}

impl Grades {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::Show { .. })
    }
}
