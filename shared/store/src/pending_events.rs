//! The table `pending_events`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Select};
use common::random;
pub use domain::NewPendingEvent;
use domain::{Email, EventKey, EventState, Lane, PendingEvent, moment};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::expression::{names, number, text, values};
use super::page::{self, Page, Start};
use super::update::{self, Updated, update};
use super::{Item, StoreError, batch, read, write_with_roles};

/// The time for which an event that has ended can still be looked up.
const LISTED_AFTER_ITS_END: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The events that could not take effect yet.
#[derive(Debug, Clone)]
pub struct PendingEvents {
    client: Client,
    table: String,
}

/// All entries of one key of the index `by_due`.
const IN_SHARD: &str = "#due = :due";

/// The attributes that an event may lack.
const OPTIONAL: [&str; 9] = [
    "blocked_on",
    "claim_id",
    "claimed_until",
    "expires_at",
    "last_error",
    "made_due",
    "mode",
    "roles",
    "unenrolled",
];

/// The number of entries that are read of each end of a key of the index.
const READ_AT_ONCE: i32 = 25;

/// The first character of the range key in the index `by_due` of events that were made due.
const MADE_DUE: char = '0';

/// The first character of that key of all other events.
const BY_BACKOFF: char = '1';

/// The number of events at which counting ends.
pub const COUNTED: u64 = 10_000;

/// The digits by which an index spreads its entries: the first one of the event's key.
const SHARDS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

/// Some events of a lane that are due, according to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Their keys, in the order in which they are to be claimed.
    pub keys: Vec<EventKey>,
    /// Since when the longest due of them has been due.
    pub oldest: Option<Timestamp>,
    /// True if there are more.
    pub has_more: bool,
}

#[derive(Deserialize)]
struct Keyed {
    event_key: EventKey,
}

/// An entry of the index `by_due`.
#[derive(Deserialize)]
struct Entry {
    event_key: EventKey,
    due_order: String,
}

impl Entry {
    fn is_made_due(&self) -> bool {
        self.due_order.starts_with(MADE_DUE)
    }

    /// The time since which it is due, or will be.
    fn next_attempt_at(&self) -> Option<Timestamp> {
        self.due_order.get(1..)?.parse().ok()
    }
}

/// What is read of one key of the index `by_due`.
struct InShard {
    /// The events that were made due.
    made_due: Vec<EventKey>,
    /// The others, in turn one of the longest due and one of the latest.
    others: Vec<EventKey>,
    oldest: Option<Timestamp>,
    has_more: bool,
}

/// The key of a pending event.
pub(super) fn key(event_key: &EventKey) -> Item {
    Item::from([("event_key".to_owned(), text(event_key.as_str()))])
}

/// The key of the lease of a lane, the only item of the table that is no event.
fn lease(lane: Lane) -> Item {
    let key = format!("lease#{}", lane.as_str());
    Item::from([("event_key".to_owned(), text(key))])
}

/// The key of this item.
pub(super) fn key_of(item: &Item) -> Item {
    let key = item.get_key_value("event_key");
    key.map(|(name, value)| (name.clone(), value.clone()))
        .into_iter()
        .collect()
}

/// Returns the group of entries of the index `by_due`: the lane of what waits, else the state.
const fn group(state: EventState, lane: Lane) -> &'static str {
    match state {
        EventState::Waiting => lane.as_str(),
        EventState::Dead | EventState::Expired => state.as_str(),
    }
}

/// Returns the key of a shard of a group in the index `by_due`. One key of an index takes 1,000 writes
/// a second, and one that takes no more fails the write of the table:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html>.
fn in_shard(group: &str, shard: impl Display) -> String {
    format!("{group}#{shard}")
}

/// Returns the range key of an event in the index `by_due`: what was made due goes first.
fn due_order(made_due: bool, next_attempt_at: Timestamp) -> String {
    let first = if made_due { MADE_DUE } else { BY_BACKOFF };
    format!("{first}{}", moment::text(next_attempt_at))
}

