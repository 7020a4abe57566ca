//! The certificate webhook: the program.

use app::certifying::CERTIFYING_TIME;
use certificate_webhook::wire;
use lambda_http::Error;
use web::{logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let webhook = wire(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.lms_http().map_err(logging::start_failed)?,
        process.clock.clone(),
        CERTIFYING_TIME,
    );
    start::run_http(webhook).await
}
