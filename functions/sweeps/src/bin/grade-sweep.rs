//! The function that corrects course runs' grades and certificates.

use lambda_runtime::Error;
use sweeps::grade_sweep;
use web::{logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let function = grade_sweep(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.lms_http().map_err(logging::start_failed)?,
        process.clock.clone(),
    );
    start::run_json(function).await
}
