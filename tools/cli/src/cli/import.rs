//! What imports are told.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ImportFile {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// Also take a file without a row
    #[arg(long)]
    pub allow_empty: bool,
}

/// Of enrollments, grades and certificates.
#[derive(Debug, Args)]
pub struct ImportRecords {
    #[command(flatten)]
    pub file: ImportFile,
    /// Write nothing; count what would be created, and name what differs
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ImportEnrollments {
    #[command(flatten)]
    pub import: ImportRecords,
    /// Also import a mode that Open edX is not known to use, and a list as one role
    #[arg(long)]
    pub force: bool,
}
