//! One conditional update of an item, which returns the item either way.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::expression::{names, values};
use super::{Item, StoreError};

/// The result of an update.
pub enum Updated {
    /// The update was made. Holds the item after it.
    Done(Item),
    /// The condition did not hold. Holds the item as it is, if there is one.
    Refused(Option<Item>),
}

/// Updates the item of this key if the condition holds. Sends only those of the values
/// `all` that the expressions use.
pub async fn update(
    client: &Client,
    table: &str,
    key: Item,
    (update, condition): (&str, &str),
    all: HashMap<&str, AttributeValue>,
) -> Result<Updated, StoreError> {
    let answer = client
        .update_item()
        .table_name(table)
        .set_key(Some(key))
        .set_expression_attribute_names(Some(names(&[update, condition])))
        .set_expression_attribute_values(Some(values(&[update, condition], all)))
        .update_expression(update)
        .condition_expression(condition)
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(Updated::Done(answer.attributes.unwrap_or_default())),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                Ok(Updated::Refused(refused.item().cloned()))
            }
            _ => Err(error.into()),
        },
    }
}
