//! `coursehook runs`

use clap::Subcommand;
use domain::{CourseId, given};

use super::import::ImportFile;

#[derive(Debug, Subcommand)]
pub enum Runs {
    /// Import course runs from CSV or JSON Lines
    ///
    /// Columns: course_id and title (required), live, is_self_paced, start_date,
    /// end_date, certificate_available_date. A flag is true, false, yes, no, t, f, 1 or
    /// 0, and false if it is empty. A date is RFC 3339 with an offset, or a plain date,
    /// which is midnight UTC. A column that the file lacks leaves the stored value; an
    /// empty cell clears it.
    #[command(after_help = "Example:\n  coursehook runs import runs.csv")]
    Import(ImportFile),
    /// List all course runs, in no particular order
    #[command(after_help = "Example:\n  coursehook runs list")]
    List,
    /// Show one course run
    #[command(after_help = "Example:\n  coursehook runs show course-v1:Org+Course+Run")]
    Show {
        #[arg(value_parser = given::course_id)]
        course_id: CourseId,
    },
}

impl Runs {
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List | Self::Show { .. })
    }
}
