//! The function that retries pending events: start-up and wiring, nothing else.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use handler::PendingEvents;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::adapters::store::CallLimits;
use shared::bootstrap::environment::{Environment, SettingError};
use shared::bootstrap::wiring::Wiring;
use shared::bootstrap::{self, aws, lms, logging};
use shared::clock::{SharedClock, SystemClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = bootstrap::begin().await;
    let pending_events = wire(
        &Environment::of_process(),
        aws::dynamodb(&aws, CallLimits::PRODUCTION),
        aws::secrets_manager(&aws),
        lms::client().map_err(logging::start_failed)?,
        Arc::new(SystemClock),
    )
    .map_err(logging::start_failed)?;
    bootstrap::warm_up(pending_events.warm_up()).await;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        pending_events.handle(event).await
    }))
    .await
}

/// Builds the function from exactly what it needs; infra's PendingEventsRole allows the same.
fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: reqwest::Client,
    clock: SharedClock,
) -> Result<PendingEvents, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let worker = wiring.retry_worker(secrets, lms)?;
    Ok(PendingEvents::new(worker, wiring.metrics()?, clock))
}
