//! The table `pending_events`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Select};
use domain::{
    Blocked, BlockedReason, CourseId, CourseRole, Email, EventKey, EventKind, EventState, Mode,
    PendingEvent, Waited,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use super::expression::{flag, moment, names, number, text, values};
use super::page::{self, Page, Start};
use super::update::{Updated, update};
use super::{Item, StoreError, batch, read, write};

/// The time for which an event that has ended can still be looked up.
const LISTED_AFTER_ITS_END: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The events that could not take effect yet.
#[derive(Debug, Clone)]
pub struct PendingEvents {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct PendingEventItem {
    event_key: EventKey,
    kind: EventKind,
    email: Email,
    course_id: CourseId,
    #[serde(default)]
    roles: BTreeSet<CourseRole>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    unenrolled: bool,
    reason: BlockedReason,
    #[serde(default)]
    last_error: Option<String>,
    state: EventState,
    attempts: u32,
    #[serde(default)]
    claim_id: Option<Uuid>,
    #[serde(default)]
    waited: BTreeMap<BlockedReason, Waited>,
    next_attempt_at: Timestamp,
    pending_since: Timestamp,
    delivered_at: Timestamp,
    version: u64,
}

/// A delivery to store as a pending event.
#[derive(Debug, Clone)]
pub struct NewPendingEvent<'a> {
    /// The kind. Together with `email` and `course_id` it is the event's key.
    pub kind: EventKind,
    /// The learner's address, whether or not a user has it.
    pub email: &'a Email,
    /// The announced run, whether or not the portal knows it.
    pub course_id: &'a CourseId,
    /// A role that is added to the roles stored so far; absent if the delivery named
    /// none.
    pub role: Option<&'a CourseRole>,
    /// A mode that replaces the mode stored so far. If it is absent, the stored mode
    /// stays.
    pub mode: Option<&'a Mode>,
    /// The reason for which it is blocked now. It replaces the stored reason.
    pub blocked: &'a Blocked,
    /// The time of the delivery, from which a new event's first attempt is scheduled.
    pub delivered_at: Timestamp,
}

/// A due event, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Due {
    /// The key by which to claim it.
    pub event_key: EventKey,
    /// The webhook that it came from, or `None` if the index has no known kind.
    #[serde(default, deserialize_with = "super::if_sound")]
    pub kind: Option<EventKind>,
}

#[derive(Deserialize)]
struct Keyed {
    event_key: EventKey,
}

/// The key of a pending event.
pub(super) fn key(event_key: &EventKey) -> Item {
    Item::from([("event_key".to_owned(), text(event_key.as_str()))])
}

/// The key of this item.
pub(super) fn key_of(item: &Item) -> Item {
    let key = item.get_key_value("event_key");
    key.map(|(name, value)| (name.clone(), value.clone()))
        .into_iter()
        .collect()
}

/// Reads a pending event from its item.
pub(super) fn pending_event(table: &str, item: Item) -> Result<PendingEvent, StoreError> {
    let item: PendingEventItem = read(table, item)?;
    Ok(PendingEvent {
        event_key: item.event_key,
        kind: item.kind,
        email: item.email,
        course_id: item.course_id,
        roles: item.roles,
        mode: item.mode,
        unenrolled: item.unenrolled,
        reason: item.reason,
        last_error: item.last_error,
        state: item.state,
        attempts: item.attempts,
        claim_id: item.claim_id,
        waited: item.waited,
        next_attempt_at: item.next_attempt_at,
        pending_since: item.pending_since,
        delivered_at: item.delivered_at,
        version: item.version,
    })
}

