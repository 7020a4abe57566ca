//! HTTP answers. Every answer is JSON.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use lambda_http::Body;
use serde_json::{Value, json};

/// An HTTP answer.
pub type HttpResponse = Response<Body>;

/// The response to an error: the answer, and the words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status. The sender retries at 5xx, 408 and 429, and at no other status.
    pub status: StatusCode,
    /// The header of the answer besides its content type, if it has one.
    pub header: Option<(HeaderName, &'static str)>,
    /// One sentence. It repeats nothing of the request except the course id.
    pub message: String,
    /// The outcome in the log.
    pub outcome: &'static str,
    /// The reason of the outcome in the log.
    pub reason: String,
}

/// Returns a JSON answer.
pub fn json_answer(status: StatusCode, body: &Value) -> HttpResponse {
    let mut answer = Response::new(Body::Text(body.to_string()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Returns the answer to an error: `{"error": "<one sentence>"}`.
pub fn error_answer(response: &ErrorResponse) -> HttpResponse {
    let mut answer = json_answer(response.status, &json!({ "error": response.message }));
    if let Some((name, value)) = &response.header {
        answer
            .headers_mut()
            .insert(name.clone(), HeaderValue::from_static(value));
    }
    answer
}