/// Returns the keys of several lists in turn, one of each.
fn in_turn(lists: Vec<Vec<EventKey>>) -> Vec<EventKey> {
    let mut lists = Vec::from_iter(lists.into_iter().map(Vec::into_iter));
    let mut keys = Vec::new();
    loop {
        let before = keys.len();
        keys.extend(lists.iter_mut().filter_map(Iterator::next));
        if keys.len() == before {
            return keys;
        }
    }
}

/// Returns the item of an event: the event, and what an index or the time to live needs.
fn item(table: &str, event: &PendingEvent) -> Result<Item, StoreError> {
    let mut item = write_with_roles(table, event, &event.roles)?;
    let group = group(event.state, event.kind.lane());
    let due = in_shard(group, event.event_key.shard());
    item.insert("due".to_owned(), text(due));
    let due_order = due_order(event.made_due, event.next_attempt_at);
    item.insert("due_order".to_owned(), text(due_order));
    if event.state == EventState::Waiting {
        let blocked_on = event.blocked_on();
        item.extend(blocked_on.map(|key| ("blocked_on".to_owned(), text(key))));
    } else {
        // The next attempt of an event that has ended is the time of its end.
        let expires_at = event.next_attempt_at.as_second() + LISTED_AFTER_ITS_END.as_secs();
        item.insert("expires_at".to_owned(), number(expires_at));
    }
    Ok(item)
}

/// Condition: the event is unchanged since it was read. An event that was removed and
/// stored again starts with version 1 again, so `pending_since` is compared too.
const AS_READ: &str = "#version = :read AND #pending_since = :since";

fn as_read(event: &PendingEvent) -> HashMap<&'static str, AttributeValue> {
    HashMap::from([
        ("read", number(event.version)),
        ("since", text(moment::text(event.pending_since))),
    ])
}

/// Returns the values of an update that sets the next attempt, whatever else has changed since the
/// event was read.
fn rescheduled(
    event: &PendingEvent,
    at: Timestamp,
    due_order: String,
) -> HashMap<&'static str, AttributeValue> {
    HashMap::from([
        ("waiting", text(EventState::Waiting.as_str())),
        ("reason", text(event.reason.as_str())),
        ("at", text(moment::text(at))),
        ("due_order", text(due_order)),
        ("one", number(1)),
    ])
}

impl PendingEvents {
    /// Returns the pending events in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Stores a delivery as a pending event. If there is an event with the same key, it
    /// becomes [`PendingEvent::redelivered`].
    ///
    /// One UpdateItem, which does not read the event and so depends on no version: fifty
    /// deliveries of one event at once all succeed, with one call each. Two if the event
    /// had ended, was delivered later, or would have been due later.
    pub async fn add(&self, delivery: &NewPendingEvent<'_>) -> Result<EventKey, StoreError> {
        const ATTEMPTS: u32 = 5;
        let new = delivery.event();
        for _ in 0..ATTEMPTS {
            let stored = match self.merge(&new).await? {
                Updated::Done(_) => return Ok(new.event_key),
                Updated::Refused(None) => continue,
                Updated::Refused(Some(stored)) => stored,
            };
            let is_done = if stored.is_newer_than(&new) {
                self.add_missing(&new).await?
            } else {
                self.replace(&stored, stored.redelivered(&new)).await?
            };
            if is_done {
                return Ok(new.event_key);
            }
        }
        Err(StoreError::contended())
    }

    /// Stores a new event, or merges it into an event that keeps waiting until the same
    /// time. The result is that of [`PendingEvent::redelivered`].
    async fn merge(&self, new: &PendingEvent) -> Result<Updated<PendingEvent>, StoreError> {
        const NEW_OR_WAITS: &str = "attribute_not_exists(#event_key) OR (#state = :state \
             AND #delivered_at <= :delivered_at AND #next_attempt_at <= :next_attempt_at)";
        let mut item = item(&self.table, new)?;
        let mut set = Vec::new();
        for name in item.keys() {
            match name.as_str() {
                "event_key" | "roles" | "version" => {}
                "attempts" | "due_order" | "next_attempt_at" | "pending_since" | "waited" => {
                    set.push(format!("#{name} = if_not_exists(#{name}, :{name})"));
                }
                _ => set.push(format!("#{name} = :{name}")),
            }
        }
        let gone = ["blocked_on", "expires_at", "last_error", "unenrolled"].into_iter();
        let gone = gone.filter(|name| !item.contains_key(*name));
        let gone = Vec::from_iter(gone.map(|name| format!("#{name}")));
        let mut merge = format!(
            "SET {}, #version = if_not_exists(#version, :zero) + :version REMOVE {}",
            set.join(", "),
            gone.join(", ")
        );
        if !new.roles.is_empty() {
            merge.push_str(" ADD #roles :roles");
        }
        item.insert("zero".to_owned(), number(0));
        let key = key(&new.event_key);
        update(&self.client, &self.table, key, (&merge, NEW_OR_WAITS), item).await
    }

