//! One conditional update of an item, which returns the item either way.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use serde::de::DeserializeOwned;

use super::expression::{names, replacing, values};
use super::{Item, StoreError, read};

/// The result of an update. The records are boxed because futures that hold them are moved
/// often.
pub enum Updated<T> {
    /// The update was made. Holds the record after it.
    Done(Box<T>),
    /// The condition did not hold. Holds the record as it is, if there is one.
    Refused(Option<Box<T>>),
}

/// Updates the item of this key if the condition holds. Sends only those of the values
/// `all` that the expressions use.
pub async fn update<T: DeserializeOwned, K: Borrow<str> + Eq + Hash>(
    client: &Client,
    table: &str,
    key: Item,
    (update, condition): (&str, &str),
    all: HashMap<K, AttributeValue>,
) -> Result<Updated<T>, StoreError> {
    let sent = client
        .update_item()
        .table_name(table)
        .set_key(Some(key))
        .set_expression_attribute_names(Some(names(&[update, condition])))
        .set_expression_attribute_values(Some(values(&[update, condition], all)))
        .update_expression(update)
        .condition_expression(condition)
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send();
    // Boxed because the future is large, and moved with each one that waits for it.
    match Box::pin(sent).await {
        Ok(answer) => {
            let item = answer.attributes.unwrap_or_default();
            Ok(Updated::Done(Box::new(read(table, item)?)))
        }
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                let found = refused.item().cloned();
                let found = found.map(|item| read(table, item)).transpose()?;
                Ok(Updated::Refused(found.map(Box::new)))
            }
            _ => Err(error.into()),
        },
    }
}

/// Makes the item of this key equal to `item` if the condition on the values `read` holds:
/// sets the attributes of `item`, and removes those of `optional` that it lacks.
///
/// An update, and not a put, because a put would remove the attributes of other programs.
pub async fn replace<T: DeserializeOwned>(
    client: &Client,
    table: &str,
    key: Item,
    mut item: Item,
    optional: &[&str],
    condition: &str,
    read: impl IntoIterator<Item = (&str, AttributeValue)>,
) -> Result<Updated<T>, StoreError> {
    item.retain(|name, _| !key.contains_key(name));
    let expression = replacing(&item, optional);
    let read = read.into_iter();
    item.extend(read.map(|(name, value)| (name.to_owned(), value)));
    update(client, table, key, (&expression, condition), item).await
}
