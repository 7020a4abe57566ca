//! The function that retries the pending events for which the LMS is asked: the program.

use lambda_runtime::Error;
use pending_events::lms_events;
use web::{logging, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let lms_events = lms_events(
        &process.environment,
        process.dynamodb(),
        process.secrets_manager(),
        process.lms_http().map_err(logging::start_failed)?,
        process.clock.clone(),
    );
    start::run_json(lms_events).await
}
