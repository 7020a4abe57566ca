//! The DynamoDB tables. One file a table; [`lookup`] and [`records`] take several together.
//!
//! Reads that decide are strongly consistent. Absent is absent, never NULL:
//! DynamoDB refuses NULL in the key of an index.

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

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use uuid::Uuid;

use self::expression::{names, text};
use super::AwsError;
use crate::domain::CourseId;
pub use client::{CallLimits, settings};

/// Why a table could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// DynamoDB failed, refused, or did not answer, also when tried again.
    #[error("the store: {0}")]
    Aws(#[from] AwsError),
    /// An item does not have the shape that this program writes. The text
    /// names the table alone: what stands in the item may be personal.
    #[error("an item of {0} is not of the expected shape")]
    Corrupt(String),
}

impl StoreError {
    /// Others kept writing what was to be written, until we gave up.
    pub fn contended() -> Self {
        AwsError::Throttled("Contended".to_owned()).into()
    }

    /// Whether the store is away or overloaded, so that the same may succeed in a moment.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Aws(failure) => failure.is_outage(),
            Self::Corrupt(_) => false,
        }
    }

    /// AWS's error code, or a word of ours.
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

type Item = std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

/// Reads an item of `table` into the struct that stands for it.
fn read<'a, T: Deserialize<'a>>(table: &str, item: Item) -> Result<T, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}

/// Writes the struct that stands for an item of `table`.
fn write<T: serde::Serialize>(table: &str, item: T) -> Result<Item, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::to_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}

/// The key of what a learner has in a course run: enrollment, grade, certificate.
fn key_of(user_id: Uuid, course_id: &CourseId) -> Item {
    Item::from([
        ("user_id".to_owned(), text(user_id.to_string())),
        ("course_id".to_owned(), text(course_id.as_str())),
    ])
}

/// Whose an item of such a table is.
fn user_of(item: &Item) -> Option<Uuid> {
    item.get("user_id")?.as_s().ok()?.parse().ok()
}

/// All items of a user in a table whose key is user and course run, by course id.
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

/// Removes all items of a user in such a table, whatever they hold; how many.
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

/// The items of these learners in these runs (at most 100) that exist, in no order.
async fn of_keys(
    client: &Client,
    table: &str,
    keys: &[(Uuid, CourseId)],
) -> Result<Vec<Item>, StoreError> {
    let keys = keys.iter().map(|(user_id, run)| key_of(*user_id, run));
    let mut found = batch::get(client, [(table, keys.collect())]).await?;
    Ok(found.remove(table).unwrap_or_default())
}

/// The write of an item where its learner has none in its run yet.
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

/// A request that lacks a part the API requires: ours are complete by construction.
fn incomplete<E>(_: E) -> StoreError {
    AwsError::Failed("ConstructionFailure".to_owned()).into()
}

/// An attribute that can be done without: one that is not as it should be
/// counts as absent. Items may be written by other programs than this one.
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
