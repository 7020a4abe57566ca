//! HTTP answers. Every answer is JSON.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use lambda_http::Body;
use serde_json::{Value, json};

use super::error::ErrorResponse;

/// An HTTP answer.
pub type HttpResponse = Response<Body>;

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
