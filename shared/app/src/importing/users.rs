//! Import of users with their usernames.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::random;
pub use domain::UserRow;
use domain::{BlockedReason, PendingEvent, Username};
use jiff::Timestamp;
use store::StoreError;
use store::pending_events::PendingEvents;
use store::users::{FoundUsers, UserWrite, Users, Written};
use uuid::Uuid;

use super::events::wake_waiting;
use super::{ATTEMPTS, Answers, Imported, RowError, RowRefusedError, settle};

/// The greatest number of users in one call of [`import_users`]. New ones fit in one
/// transaction.
pub const USERS_AT_ONCE: usize = Users::AT_ONCE;

/// Imports some users, none of them twice and at most [`USERS_AT_ONCE`]. The answers are in the
/// order of the rows. Importing a row again changes nothing.
///
/// The cost is one BatchGetItem and, if something is written, one or two TransactWriteItems.
pub async fn import_users(users: &Users, rows: &[UserRow]) -> Result<Answers, StoreError> {
    read_and_write(users, &candidates(rows)).await
}

/// Imports users as [`import_users`] does, call after call.
///
/// If a call has found none of its users, the next one writes its users without reading them
/// first. Most often this is right, and saves one read for each user. A wrong write costs as
/// much as a successful one and changes nothing: it is a conditional write that requires that
/// no user exists. The calls then read first again, so that importing a file once more costs
/// only its reads.
pub struct UserImport {
    users: Users,
    found_none: AtomicBool,
}

impl UserImport {
    /// Makes no call. The first import reads first.
    pub const fn new(users: Users) -> Self {
        Self {
            users,
            found_none: AtomicBool::new(false),
        }
    }

    /// Imports some users as [`import_users`] does.
    pub async fn import(&self, rows: &[UserRow]) -> Result<Answers, StoreError> {
        let candidates = candidates(rows);
        if self.found_none.load(Ordering::Relaxed) {
            let writes: Vec<_> = candidates.iter().map(Candidate::creation).collect();
            if self.users.write(&writes).await? == Written::Done {
                return Ok(vec![Ok(Imported::Created); rows.len()]);
            }
        }
        let answers = read_and_write(&self.users, &candidates).await?;
        let is_new = |answer: &_| *answer == Ok(Imported::Created);
        let found_none = answers.iter().all(is_new);
        self.found_none.store(found_none, Ordering::Relaxed);
        Ok(answers)
    }
}

/// A row, and the id for the user that it creates if there is none.
struct Candidate<'a> {
    row: &'a UserRow,
    new_id: Uuid,
}

impl Candidate<'_> {
    fn creation(&self) -> UserWrite {
        UserWrite {
            before: None,
            after: self.row.user(self.new_id),
        }
    }

    /// True if the row's address is a former address of a user.
    fn is_former(&self, found: &FoundUsers) -> bool {
        let user = found.by_email.get(&self.row.email);
        user.is_some_and(|user| user.email != self.row.email)
    }
}

fn candidates(rows: &[UserRow]) -> Vec<Candidate<'_>> {
    let candidate = |row| Candidate {
        row,
        new_id: random::id(),
    };
    rows.iter().map(candidate).collect()
}

async fn read_and_write(
    users: &Users,
    candidates: &[Candidate<'_>],
) -> Result<Answers, StoreError> {
    let found = find(users, candidates).await?;
    let mut answers = vec![Ok(Imported::Unchanged); candidates.len()];
    let mut writes = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.is_former(&found) {
            // Another row may be about the same user, and one transaction cannot write a user
            // twice.
            settle(&mut answers[index], import_user(users, candidate).await)?;
            continue;
        }
        answers[index] = match decide(candidate, &found) {
            Ok((imported, write)) => {
                writes.extend(write.map(|write| (index, write)));
                Ok(imported)
            }
            Err(refused) => Err(refused),
        };
    }
    for writes in transactions(&writes) {
        let all: Vec<UserWrite> = writes.iter().map(|(_, write)| write.clone()).collect();
        if users.write(&all).await? == Written::Moved {
            // One of them is not as it was read: each is decided again, on its own.
            for (index, _) in writes {
                let imported = import_user(users, &candidates[*index]).await;
                settle(&mut answers[*index], imported)?;
            }
        }
    }
    Ok(answers)
}