/// Returns the whole item of an event.
fn item(table: &str, event: &PendingEvent) -> Result<Item, StoreError> {
    let is_over = event.state != EventState::Waiting;
    let blocked_on = event.reason.blocked_on(&event.email, &event.course_id);
    let roles = event.roles.iter().map(|role| role.as_str().to_owned());
    let roles = Vec::from_iter(roles);
    let expires_at = event.next_attempt_at.as_second() + LISTED_AFTER_ITS_END.as_secs();
    let attributes = [
        ("event_key", Some(text(event.event_key.as_str()))),
        ("kind", Some(text(event.kind.as_str()))),
        ("email", Some(text(event.email.as_str()))),
        ("course_id", Some(text(event.course_id.as_str()))),
        // DynamoDB has no empty sets.
        (
            "roles",
            (!roles.is_empty()).then_some(AttributeValue::Ss(roles)),
        ),
        ("mode", event.mode.as_ref().map(|mode| text(mode.as_str()))),
        ("unenrolled", event.unenrolled.then(|| flag(true))),
        ("reason", Some(text(event.reason.as_str()))),
        ("last_error", event.last_error.as_ref().map(text)),
        ("state", Some(text(event.state.as_str()))),
        ("attempts", Some(number(event.attempts))),
        ("claim_id", event.claim_id.map(|id| text(id.to_string()))),
        (
            "waited",
            Some(AttributeValue::M(write(table, &event.waited)?)),
        ),
        ("next_attempt_at", Some(text(moment(event.next_attempt_at)))),
        ("pending_since", Some(text(moment(event.pending_since)))),
        ("delivered_at", Some(text(moment(event.delivered_at)))),
        ("version", Some(number(event.version))),
        ("blocked_on", blocked_on.filter(|_| !is_over).map(text)),
        ("expires_at", is_over.then(|| number(expires_at))),
    ];
    let attributes = attributes.into_iter();
    let attributes = attributes.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(attributes.collect())
}

/// Condition: the event is unchanged since it was read. An event that was removed and
/// stored again starts with version 1 again, so `pending_since` is compared too.
const AS_READ: &str = "#version = :version AND #pending_since = :pending_since";

fn as_read(event: &PendingEvent) -> HashMap<&'static str, AttributeValue> {
    HashMap::from([
        ("version", number(event.version)),
        ("pending_since", text(moment(event.pending_since))),
    ])
}

/// The time of the first attempt at a delivery that is stored now.
fn due(event_key: &EventKey, waiting: &NewPendingEvent<'_>) -> Timestamp {
    let Blocked {
        reason, not_before, ..
    } = waiting.blocked;
    let due = reason.next_attempt_at(event_key, 0, waiting.delivered_at);
    not_before.map_or(due, |moment| due.max(moment))
}

/// Update: the event is retried from a given time on.
const SET_NEXT_ATTEMPT: &str = "SET #next_attempt_at = :at, #version = #version + :one";

fn next_attempt_values(
    event: &PendingEvent,
    at: Timestamp,
) -> HashMap<&'static str, AttributeValue> {
    HashMap::from([
        ("waiting", text(EventState::Waiting.as_str())),
        ("reason", text(event.reason.as_str())),
        ("at", text(moment(at))),
        ("one", number(1)),
    ])
}

/// The result of a conditional update.
enum ChangeResult {
    /// The update was made: the event after it.
    Done(Box<PendingEvent>),
    /// The condition did not hold: the event as it is, if there is one.
    Refused(Option<Box<PendingEvent>>),
}

impl PendingEvents {
    /// Returns the pending events in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Stores a delivery as a pending event. If there is an event with the same key, the
    /// two are merged: their roles are united, and an absent mode never replaces a stored
    /// one. The newer delivery sets the blocked reason and may make the event due sooner.
    /// An event that had ended starts again.
    ///
    /// One update; two if the event had ended, was delivered later, or would have been
    /// due later.
    pub async fn add(&self, waiting: &NewPendingEvent<'_>) -> Result<EventKey, StoreError> {
        const ATTEMPTS: u32 = 5;
        let event_key = EventKey::of(waiting.kind, waiting.email, waiting.course_id);
        let mut case = MergeCase::Continue;
        for _ in 0..ATTEMPTS {
            let found = match self.merge(&event_key, waiting, case).await? {
                ChangeResult::Done(_) => return Ok(event_key),
                ChangeResult::Refused(found) => found,
            };
            case = match found {
                None => MergeCase::Continue,
                Some(event) if event.state != EventState::Waiting => MergeCase::Restart,
                Some(event) if event.delivered_at > waiting.delivered_at => MergeCase::Add,
                Some(event) if event.next_attempt_at > due(&event_key, waiting) => {
                    MergeCase::Sooner
                }
                Some(_) => MergeCase::Continue,
            };
        }
        Err(StoreError::contended())
    }

