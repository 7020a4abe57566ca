//! The table `kept_events`.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::Deserialize;

use super::expression::{moment, names, number, text, values};
use super::{Item, StoreError, read};
use crate::adapters::AwsFailure;
use crate::domain::{
    CourseId, CourseRole, Email, EventKey, EventKind, KeptEvent, KeptState, Mode, Reason,
};

/// The events that could not take effect yet.
#[derive(Debug, Clone)]
pub struct KeptEvents {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct KeptEventItem {
    event_key: EventKey,
    kind: EventKind,
    email: Email,
    course_id: CourseId,
    #[serde(default)]
    roles: BTreeSet<CourseRole>,
    #[serde(default)]
    mode: Option<Mode>,
    reason: Reason,
    state: KeptState,
    tries: u32,
    next_look: Timestamp,
    kept_at: Timestamp,
    delivered_at: Timestamp,
    version: u64,
}

/// A delivery that has to wait.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// With `email` and `course_id` the event's key.
    pub kind: EventKind,
    /// Whose event it is, whether or not a user has this address.
    pub email: &'a Email,
    /// The run that was announced, whether or not the portal knows it.
    pub course_id: &'a CourseId,
    /// Joins the roles kept so far; absent where the delivery named none.
    pub role: Option<&'a CourseRole>,
    /// Replaces the mode kept so far; absent, it leaves that as it is.
    pub mode: Option<&'a Mode>,
    /// What was missing this time; replaces the reason kept so far.
    pub reason: Reason,
    /// When it came; a new event's first look is counted from here.
    pub delivered_at: Timestamp,
}

/// The key of a kept event.
pub(super) fn key(event_key: &EventKey) -> Item {
    Item::from([("event_key".to_owned(), text(event_key.as_str()))])
}

/// A kept event from its item.
pub(super) fn kept_event(table: &str, item: Item) -> Result<KeptEvent, StoreError> {
    let item: KeptEventItem = read(table, item)?;
    Ok(KeptEvent {
        event_key: item.event_key,
        kind: item.kind,
        email: item.email,
        course_id: item.course_id,
        roles: item.roles,
        mode: item.mode,
        reason: item.reason,
        state: item.state,
        tries: item.tries,
        next_look: item.next_look,
        kept_at: item.kept_at,
        delivered_at: item.delivered_at,
        version: item.version,
    })
}

impl KeptEvents {
    /// The kept events in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Keeps a delivery. It merges with the event of the same key, if there is
    /// one: roles unite, a mode is never replaced by an absent one, the newer
    /// delivery says why the event waits, and an event that had ended starts anew.
    ///
    /// One update; two where the event had ended, or was delivered later.
    pub async fn keep(&self, waiting: &Waiting<'_>) -> Result<EventKey, StoreError> {
        const ATTEMPTS: u32 = 5;
        let event_key = EventKey::of(waiting.kind, waiting.email, waiting.course_id);
        let mut how = How::GoOn;
        for _ in 0..ATTEMPTS {
            how = match self.update(&event_key, waiting, how).await? {
                Update::Done => return Ok(event_key),
                Update::Refused(None) => How::GoOn,
                Update::Refused(Some(KeptState::Waiting)) => How::Merge,
                Update::Refused(Some(KeptState::Dead | KeptState::Expired)) => How::Anew,
            };
        }
        Err(AwsFailure::Throttled("Contended".to_owned()).into())
    }