    /// Adds to an event, which was delivered later than `new`, what it lacks. Returns false
    /// if it is gone. Depends on no version, as [`PendingEvents::add`].
    async fn add_missing(&self, new: &PendingEvent) -> Result<bool, StoreError> {
        const EXISTS: &str = "attribute_exists(#event_key)";
        let mut add = "SET #version = #version + :version".to_owned();
        if new.mode.is_some() {
            add.push_str(", #mode = if_not_exists(#mode, :mode)");
        }
        if !new.roles.is_empty() {
            add.push_str(" ADD #roles :roles");
        }
        let item = item(&self.table, new)?;
        let all = item
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        self.change(&new.event_key, (&add, EXISTS), all.collect())
            .await
    }

    /// Makes one conditional update of an event. Returns false if the condition did not
    /// hold.
    async fn change(
        &self,
        event_key: &EventKey,
        expressions: (&str, &str),
        all: HashMap<&str, AttributeValue>,
    ) -> Result<bool, StoreError> {
        let key = key(event_key);
        let updated = update(&self.client, &self.table, key, expressions, all).await?;
        Ok(matches!(updated, Updated::<PendingEvent>::Done(_)))
    }

    /// Writes `after`, with the next version, unless the event has changed since it was read
    /// as `before`. Returns true if it was written.
    async fn replace(
        &self,
        before: &PendingEvent,
        mut after: PendingEvent,
    ) -> Result<bool, StoreError> {
        after.version = before.version + 1;
        let item = item(&self.table, &after)?;
        let (key, read) = (key(&after.event_key), as_read(before));
        let (client, table) = (&self.client, &self.table);
        let updated: Updated<PendingEvent> =
            update::replace(client, table, key, item, &OPTIONAL, AS_READ, read).await?;
        Ok(match updated {
            Updated::Done(_) => true,
            // The stored event may be our own write, whose answer was lost.
            Updated::Refused(found) => found.as_deref() == Some(&after),
        })
    }

    /// Claims a due event until `lease`, which counts as an attempt and changes no key of an index.
    /// Returns `None` if the event is no longer due, because somebody else has claimed or removed
    /// it. Our own claim whose answer was lost is recognized by its id, unless the event was made
    /// due since.
    pub async fn claim(
        &self,
        event_key: &EventKey,
        now: Timestamp,
        lease: Timestamp,
    ) -> Result<Option<PendingEvent>, StoreError> {
        const CLAIM: &str = "SET #claimed_until = :lease, #claim_id = :claim_id, \
             #attempts = #attempts + :one, #version = #version + :one";
        const IS_DUE: &str = "#state = :waiting AND #next_attempt_at <= :now AND \
             (attribute_not_exists(#claimed_until) OR #claimed_until <= :now)";
        let claim_id = random::id();
        let lease = moment::text(lease);
        let all = HashMap::from([
            ("claim_id", text(claim_id.to_string())),
            ("waiting", text(EventState::Waiting.as_str())),
            ("now", text(moment::text(now))),
            ("lease", text(&lease)),
            ("one", number(1)),
        ]);
        let key = key(event_key);
        let claimed: Updated<PendingEvent> =
            update(&self.client, &self.table, key, (CLAIM, IS_DUE), all).await?;
        Ok(match claimed {
            Updated::Done(event) => Some(*event),
            Updated::Refused(Some(found))
                if found.claim_id == Some(claim_id)
                    && found.claimed_until.map(moment::text) == Some(lease) =>
            {
                Some(*found)
            }
            Updated::Refused(_) => None,
        })
    }

