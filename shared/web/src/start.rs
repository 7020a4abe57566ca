//! The start of a function, which runs once before the first request.

use std::time::Duration;

use bootstrap::environment::SettingError;
use bootstrap::process::Process;
use lambda_http::lambda_runtime::{self, Error, LambdaEvent};
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, Request, service_fn};
use serde_json::Value;

use super::answer::HttpResponse;
use super::gateway::multi_value_headers;
use super::logging;

/// The longest time for which opening connections may delay the start.
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// Opens the log and reads the process. Every function does this first.
pub async fn begin() -> Process {
    logging::to_stdout();
    logging::panics_by_their_place();
    Process::read().await
}

/// A function that answers HTTP requests.
pub trait HttpFunction: Sync {
    /// Opens connections and reads secrets ahead of the first request.
    fn warm_up(&self) -> impl Future<Output = ()>;

    /// Answers one request; never fails.
    fn handle(&self, request: Request) -> impl Future<Output = HttpResponse> + Send;
}

/// A function that is invoked with a JSON value, by a schedule or a state machine.
pub trait JsonFunction {
    /// Opens connections ahead of the first invocation.
    fn warm_up(&self) -> impl Future<Output = ()>;

    /// Answers one invocation.
    ///
    /// # Errors
    /// The invocation failed, and Lambda reports that.
    fn handle(&self, event: LambdaEvent<Value>) -> impl Future<Output = Result<Value, Error>>;
}

/// Runs a function that answers HTTP requests, until Lambda ends the process.
///
/// # Errors
/// A variable of the environment is missing or wrong, or Lambda's runtime API fails.
pub async fn run_http<F: HttpFunction>(wired: Result<F, SettingError>) -> Result<(), Error> {
    let function = wired.map_err(logging::start_failed)?;
    warm_up(function.warm_up()).await;
    let handler =
        service_fn(async |request: Request| Ok::<_, Error>(function.handle(request).await));
    lambda_runtime::run(Adapter::from(handler).map_request(multi_value_headers)).await
}

/// Runs a function that is invoked with a JSON value, until Lambda ends the process.
///
/// # Errors
/// As of [`run_http`].
pub async fn run_json<F: JsonFunction>(wired: Result<F, SettingError>) -> Result<(), Error> {
    let function = wired.map_err(logging::start_failed)?;
    warm_up(function.warm_up()).await;
    // Boxed, because the future of a sweep is large.
    let handler = service_fn(|event: LambdaEvent<Value>| Box::pin(function.handle(event)));
    lambda_runtime::run(handler).await
}

/// Opens connections for a second at most. A connection that is not open by then opens with the
/// first request.
async fn warm_up(work: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(WARM_UP_TIME, work).await;
}