    async fn update(
        &self,
        event_key: &EventKey,
        waiting: &Waiting<'_>,
        how: How,
    ) -> Result<Update, StoreError> {
        const DELIVERED: &str = "SET #kind = :kind, #email = :email, #course_id = :course_id, \
             #reason = :reason, #waits_for = :waits_for, #state = :waiting, \
             #delivered_at = :now, #version = if_not_exists(#version, :zero) + :one";
        let (mut update, condition) = match how {
            How::GoOn => (
                format!(
                    "{DELIVERED}, #tries = if_not_exists(#tries, :zero), \
                     #kept_at = if_not_exists(#kept_at, :now), \
                     #next_look = if_not_exists(#next_look, :next_look)"
                ),
                "attribute_not_exists(#event_key) \
                 OR (#state = :waiting AND #delivered_at <= :now)",
            ),
            How::Anew => (
                format!("{DELIVERED}, #tries = :zero, #kept_at = :now, #next_look = :next_look"),
                "#state <> :waiting",
            ),
            How::Merge => (
                "SET #version = #version + :one".to_owned(),
                "attribute_exists(#event_key)",
            ),
        };
        match (waiting.mode, how) {
            (None, _) => {}
            (Some(_), How::Merge) => update.push_str(", #mode = if_not_exists(#mode, :mode)"),
            (Some(_), How::GoOn | How::Anew) => update.push_str(", #mode = :mode"),
        }
        if matches!(how, How::Anew) {
            update.push_str(" REMOVE #expires_at, #last_error");
        }
        if waiting.role.is_some() {
            update.push_str(" ADD #roles :roles");
        }
        let next_look = waiting.reason.next_look(event_key, 0, waiting.delivered_at);
        let waits_for = waiting.reason.waits_for(waiting.email, waiting.course_id);
        let mut all = HashMap::from([
            ("kind", text(waiting.kind.as_str())),
            ("email", text(waiting.email.as_str())),
            ("course_id", text(waiting.course_id.as_str())),
            ("reason", text(waiting.reason.as_str())),
            ("waits_for", text(waits_for)),
            ("waiting", text("waiting")),
            ("now", text(moment(waiting.delivered_at))),
            ("next_look", text(moment(next_look))),
            ("zero", number(0)),
            ("one", number(1)),
        ]);
        if let Some(mode) = waiting.mode {
            all.insert("mode", text(mode.as_str()));
        }
        if let Some(role) = waiting.role {
            all.insert("roles", AttributeValue::Ss(vec![role.as_str().to_owned()]));
        }
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(event_key)))
            .set_expression_attribute_names(Some(names(&[&update, condition])))
            .set_expression_attribute_values(Some(values(&[&update, condition], all)))
            .update_expression(update)
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else {
            return Ok(Update::Done);
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(refused)) =
            error.as_service_error()
        else {
            return Err(error.into());
        };
        let found = refused.item().cloned();
        let found = found
            .map(|item| kept_event(&self.table, item))
            .transpose()?;
        Ok(Update::Refused(found.map(|event| event.state)))
    }

    /// Removes an event that is done, unless it was delivered again since it
    /// was read; says whether it is gone.
    pub async fn remove(&self, event: &KeptEvent) -> Result<bool, StoreError> {
        // An event that was removed and kept again begins with version 1 again.
        const AS_READ: &str = "#version = :version AND #kept_at = :kept_at";
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&event.event_key)))
            .condition_expression(AS_READ)
            .set_expression_attribute_names(Some(names(&[AS_READ])))
            .expression_attribute_values(":version", number(event.version))
            .expression_attribute_values(":kept_at", text(moment(event.kept_at)))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    /// One page of all kept events, in no order, and where the next page starts.
    pub async fn page(
        &self,
        start: Option<EventKey>,
    ) -> Result<(Vec<KeptEvent>, Option<EventKey>), StoreError> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .set_exclusive_start_key(start.as_ref().map(key))
            .send()
            .await?;
        let events = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| kept_event(&self.table, item))
            .collect::<Result<_, _>>()?;
        let next = answer
            .last_evaluated_key
            .and_then(|mut key| key.remove("event_key"))
            .and_then(|value| value.as_s().ok().cloned())
            .and_then(|key| key.parse().ok());
        Ok((events, next))
    }
}

/// How a delivery meets the event of its key.
#[derive(Debug, Clone, Copy)]
enum How {
    /// The event goes on waiting where it stood, or begins.
    GoOn,
    /// The event had ended, and starts anew.
    Anew,
    /// The event was delivered later than this; only what it lacks is added.
    Merge,
}

/// What became of an update.
enum Update {
    Done,
    /// The event is not what the update was meant for: its state, if there is one.
    Refused(Option<KeptState>),
}
