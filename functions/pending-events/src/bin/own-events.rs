//! The function that retries the pending events of our own lane: the program.

use lambda_runtime::Error;
use pending_events::own_events;
use web::start;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let process = start::begin().await;
    let clock = process.clock.clone();
    let own_events = own_events(&process.environment, process.dynamodb(), clock);
    start::run_json(own_events).await
}
