//! The DynamoDB tables, one file for each table. [`lookup`] and [`records`] read several
//! tables together.
//!
//! Reads that decide something are strongly consistent. An absent attribute is left out
//! and never NULL: DynamoDB refuses NULL in the key of an index.

mod batch;
pub mod certificates;
mod client;
pub mod course_runs;
pub mod enrollments;
mod expression;
pub mod grades;
pub mod lookup;
pub mod page;
pub mod pending_events;
pub mod records;
pub mod sweeps;
mod transaction;
mod update;
pub mod users;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use common::AwsError;
use domain::{CourseId, CourseRole};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use uuid::Uuid;

use self::expression::{names, text};
pub use client::{CallLimits, settings};

/// Error of reading or writing a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// DynamoDB failed, refused the call, or did not answer, even after retries.
    #[error("the store: {0}")]
    Aws(#[from] AwsError),
    /// An item does not have the shape that this program writes. The text names only the
    /// table, because the item may hold personal data.
    #[error("an item of {0} is not of the expected shape")]
    Corrupt(String),
}

impl StoreError {
    /// Returns the error of a write that gave up because other writers kept changing the
    /// same item.
    pub fn contended() -> Self {
        AwsError::Throttled("Contended".to_owned()).into()
    }

    /// True if the store is unavailable or overloaded, so that the same call may succeed
    /// soon.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Aws(failure) => failure.is_outage(),
            Self::Corrupt(_) => false,
        }
    }

    /// AWS's error code, or a code of ours.
    pub fn code(&self) -> &str {
        match self {
            Self::Aws(failure) => failure.code(),
            Self::Corrupt(_) => "CorruptItem",
        }
    }
}

impl<E: ProvideErrorMetadata, R> From<SdkError<E, R>> for StoreError {
    fn from(error: SdkError<E, R>) -> Self {
        Self::Aws(AwsError::from(&error))
    }
}

type Item = std::collections::HashMap<String, AttributeValue>;

/// Deserializes an item of `table`.
fn read<'a, T: Deserialize<'a>>(table: &str, item: Item) -> Result<T, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}

/// Serializes an item of `table`.
fn write<T: serde::Serialize>(table: &str, item: T) -> Result<Item, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::to_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}

/// Serializes an item that has these course roles. It has them as a set, which is never
/// empty in DynamoDB.
fn write_with_roles<T: serde::Serialize>(
    table: &str,
    record: &T,
    roles: &BTreeSet<CourseRole>,
) -> Result<Item, StoreError> {
    let mut item = write(table, record)?;
    if !roles.is_empty() {
        let roles = roles.iter().map(|role| role.as_str().to_owned());
        item.insert("roles".to_owned(), AttributeValue::Ss(roles.collect()));
    }
    Ok(item)
}

/// The key of a learner's enrollment, grade or certificate in a course run.
fn key_of(user_id: Uuid, course_id: &CourseId) -> Item {
    Item::from([
        ("user_id".to_owned(), text(user_id.to_string())),
        ("course_id".to_owned(), text(course_id.as_str())),
    ])
}

/// The user id in the key of such an item, or `None` if it is missing or malformed.
fn user_of(item: &Item) -> Option<Uuid> {
    item.get("user_id")?.as_s().ok()?.parse().ok()
}

/// Reads all items of a user in a table whose key is user and course run, ordered by
/// course id.
async fn of_user(client: &Client, table: &str, user_id: Uuid) -> Result<Vec<Item>, StoreError> {
    const OF_USER: &str = "#user_id = :user_id";
    let items = client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression(OF_USER)
        .set_expression_attribute_names(Some(names(&[OF_USER])))
        .expression_attribute_values(":user_id", text(user_id.to_string()))
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await?;
    Ok(items)
}

/// Removes all items of a user in such a table, whatever they hold, and returns their
/// number.
async fn erase_of_user(client: &Client, table: &str, user_id: Uuid) -> Result<u64, StoreError> {
    let mut erased = 0;
    for mut item in of_user(client, table, user_id).await? {
        item.retain(|name, _| name == "user_id" || name == "course_id");
        let delete = client.delete_item().table_name(table).set_key(Some(item));
        delete.send().await?;
        erased += 1;
    }
    Ok(erased)
}

/// Reads the existing items of these learners in these runs (at most 100), in no order.
async fn of_keys(
    client: &Client,
    table: &str,
    keys: &[(Uuid, CourseId)],
) -> Result<Vec<Item>, StoreError> {
    let keys = keys.iter().map(|(user_id, run)| key_of(*user_id, run));
    let mut found = batch::get(client, [(table, keys.collect())]).await?;
    Ok(found.remove(table).unwrap_or_default())
}

/// Returns the write of a new item, on the condition that its learner has none in its run
/// yet.
fn put_new(table: &str, item: Item) -> Result<TransactWriteItem, StoreError> {
    const ABSENT: &str = "attribute_not_exists(#user_id)";
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression(ABSENT)
        .set_expression_attribute_names(Some(names(&[ABSENT])))
        .build()
        .map_err(incomplete)?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Error of a request that lacks a part that the API requires. Our requests are complete
/// by construction.
fn incomplete<E>(_: E) -> StoreError {
    AwsError::Failed("ConstructionFailure".to_owned()).into()
}

/// Deserializes an optional attribute. A malformed value counts as absent, because other
/// programs may write these items too.
fn if_sound<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Sound(T),
        Other(IgnoredAny),
    }
    Ok(match Either::deserialize(from)? {
        Either::Sound(value) => Some(value),
        Either::Other(_) => None,
    })
}