/// Splits the writes into parts, each as large as one transaction can be.
fn transactions(mut writes: &[(usize, UserWrite)]) -> Vec<&[(usize, UserWrite)]> {
    let mut parts = Vec::new();
    while !writes.is_empty() {
        let mut items = 0;
        let fits = |(_, write): &&(usize, UserWrite)| {
            items += write.items();
            items <= Users::ITEMS_AT_ONCE
        };
        let (part, rest) = writes.split_at(writes.iter().take_while(fits).count());
        parts.push(part);
        writes = rest;
    }
    parts
}

async fn import_user(users: &Users, candidate: &Candidate<'_>) -> Result<Imported, RowError> {
    for attempt in 0..ATTEMPTS {
        let found = find(users, std::slice::from_ref(candidate)).await?;
        let (imported, write) = decide(candidate, &found)?;
        let Some(write) = write else {
            return Ok(imported);
        };
        if users.write(&[write]).await? == Written::Done {
            return Ok(imported);
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
    }
    Err(RowRefusedError::Contended.into())
}

async fn find(users: &Users, candidates: &[Candidate<'_>]) -> Result<FoundUsers, StoreError> {
    let rows = || candidates.iter().map(|candidate| candidate.row);
    let emails: Vec<_> = rows().map(|row| &row.email).collect();
    let usernames = rows().filter_map(|row| row.edx_username.as_ref());
    let usernames: Vec<_> = usernames.map(Username::key).collect();
    users.find(&emails, &usernames).await
}

/// Decides what to write for a row, given the users that were found. A row about another person
/// than the one who has its address, or had it, is refused. Otherwise, a row with a former
/// address is older than the stored user: it only adds values that the user lacks.
fn decide(
    candidate: &Candidate<'_>,
    found: &FoundUsers,
) -> Result<(Imported, Option<UserWrite>), RowRefusedError> {
    let Candidate { row, new_id } = candidate;
    let before = found.by_email.get(&row.email);
    let email = before.map_or(&row.email, |user| &user.email);
    let owner = row
        .edx_username
        .as_ref()
        .and_then(|name| found.owner_of.get(&name.key()));
    if let Some(holder) = before
        && holder.is_another_person(row)
    {
        return Err(RowRefusedError::AddressOfAnother {
            holder: Box::new(holder.clone()),
            username_owner: owner.cloned(),
        });
    }
    if let Some(owner) = owner.filter(|owner| *owner != email) {
        return Err(RowRefusedError::UsernameTaken {
            owner: owner.clone(),
            are_two: before.is_some(),
        });
    }
    let Some(before) = before else {
        return Ok((Imported::Created, Some(candidate.creation())));
    };
    let after = before.imported(row);
    Ok(if *before != after {
        let before = Some(before.clone());
        (Imported::Updated, Some(UserWrite { before, after }))
    } else if before.user_id == *new_id {
        // Our own write, whose answer was lost.
        (Imported::Created, None)
    } else {
        (Imported::Unchanged, None)
    })
}

/// Makes due the events that wait for a user who now exists, or for a username that the user
/// now has, and returns their number.
///
/// Call it after each import, whether or not the import changed anything: the next import then
/// completes one that was cut short.
pub async fn wake_waiting_of_users(
    pending_events: &PendingEvents,
    users: &Users,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let came = async |events: &[PendingEvent]| {
        let emails: BTreeSet<_> = events.iter().map(|event| &event.email).collect();
        let found = users.find(&Vec::from_iter(emails), &[]).await?;
        let came = |event: &&PendingEvent| match (event.reason, found.by_email.get(&event.email)) {
            (BlockedReason::NoSuchUser, Some(_)) => true,
            (BlockedReason::NoUsername, Some(user)) => user.edx_username.is_some(),
            _ => false,
        };
        Ok(events.iter().filter(came).cloned().collect())
    };
    wake_waiting(pending_events, came, now).await
}
