//! The DynamoDB tables. One file a table; [`lookup`] reads from several in one call.
//!
//! Reads that decide are strongly consistent. Absent is absent, never NULL:
//! DynamoDB refuses NULL in the key of an index.

mod batch;
mod client;
pub mod course_runs;
pub mod enrollments;
mod expression;
pub mod kept_events;
pub mod lookup;
mod transaction;
pub mod users;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

use super::AwsFailure;
pub use client::{CallLimits, settings};

/// Why a table could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// DynamoDB failed, refused, or did not answer, also when tried again.
    #[error("the store: {0}")]
    Aws(#[from] AwsFailure),
    /// An item does not have the shape that this program writes. The text
    /// names the table alone: what stands in the item may be personal.
    #[error("an item of {0} is not of the expected shape")]
    Corrupt(String),
}

impl StoreError {
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
        Self::Aws(AwsFailure::from(&error))
    }
}

type Item = std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

/// Reads an item of `table` into the struct that stands for it.
fn read<'a, T: serde::Deserialize<'a>>(table: &str, item: Item) -> Result<T, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}

/// Writes the struct that stands for an item of `table`.
fn write<T: serde::Serialize>(table: &str, item: T) -> Result<Item, StoreError> {
    serde_dynamo::aws_sdk_dynamodb_1::to_item(item)
        .map_err(|_| StoreError::Corrupt(table.to_owned()))
}
