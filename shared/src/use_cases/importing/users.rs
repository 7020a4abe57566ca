//! Users, with their usernames.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::events::expect_events;
use super::{ATTEMPTS, Answers, Imported, RowRefused};
use crate::adapters::store::StoreError;
use crate::adapters::store::kept_events::KeptEvents;
use crate::adapters::store::users::{FoundUsers, UserWrite, Users, Written};
use crate::domain::{Email, KeptEvent, Reason, User, Username};

/// The users of one call of [`import_users`], at most.
pub const USERS_AT_ONCE: usize = Users::AT_ONCE;

/// The users of one transaction: DynamoDB takes 100 items, and a user whose
/// username changes is three.
const USERS_A_TRANSACTION: usize = 33;

/// A user as a file has them. What is absent is left as it is.
#[derive(Clone)]
pub struct UserRow {
    /// The address in its normal form, which finds the user.
    pub email: Email,
    /// The address as the file has it.
    pub email_as_given: String,
    /// A row whose username belongs to another address is refused.
    pub edx_username: Option<Username>,
    /// The person's own name.
    pub name: Option<String>,
}

/// Imports some users, none twice and at most [`USERS_AT_ONCE`]; the answers
/// are in the rows' order. Importing a row again changes nothing.
pub async fn import_users(users: &Users, rows: &[UserRow]) -> Result<Answers, StoreError> {
    let found = find(users, rows).await?;
    let mut answers = Vec::with_capacity(rows.len());
    let mut writes = Vec::new();
    for row in rows {
        if is_former(row, &found) {
            // Another row may be about the same user, whom one transaction
            // cannot write twice.
            answers.push(import_user(users, row).await?);
            continue;
        }
        let decision = decide(row, &found);
        if let Ok((_, Some(write))) = &decision {
            writes.push((answers.len(), write.clone()));
        }
        answers.push(decision.map(|(imported, _)| imported));
    }
    for writes in writes.chunks(USERS_A_TRANSACTION) {
        let all: Vec<UserWrite> = writes.iter().map(|(_, write)| write.clone()).collect();
        if users.write(&all).await? == Written::Moved {
            // One of them is not as it was read: each is decided anew, by itself.
            for (index, _) in writes {
                answers[*index] = import_user(users, &rows[*index]).await?;
            }
        }
    }
    Ok(answers)
}

async fn import_user(
    users: &Users,
    row: &UserRow,
) -> Result<Result<Imported, RowRefused>, StoreError> {
    for attempt in 0..ATTEMPTS {
        let found = find(users, std::slice::from_ref(row)).await?;
        let write = match decide(row, &found) {
            Err(refused) => return Ok(Err(refused)),
            Ok((imported, None)) => return Ok(Ok(imported)),
            Ok((imported, Some(write))) => (imported, write),
        };
        if users.write(&[write.1]).await? == Written::Done {
            return Ok(Ok(write.0));
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
    }
    Ok(Err(RowRefused::Contended))
}

async fn find(users: &Users, rows: &[UserRow]) -> Result<FoundUsers, StoreError> {
    let emails: Vec<_> = rows.iter().map(|row| &row.email).collect();
    let usernames: Vec<_> = rows
        .iter()
        .filter_map(|row| row.edx_username.as_ref())
        .collect();
    users.find(&emails, &usernames).await
}

/// Whether the row's address is a former one of somebody's.
fn is_former(row: &UserRow, found: &FoundUsers) -> bool {
    let user = found.by_email.get(&row.email);
    user.is_some_and(|user| user.email != row.email)
}

/// What a row asks for, given what was found. One with a former address is
/// about the user who had it, and older than what is known of them: it adds
/// what they lack.
fn decide(row: &UserRow, found: &FoundUsers) -> Result<(Imported, Option<UserWrite>), RowRefused> {
    let before = found.by_email.get(&row.email).cloned();
    let email = before.as_ref().map_or(&row.email, |user| &user.email);
    let owner = row
        .edx_username
        .as_ref()
        .and_then(|name| found.owner_of.get(name));
    if let Some(owner) = owner.filter(|owner| *owner != email) {
        return Err(RowRefused::UsernameTaken {
            owner: owner.clone(),
            email: row.email.clone(),
        });
    }
    let after = match &before {
        None => User {
            user_id: Uuid::new_v4(),
            email: row.email.clone(),
            email_as_given: row.email_as_given.clone(),
            edx_username: row.edx_username.clone(),
            name: row.name.clone(),
            former_emails: BTreeSet::new(),
        },
        Some(user) if user.email == row.email => User {
            email_as_given: row.email_as_given.clone(),
            edx_username: row.edx_username.clone().or(user.edx_username.clone()),
            name: row.name.clone().or(user.name.clone()),
            ..user.clone()
        },
        Some(user) => User {
            edx_username: user.edx_username.clone().or(row.edx_username.clone()),
            name: user.name.clone().or(row.name.clone()),
            ..user.clone()
        },
    };
    Ok(match before {
        Some(before) if before == after => (Imported::Unchanged, None),
        Some(_) => (Imported::Updated, Some(UserWrite { before, after })),
        None => (Imported::Created, Some(UserWrite { before, after })),
    })
}

/// Makes the events due that wait for a user who exists by now, or for a
/// username that the user has by now; how many.
///
/// It is done after an import, whether or not the import changed anything: so
/// an import that was cut short is made up for by the next one.
pub async fn expect_events_of_users(
    kept_events: &KeptEvents,
    users: &Users,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let came = async |events: &[KeptEvent]| {
        let emails: BTreeSet<_> = events.iter().map(|event| &event.email).collect();
        let found = users.find(&Vec::from_iter(emails), &[]).await?;
        let came = |event: &&KeptEvent| match (event.reason, found.by_email.get(&event.email)) {
            (Reason::NoSuchUser, Some(_)) => true,
            (Reason::NoUsername, Some(user)) => user.edx_username.is_some(),
            _ => false,
        };
        Ok(events.iter().filter(came).cloned().collect())
    };
    expect_events(kept_events, came, now).await
}
