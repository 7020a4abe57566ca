//! The answers with which the LMS's APIs refuse.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::learners::LearnersError;

/// An error of the APIs: `{"developer_message", "error_code"?}`.
pub(super) struct LmsResponseError {
    status: StatusCode,
    code: Option<&'static str>,
    message: Value,
}

impl LmsResponseError {
    pub(super) fn new(
        status: StatusCode,
        code: Option<&'static str>,
        message: impl Into<Value>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn not_found(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Some(code), message)
    }

    /// The credential is a good one, but not good for this.
    pub(super) fn forbidden() -> Self {
        let message = "You do not have permission to perform this action.";
        Self::new(StatusCode::FORBIDDEN, None, message)
    }
}

impl From<LearnersError> for LmsResponseError {
    fn from(error: LearnersError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, None, error.to_string())
    }
}

impl IntoResponse for LmsResponseError {
    fn into_response(self) -> Response {
        let mut body = json!({"developer_message": self.message});
        if let Some(code) = self.code {
            body["error_code"] = code.into();
        }
        (self.status, Json(body)).into_response()
    }
}

/// What stands before the LMS, or its framework, says in HTML.
pub(super) fn html(status: StatusCode) -> Response {
    let page = format!("<!DOCTYPE html><html><head><title>{status}</title></head></html>\n");
    (status, Html(page)).into_response()
}

/// 301 to the same address with a slash at its end, as Django adds it.
pub(super) fn with_slash(uri: &axum::http::Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}"));
    let location = format!("{}/{}", uri.path(), query.unwrap_or_default());
    let location = [(header::LOCATION, location)];
    (StatusCode::MOVED_PERMANENTLY, location).into_response()
}
