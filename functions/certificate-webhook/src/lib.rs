//! The certificate webhook: its handler and its wiring.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use domain::EventKind;
use lms::LmsLimits;
use web::{BearerCheck, EventsPlugin, Metrics, Webhook};

pub use handler::CertificateWebhook;

/// Builds the webhook from exactly what it needs; infra's CertificateWebhookRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn wire(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: impl Into<lms::HttpClient>,
    clock: SharedClock,
    acting_time: Duration,
) -> Result<CertificateWebhook, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let tokens = wiring.tokens(secrets.clone())?;
    Ok(CertificateWebhook::new(
        Webhook::new(
            EventKind::Certificate,
            EventsPlugin::new(BearerCheck::new(tokens)),
            Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
            clock,
            acting_time,
        ),
        wiring.certifying()?,
        wiring.lms_client(secrets, lms, LmsLimits::NONE)?,
    ))
}
