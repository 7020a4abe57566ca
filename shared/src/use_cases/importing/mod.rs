//! Users, course runs, and what learners have in them come from elsewhere, many
//! at a time.
//!
//! Users and runs are made as the file has them, as often as it is imported.
//! Enrollments, grades and certificates are only ever added: what is there
//! already, and differs, is left as it is and told.

mod certificates;
mod enrollments;
mod events;
mod grades;
mod records;
mod runs;
mod users;

use std::fmt;

use jiff::Timestamp;
use thiserror::Error;

use crate::domain::{CourseId, Email, User};

pub use self::certificates::CertificateRow;
pub use self::enrollments::{EnrollmentRow, UNENROLLED};
pub use self::grades::GradeRow;
pub use self::records::{RECORDS_AT_ONCE, RecordImport};
pub use self::runs::{RUNS_AT_ONCE, import_runs, wake_waiting_of_runs};
pub use self::users::{USERS_AT_ONCE, UserImport, UserRow, import_users, wake_waiting_of_users};

/// How often one row is decided again because somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// What became of some rows, in their order.
pub type Answers = Vec<Result<Imported, RowRefusedError>>;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// There was none, and now there is.
    Created,
    /// It differed, and now is as the row says.
    Updated,
    /// It was as the row says; nothing was written.
    Unchanged,
}

/// Why one row could not be imported, while the others could.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowRefusedError {
    /// Another user has it already; usernames are compared by their keys.
    #[error("the username belongs to {}", .owner.as_str())]
    UsernameTaken {
        /// The address of the user who has it.
        owner: Email,
        /// Whether the row's own address is a user's, so that there are two of them.
        are_two: bool,
    },
    /// The address is, or was, another person's, as far as usernames and names
    /// tell ([`User::is_another_person`]).
    #[error("the address is, or was, another person's, of the user id {}", .holder.user_id)]
    AddressOfAnother {
        /// Who has the address now, or had it before.
        holder: Box<User>,
        /// The address of the user who has the row's username, where somebody
        /// has it.
        username_owner: Option<Email>,
    },
    /// Somebody else's write came in between, each of five times.
    #[error("somebody else kept changing the same at the same time; import it again")]
    Contended,
    /// No user has the address.
    #[error("there is no user {}", .0.as_str())]
    NoSuchUser(Email),
    /// The portal does not know the run.
    #[error("there is no course run {0}")]
    NoSuchRun(CourseId),
    /// The learner has something else in the run already. It is left as it is.
    #[error(
        "there is {what} already, and it differs ({}); it is left as it is",
        describe(.differences)
    )]
    Differs {
        /// What there is, with its article.
        what: &'static str,
        /// At least one.
        differences: Vec<Difference>,
    },
    /// With a date that the row leaves as it is, a course run would end before it
    /// starts.
    #[error(
        "end_date would be {end}, before start_date, {start}; one of them is left as it is here"
    )]
    EndsBeforeStart {
        /// The date after the import.
        start: Timestamp,
        /// The date after the import.
        end: Timestamp,
    },
    /// Another learner, or another run of this one, has a certificate of this
    /// id; or somebody had it who was erased.
    #[error(
        "the certificate_id belongs to another learner or course run, or to somebody who was erased"
    )]
    CertificateIdTaken,
}

impl RowRefusedError {
    /// Whether the same row may be taken once other rows of its file are.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::UsernameTaken { .. } | Self::AddressOfAnother { .. } | Self::Contended
        )
    }
}

/// A column in which a row says something else than what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name in the file.
    pub column: &'static str,
    /// What is there; `none` where nothing is.
    pub here: String,
    /// What the file has.
    pub in_file: String,
}

impl Difference {
    /// `None` where the two are the same.
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
