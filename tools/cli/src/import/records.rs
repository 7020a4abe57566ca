//! Code that the imports of enrollments, grades and certificates share.

use app::importing::{Difference, RowRefusedError};
use domain::{CourseId, Email, given};

use super::summary::ImportMode;
use crate::cli::ImportRecords;
use crate::output;
use crate::rows::{CsvRow, RowError};
use crate::seen::{Content, Seen};

pub fn import_mode(import: &ImportRecords) -> ImportMode {
    if import.dry_run {
        ImportMode::DryRun
    } else {
        ImportMode::Add
    }
}

/// The learners and runs of earlier lines: each pair has one record.
#[derive(Default)]
pub struct SeenRecords<const N: usize>(Seen<N>);

impl<const N: usize> SeenRecords<N> {
    /// Remembers the learner and run of a line, with its values. The line must be the
    /// first with this pair.
    pub fn add(
        &mut self,
        (email, run): (&Email, &CourseId),
        line: u64,
        contents: &[Content; N],
    ) -> Result<(), RowError> {
        let about = [email.as_str(), run.as_str()];
        if let Some(repeated) = self.0.repeated(&about, contents) {
            return Err(RowError::SameLearnerAndRun(repeated));
        }
        self.0.remember(&about, line, contents);
        Ok(())
    }
}

/// Reads the learner and the run that a row is about.
pub fn about(row: &CsvRow) -> Result<(Email, CourseId), RowError> {
    let email = row.required_given("email", given::email)?;
    let course_id = row.required_given("course_id", given::course_id)?;
    Ok((email, course_id))
}

/// Describes why a row was refused, and how to fix it; `fix` returns the fix of a row
/// that differs from the stored record, if there is one.
pub fn describe(
    why: &RowRefusedError,
    fix: impl FnOnce(&[Difference]) -> Option<String>,
) -> String {
    let message = match why {
        RowRefusedError::NoSuchUser(_) => format!("{why}; import users first"),
        RowRefusedError::NoSuchRun(_) => format!("{why}; import runs first"),
        RowRefusedError::CertificateIdTaken => {
            format!("{why}; look up in the old receiver whose certificate it is")
        }
        RowRefusedError::Differs { differences, .. } => match fix(differences) {
            Some(fix) => format!("{why}. {fix}"),
            None => format!("{why}, and no command changes that"),
        },
        RowRefusedError::UsernameTaken { .. }
        | RowRefusedError::EndsBeforeStart { .. }
        | RowRefusedError::AddressOfAnother { .. }
        | RowRefusedError::Contended => why.to_string(),
    };
    output::printable(&message)
}
