//! Users and course runs come from elsewhere, many at a time.

mod events;
mod runs;
mod users;

use thiserror::Error;

use crate::domain::Email;

pub use self::runs::{RUNS_AT_ONCE, expect_events_of_runs, import_runs};
pub use self::users::{USERS_AT_ONCE, UserRow, expect_events_of_users, import_users};

/// How often one row is decided anew because somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// What became of some rows, in their order.
pub type Answers = Vec<Result<Imported, RowRefused>>;

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
pub enum RowRefused {
    /// Another user has it already; usernames are compared byte for byte.
    #[error("the username belongs to {}", .owner.as_str())]
    UsernameTaken {
        /// The address of the user who has it.
        owner: Email,
        /// The address of the row.
        email: Email,
    },
    /// Somebody else's write came in between, each of five times.
    #[error("somebody else kept changing this user; import it again")]
    Contended,
}
