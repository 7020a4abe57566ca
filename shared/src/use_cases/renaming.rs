//! A learner has another address by now.

use jiff::Timestamp;

use super::importing::wake_waiting_of_users;
use super::operator::retry_event;
use crate::adapters::store::StoreError;
use crate::adapters::store::pending_events::PendingEvents;
use crate::adapters::store::users::{Users, Written};
use crate::domain::{BlockedReason, Email, EventState, PendingEvent, User};

/// How often a change is made again because somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// DynamoDB reads 100 keys a call.
const KEYS_AT_ONCE: usize = 100;

/// The address that a learner has by now.
#[derive(Clone)]
pub struct NewAddress {
    /// In its normal form.
    pub email: Email,
    /// As it was given.
    pub as_given: String,
}

/// What a learner's new address took.
#[derive(Debug, Clone)]
pub struct Renamed {
    /// As the user stands now.
    pub user: User,
    /// Whether the user had another address before, or one more that led there.
    pub changed: bool,
    /// How many pending events came along.
    pub events_moved: u64,
    /// How many pending events had waited for a user of the new address, and are
    /// retried within a minute.
    pub events_due: u64,
}

/// Why a learner keeps the address that they have.
#[derive(Debug, Clone)]
pub enum RenameError {
    /// Nobody has the old one, nor had it before.
    NoSuchUser,
    /// Another user has the new one, or had it before.
    Taken(Box<User>),
}

/// Gives the user of `old`, or who had it before, the address `new`. All that
/// is theirs stays so; pending events come along. The old address goes on finding
/// them, unless `forget` says that it was never theirs.
///
/// Each step may be done again: whoever was stopped in between does it once more.
///
/// # Errors
/// The outer one is the store's; the inner one says why nothing was changed.
pub async fn rename_email(
    users: &Users,
    pending_events: &PendingEvents,
    old: &Email,
    new: &NewAddress,
    forget: bool,
    now: Timestamp,
) -> Result<Result<Renamed, RenameError>, StoreError> {
    let (mut user, mut changed) = match give_address(users, old, new).await? {
        Ok(given) => given,
        Err(why) => return Ok(Err(why)),
    };
    let former = Vec::from_iter(&user.former_emails);
    let mut events_moved = 0;
    for event in events_of(pending_events, &former).await? {
        // What has waited for anybody of an address that was never theirs is
        // somebody else's.
        let is_foreign = forget && event.email == *old && event.reason == BlockedReason::NoSuchUser;
        if !is_foreign {
            let moved = pending_events.rekey(event, &user.email).await?;
            events_moved += u64::from(moved.is_some());
        }
    }
    if forget && user.former_emails.contains(old) {
        user = forget_address(users, &user.email, old).await?;
        changed = true;
    }
    let mut events_due = wake_waiting_of_users(pending_events, users, now).await?;
    // What was given up since nobody had the new address has its time again.
    for event in events_of(pending_events, &[&user.email]).await? {
        let is_expired =
            event.state == EventState::Expired && event.reason == BlockedReason::NoSuchUser;
        if is_expired && retry_event(pending_events, event, now).await?.is_some() {
            events_due += 1;
        }
    }
    Ok(Ok(Renamed {
        user,
        changed,
        events_moved,
        events_due,
    }))
}

/// The pending events for these addresses, but for those that cannot be
/// read: they are found at their next attempt.
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

/// The user under the new address, and whether they had another one before.
async fn give_address(
    users: &Users,
    old: &Email,
    new: &NewAddress,
) -> Result<Result<(User, bool), RenameError>, StoreError> {
    for _ in 0..ATTEMPTS {
        let mut found = users.find(&[old, &new.email], &[]).await?.by_email;
        let Some(before) = found.remove(old) else {
            return Ok(Err(RenameError::NoSuchUser));
        };
        if before.email == new.email {
            return Ok(Ok((before, false)));
        }
        if let Some(other) = found.remove(&new.email)
            && other.user_id != before.user_id
        {
            return Ok(Err(RenameError::Taken(Box::new(other))));
        }
        let after = before.renamed(new.email.clone(), new.as_given.clone());
        if users.rename(&before, &after).await? == Written::Done {
            return Ok(Ok((after, true)));
        }
    }
    Err(StoreError::contended())
}

/// The user without a former address.
async fn forget_address(users: &Users, email: &Email, former: &Email) -> Result<User, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(mut user) = users.get(email).await? else {
            break;
        };
        if !user.former_emails.contains(former) {
            return Ok(user);
        }
        if users.forget(&user, former).await? == Written::Done {
            user.former_emails.remove(former);
            return Ok(user);
        }
    }
    Err(StoreError::contended())
}
