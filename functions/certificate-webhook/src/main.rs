//! The certificate webhook: start-up and wiring, nothing else.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use app::certifying::CERTIFYING_TIME;
use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use bootstrap::{aws, lms_http};
use common::clock::{SharedClock, SystemClock};
use domain::EventKind;
use handler::CertificateWebhook;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, Error, Request, lambda_runtime, service_fn};
use lms::LmsLimits;
use store::CallLimits;
use web::gateway::multi_value_headers;
use web::{Metrics, Webhook, logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = start::begin().await;
    let webhook = wire(
        &Environment::of_process(),
        aws::dynamodb(&aws, CallLimits::PRODUCTION),
        aws::secrets_manager(&aws),
        lms_http::client().map_err(logging::start_failed)?,
        Arc::new(SystemClock),
        CERTIFYING_TIME,
    )
    .map_err(logging::start_failed)?;
    start::warm_up(webhook.warm_up()).await;

    let handler =
        service_fn(async |request: Request| Ok::<_, Error>(webhook.handle(request).await));
    lambda_runtime::run(Adapter::from(handler).map_request(multi_value_headers)).await
}

/// Builds the webhook from exactly what it needs; infra's CertificateWebhookRole allows the same.
fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: reqwest::Client,
    clock: SharedClock,
    acting_time: Duration,
) -> Result<CertificateWebhook, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let tokens = wiring.tokens(secrets.clone())?;
    Ok(CertificateWebhook::new(
        Webhook::new(
            EventKind::Certificate,
            tokens,
            Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
            clock,
            acting_time,
        ),
        wiring.certifying()?,
        wiring.lms_client(secrets, lms, LmsLimits::NONE)?,
    ))
}
