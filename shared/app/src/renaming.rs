//! Changes of a learner's address.

use domain::{BlockedReason, Email, EventState, PendingEvent, User};
use jiff::Timestamp;
use store::StoreError;
use store::pending_events::PendingEvents;
use store::users::{Users, Written};
use thiserror::Error;

use super::importing::wake_waiting_of_users;
use super::operator::retry_event;
use super::{ChangeAttempt, retry_on_conflict};

/// The number of keys in one call: DynamoDB reads 100.
const KEYS_AT_ONCE: usize = 100;

/// The new address of a learner.
#[derive(Clone)]
pub struct NewAddress {
    /// The address in its normal form.
    pub email: Email,
    /// The address as it was given.
    pub as_given: String,
}

/// The result of a change of address.
#[derive(Debug, Clone)]
pub struct Renamed {
    /// The user after the change.
    pub user: User,
    /// True if the user had another address before, or a former address was removed.
    pub changed: bool,
    /// The number of pending events that moved to the new address.
    pub events_moved: u64,
    /// The number of pending events that had waited for a user with the new address, and are
    /// retried within a minute.
    pub events_due: u64,
}

/// Error of a change of address: the learner keeps the current one.
#[derive(Debug, Clone, Error)]
pub enum RenameError {
    /// No user has the old address now or had it before.
    #[error("no user has the address or had it before")]
    NoSuchUser,
    /// Another user has the new address, or had it before.
    #[error("another user has the new address or had it before")]
    Taken(Box<User>),
    /// A table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives the address `new` to the user who has `old`, or had it before. The user keeps all
/// records, and pending events move along. The old address still finds the user, unless
/// `forget` says that it was never the user's.
///
/// Each step can be repeated: if the process is stopped in between, run it again.
///
/// # Errors
/// The address cannot be given, and nothing was changed; or the store failed.
pub async fn rename_email(
    users: &Users,
    pending_events: &PendingEvents,
    old: &Email,
    new: &NewAddress,
    forget: bool,
    now: Timestamp,
) -> Result<Renamed, RenameError> {
    let (mut user, mut changed) = give_address(users, old, new).await?;
    let former = Vec::from_iter(&user.former_emails);
    let mut events_moved = 0;
    for event in events_of(pending_events, &former).await? {
        // An event that waited for any user of an address that was never this user's belongs to
        // somebody else.
        let is_foreign = forget && event.email == *old && event.reason == BlockedReason::NoSuchUser;
        if !is_foreign {
            let moved = pending_events.rekey(event, &user.email).await?;
            events_moved += u64::from(moved);
        }
    }
    if forget && user.former_emails.contains(old) {
        user = forget_address(users, &user.email, old).await?;
        changed = true;
    }
    let mut events_due = wake_waiting_of_users(pending_events, users, now).await?;
    // An event that had expired because nobody had the new address is retried, and its waiting
    // time starts again.
    for event in events_of(pending_events, &[&user.email]).await? {
        let is_expired =
            event.state == EventState::Expired && event.reason == BlockedReason::NoSuchUser;
        if is_expired && retry_event(pending_events, event, now).await?.is_some() {
            events_due += 1;
        }
    }
    Ok(Renamed {
        user,
        changed,
        events_moved,
        events_due,
    })
}

/// Returns the pending events for these addresses, except those that cannot be read: their next
/// attempt meets that error.
async fn events_of(
    pending_events: &PendingEvents,
    addresses: &[&Email],
) -> Result<Vec<PendingEvent>, StoreError> {
    let mut events = Vec::new();
    if !addresses.is_empty() {
        for keys in pending_events
            .keys_of(addresses)
            .await?
            .chunks(KEYS_AT_ONCE)
        {
            let found = pending_events.get_many(keys).await?;
            events.extend(found.into_iter().flatten());
        }
    }
    Ok(events)
}

/// Returns the user with the new address, and true if the user had another one before.
async fn give_address(
    users: &Users,
    old: &Email,
    new: &NewAddress,
) -> Result<(User, bool), RenameError> {
    retry_on_conflict(async || {
        let mut found = users.find(&[old, &new.email], &[]).await?.by_email;
        let before = found.remove(old).ok_or(RenameError::NoSuchUser)?;
        if before.email == new.email {
            return Ok(ChangeAttempt::Done((before, false)));
        }
        if let Some(other) = found.remove(&new.email)
            && other.user_id != before.user_id
        {
            return Err(RenameError::Taken(Box::new(other)));
        }
        let after = before.renamed(new.email.clone(), new.as_given.clone());
        Ok(match users.rename(&before, &after).await? {
            Written::Done => ChangeAttempt::Done((after, true)),
            Written::Moved => ChangeAttempt::Conflict,
        })
    })
    .await
}

/// Returns the user without a former address.
async fn forget_address(users: &Users, email: &Email, former: &Email) -> Result<User, RenameError> {
    retry_on_conflict(async || {
        let user = users.get(email).await?;
        let mut user = user.ok_or(RenameError::NoSuchUser)?;
        if !user.former_emails.contains(former) {
            return Ok(ChangeAttempt::Done(user));
        }
        match users.forget(&user, former).await? {
            Written::Done => {
                user.former_emails.remove(former);
                Ok(ChangeAttempt::Done(user))
            }
            Written::Moved => Ok(ChangeAttempt::Conflict),
        }
    })
    .await
}
