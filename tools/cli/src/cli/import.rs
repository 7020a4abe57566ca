//! What the imports of enrollments, grades and certificates are told.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ImportRecords {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// Write nothing; count what would be created, and name what differs
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ImportEnrollments {
    #[command(flatten)]
    pub import: ImportRecords,
    /// Also import a mode that Open edX is not known to use
    #[arg(long)]
    pub force: bool,
}