    /// One attempt to store a delivery. If the event does not match `case`, returns the
    /// event as it is.
    async fn merge(
        &self,
        event_key: &EventKey,
        waiting: &NewPendingEvent<'_>,
        case: MergeCase,
    ) -> Result<ChangeResult, StoreError> {
        const DELIVERED: &str = "#kind = :kind, #email = :email, #course_id = :course_id, \
             #reason = :reason, #state = :waiting, #delivered_at = :now, \
             #version = if_not_exists(#version, :zero) + :one";
        let (mut set, condition) = match case {
            MergeCase::Continue => (
                format!(
                    "{DELIVERED}, #attempts = if_not_exists(#attempts, :zero), \
                     #pending_since = if_not_exists(#pending_since, :now), \
                     #waited = if_not_exists(#waited, :waited), \
                     #next_attempt_at = if_not_exists(#next_attempt_at, :next_attempt_at)"
                ),
                "attribute_not_exists(#event_key) \
                 OR (#state = :waiting AND #delivered_at <= :now AND #next_attempt_at <= :next_attempt_at)",
            ),
            MergeCase::Sooner => (
                format!("{DELIVERED}, #next_attempt_at = :next_attempt_at"),
                "#state = :waiting AND #delivered_at <= :now AND #next_attempt_at > :next_attempt_at",
            ),
            MergeCase::Restart => (
                format!(
                    "{DELIVERED}, #attempts = :zero, #pending_since = :now, #waited = :waited, \
                     #next_attempt_at = :next_attempt_at"
                ),
                "#state <> :waiting",
            ),
            MergeCase::Add => (
                "#version = #version + :one".to_owned(),
                "attribute_exists(#event_key)",
            ),
        };
        let mut remove = Vec::new();
        let blocked_on = waiting
            .blocked
            .reason
            .blocked_on(waiting.email, waiting.course_id);
        match case {
            MergeCase::Add if waiting.mode.is_some() => {
                set.push_str(", #mode = if_not_exists(#mode, :mode)");
            }
            MergeCase::Add => {}
            MergeCase::Continue | MergeCase::Sooner | MergeCase::Restart => {
                if waiting.mode.is_some() {
                    set.push_str(", #mode = :mode");
                }
                for (name, is_there) in [
                    ("blocked_on", blocked_on.is_some()),
                    ("last_error", waiting.blocked.error.is_some()),
                    ("expires_at", false),
                    ("unenrolled", false),
                ] {
                    if is_there {
                        set.push_str(&format!(", #{name} = :{name}"));
                    } else {
                        remove.push(format!("#{name}"));
                    }
                }
            }
        }
        let mut update = format!("SET {set}");
        if !remove.is_empty() {
            update.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        if waiting.role.is_some() {
            update.push_str(" ADD #roles :roles");
        }
        let Blocked { reason, error, .. } = waiting.blocked;
        let waited = BTreeMap::from([(
            *reason,
            Waited {
                since: waiting.delivered_at,
                attempts: 0,
            },
        )]);
        let mut all = HashMap::from([
            ("kind", text(waiting.kind.as_str())),
            ("email", text(waiting.email.as_str())),
            ("course_id", text(waiting.course_id.as_str())),
            ("reason", text(reason.as_str())),
            ("waiting", text(EventState::Waiting.as_str())),
            ("waited", AttributeValue::M(write(&self.table, waited)?)),
            ("now", text(moment(waiting.delivered_at))),
            ("next_attempt_at", text(moment(due(event_key, waiting)))),
            ("zero", number(0)),
            ("one", number(1)),
        ]);
        all.extend(blocked_on.map(|key| ("blocked_on", text(key))));
        all.extend(error.as_ref().map(|error| ("last_error", text(error))));
        all.extend(waiting.mode.map(|mode| ("mode", text(mode.as_str()))));
        if let Some(role) = waiting.role {
            all.insert("roles", AttributeValue::Ss(vec![role.as_str().to_owned()]));
        }
        self.change(event_key, &update, condition, all).await
    }

    /// Makes one conditional update.
    async fn change(
        &self,
        event_key: &EventKey,
        set: &str,
        condition: &str,
        all: HashMap<&str, AttributeValue>,
    ) -> Result<ChangeResult, StoreError> {
        let key = key(event_key);
        match update(&self.client, &self.table, key, (set, condition), all).await? {
            Updated::Done(item) => {
                let event = pending_event(&self.table, item)?;
                Ok(ChangeResult::Done(Box::new(event)))
            }
            Updated::Refused(None) => Ok(ChangeResult::Refused(None)),
            Updated::Refused(Some(item)) => {
                let event = pending_event(&self.table, item)?;
                Ok(ChangeResult::Refused(Some(Box::new(event))))
            }
        }
    }

    /// Claims a due event until `lease`, which counts as an attempt. Returns `None` if
    /// the event is no longer due, because somebody else has claimed or removed it. Our
    /// own claim whose answer was lost is recognized by its id.
    pub async fn claim(
        &self,
        event_key: &EventKey,
        now: Timestamp,
        lease: Timestamp,
    ) -> Result<Option<PendingEvent>, StoreError> {
        const CLAIM: &str = "SET #next_attempt_at = :lease, #claim_id = :claim_id, #attempts = #attempts + :one, \
             #version = #version + :one";
        const IS_DUE: &str = "#state = :waiting AND #next_attempt_at <= :now";
        let claim_id = Uuid::new_v4();
        let all = HashMap::from([
            ("claim_id", text(claim_id.to_string())),
            ("waiting", text(EventState::Waiting.as_str())),
            ("now", text(moment(now))),
            ("lease", text(moment(lease))),
            ("one", number(1)),
        ]);
        Ok(match self.change(event_key, CLAIM, IS_DUE, all).await? {
            ChangeResult::Done(claimed) => Some(*claimed),
            ChangeResult::Refused(Some(found)) if found.claim_id == Some(claim_id) => Some(*found),
            ChangeResult::Refused(_) => None,
        })
    }

    /// Postpones the next attempt at an unreadable event to `at`.
    pub async fn postpone(&self, event_key: &EventKey, at: Timestamp) -> Result<(), StoreError> {
        const POSTPONE: (&str, &str) =
            ("SET #next_attempt_at = :at", "attribute_exists(#event_key)");
        let all = HashMap::from([("at", text(moment(at)))]);
        let postpone = update(&self.client, &self.table, key(event_key), POSTPONE, all);
        postpone.await.map(drop)
    }

    /// Writes the result of an attempt, unless the event has changed since it was read.
    /// Returns true if it was written. `event` must still have the version that was read.
    pub async fn save(&self, event: &PendingEvent, now: Timestamp) -> Result<bool, StoreError> {
        let blocked_on = event.reason.blocked_on(&event.email, &event.course_id);
        let is_over = event.state != EventState::Waiting;
        let mut update = "SET #reason = :reason, #state = :state, #attempts = :attempts, \
             #waited = :waited, #next_attempt_at = :next_attempt_at, #version = #version + :one"
            .to_owned();
        let mut remove = Vec::new();
        for (name, is_there) in [
            ("blocked_on", blocked_on.is_some() && !is_over),
            ("last_error", event.last_error.is_some()),
            ("expires_at", is_over),
        ] {
            if is_there {
                update.push_str(&format!(", #{name} = :{name}"));
            } else {
                remove.push(format!("#{name}"));
            }
        }
        if !remove.is_empty() {
            update.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        let expires_at = now.as_second() + LISTED_AFTER_ITS_END.as_secs();
        let mut all = as_read(event);
        all.extend([
            ("reason", text(event.reason.as_str())),
            ("state", text(event.state.as_str())),
            ("attempts", number(event.attempts)),
            (
                "waited",
                AttributeValue::M(write(&self.table, &event.waited)?),
            ),
            ("next_attempt_at", text(moment(event.next_attempt_at))),
            ("expires_at", number(expires_at)),
            ("one", number(1)),
        ]);
        all.extend(blocked_on.map(|key| ("blocked_on", text(key))));
        all.extend(event.last_error.as_ref().map(|e| ("last_error", text(e))));
        Ok(
            match self.change(&event.event_key, &update, AS_READ, all).await? {
                ChangeResult::Done(_) => true,
                // The stored event may be our own write, whose answer was lost.
                ChangeResult::Refused(Some(found)) => {
                    let written = PendingEvent {
                        version: event.version + 1,
                        ..event.clone()
                    };
                    *found == written
                }
                ChangeResult::Refused(None) => false,
            },
        )
    }

    /// Sets the next attempt at a waiting event to `at`, sooner or later than before, if
    /// it still waits for the reason it was read with. A concurrent attempt at it will
    /// find it changed.
    pub async fn set_next_attempt(
        &self,
        event: &PendingEvent,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const WAITS: &str = "#state = :waiting AND #reason = :reason";
        let updated = self.change(
            &event.event_key,
            SET_NEXT_ATTEMPT,
            WAITS,
            next_attempt_values(event, at),
        );
        updated.await.map(drop)
    }

    /// Makes a waiting event due at `at`, if it still waits for the reason it was read
    /// with and would have been due later. Returns true if it did.
    pub async fn make_due(&self, event: &PendingEvent, at: Timestamp) -> Result<bool, StoreError> {
        const WAITS: &str = "#state = :waiting AND #reason = :reason AND #next_attempt_at > :at";
        let updated = self.change(
            &event.event_key,
            SET_NEXT_ATTEMPT,
            WAITS,
            next_attempt_values(event, at),
        );
        Ok(matches!(updated.await?, ChangeResult::Done(_)))
    }

    /// Moves an event to another address of the same learner, and merges it with an event
    /// that is already there. It is moved even if it has changed since it was read.
    /// Returns `None` if the event no longer exists.
    ///
    /// Two writes, of which the second removes the old event. An interruption between
    /// them leaves both events, as if the LMS had announced the event to both addresses.
    pub async fn rekey(
        &self,
        mut event: PendingEvent,
        email: &Email,
    ) -> Result<Option<PendingEvent>, StoreError> {
        const ATTEMPTS: u32 = 5;
        const ABSENT: &str = "attribute_not_exists(#event_key)";
        for _ in 0..ATTEMPTS {
            let moved = event.rekeyed(email);
            let there = self.get(&moved.event_key).await?;
            let (after, condition, all) = match &there {
                None => (moved, ABSENT, HashMap::new()),
                Some(there) => {
                    let mut after = there.merged(&moved);
                    after.version += 1;
                    (after, AS_READ, as_read(there))
                }
            };
            let put = self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item(&self.table, &after)?))
                .condition_expression(condition)
                .set_expression_attribute_names(Some(names(&[condition])))
                .set_expression_attribute_values(
                    there.is_some().then(|| values(&[condition], all)),
                );
            match put.send().await {
                Ok(_) => match self.remove(&event).await? {
                    Removal::Done | Removal::Gone => return Ok(Some(after)),
                    Removal::Changed => {}
                },
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(_)) => {}
                    _ => return Err(error.into()),
                },
            }
            match self.get(&event.event_key).await? {
                Some(changed) => event = changed,
                None => return Ok(None),
            }
        }
        Err(StoreError::contended())
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

    /// Removes the part of an enrollment event that would enroll the learner, unless the
    /// event was delivered after `at`. The event keeps its roles, and is removed if it
    /// has none.
    pub async fn unenroll(&self, event: &PendingEvent, at: Timestamp) -> Result<(), StoreError> {
        const ATTEMPTS: u32 = 5;
        const UNENROLL: &str = "SET #unenrolled = :true, #delivered_at = :at, \
             #version = #version + :one REMOVE #mode";
        let mut event = event.clone();
        for _ in 0..ATTEMPTS {
            if event.delivered_at > at {
                return Ok(());
            }
            let is_done = if event.roles.is_empty() {
                self.remove(&event).await? != Removal::Changed
            } else {
                let mut all = as_read(&event);
                all.extend([
                    ("true", flag(true)),
                    ("at", text(moment(at))),
                    ("one", number(1)),
                ]);
                let changed = self.change(&event.event_key, UNENROLL, AS_READ, all);
                matches!(changed.await?, ChangeResult::Done(_))
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
        let events = items
            .into_iter()
            .map(|item| pending_event(&self.table, item));
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

    /// Reads one page of the events that are due at `now`, ordered by due time, the
    /// earliest first. The index may lag behind the table: [`PendingEvents::claim`]
    /// decides.
    pub async fn due(&self, now: Timestamp, start: Option<Start>) -> Result<Page<Due>, StoreError> {
        const DUE: &str = "#state = :waiting AND #next_attempt_at <= :now";
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_state")
            .key_condition_expression(DUE)
            .set_expression_attribute_names(Some(names(&[DUE])))
            .expression_attribute_values(":waiting", text(EventState::Waiting.as_str()))
            .expression_attribute_values(":now", text(moment(now)))
            .set_exclusive_start_key(start.map(|Start(key)| key))
            .send()
            .await?;
        let items = answer.items.unwrap_or_default().into_iter();
        let entries = items.map(|item| read(&self.table, item));
        Ok(Page {
            entries: entries.collect::<Result<_, _>>()?,
            next: answer.last_evaluated_key.map(Start),
        })
    }

    /// Returns the keys of at most `most` waiting events (up to some thousands),
    /// according to the index, those with the latest next attempt first. Events whose
    /// enrollment is not eligible have the longest backoff, so they come first.
    ///
    /// One Query.
    pub async fn due_last(&self, most: i32) -> Result<Vec<EventKey>, StoreError> {
        const WAITING: &str = "#state = :waiting";
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_state")
            .key_condition_expression(WAITING)
            .set_expression_attribute_names(Some(names(&[WAITING])))
            .expression_attribute_values(":waiting", text(EventState::Waiting.as_str()))
            .scan_index_forward(false)
            .limit(most)
            .send()
            .await?;
        let items = answer.items.unwrap_or_default().into_iter();
        let keys = items.map(|item| read(&self.table, item).map(|Keyed { event_key }| event_key));
        keys.collect()
    }

    /// Counts the events in a state, according to the index.
    pub async fn count(&self, state: EventState) -> Result<u64, StoreError> {
        const IN_STATE: &str = "#state = :state";
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_state")
            .select(Select::Count)
            .key_condition_expression(IN_STATE)
            .set_expression_attribute_names(Some(names(&[IN_STATE])))
            .expression_attribute_values(":state", text(state.as_str()))
            .into_paginator()
            .send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += u64::try_from(page?.count).unwrap_or_default();
        }
        Ok(count)
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
        let items = answer.items.unwrap_or_default().into_iter();
        let keys = items.map(|item| read(&self.table, item).map(|Keyed { event_key }| event_key));
        Ok(Page {
            entries: keys.collect::<Result<_, _>>()?,
            next: answer.last_evaluated_key.map(Start),
        })
    }

    /// Reads one page of all pending events, in no order. For a malformed item it returns
    /// only the key.
    pub async fn page(
        &self,
        start: Option<Start>,
    ) -> Result<Page<Result<PendingEvent, EventKey>>, StoreError> {
        let page = page::of_table(&self.client, &self.table, None, start).await?;
        let mut entries = Vec::new();
        for item in page.entries {
            entries.push(match pending_event(&self.table, item.clone()) {
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

/// The case in which a delivery merges with the event of its key.
#[derive(Debug, Clone, Copy)]
enum MergeCase {
    /// The event keeps waiting as before, or is created.
    Continue,
    /// The event would have been due later than a new one.
    Sooner,
    /// The event had ended and starts again.
    Restart,
    /// The event was delivered later than this delivery. Only attributes that it lacks
    /// are added.
    Add,
}
