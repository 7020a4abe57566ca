//! Credentials: the token endpoint, and the check of tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::Shared;
use super::error::{LmsResponseError, TokenError, bad_client, refuse};
use super::fault_rules::LmsFault;
use crate::faults::lock;

/// The id of the OAuth2 client that the stand-in knows.
pub const CLIENT_ID: &str = "coursehook-local";
/// The secret of that client.
pub const CLIENT_SECRET: &str = "only-on-this-machine";
/// A service token that never expires, for `Authorization: Bearer`.
pub const STATIC_TOKEN: &str = "static-token-of-this-machine";

/// The lifetime of a token in seconds, unless a rule sets another.
const LIFE: u32 = 3600;

/// The scopes that a client may request, and gets if it requests none.
const SCOPES: [&str; 4] = ["read", "write", "profile", "email"];

/// Error of a request without a valid credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdmittedError {
    /// The `Bearer` token is invalid; the answer names its error.
    Bearer(TokenError),
    /// The JWT is invalid; the answer names no error.
    Jwt,
    /// There is nothing that the LMS accepts as a credential.
    Nothing,
}

impl From<NotAdmittedError> for LmsResponseError {
    fn from(why: NotAdmittedError) -> Self {
        let message = match why {
            NotAdmittedError::Bearer(error) => return error.into(),
            NotAdmittedError::Jwt => "Invalid token.",
            NotAdmittedError::Nothing => "Authentication credentials were not provided.",
        };
        Self::new(StatusCode::UNAUTHORIZED, None, message)
    }
}

/// The tokens issued so far.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Token>>);

#[derive(Debug)]
struct Token {
    scheme: &'static str,
    end: Instant,
}

impl Tokens {
    fn issue(&self, scheme: &'static str, seconds: u32) -> String {
        let text = format!("local-{}", Uuid::new_v4());
        let end = Instant::now() + Duration::from_secs(seconds.into());
        lock(&self.0).insert(text.clone(), Token { scheme, end });
        text
    }

    /// Ends the validity of all issued tokens.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        for token in lock(&self.0).values_mut() {
            token.end = now;
        }
    }

    /// Checks that the request has a credential that is valid now.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), NotAdmittedError> {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let words: Vec<_> = given.unwrap_or_default().split_whitespace().collect();
        let is = |other: &str| words.first().is_some_and(|w| w.eq_ignore_ascii_case(other));
        match words.as_slice() {
            [_, text] if is("JWT") => self.find("JWT", text).map_err(|_| NotAdmittedError::Jwt),
            [_, text] if is("Bearer") && *text == STATIC_TOKEN => Ok(()),
            [_, text] if is("Bearer") => {
                self.find("Bearer", text).map_err(NotAdmittedError::Bearer)
            }
            [_] if is("Bearer") => Err(NotAdmittedError::Bearer(TokenError::TokenNotProvided)),
            _ if is("Bearer") => Err(NotAdmittedError::Bearer(TokenError::TokenMalformed)),
            _ => Err(NotAdmittedError::Nothing),
        }
    }

    fn find(&self, scheme: &str, text: &str) -> Result<(), TokenError> {
        match lock(&self.0).get(text) {
            Some(token) if token.scheme != scheme => Err(TokenError::TokenNonexistent),
            Some(token) if token.end <= Instant::now() => Err(TokenError::TokenExpired),
            Some(_) => Ok(()),
            None => Err(TokenError::TokenNonexistent),
        }
    }
}

/// `POST /oauth2/access_token`: issues a token.
pub(super) async fn access_token(
    State(lms): State<Arc<Shared>>,
    fault: Option<Extension<LmsFault>>,
    form: Result<Form<HashMap<String, String>>, FormRejection>,
) -> Response {
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let given = |field: &str| form.get(field).map(String::as_str);
    if given("grant_type") != Some("client_credentials") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if (given("client_id"), given("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
        return bad_client();
    }
    let scopes = given("scope").unwrap_or_default().split(' ');
    let mut scopes = scopes.filter(|scope| !scope.is_empty());
    if !scopes.all(|scope| SCOPES.contains(&scope)) {
        return refuse(StatusCode::BAD_REQUEST, "invalid_scope");
    }
    // Without token_type=jwt the LMS issues a token of another scheme.
    let token_type = match given("token_type") {
        Some("jwt") => "JWT",
        _ => "Bearer",
    };
    let seconds = match fault {
        Some(Extension(LmsFault::Live { seconds })) => seconds,
        _ => LIFE,
    };
    Json(json!({
        "access_token": lms.tokens.issue(token_type, seconds),
        "expires_in": seconds,
        "token_type": token_type,
        "scope": SCOPES.join(" "),
    }))
    .into_response()
}
