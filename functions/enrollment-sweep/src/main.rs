//! The function that corrects course runs' enrollments: start-up and wiring, nothing else.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use bootstrap::{aws, lms_http};
use common::clock::{SharedClock, SystemClock};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use store::CallLimits;
use web::sweep::SweepFunction;
use web::{Metrics, logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = start::begin().await;
    let handler = wire(
        &Environment::of_process(),
        aws::dynamodb(&aws, CallLimits::PRODUCTION),
        aws::secrets_manager(&aws),
        lms_http::client().map_err(logging::start_failed)?,
        Arc::new(SystemClock),
    )
    .map_err(logging::start_failed)?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        handler.handle(event).await
    }))
    .await
}

/// Builds the function from exactly what it needs; infra's EnrollmentSweepRole allows the same.
fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: reqwest::Client,
    clock: SharedClock,
) -> Result<Handler, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let sweeping = wiring.enrollment_sweeping(secrets, lms, wiring.sweep_limits()?)?;
    let function = SweepFunction::new(
        sweeping,
        Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
        Arc::clone(&clock),
    );
    Ok(Handler::new(function, clock))
}
