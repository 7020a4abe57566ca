//! `coursehook enrollments`

use clap::{Args, Subcommand};
use shared::domain::{CourseId, Email, Mode};

use super::ImportEnrollments;
use super::argument::plain;

#[derive(Debug, Subcommand)]
pub enum Enrollments {
    /// Import enrollments from CSV or JSON Lines
    ///
    /// For those who come from another receiver, in this order: users, runs,
    /// certificates, grades, enrollments. Certificates come before enrollments,
    /// so that no pass that waits issues a second one in between. What is there
    /// already is never changed: where it is not as the file says, the line is
    /// named. Importing a file again so compares.
    ///
    /// Columns: email, course_id and mode (required), active (true where it is
    /// empty), edx_enrolled, roles (with ; between them), change_status,
    /// enrollment_id (a new one where it is empty). Sweeps leave the mode alone.
    /// A row is one line.
    #[command(after_help = "\
Examples:
  coursehook enrollments import enrollments.csv --dry-run
  coursehook enrollments import enrollments.csv")]
    Import(ImportEnrollments),
    /// List the enrollments in a course run, in no order
    #[command(
        after_help = "Example:\n  coursehook enrollments list --run course-v1:Org+Course+Run"
    )]
    List {
        /// The course run
        #[arg(long, value_name = "COURSE_ID")]
        run: CourseId,
    },
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
        match self {
            Self::List { .. } | Self::Show { .. } => true,
            Self::Import(import) => import.import.dry_run,
            Self::Set(_) => false,
        }
    }
}
