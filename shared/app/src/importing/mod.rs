//! Imports of users, course runs, and learners' records from another receiver, many at a time.
//!
//! Users and runs are made to agree with the file, each time it is imported. Enrollments,
//! grades and certificates are only added: an existing record that differs is left unchanged
//! and reported.

mod certificates;
mod enrollments;
mod events;
mod grades;
mod records;
mod runs;
mod users;

use std::fmt;

use domain::{CourseId, Email, User};
use jiff::Timestamp;
use store::StoreError;
use thiserror::Error;

pub use self::certificates::CertificateRow;
pub use self::enrollments::{EnrollmentRow, UNENROLLED};
pub use self::grades::GradeRow;
pub use self::records::{RECORDS_AT_ONCE, RecordImport};
pub use self::runs::{RUNS_AT_ONCE, import_runs, wake_waiting_of_runs};
pub use self::users::{USERS_AT_ONCE, UserImport, UserRow, import_users, wake_waiting_of_users};

/// The number of attempts at one row while other writers keep changing it.
const ATTEMPTS: u32 = 5;

/// The results of some rows, in the order of the rows.
pub type Answers = Vec<Result<Imported, RowRefusedError>>;

/// The result of a row that was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// The item did not exist, and was created.
    Created,
    /// The item differed, and was updated.
    Updated,
    /// The item already agreed with the row; nothing was written.
    Unchanged,
}

/// The reason why one row could not be imported. The other rows are not affected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowRefusedError {
    /// Another user already has it; usernames are compared by their keys.
    #[error("the username belongs to {}", .owner.as_str())]
    UsernameTaken {
        /// The address of the user who has it.
        owner: Email,
        /// True if the row's own address also belongs to a user, so that there are two users.
        are_two: bool,
    },
    /// The address is, or was, another person's, according to usernames and names
    /// ([`User::is_another_person`]).
    #[error("the address is, or was, another person's, of the user id {}", .holder.user_id)]
    AddressOfAnother {
        /// The user who has the address now, or had it before.
        holder: Box<User>,
        /// The address of the user who has the row's username, if there is one.
        username_owner: Option<Email>,
    },
    /// Another write came in between, in each of five attempts.
    #[error("somebody else kept changing the same at the same time; import it again")]
    Contended,
    /// No user has the address.
    #[error("there is no user {}", .0.as_str())]
    NoSuchUser(Email),
    /// The portal does not have the run.
    #[error("there is no course run {0}")]
    NoSuchRun(CourseId),
    /// The learner already has a different record in the run. It is left as it is.
    #[error(
        "there is {what} already, and it differs ({}); it is left as it is",
        describe(.differences)
    )]
    Differs {
        /// The name of the record, with its article.
        what: &'static str,
        /// The differences, at least one.
        differences: Vec<Difference>,
    },
    /// The course run would end before it starts, together with a date that the row leaves
    /// unchanged.
    #[error(
        "end_date would be {end}, before start_date, {start}; one of them is left as it is here"
    )]
    EndsBeforeStart {
        /// The start after the import.
        start: Timestamp,
        /// The end after the import.
        end: Timestamp,
    },
    /// The certificate id belongs to another learner, to another run of this learner, or to a
    /// learner who was erased.
    #[error(
        "the certificate_id belongs to another learner or course run, or to somebody who was erased"
    )]
    CertificateIdTaken,
}

impl RowRefusedError {
    /// True if the same row may be accepted after other rows of its file were imported.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::UsernameTaken { .. } | Self::AddressOfAnother { .. } | Self::Contended
        )
    }
}

/// Error of one row.
#[derive(Debug, Error)]
enum RowError {
    /// The row is refused; the other rows are not affected.
    #[error(transparent)]
    Refused(#[from] RowRefusedError),
    /// A table could not be read or written, which ends the import.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sets the answer to one row.
///
/// # Errors
/// The store failed.
fn settle(
    answer: &mut Result<Imported, RowRefusedError>,
    result: Result<Imported, RowError>,
) -> Result<(), StoreError> {
    *answer = match result {
        Ok(imported) => Ok(imported),
        Err(RowError::Refused(refused)) => Err(refused),
        Err(RowError::Store(error)) => return Err(error),
    };
    Ok(())
}

/// A column in which a row differs from the stored item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The column's name in the file.
    pub column: &'static str,
    /// The stored value, or `none` if there is none.
    pub here: String,
    /// The value in the file.
    pub in_file: String,
}

impl Difference {
    /// Returns the difference, or `None` if both are the same.
    fn between<T: PartialEq + fmt::Display>(
        column: &'static str,
        here: Option<&T>,
        in_file: &T,
    ) -> Option<Self> {
        let differs = here != Some(in_file);
        differs.then(|| Self {
            column,
            here: here.map_or_else(|| "none".to_owned(), T::to_string),
            in_file: in_file.to_string(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            column,
            here,
            in_file,
        } = self;
        write!(f, "{column}: {here} here, {in_file} in the file")
    }
}

fn describe(differences: &[Difference]) -> String {
    let message: Vec<_> = differences.iter().map(Difference::to_string).collect();
    message.join("; ")
}
