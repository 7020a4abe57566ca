//! The enrollment webhook: the program.

use enrollment_webhook::{STORE_TIME, wire};
use lambda_http::Error;
use web::start;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let webhook = wire(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.clock.clone(),
        STORE_TIME,
    );
    start::run_http(webhook).await
}