    /// Postpones the next attempt at an unreadable event to `at`.
    pub async fn postpone(&self, event_key: &EventKey, at: Timestamp) -> Result<(), StoreError> {
        const POSTPONE: (&str, &str) = (
            "SET #next_attempt_at = :at, #due_order = :due_order REMOVE #made_due",
            "attribute_exists(#event_key)",
        );
        let all = HashMap::from([
            ("at", text(moment::text(at))),
            ("due_order", text(due_order(false, at))),
        ]);
        let postpone = update(&self.client, &self.table, key(event_key), POSTPONE, all);
        let _: Updated<IgnoredAny> = postpone.await?;
        Ok(())
    }

    /// Writes the event after an attempt or a command, unless it has changed since it was
    /// read. Returns true if it was written. `event` must still have the version and the
    /// `pending_since` that were read.
    pub async fn save(&self, event: &PendingEvent) -> Result<bool, StoreError> {
        self.replace(event, event.clone()).await
    }

    /// Sets the next attempt at a waiting event to `at`, sooner or later than before, if
    /// it still waits for the reason it was read with. A concurrent attempt at it will
    /// find it changed.
    pub async fn set_next_attempt(
        &self,
        event: &PendingEvent,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const POSTPONE: (&str, &str) = (
            "SET #next_attempt_at = :at, #due_order = :due_order, #version = #version + :one \
             REMOVE #claimed_until, #made_due",
            "#state = :waiting AND #reason = :reason",
        );
        let order = due_order(false, at);
        let all = rescheduled(event, at, order);
        self.change(&event.event_key, POSTPONE, all).await.map(drop)
    }

