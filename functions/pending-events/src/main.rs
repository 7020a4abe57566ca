//! The function that retries pending events: start-up and wiring, nothing else.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use bootstrap::{aws, lms_http};
use common::clock::{SharedClock, SystemClock};
use handler::PendingEvents;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use store::CallLimits;
use web::{Metrics, logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = start::begin().await;
    let pending_events = wire(
        &Environment::of_process(),
        aws::dynamodb(&aws, CallLimits::PRODUCTION),
        aws::secrets_manager(&aws),
        lms_http::client().map_err(logging::start_failed)?,
        Arc::new(SystemClock),
    )
    .map_err(logging::start_failed)?;
    start::warm_up(pending_events.warm_up()).await;

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
    Ok(PendingEvents::new(
        worker,
        Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
        clock,
    ))
}
