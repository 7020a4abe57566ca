//! The schedule: pending events are retried each minute, as on AWS.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// The template's `rate(1 minute)`.
const PERIOD: Duration = Duration::from_secs(60);

/// Calls the function at once and then each minute, without end. The function logs its own outcome;
/// a call fails while the function is being built.
pub async fn run(gateway_url: &str) -> Result<Infallible, reqwest::Error> {
    let client = local::client()?;
    let url = format!("{gateway_url}/2015-03-31/functions/pending-events/invocations");
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        period.tick().await;
        let call = client.post(&url).body("{}").timeout(2 * PERIOD);
        let _ = call.send().await;
    }
}
