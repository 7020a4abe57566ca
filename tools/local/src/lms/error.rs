//! The error responses of the LMS's APIs.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};
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

    /// Returns the error for a valid credential without the permission.
    pub(super) fn forbidden() -> Self {
        let message = "You do not have permission to perform this action.";
        Self::new(StatusCode::FORBIDDEN, None, message)
    }
}

/// The error of a token, in the words of the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenError {
    /// The token was valid once.
    #[default]
    TokenExpired,
    /// The LMS never issued the token, or not for this scheme.
    TokenNonexistent,
    /// The text is no token.
    TokenMalformed,
    /// There is no token.
    TokenNotProvided,
}

impl From<TokenError> for LmsResponseError {
    fn from(error: TokenError) -> Self {
        let (code, message) = match error {
            TokenError::TokenExpired => ("token_expired", "The access token has expired."),
            TokenError::TokenNonexistent => ("token_nonexistent", "There is no such access token."),
            TokenError::TokenMalformed => ("token_malformed", "No access token can be read."),
            TokenError::TokenNotProvided => ("token_not_provided", "No credentials provided."),
        };
        // The APIs wrap the answer of the token check.
        let said = json!({"error_code": code, "developer_message": message});
        Self::new(StatusCode::UNAUTHORIZED, None, said)
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

/// Returns an HTML page, as the LMS's framework or a proxy in front of it does.
pub(super) fn html(status: StatusCode) -> Response {
    let page = format!("<!DOCTYPE html><html><head><title>{status}</title></head></html>\n");
    (status, Html(page)).into_response()
}

/// Returns a 301 to the same URL with a slash at its end, as Django does.
pub(super) fn with_slash(uri: &axum::http::Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}"));
    let location = format!("{}/{}", uri.path(), query.unwrap_or_default());
    let location = [(header::LOCATION, location)];
    (StatusCode::MOVED_PERMANENTLY, location).into_response()
}

/// Returns a 401 for an unknown client, or a wrong secret.
pub(super) fn bad_client() -> Response {
    refuse(StatusCode::UNAUTHORIZED, "invalid_client")
}

pub(super) fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
