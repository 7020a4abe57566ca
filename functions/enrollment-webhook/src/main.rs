//! The enrollment webhook: start-up and wiring, nothing else.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bootstrap::aws;
use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::{SharedClock, SystemClock};
use domain::EventKind;
use handler::EnrollmentWebhook;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, Error, Request, lambda_runtime, service_fn};
use store::CallLimits;
use web::gateway::multi_value_headers;
use web::{Metrics, Webhook, logging, start};

/// The time that the store may take for one delivery in all. Two calls at their longest would take
/// 14 seconds; a store that hangs is answered 503 within 10.
const STORE_TIME: Duration = Duration::from_secs(9);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = start::begin().await;
    let webhook = wire(
        &Environment::of_process(),
        aws::dynamodb(&aws, CallLimits::PRODUCTION),
        aws::secrets_manager(&aws),
        Arc::new(SystemClock),
        STORE_TIME,
    )
    .map_err(logging::start_failed)?;
    start::warm_up(webhook.warm_up()).await;

    let handler =
        service_fn(async |request: Request| Ok::<_, Error>(webhook.handle(request).await));
    lambda_runtime::run(Adapter::from(handler).map_request(multi_value_headers)).await
}

/// Builds the webhook from exactly what it needs; infra's EnrollmentWebhookRole allows the same.
fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    clock: SharedClock,
    store_time: Duration,
) -> Result<EnrollmentWebhook, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let tokens = wiring.tokens(secrets)?;
    let webhook = Webhook::new(
        EventKind::Enrollment,
        tokens,
        Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
        clock,
        store_time,
    );
    Ok(EnrollmentWebhook::new(webhook, wiring.enrolling()?))
}
