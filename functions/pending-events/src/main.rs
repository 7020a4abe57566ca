//! The function that retries pending events: the program.

use lambda_runtime::Error;
use pending_events::wire;
use web::{logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let pending_events = wire(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.lms_http().map_err(logging::start_failed)?,
        process.clock.clone(),
    );
    start::run_json(pending_events).await
}
