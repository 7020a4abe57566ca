//! `coursehook certificates`

use clap::Subcommand;
use shared::domain::{CertificateState, CourseId, Email, given};

use super::argument::one_of;

use super::ImportRecords;

#[derive(Debug, Subcommand)]
pub enum Certificates {
    /// Import certificates from CSV or JSON Lines, with their ids
    ///
    /// For those who come from another receiver, in this order: users, runs,
    /// certificates, grades, enrollments. Certificates come before enrollments,
    /// so that no pass that waits issues a second one in between. What is there
    /// already is never changed: where it is not as the file says, the line is
    /// named. Importing a file again so compares.
    ///
    /// Columns: email, course_id, certificate_id and issued_at (required), state
    /// (in_force, withdrawn or revoked; in_force where it is empty), is_revoked
    /// (another way to say revoked), learner_name, run_title (the user's and the
    /// run's as they are now where they are empty). An absent column is as an
    /// empty cell.
    #[command(after_help = "\
Examples:
  coursehook certificates import certificates.csv --dry-run
  coursehook certificates import certificates.csv")]
    Import(ImportRecords),
    /// List the certificates for a course run, in no order
    #[command(after_help = "\
Examples:
  coursehook certificates list --run course-v1:Org+Course+Run
  coursehook certificates list --run course-v1:Org+Course+Run --state revoked")]
    List {
        /// The course run
        #[arg(long, value_name = "COURSE_ID", value_parser = given::course_id)]
        run: CourseId,
        /// Only those in this state
        #[arg(long, value_parser = one_of(&CertificateState::ALL, CertificateState::as_str))]
        state: Option<CertificateState>,
    },
    /// Show a user's certificates
    #[command(after_help = "Example:\n  coursehook certificates show ada@example.org --history")]
    Show {
        #[arg(value_parser = given::email)]
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Issue a certificate, if the learner has earned one
    ///
    /// As if the LMS announced the pass now: it is asked for the grade, which
    /// replaces the stored one, unless an operator has set that, and then neither
    /// $LMS_URL nor a credential is needed. Where there is none to issue it says
    /// why, ends with 1, and keeps no event.
    #[command(after_help = "\
Example:
  coursehook certificates issue ada@example.org course-v1:Org+Course+Run")]
    Issue {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
    },
    /// Revoke a certificate; only an operator restores it
    #[command(after_help = "\
Example:
  coursehook certificates revoke ada@example.org course-v1:Org+Course+Run")]
    Revoke {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
    /// Restore a certificate that an operator has revoked
    ///
    /// It is again what it was before: in force, or withdrawn until a pass.
    #[command(after_help = "\
Example:
  coursehook certificates restore ada@example.org course-v1:Org+Course+Run")]
    Restore {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
    },
    /// Correct the learner's name on a certificate
    ///
    /// In whatever state it is; id and state stay as they are. The name that the
    /// user has, for certificates to come, is what `coursehook users import` says.
    #[command(after_help = "\
Example:
  coursehook certificates rename ada@example.org course-v1:Org+Course+Run --name 'Ada Lovelace'")]
    Rename {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
        /// The name as the certificate is to have it
        #[arg(long, value_parser = given::name)]
        name: String,
    },
}

impl Certificates {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::List { .. } | Self::Show { .. } => true,
            Self::Import(import) => import.dry_run,
            Self::Issue { .. }
            | Self::Revoke { .. }
            | Self::Restore { .. }
            | Self::Rename { .. } => false,
        }
    }
}
