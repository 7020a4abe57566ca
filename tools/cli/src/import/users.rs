//! `coursehook users import`

use std::process::ExitCode;

use jiff::Timestamp;
use shared::adapters::store::kept_events::KeptEvents;
use shared::adapters::store::users::Users;
use shared::domain::given;
use shared::use_cases::StoreError;
use shared::use_cases::importing::{
    Answers, RowRefused, USERS_AT_ONCE, UserImport, UserRow, expect_events_of_users,
};

use super::{Manner, Reader, Warning, Writer};
use crate::cli::ImportFile;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::rows::{Columns, Row, RowProblem};
use crate::seen::{Seen, content};
use crate::stack::Stack;

pub async fn import(file: &ImportFile, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let tables = stack.tables().await;
    let users = tables.users()?;
    let writer = UserWriter {
        import: UserImport::new(users.clone()),
        users,
        kept_events: tables.kept_events()?,
        now: stack.clock().now(),
    };
    let reader = UserReader::default();
    super::import(file, Manner::Replace, reader, &writer, output).await
}

/// The addresses and usernames of the lines before.
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

    fn read(&mut self, row: &Row, line: u64, _: &mut Vec<Warning>) -> Result<UserRow, RowProblem> {
        let as_given = row.required("email")?;
        let email = row.required_given("email", given::email)?;
        let edx_username = row.given("edx_username", given::username)?;
        let name = row.given("name", given::name)?;

        let contents = [
            content("edx_username", &edx_username),
            content("name", &name),
        ];
        if let Some(repeated) = self.emails.repeated(&[email.as_str()], &contents) {
            return Err(RowProblem::SameAddress(repeated));
        }
        if let Some(username) = &edx_username {
            if let Some(first) = self.usernames.line_of(&[username.as_str()]) {
                return Err(RowProblem::SameUsername(first));
            }
            self.usernames.remember(&[username.as_str()], line, &[]);
        }
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
    kept_events: KeptEvents,
    now: Timestamp,
}

impl Writer for UserWriter {
    type Parsed = UserRow;

    async fn write(&self, rows: &[UserRow]) -> Result<Answers, StoreError> {
        self.import.import(rows).await
    }

    async fn expect(&self) -> Result<u64, StoreError> {
        expect_events_of_users(&self.kept_events, &self.users, self.now).await
    }

    fn told(row: &UserRow, why: &RowRefused) -> String {
        let told = match why {
            RowRefused::UsernameTaken { owner, are_two } => {
                let is_one = if *are_two {
                    String::new()
                } else {
                    let addresses = [owner.as_str(), row.email.as_str()];
                    let rename = output::command("users rename-email", &addresses, &[]);
                    format!("; if they are one person with a new address: {rename}")
                };
                format!(
                    "{why}{is_one}; if another line of this file gives that address a new \
                     username, import the file again"
                )
            }
            _ => why.to_string(),
        };
        output::printable(&told)
    }
}
