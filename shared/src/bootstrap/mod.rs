//! What happens once, before the first request: the environment is read, the
//! clients are made, the log is opened.

pub mod aws;
pub mod environment;
pub mod lms;
pub mod logging;
pub mod wiring;

use std::time::Duration;

/// How long opening connections may hold up the start.
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// Opens the log, and finds region, credentials and endpoints: what every
/// function does first.
pub async fn begin() -> aws_config::SdkConfig {
    logging::to_stdout();
    logging::panics_by_their_place();
    aws::configuration(aws::Choice::default()).await
}

/// Opens connections ahead of the first request, for a second at most: what is
/// not warm by then warms up with that.
pub async fn warm_up(work: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(WARM_UP_TIME, work).await;
}
