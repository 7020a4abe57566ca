//! The enrollment webhook: its handler and its wiring.

mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use domain::EventKind;
use web::{BearerCheck, EventsPlugin, Metrics, Webhook};

pub use handler::EnrollmentWebhook;

/// The time that the store may take for one delivery in all. Two calls at their longest would take
/// 14 seconds; a store that hangs is answered 503 within 10.
pub const STORE_TIME: Duration = Duration::from_secs(9);

/// Builds the webhook from exactly what it needs; infra's EnrollmentWebhookRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn wire(
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
        EventsPlugin::new(BearerCheck::new(tokens)),
        Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock)),
        clock,
        store_time,
    );
    Ok(EnrollmentWebhook::new(webhook, wiring.enrolling()?))
}
