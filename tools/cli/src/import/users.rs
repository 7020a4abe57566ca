//! `coursehook users import`

use std::process::ExitCode;

use app::StoreError;
use app::importing::{
    Answers, RowRefusedError, USERS_AT_ONCE, UserImport, UserRow, wake_waiting_of_users,
};
use domain::{Email, User, Username, given};
use jiff::Timestamp;
use store::pending_events::PendingEvents;
use store::users::Users;

use super::doubts::{self, is_word_for_nothing};
use super::reading::Reader;
use super::summary::ImportMode;
use super::warnings::Warning;
use super::writing::{self, Writer};
use crate::cli::ImportFile;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::rows::{Columns, CsvRow, RowError};
use crate::seen::{Seen, content};
use crate::shell;

pub async fn import(
    file: &ImportFile,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let users = tables.users()?;
    let writer = UserWriter {
        import: UserImport::new(users.clone()),
        users,
        pending_events: tables.pending_events()?,
        now: context.clock().now(),
    };
    let reader = UserReader::default();
    writing::import(file, ImportMode::Replace, reader, &writer, output).await
}

/// The addresses and usernames of earlier lines.
#[derive(Default)]
pub struct UserReader {
    emails: Seen<2>,
    usernames: Seen,
}

impl Reader for UserReader {
    type Parsed = UserRow;
    const COLUMNS: Columns = Columns {
        names: &["email", "edx_username", "name"],
        required: &["email"],
    };
    const AT_ONCE: usize = USERS_AT_ONCE;

    fn read(
        &mut self,
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<UserRow, RowError> {
        let as_given = row.required("email")?;
        let email = row.required_given("email", given::email)?;
        let edx_username = row.given("edx_username", given::username)?;
        let name = row.given("name", given::name)?;

        let contents = [
            content("edx_username", &edx_username.as_ref().map(Username::as_str)),
            content("name", &name),
        ];
        if let Some(repeated) = self.emails.repeated(&[email.as_str()], &contents) {
            return Err(RowError::SameAddress(repeated));
        }
        if let Some(username) = &edx_username {
            let key = username.key();
            if let Some(first) = self.usernames.line_of(&[key.as_str()]) {
                return Err(RowError::SameUsername(first));
            }
            self.usernames.remember(&[key.as_str()], line, &[]);
        }
        if edx_username
            .as_ref()
            .is_some_and(|username| is_word_for_nothing(username.as_str()))
        {
            warnings.push(Warning::WordForNothing("edx_username"));
        }
        doubts::of_name("name", name.as_ref(), warnings);
        self.emails.remember(&[email.as_str()], line, &contents);
        Ok(UserRow {
            email,
            email_as_given: as_given.to_owned(),
            edx_username,
            name,
        })
    }
}

struct UserWriter {
    import: UserImport,
    users: Users,
    pending_events: PendingEvents,
    now: Timestamp,
}

impl Writer for UserWriter {
    type Parsed = UserRow;

    async fn write(&self, rows: &[UserRow]) -> Result<Answers, StoreError> {
        self.import.import(rows).await
    }

    async fn expect(&self) -> Result<u64, StoreError> {
        wake_waiting_of_users(&self.pending_events, &self.users, self.now).await
    }

    fn describe(row: &UserRow, why: &RowRefusedError) -> String {
        let message = match why {
            RowRefusedError::UsernameTaken { owner, are_two } => {
                let is_one = if *are_two {
                    String::new()
                } else {
                    let addresses = [owner.as_str(), row.email.as_str()];
                    let rename = shell::command("users rename-email", &addresses, &[]);
                    format!("; if they are one person with a new address: {rename}")
                };
                format!(
                    "{why}{is_one}; if another line of this file gives that address a new \
                     username, import the file again"
                )
            }
            RowRefusedError::AddressOfAnother {
                holder,
                username_owner,
            } => row_of_another(row, holder, username_owner.as_ref()),
            _ => why.to_string(),
        };
        output::printable(&message)
    }
}

/// Describes the current or former holder of a row's address, the learner that the row is
/// about, and the command that frees the address.
fn row_of_another(row: &UserRow, holder: &User, username_owner: Option<&Email>) -> String {
    let (address, current) = (row.email.as_str(), holder.email.as_str());
    let holder = person(holder.edx_username.as_ref(), holder.name.as_deref());
    let other = person(row.edx_username.as_ref(), row.name.as_deref());
    let owner = username_owner.map(|owner| {
        let owner = owner.as_str();
        format!(" (whose username belongs to {owner})")
    });
    let owner = owner.unwrap_or_default();
    let free =
        |current: &str| shell::command("users rename-email", &[address, current], &["--forget"]);
    if address == current {
        format!(
            "{address} is the address of {holder}, and this line is about {other}{owner}: both \
             username and name differ; if they are two people, give the first one another \
             address and import the file again: {}; if they are one person, import the line \
             without its name first, and then unchanged",
            free("NEW_ADDRESS")
        )
    } else {
        format!(
            "{address} is a former address of {holder}, who has {current} now, and this line is \
             about {other}{owner}; if they are two people, free the address and import the file \
             again: {}; if they are one person, put {current} into the line",
            free(current)
        )
    }
}

/// Describes a person by username and name, as far as they are known.
fn person(username: Option<&Username>, name: Option<&str>) -> String {
    let username = username.map(Username::as_str);
    match (username, name) {
        (Some(username), Some(name)) => format!("{username} ({name})"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "an unnamed person".to_owned(),
    }
}
