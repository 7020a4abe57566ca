//! The two functions that retry pending events, one for each lane: start-up and wiring. Each is a
//! binary of its own.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use app::retry::RetryWorker;
use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use web::Metrics;

pub use handler::PendingEvents;

/// Builds the function of our own lane from exactly what it needs; infra's OwnEventsRole allows the
/// same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn own_events(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    clock: SharedClock,
) -> Result<PendingEvents, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let worker = wiring.own_worker()?;
    function(&wiring, worker, clock)
}

/// Builds the function of the lane that asks the LMS from exactly what it needs; infra's
/// LmsEventsRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn lms_events(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: impl Into<lms::HttpClient>,
    clock: SharedClock,
) -> Result<PendingEvents, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let worker = wiring.lms_worker(secrets, lms)?;
    function(&wiring, worker, clock)
}

fn function(
    wiring: &Wiring<'_>,
    worker: RetryWorker,
    clock: SharedClock,
) -> Result<PendingEvents, SettingError> {
    let metrics = Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock));
    Ok(PendingEvents::new(worker, metrics, clock))
}
