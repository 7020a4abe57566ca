//! `coursehook enrollments`

use clap::{Args, Subcommand};
use domain::{CourseId, CourseRole, Email, Mode, given};

use super::argument::plain;
use super::import::ImportEnrollments;

#[derive(Debug, Subcommand)]
pub enum Enrollments {
    /// Import enrollments from CSV or JSON Lines
    ///
    /// To migrate from another receiver, import in this order: users, runs, certificates,
    /// grades, enrollments. Certificates come before enrollments, so that no pending pass
    /// issues a second one in between. Existing enrollments are never changed: a line
    /// that differs from what is stored is reported. Importing a file again therefore
    /// compares.
    ///
    /// Columns: email, course_id and mode (required), active (if empty, as change_status
    /// says, or true), edx_enrolled, roles (separated by ;), change_status (unenrolled,
    /// deferred, transferred and refunded are inactive), enrollment_id (if empty, a new
    /// one). An absent column counts as an empty cell. Sweeps do not change the mode.
    #[command(after_help = "\
Examples:
  coursehook enrollments import enrollments.csv --dry-run
  coursehook enrollments import enrollments.csv")]
    Import(ImportEnrollments),
    /// List the enrollments in a course run, in no particular order
    #[command(
        after_help = "Example:\n  coursehook enrollments list --run course-v1:Org+Course+Run"
    )]
    List {
        /// The course run
        #[arg(long, value_name = "COURSE_ID", value_parser = given::course_id)]
        run: CourseId,
    },
    /// Show a user's enrollments
    #[command(after_help = "Example:\n  coursehook enrollments show ada@example.org --history")]
    Show {
        #[arg(value_parser = given::email)]
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set the mode of an enrollment, make it active or inactive, or remove a role
    ///
    /// With --mode the enrollment is created if there is none; the user and the course
    /// run must exist. While the enrollment is active, the LMS does not change a mode
    /// that is set here. The LMS announces when a role is given, but not when it is taken
    /// away: --remove-role removes it here.
    #[command(after_help = "\
Examples:
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode verified
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --remove-role staff
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode audit --inactive")]
    Set(SetEnrollment),
}

#[derive(Debug, Args)]
pub struct SetEnrollment {
    #[arg(value_parser = given::email)]
    pub email: Email,
    #[arg(value_parser = given::course_id)]
    pub course_id: CourseId,
    /// audit, verified, and so on
    #[arg(long, value_parser = plain::<Mode>, required_unless_present = "remove_role")]
    pub mode: Option<Mode>,
    /// Also set a mode that Open edX is not known to have
    #[arg(long, requires = "mode")]
    pub force: bool,
    /// Unenroll the learner
    #[arg(long, requires = "mode")]
    pub inactive: bool,
    /// Remove a course role; may be given more than once
    #[arg(long, value_name = "ROLE", value_parser = plain::<CourseRole>)]
    pub remove_role: Vec<CourseRole>,
}

impl Enrollments {
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::List { .. } | Self::Show { .. } => true,
            Self::Import(import) => import.import.dry_run,
            Self::Set(_) => false,
        }
    }
}
