//! The two functions that sweep course runs: start-up and wiring, nothing else. Each is a binary of
//! its own.

use std::sync::Arc;

use app::sweeping::{EnrollmentSweep, GradeSweep, Kind, Sweeping};
use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use lambda_runtime::Error;
use web::sweep::SweepFunction;
use web::{Metrics, logging, start};

/// Runs the function that `wire` builds, until Lambda ends the process.
///
/// # Errors
/// The function cannot be built, or Lambda's runtime API fails.
pub async fn run<K: Kind>(
    wire: impl FnOnce(
        &Environment,
        aws_sdk_dynamodb::Client,
        aws_sdk_secretsmanager::Client,
        reqwest::Client,
        SharedClock,
    ) -> Result<SweepFunction<K>, SettingError>,
) -> Result<(), Error> {
    let process = start::begin().await;
    let function = wire(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.lms_http().map_err(logging::start_failed)?,
        process.clock.clone(),
    );
    start::run_json(function).await
}

/// Builds the sweep of grades from exactly what it needs; infra's GradeSweepRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn grade_sweep(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: impl Into<lms::HttpClient>,
    clock: SharedClock,
) -> Result<SweepFunction<GradeSweep>, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let sweeping = wiring.grade_sweeping(secrets, lms, wiring.sweep_limits()?)?;
    function(&wiring, sweeping, clock)
}

/// Builds the sweep of enrollments from exactly what it needs; infra's EnrollmentSweepRole allows
/// the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn enrollment_sweep(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: impl Into<lms::HttpClient>,
    clock: SharedClock,
) -> Result<SweepFunction<EnrollmentSweep>, SettingError> {
    let wiring = Wiring::new(environment, dynamodb, Arc::clone(&clock));
    let sweeping = wiring.enrollment_sweeping(secrets, lms, wiring.sweep_limits()?)?;
    function(&wiring, sweeping, clock)
}

fn function<K: Kind>(
    wiring: &Wiring<'_>,
    sweeping: Sweeping<K>,
    clock: SharedClock,
) -> Result<SweepFunction<K>, SettingError> {
    let metrics = Metrics::new(wiring.metrics_namespace()?, Arc::clone(&clock));
    Ok(SweepFunction::new(sweeping, metrics, clock))
}
