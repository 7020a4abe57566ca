//! `coursehook certificates`

use clap::Subcommand;
use shared::domain::{CourseId, Email};

#[derive(Debug, Subcommand)]
pub enum Certificates {
    /// Show a user's certificates
    #[command(after_help = "Example:\n  coursehook certificates show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Revoke a certificate; only an operator restores it
    #[command(after_help = "\
Example:
  coursehook certificates revoke ada@example.org course-v1:Org+Course+Run")]
    Revoke {
        email: Email,
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
    Restore { email: Email, course_id: CourseId },
}

impl Certificates {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::Show { .. })
    }
}
