//! Arguments of the imports.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ImportFile {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// Also accept a file without rows
    #[arg(long)]
    pub allow_empty: bool,
}

/// Arguments of the imports of enrollments, grades and certificates.
#[derive(Debug, Args)]
pub struct ImportRecords {
    #[command(flatten)]
    pub file: ImportFile,
    /// Write nothing; count the records to be created, and report those that differ
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ImportEnrollments {
    #[command(flatten)]
    pub import: ImportRecords,
    /// Also import a mode that Open edX is not known to have, and a list as one role
    #[arg(long)]
    pub force: bool,
}
