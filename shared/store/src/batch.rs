//! Reads many items from several tables in one call.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use common::AwsError;

use super::{Item, StoreError};

/// The maximum number of calls, including the first, until DynamoDB has processed all
/// keys.
const ROUNDS: u32 = 6;

/// Reads the items of these keys (at most 100), grouped by table, with strong
/// consistency. Keys that DynamoDB leaves unprocessed are requested again with growing
/// backoff. A key without an item in the result does not exist.
pub async fn get(
    client: &Client,
    keys: impl IntoIterator<Item = (&str, Vec<Item>)>,
) -> Result<HashMap<String, Vec<Item>>, StoreError> {
    let mut wanted = HashMap::new();
    for (table, keys) in keys {
        if !keys.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|_| AwsError::Failed("ConstructionFailure".to_owned()))?;
            wanted.insert(table.to_owned(), request);
        }
    }
    let mut found: HashMap<String, Vec<Item>> = HashMap::new();
    for round in 0..ROUNDS {
        if wanted.is_empty() {
            return Ok(found);
        }
        if round > 0 {
            tokio::time::sleep(Duration::from_millis(25 << round)).await;
        }
        let answer = client
            .batch_get_item()
            .set_request_items(Some(wanted))
            .send()
            .await?;
        for (table, items) in answer.responses.unwrap_or_default() {
            found.entry(table).or_default().extend(items);
        }
        wanted = answer.unprocessed_keys.unwrap_or_default();
    }
    if wanted.is_empty() {
        Ok(found)
    } else {
        Err(AwsError::Throttled("UnprocessedKeys".to_owned()).into())
    }
}
