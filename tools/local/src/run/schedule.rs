//! The schedules: the pending events of each lane are retried each minute, as on AWS.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::MissedTickBehavior;

/// The functions, one for each lane.
const FUNCTIONS: [&str; 2] = ["own-events", "lms-events"];

/// The template's `rate(1 minute)`.
const PERIOD: Duration = Duration::from_secs(60);

/// Calls the functions at once and then each minute, without end. They log their own outcome; a call
/// fails while the function is being built.
pub async fn run(gateway_url: &str) -> Result<Infallible, reqwest::Error> {
    let client = local::client()?;
    let call = async |function| {
        let url = format!("{gateway_url}/2015-03-31/functions/{function}/invocations");
        let call = client.post(url).body("{}").timeout(2 * PERIOD);
        let _ = call.send().await;
    };
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        period.tick().await;
        join_all(FUNCTIONS.map(call)).await;
    }
}
