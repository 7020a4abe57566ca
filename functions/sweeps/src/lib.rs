//! The two functions that sweep course runs: wiring, nothing else. Each is a binary of its own.

use std::sync::Arc;

use app::sweeping::{EnrollmentSweep, GradeSweep, Kind, Sweeping};
use bootstrap::environment::{Environment, SettingError};
use bootstrap::wiring::Wiring;
use common::clock::SharedClock;
use web::Metrics;
use web::sweep::SweepFunction;

/// Builds the sweep of grades from exactly what it needs; infra's GradeSweepRole allows the same.
///
/// # Errors
/// A variable of the environment is missing or wrong.
pub fn grade_sweep(
    environment: &Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    lms: reqwest::Client,
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
    lms: reqwest::Client,
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
