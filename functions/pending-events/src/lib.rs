//! The function that retries pending events: its handler and its wiring.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use web::Metrics;

pub use handler::PendingEvents;

/// Builds the function from exactly what it needs; infra's PendingEventsRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: impl Into<lms::HttpClient>,
    clock: SharedClock,
) -> Result<PendingEvents, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let worker = wiring.retry_worker(secrets, lms)?;
    Ok(PendingEvents::new(
        worker,
        Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
        clock,
    ))
}
