//! `coursehook certificates`

use clap::Subcommand;
use domain::{CertificateState, CourseId, Email, given};

use super::argument::one_of;
use super::import::ImportRecords;

#[derive(Debug, Subcommand)]
pub enum Certificates {
    /// Import certificates from CSV or JSON Lines, with their ids
    ///
    /// To migrate from another receiver, import in this order: users, runs, certificates,
    /// grades, enrollments. Certificates come before enrollments, so that no pending pass
    /// issues a second one in between. Existing certificates are never changed: a line
    /// that differs from what is stored is reported. Importing a file again therefore
    /// compares.
    ///
    /// Columns: email, course_id, certificate_id and issued_at (required), state
    /// (in_force, withdrawn or revoked; in_force if empty), is_revoked (another way to
    /// say revoked), learner_name, run_title (if empty, the current names of the user and
    /// the run). An absent column counts as an empty cell.
    #[command(after_help = "\
Examples:
  coursehook certificates import certificates.csv --dry-run
  coursehook certificates import certificates.csv")]
    Import(ImportRecords),
    /// List the certificates for a course run, in no particular order
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
    /// Does what an announcement of the pass by the LMS would do now: it asks the LMS for
    /// the grade, which replaces the stored one. If an operator has set the grade, the
    /// LMS is not asked, and neither $LMS_URL nor a credential is needed. If there is no
    /// certificate to issue, the command says why, exits with 1, and stores no pending
    /// event.
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
    /// It returns to its earlier state: in force, or withdrawn until a pass.
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
    /// Works in every state; the id and the state stay as they are. The user's own name,
    /// which later certificates get, is set by `coursehook users import`.
    #[command(after_help = "\
Example:
  coursehook certificates rename ada@example.org course-v1:Org+Course+Run --name 'Ada Lovelace'")]
    Rename {
        #[arg(value_parser = given::email)]
        email: Email,
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
        /// The name to put on the certificate
        #[arg(long, value_parser = given::name)]
        name: String,
    },
}

impl Certificates {
    /// True if the command changes nothing.
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
