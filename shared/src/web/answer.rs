//! Answers are JSON, all of them.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use lambda_http::Body;
use serde_json::{Value, json};

use super::refusal::Row;

/// An answer to be sent.
pub type Answer = Response<Body>;

/// A JSON answer.
pub fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Body::Text(body.to_string()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The answer to a refusal: `{"error": "<one sentence>"}`.
pub fn refusal_answer(row: &Row) -> Answer {
    let mut answer = json_answer(row.status, &json!({ "error": row.message }));
    if let Some((name, value)) = &row.header {
        answer
            .headers_mut()
            .insert(name.clone(), HeaderValue::from_static(value));
    }
    answer
}
