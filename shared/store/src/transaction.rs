//! Writes several items together, all of them or none.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use common::{AwsError, random};

use super::StoreError;

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything was written.
    Done,
    /// An item has changed since it was read, and nothing was written. The caller reads
    /// again and decides again.
    Moved,
}

/// The maximum number of attempts while the table is busy. The SDK does not retry a
/// cancelled transaction.
const ATTEMPTS: u32 = 8;

/// Writes these items (at most 100). If the table throttles an item, or another
/// transaction holds it, the same transaction is sent again with growing backoff.
pub async fn write(client: &Client, items: Vec<TransactWriteItem>) -> Result<Written, StoreError> {
    let mut attempt = 1;
    loop {
        let answer = client
            .transact_write_items()
            .set_transact_items(Some(items.clone()))
            .send()
            .await;
        let Err(error) = answer else {
            return Ok(Written::Done);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            return Err(error.into());
        };
        match cause(cancelled.cancellation_reasons()) {
            Cause::Moved => return Ok(Written::Moved),
            Cause::Failed(code) => return Err(AwsError::Failed(code).into()),
            Cause::Busy(code) if attempt == ATTEMPTS => {
                return Err(AwsError::Throttled(code).into());
            }
            Cause::Busy(_) => {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
        }
    }
}

/// The backoff after an attempt. It doubles each time, and is up to half of it shorter at
/// random, so that writers that met once do not meet again.
fn pause(attempt: u32) -> Duration {
    let longest = Duration::from_millis(25 << attempt);
    let random = u16::try_from(random::id().as_u128() & 0x3ff).unwrap_or_default();
    longest / 2 + longest * u32::from(random) / 2048
}

/// The cause of a cancelled transaction, which is the most severe of its reasons.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Failed(String),
    Moved,
    Busy(String),
}

fn cause(reasons: &[CancellationReason]) -> Cause {
    let codes = || reasons.iter().filter_map(CancellationReason::code);
    let is_busy = |code: &&str| {
        matches!(
            *code,
            "ThrottlingError" | "ProvisionedThroughputExceeded" | "TransactionConflict"
        )
    };
    let is_moved = |code: &&str| *code == "ConditionalCheckFailed";
    let is_fault = |code: &&str| *code != "None" && !is_busy(code) && !is_moved(code);
    if let Some(code) = codes().find(is_fault) {
        Cause::Failed(code.to_owned())
    } else if codes().any(|code| is_moved(&code)) {
        Cause::Moved
    } else if let Some(code) = codes().find(is_busy) {
        Cause::Busy(code.to_owned())
    } else {
        Cause::Failed("TransactionCanceledException".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_and_is_random() {
        let mut last = Duration::ZERO;
        for attempt in 1..ATTEMPTS {
            let longest = Duration::from_millis(25 << attempt);
            let pauses: Vec<_> = (0..50).map(|_| pause(attempt)).collect();
            assert!(pauses.iter().all(|p| (longest / 2..=longest).contains(p)));
            assert!(pauses.iter().any(|p| *p != pauses[0]), "{attempt}");
            assert!(longest > last);
            last = longest;
        }
    }

    #[test]
    fn the_most_severe_reason_counts() {
        let failed = |code: &str| Cause::Failed(code.to_owned());
        let busy = |code: &str| Cause::Busy(code.to_owned());
        for (codes, expected) in [
            (&["None", "ConditionalCheckFailed"][..], Cause::Moved),
            (&["ThrottlingError", "ConditionalCheckFailed"], Cause::Moved),
            (
                &["None", "TransactionConflict"],
                busy("TransactionConflict"),
            ),
            (&["ThrottlingError", "None"], busy("ThrottlingError")),
            (
                &["ConditionalCheckFailed", "ValidationError"],
                failed("ValidationError"),
            ),
            (&["None"], failed("TransactionCanceledException")),
        ] {
            let reason = |code: &&str| CancellationReason::builder().code(*code).build();
            let reasons: Vec<_> = codes.iter().map(reason).collect();
            assert_eq!(cause(&reasons), expected, "{codes:?}");
        }
    }
}
