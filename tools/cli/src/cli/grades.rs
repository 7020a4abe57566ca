//! `coursehook grades`

use clap::{Args, Subcommand};
use domain::{CourseId, Email, LetterGrade, Percent, given};

use super::argument::{percent, plain};
use super::import::ImportRecords;

#[derive(Debug, Subcommand)]
pub enum Grades {
    /// Import grades from CSV or JSON Lines
    ///
    /// To migrate from another receiver, import in this order: users, runs, certificates,
    /// grades, enrollments. Certificates come before enrollments, so that no pending pass
    /// issues a second one in between. Existing grades are never changed: a line that
    /// differs from what is stored is reported. Importing a file again therefore
    /// compares.
    ///
    /// Columns: email, course_id, percent (1 being the whole course) and passed
    /// (required), letter_grade, set_by_admin (true for a grade that the LMS's never
    /// replaces). An absent column counts as an empty cell. The import issues no
    /// certificates. If a percent is above 2, nothing of the file is written; standard
    /// input is first copied into a temporary file, so that all of it can be checked
    /// before.
    #[command(after_help = "\
Examples:
  coursehook grades import grades.csv --dry-run
  coursehook grades import grades.csv")]
    Import(ImportRecords),
    /// Show a user's grades
    #[command(after_help = "Example:\n  coursehook grades show ada@example.org --history")]
    Show {
        #[arg(value_parser = given::email)]
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set a grade by hand; the LMS's grade never replaces it
    ///
    /// The user and the course run must exist. If the grade is a pass and the enrollment
    /// is active and paid ($PAID_MODES), the certificate is issued at once. A certificate
    /// that is in force stays in force, whatever the grade.
    #[command(after_help = "\
Examples:
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.87 --letter B --passed
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.4 --letter F")]
    Override(OverrideGrade),
    /// Hand a grade that was set by hand back to the LMS
    ///
    /// The grade stays as it is until the LMS gives another one.
    #[command(after_help = "\
Example:
  coursehook grades release ada@example.org course-v1:Org+Course+Run")]
    Release {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
    },
}

#[derive(Debug, Args)]
pub struct OverrideGrade {
    #[arg(value_parser = given::email)]
    pub email: Email,
    #[arg(value_parser = given::course_id)]
    pub course_id: CourseId,
    /// The share of the course, 1 being all of it; extra credit may lead up to 2
    #[arg(long, value_parser = percent, allow_negative_numbers = true)]
    pub percent: Percent,
    /// For example A or Pass
    #[arg(long, value_parser = plain::<LetterGrade>)]
    pub letter: LetterGrade,
    /// The grade is a pass
    #[arg(long)]
    pub passed: bool,
}

impl Grades {
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::Show { .. } => true,
            Self::Import(import) => import.dry_run,
            Self::Override(_) | Self::Release { .. } => false,
        }
    }
}
