//! `coursehook users`

use std::path::PathBuf;

use clap::Subcommand;
use shared::domain::Email;

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Import users from CSV or JSON Lines
    ///
    /// Columns: email (required), edx_username, name. An empty cell leaves what
    /// is there. A row is one line. Importing a file again changes nothing.
    #[command(after_help = "\
Examples:
  coursehook users import learners.csv
  export-learners | coursehook users import -")]
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
    /// Show one user
    #[command(after_help = "Example:\n  coursehook users show ada@example.org")]
    Show { email: Email },
}

impl Users {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::Show { .. })
    }
}
