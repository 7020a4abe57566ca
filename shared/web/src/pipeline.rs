//! The processing of an HTTP request by a function, the same for every endpoint: request id, time
//! limit, panics, the response to an error, and the end of the request for log and metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::calls::Counter;
use common::clock::SharedClock;
use common::panic;
use lambda_http::{Request, RequestExt};
use tokio::time::Instant;

use super::answer::{ErrorResponse, HttpResponse, error_answer};

/// The time limit of an answer in all. The LMS waits for 30 seconds, the gateway for 29,
/// and the function is stopped after 28.
const ANSWER_TIME: Duration = Duration::from_secs(25);

/// The part of that time which is reserved for the answer after the request was acted on.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// An endpoint: what a request means, and how it is logged.
pub trait Endpoint: Sync {
    /// The fields that become known of a request for its log line, also if it fails.
    type Record: Default + Send;
    /// The errors of a request.
    type Error: EndpointError + Send;

    /// Logs that a request has arrived.
    fn arrived(&self, request: &Request, arrival: &Arrival);

    /// Answers a request, until `arrival.until` at the latest.
    fn answer(
        &self,
        request: &Request,
        arrival: &Arrival,
        record: &mut Self::Record,
    ) -> impl Future<Output = Result<Answer, Self::Error>> + Send;

    /// Logs the end of a request and writes its metrics.
    fn finished(&self, arrival: Arrival, record: Self::Record, finished: Finished);
}

/// An error of a request, which has a response.
pub trait EndpointError: From<PipelineError> {
    /// Returns the response to this error.
    fn response(&self) -> ErrorResponse;

    /// The error code of the outside service that failed, or `None` if none did.
    fn error_code(&self) -> Option<&str>;
}

/// Error: a request was ended by the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineError {
    /// The time limit has passed.
    OutOfTime,
    /// The code panicked.
    Panicked {
        /// The location of the panic in the source as `FILE:LINE`, or `unknown`.
        location: String,
    },
}

/// A request that has arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Lambda's request id; empty outside of Lambda.
    pub request_id: String,
    /// True for the first request of this instance (cold start).
    pub cold_start: bool,
    /// The time by which acting on the request must be over, so that the answer is in time.
    pub until: Instant,
}

/// The answer to a request, with the words for the log.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP answer.
    pub response: HttpResponse,
    /// The outcome in the log.
    pub outcome: &'static str,
    /// The reason of the outcome in the log, if it has one.
    pub reason: Option<String>,
    /// The error code of a failure that did no harm.
    pub error_code: Option<String>,
}

/// The end of a request.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// The outcome in the log.
    pub outcome: &'static str,
    /// The reason of the outcome; absent if the request took effect.
    pub reason: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The error code of the outside service that failed.
    pub error_code: Option<String>,
    /// The time from the request's arrival to its answer, in wall time.
    pub duration_ms: u64,
    /// The calls made for the request.
    pub calls: Counter,
}

/// Answers the requests of one function.
pub struct Pipeline {
    clock: SharedClock,
    is_warm: AtomicBool,
}

impl Pipeline {
    /// Returns a pipeline whose next request is the first.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            is_warm: AtomicBool::new(false),
        }
    }

    /// Answers one request by `endpoint`; never fails.
    pub async fn answer<E: Endpoint>(&self, endpoint: &E, request: &Request) -> HttpResponse {
        let began = self.clock.now();
        let arrival = Arrival {
            request_id: request
                .lambda_context_ref()
                .map_or_else(String::new, |context| context.request_id.clone()),
            cold_start: !self.is_warm.swap(true, Ordering::Relaxed),
            until: Instant::now() + ANSWER_TIME - LAST_SECOND,
        };
        endpoint.arrived(request, &arrival);

        let mut record = E::Record::default();
        let calls = Counter::default();
        let work = calls.count(endpoint.answer(request, &arrival, &mut record));
        let result = match panic::caught(tokio::time::timeout(ANSWER_TIME, work)).await {
            Ok(in_time) => in_time.unwrap_or(Err(PipelineError::OutOfTime.into())),
            Err(location) => Err(PipelineError::Panicked { location }.into()),
        };
        let answer = result.unwrap_or_else(|error| {
            let response = error.response();
            Answer {
                response: error_answer(&response),
                outcome: response.outcome,
                reason: Some(response.reason),
                error_code: error.error_code().map(str::to_owned),
            }
        });

        let took = self.clock.now().duration_since(began).as_millis();
        let finished = Finished {
            outcome: answer.outcome,
            reason: answer.reason,
            status: answer.response.status().as_u16(),
            error_code: answer.error_code,
            duration_ms: u64::try_from(took).unwrap_or_default(),
            calls,
        };
        endpoint.finished(arrival, record, finished);
        answer.response
    }
}
