//! Authenticates a caller by the bearer token in the `Authorization` header (RFC 6750,
//! section 2.1). A token is never read from the query or the body.

use app::authenticating::{AuthDecision, TokenCheck};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

use super::error::{BearerError, InvalidTokenError, WebhookError};
use super::log::UsedToken;

/// The longest token that is looked up, in bytes. Our tokens have 68 bytes.
const MAX_BYTES: usize = 512;

/// Authenticates callers by the list of tokens.
pub struct BearerCheck(TokenCheck);

/// The result of authenticating a caller.
pub struct Authentication {
    /// The token of the request, if it is listed.
    pub token: Option<UsedToken>,
    /// The id of the token if the caller is authenticated.
    pub result: Result<String, WebhookError>,
}

impl From<WebhookError> for Authentication {
    fn from(error: WebhookError) -> Self {
        Self {
            token: None,
            result: Err(error),
        }
    }
}

impl BearerCheck {
    /// Returns a check by the list that `tokens` reads.
    pub fn new(tokens: TokenCheck) -> Self {
        Self(tokens)
    }

    /// Reads the list of tokens ahead of the first request.
    pub async fn warm_up(&self) {
        self.0.warm_up().await;
    }

    /// Authenticates a caller who needs a staff token.
    pub async fn staff(&self, headers: &HeaderMap) -> Authentication {
        let token = match bearer(headers) {
            Ok(Bearer::Token(token)) => token,
            Ok(Bearer::Malformed) => {
                return WebhookError::InvalidToken(InvalidTokenError::Malformed).into();
            }
            Err(error) => return WebhookError::NoBearer(error).into(),
        };
        let (token, result) = match self.0.authenticate(token.expose_secret()).await {
            Err(error) => return WebhookError::TokensUnavailable(error).into(),
            Ok(AuthDecision::Unknown) => {
                return WebhookError::InvalidToken(InvalidTokenError::Unknown).into();
            }
            Ok(AuthDecision::Staff { id, expires_at }) => {
                (UsedToken::live(id.clone(), expires_at), Ok(id))
            }
            Ok(AuthDecision::NotStaff { id, expires_at }) => {
                (UsedToken::live(id, expires_at), Err(WebhookError::NotStaff))
            }
            Ok(AuthDecision::Expired { id }) => (
                UsedToken::dead(id),
                Err(WebhookError::InvalidToken(InvalidTokenError::Expired)),
            ),
            Ok(AuthDecision::Revoked { id }) => (
                UsedToken::dead(id),
                Err(WebhookError::InvalidToken(InvalidTokenError::Revoked)),
            ),
        };
        Authentication {
            token: Some(token),
            result,
        }
    }
}

/// The content of the header.
#[derive(Debug)]
enum Bearer {
    /// A well-formed token (RFC 6750's `b64token`), which is not authenticated yet.
    Token(SecretString),
    /// A malformed token, which cannot be one of ours.
    Malformed,
}

/// Reads the bearer token of a request.
///
/// # Errors
/// If there is no `Authorization` header, more than one, or one with another scheme.
fn bearer(headers: &HeaderMap) -> Result<Bearer, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Repeated);
    }
    let Ok(value) = value.to_str() else {
        return Err(BearerError::OtherScheme);
    };
    let (scheme, token) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerError::OtherScheme);
    }
    // A version-2 gateway event joins repeated headers with a comma, and no token
    // contains a comma.
    if token.contains(',') {
        return Err(BearerError::Repeated);
    }
    let token = token.trim();
    if is_b64token(token) && token.len() <= MAX_BYTES {
        Ok(Bearer::Token(SecretString::from(token)))
    } else {
        Ok(Bearer::Malformed)
    }
}

/// True if the text is RFC 6750's `b64token`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/".contains(&c);
    !body.is_empty() && body.bytes().all(is_allowed)
}
