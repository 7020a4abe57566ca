//! The cold start of a function, which runs once before the first request.

use std::time::Duration;

use bootstrap::aws;

use crate::logging;

/// The longest time for which opening connections may delay the start.
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// Opens the log, and finds region, credentials and endpoints. Every function does this
/// first.
pub async fn begin() -> aws_config::SdkConfig {
    logging::to_stdout();
    logging::panics_by_their_place();
    aws::configuration(aws::Choice::default()).await
}

/// Opens connections ahead of the first request, for a second at most. A connection that
/// is not open by then opens with that request.
pub async fn warm_up(work: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(WARM_UP_TIME, work).await;
}