    /// Makes a waiting event due at `at`, or leaves it due, before those that are due by their backoff,
    /// if it still waits for the reason it was read with. Returns false if it does not, or was made
    /// due before.
    ///
    /// One UpdateItem, and a second one for an event that is due already.
    pub async fn make_due(&self, event: &PendingEvent, at: Timestamp) -> Result<bool, StoreError> {
        const MAKE_DUE: (&str, &str) = (
            "SET #next_attempt_at = :at, #due_order = :due_order, #made_due = :true, \
             #version = #version + :one REMOVE #claimed_until",
            "#state = :waiting AND #reason = :reason AND \
             (#next_attempt_at > :at OR #claimed_until > :at)",
        );
        const PUT_FIRST: (&str, &str) = (
            "SET #due_order = :due_order, #made_due = :true, #version = #version + :one",
            "#state = :waiting AND #reason = :reason AND #next_attempt_at <= :at AND \
             attribute_not_exists(#made_due)",
        );
        for expressions in [MAKE_DUE, PUT_FIRST] {
            let mut all = rescheduled(event, at, due_order(true, at));
            all.insert("true", AttributeValue::Bool(true));
            if self.change(&event.event_key, expressions, all).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves an event to another address of the same learner, and merges it with an event
    /// that is already there. It is moved even if it has changed since it was read.
    /// Returns false if the event no longer exists.
    ///
    /// Two writes, of which the second removes the old event. An interruption between
    /// them leaves both events, as if the LMS had announced the event to both addresses.
    pub async fn rekey(&self, mut event: PendingEvent, email: &Email) -> Result<bool, StoreError> {
        const ATTEMPTS: u32 = 5;
        for _ in 0..ATTEMPTS {
            let moved = event.rekeyed(email);
            let mut is_stored = self.put_new(&moved).await?;
            if !is_stored && let Some(there) = self.get(&moved.event_key).await? {
                is_stored = self.replace(&there, there.merged(&moved)).await?;
            }
            if is_stored && self.remove(&event).await? != Removal::Changed {
                return Ok(true);
            }
            match self.get(&event.event_key).await? {
                Some(changed) => event = changed,
                None => return Ok(false),
            }
        }
        Err(StoreError::contended())
    }

    /// Writes a new event. Returns false if there is one with its key.
    async fn put_new(&self, event: &PendingEvent) -> Result<bool, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#event_key)";
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item(&self.table, event)?))
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(&[ABSENT])));
        let Err(error) = put.send().await else {
            return Ok(true);
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(error.into()),
        }
    }

    async fn get(&self, key: &EventKey) -> Result<Option<PendingEvent>, StoreError> {
        let found = self.get_many(std::slice::from_ref(key)).await?.pop();
        found.transpose()
    }

    /// Removes an event that is done, unless it has changed since it was read.
    pub async fn remove(&self, event: &PendingEvent) -> Result<Removal, StoreError> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&event.event_key)))
            .condition_expression(AS_READ)
            .set_expression_attribute_names(Some(names(&[AS_READ])))
            .set_expression_attribute_values(Some(values(&[AS_READ], as_read(event))))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Removal::Done),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(match refused.item() {
                        Some(_) => Removal::Changed,
                        None => Removal::Gone,
                    })
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Takes or renews the lease of a lane until `until`: only its holder asks the LMS for the lane's
    /// events. Returns false if another one holds it at `now`.
    pub async fn acquire(
        &self,
        lane: Lane,
        holder_id: Uuid,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<bool, StoreError> {
        const ACQUIRE: (&str, &str) = (
            "SET #holder_id = :holder_id, #held_until = :until",
            "attribute_not_exists(#holder_id) OR #holder_id = :holder_id OR #held_until <= :now",
        );
        let all = HashMap::from([
            ("holder_id", text(holder_id.to_string())),
            ("now", text(moment::text(now))),
            ("until", text(moment::text(until))),
        ]);
        let acquire = update(&self.client, &self.table, lease(lane), ACQUIRE, all);
        let acquired: Updated<IgnoredAny> = acquire.await?;
        Ok(matches!(acquired, Updated::Done(_)))
    }

    /// Releases the lease of a lane, unless another one holds it.
    pub async fn release(&self, lane: Lane, holder_id: Uuid) -> Result<(), StoreError> {
        const IS_OURS: &str = "#holder_id = :holder_id";
        let all = HashMap::from([("holder_id", text(holder_id.to_string()))]);
        let delete = self.client.delete_item().table_name(&self.table);
        let released = delete
            .set_key(Some(lease(lane)))
            .condition_expression(IS_OURS)
            .set_expression_attribute_names(Some(names(&[IS_OURS])))
            .set_expression_attribute_values(Some(values(&[IS_OURS], all)))
            .send()
            .await;
        match released {
            Err(error)
                if !matches!(
                    error.as_service_error(),
                    Some(DeleteItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Removes the part of an enrollment event that would enroll the learner, unless the
    /// event was delivered after `at`. The event keeps its roles, and is removed if it
    /// has none.
    pub async fn unenroll(&self, event: &PendingEvent, at: Timestamp) -> Result<(), StoreError> {
        const ATTEMPTS: u32 = 5;
        let mut event = event.clone();
        for _ in 0..ATTEMPTS {
            if event.delivered_at > at {
                return Ok(());
            }
            let is_done = match event.after_unenrollment(at) {
                Some(rest) => self.save(&rest).await?,
                None => self.remove(&event).await? != Removal::Changed,
            };
            if is_done {
                return Ok(());
            }
            match self.get(&event.event_key).await? {
                Some(changed) => event = changed,
                None => return Ok(()),
            }
        }
        Err(StoreError::contended())
    }

    /// Reads the existing events of these keys (at most 100), in no order. A malformed
    /// item is an error in its place.
    pub async fn get_many(
        &self,
        keys: &[EventKey],
    ) -> Result<Vec<Result<PendingEvent, StoreError>>, StoreError> {
        let keys = keys.iter().map(key).collect();
        let mut found = batch::get(&self.client, [(self.table.as_str(), keys)]).await?;
        let items = found.remove(&self.table).unwrap_or_default();
        let events = items.into_iter().map(|item| read(&self.table, item));
        Ok(events.collect())
    }

    /// Returns the keys of the events of these addresses, whatever shape they have. Reads
    /// the whole table.
    pub async fn keys_of(&self, addresses: &[&Email]) -> Result<Vec<EventKey>, StoreError> {
        const KEY: &str = "#event_key";
        let emails = addresses.iter().map(|email| text(email.as_str()));
        let emails: Vec<_> = (0..).zip(emails).collect();
        let named: Vec<_> = emails.iter().map(|(n, _)| format!(":email{n}")).collect();
        let is_theirs = format!("#email IN ({})", named.join(", "));
        let all = emails
            .into_iter()
            .map(|(n, email)| (format!(":email{n}"), email));
        let items = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression(&is_theirs)
            .projection_expression(KEY)
            .set_expression_attribute_names(Some(names(&[KEY, &is_theirs])))
            .set_expression_attribute_values(Some(all.collect()))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await?;
        let keys = items.into_iter();
        let keys = keys.map(|item| read(&self.table, item).map(|Keyed { event_key }| event_key));
        keys.collect()
    }

    /// Deletes an event in any state, whatever shape it has.
    pub async fn erase(&self, event_key: &EventKey) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table);
        delete.set_key(Some(key(event_key))).send().await?;
        Ok(())
    }

    /// Reads events of a lane that are due at `now`: first those that were made due; then of each
    /// key of the index the longest due and, if there are more, as many that have become due last.
    /// So after an outage new events do not wait behind all the old ones. The index may lag behind
    /// the table: [`PendingEvents::claim`] decides.
    ///
    /// Sixteen Queries side by side, and one more for each key that has more.
    pub async fn due(&self, lane: Lane, now: Timestamp) -> Result<Due, StoreError> {
        // Boxed because sixteen of these futures are large.
        let shards = SHARDS.map(|shard| Box::pin(self.due_in(in_shard(lane.as_str(), shard), now)));
        let mut shards = try_join_all(shards).await?;
        let has_more = shards.iter().any(|shard| shard.has_more);
        let oldest = shards.iter().filter_map(|shard| shard.oldest).min();
        // Two batches at once meet less often.
        let first = usize::from(random::id().as_bytes()[0]) % SHARDS.len();
        shards.rotate_left(first);
        let shards = shards
            .into_iter()
            .map(|shard| (shard.made_due, shard.others));
        let (made_due, others) = shards.unzip();
        let mut keys = in_turn(made_due);
        keys.append(&mut in_turn(others));
        Ok(Due {
            keys,
            oldest,
            has_more,
        })
    }

    /// Returns due events of one key of the index.
    async fn due_in(&self, key: String, now: Timestamp) -> Result<InShard, StoreError> {
        const DUE: &str = "#due = :due AND #due_order <= :now";
        const BY_BACKOFF_ALONE: &str = "#due = :due AND #due_order BETWEEN :first AND :now";
        let query = |condition| {
            self.by_due(&key, condition)
                .expression_attribute_values(":now", text(due_order(false, now)))
                .limit(READ_AT_ONCE)
        };
        let answer = query(DUE).send().await?;
        let has_more = answer.last_evaluated_key.is_some();
        let mut entries = self.entries(answer.items)?;
        // What was made due by a clock that is ahead of ours is due all the same; a claim decides.
        let moments = entries.iter().filter_map(Entry::next_attempt_at);
        let oldest = moments.min();
        let others = entries.split_off(entries.partition_point(Entry::is_made_due));
        let keys = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.event_key);
        let mut shard = InShard {
            made_due: keys(entries).collect(),
            others: keys(others).collect(),
            oldest,
            has_more,
        };
        if has_more {
            let newest = query(BY_BACKOFF_ALONE)
                .expression_attribute_values(":first", text(BY_BACKOFF))
                .scan_index_forward(false);
            let newest = keys(self.entries(newest.send().await?.items)?);
            // Of fewer than twice as many, some are among both.
            let mut seen = HashSet::new();
            let both = in_turn(vec![shard.others, newest.collect()]).into_iter();
            shard.others = both.filter(|key| seen.insert(key.clone())).collect();
        }
        Ok(shard)
    }

    /// Reads the entries of the index `by_due`.
    fn entries(&self, items: Option<Vec<Item>>) -> Result<Vec<Entry>, StoreError> {
        let items = items.unwrap_or_default().into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Returns a query of one key of the index `by_due`.
    fn by_due(&self, key: &str, condition: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name("by_due")
            .key_condition_expression(condition)
            .set_expression_attribute_names(Some(names(&[condition])))
            .expression_attribute_values(":due", text(key))
    }

    /// Returns the event keys of an index's entries.
    fn keys(&self, items: Option<Vec<Item>>) -> Result<Vec<EventKey>, StoreError> {
        let items = items.unwrap_or_default().into_iter();
        let keys = items.map(|item| read(&self.table, item).map(|Keyed { event_key }| event_key));
        keys.collect()
    }

    /// Returns the keys of about `most` waiting events that ask the LMS (up to some thousands),
    /// according to the index, those with the latest next attempt first. Events whose
    /// enrollment is not eligible have the longest backoff, so they come first.
    ///
    /// Sixteen Queries side by side.
    pub async fn due_last(&self, most: i32) -> Result<Vec<EventKey>, StoreError> {
        let each = most / 16 + 1;
        let shards = SHARDS.map(async |shard| {
            let key = in_shard(Lane::Lms.as_str(), shard);
            let query = self.by_due(&key, IN_SHARD).scan_index_forward(false);
            self.keys(query.limit(each).send().await?.items)
        });
        Ok(try_join_all(shards).await?.concat())
    }

    /// Counts the events in a state, according to the index, up to [`COUNTED`], which stands for that
    /// many or more.
    pub async fn count(&self, state: EventState) -> Result<u64, StoreError> {
        // All keys together have the most that are counted, so that most often one round is enough.
        let each = i32::try_from(COUNTED).unwrap_or(i32::MAX) / 32 + 1;
        let groups = BTreeSet::from(Lane::ALL.map(|lane| group(state, lane)));
        let keys = groups.into_iter();
        let keys = keys.flat_map(|group| SHARDS.map(|shard| in_shard(group, shard)));
        let mut left: Vec<_> = keys.map(|key| (key, None)).collect();
        let mut count = 0;
        while count < COUNTED && !left.is_empty() {
            let pages = left.into_iter().map(async |(key, start): (String, _)| {
                let query = self.by_due(&key, IN_SHARD).select(Select::Count);
                let query = query.limit(each).set_exclusive_start_key(start);
                let page = query.send().await?;
                let next = page.last_evaluated_key.map(|next| (key, Some(next)));
                Ok::<_, StoreError>((page.count, next))
            });
            left = Vec::new();
            for (found, next) in try_join_all(pages).await? {
                count += u64::try_from(found).unwrap_or_default();
                left.extend(next);
            }
        }
        Ok(count.min(COUNTED))
    }

    /// Reads one page of the events that wait for the import of a user or a run, in no
    /// order, without those that have ended.
    pub async fn waiting_for_imports(
        &self,
        start: Option<Start>,
    ) -> Result<Page<EventKey>, StoreError> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name("by_blocked_on")
            .set_exclusive_start_key(start.map(|Start(key)| key))
            .send()
            .await?;
        Ok(Page {
            entries: self.keys(answer.items)?,
            next: answer.last_evaluated_key.map(Start),
        })
    }

    /// Reads one page of all pending events, in no order. For a malformed item it returns
    /// only the key.
    pub async fn page(
        &self,
        start: Option<Start>,
    ) -> Result<Page<Result<PendingEvent, EventKey>>, StoreError> {
        const IS_NO_LEASE: &str = "attribute_not_exists(#holder_id)";
        let page = page::of_table(&self.client, &self.table, Some(IS_NO_LEASE), start).await?;
        let mut entries = Vec::new();
        for item in page.entries {
            entries.push(match read(&self.table, item.clone()) {
                Ok(event) => Ok(event),
                Err(_) => Err(read(&self.table, item).map(|Keyed { event_key }| event_key)?),
            });
        }
        let next = page.next;
        Ok(Page { entries, next })
    }
}

/// The result of removing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The event was removed.
    Done,
    /// The event was already gone: a first attempt whose answer was lost has removed it,
    /// or somebody else has.
    Gone,
    /// The event has changed since it was read, and was not removed.
    Changed,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_sdk_dynamodb::types::AttributeValue::{Bool, M, N, S, Ss};
    use domain::{BlockedReason, EventKind, Mode, Waited};

    use super::*;

    /// Other versions of this program read the item, and indexes and the time to live use it.
    #[test]
    fn an_event_has_its_stored_form() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let email: Email = "ada@example.org".parse().unwrap();
        let course_id = "course-v1:a+b+c".parse().unwrap();
        let waited = Waited {
            since: at(60),
            attempts: 2,
        };
        let event = PendingEvent {
            event_key: EventKey::of(EventKind::Enrollment, &email, &course_id),
            kind: EventKind::Enrollment,
            email,
            course_id,
            roles: ["staff", "finance_admin"]
                .map(|role| role.parse().unwrap())
                .into(),
            mode: Some(Mode::audit()),
            unenrolled: true,
            reason: BlockedReason::NoSuchRun,
            last_error: Some("502".to_owned()),
            state: EventState::Waiting,
            attempts: 3,
            claim_id: Some(Uuid::nil()),
            claimed_until: Some(at(95)),
            waited: BTreeMap::from([(BlockedReason::NoSuchRun, waited)]),
            next_attempt_at: at(90),
            made_due: true,
            pending_since: at(30),
            delivered_at: at(60),
            version: 7,
        };
        let shard = event.event_key.as_str().chars().next().unwrap();
        let s = |text: &str| S(text.to_owned());
        let n = |number: &str| N(number.to_owned());
        let waited = Item::from([
            ("since".to_owned(), s("1970-01-01T00:01:00Z")),
            ("attempts".to_owned(), n("2")),
        ]);
        let form = |attributes: &[(&str, AttributeValue)]| {
            let attributes = attributes.iter().cloned();
            Item::from_iter(attributes.map(|(name, value)| (name.to_owned(), value)))
        };
        let required = [
            ("event_key", s(event.event_key.as_str())),
            ("kind", s("enrollment")),
            ("email", s("ada@example.org")),
            ("course_id", s("course-v1:a+b+c")),
            ("reason", s("no_such_run")),
            ("attempts", n("3")),
            ("waited", M(form(&[("no_such_run", M(waited))]))),
            ("next_attempt_at", s("1970-01-01T00:01:30.000Z")),
            ("pending_since", s("1970-01-01T00:00:30.000Z")),
            ("delivered_at", s("1970-01-01T00:01:00.000Z")),
            ("version", n("7")),
        ];
        let mut all = form(&required);
        all.extend(form(&[
            (
                "roles",
                Ss(vec!["finance_admin".to_owned(), "staff".to_owned()]),
            ),
            ("mode", s("audit")),
            ("unenrolled", Bool(true)),
            ("last_error", s("502")),
            ("state", s("waiting")),
            ("claim_id", s("00000000-0000-0000-0000-000000000000")),
            ("claimed_until", s("1970-01-01T00:01:35.000Z")),
            ("blocked_on", s(&format!("run:course-v1:a+b+c#{shard}"))),
            ("due", s(&format!("own#{shard}"))),
            ("due_order", s("01970-01-01T00:01:30.000Z")),
            ("made_due", Bool(true)),
        ]));
        assert_eq!(item("t", &event), Ok(all));

        let ended = PendingEvent {
            roles: [].into(),
            mode: None,
            unenrolled: false,
            last_error: None,
            state: EventState::Expired,
            claim_id: None,
            claimed_until: None,
            made_due: false,
            ..event.clone()
        };
        let mut all = form(&required);
        all.extend(form(&[
            ("state", s("expired")),
            ("due", s(&format!("expired#{shard}"))),
            ("due_order", s("11970-01-01T00:01:30.000Z")),
            ("expires_at", n("7776090")),
        ]));
        assert_eq!(item("t", &ended), Ok(all.clone()));
        // An attribute that only one of the two has is removed when the other is written.
        let waiting = item("t", &event).unwrap();
        let mut optional = Vec::from_iter(waiting.keys().filter(|name| !all.contains_key(*name)));
        optional.extend(all.keys().filter(|name| !waiting.contains_key(*name)));
        optional.sort();
        assert_eq!(optional, OPTIONAL);
        assert_eq!(read("t", all), Ok(ended));
    }
}
