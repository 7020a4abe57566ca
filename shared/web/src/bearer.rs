//! Reads the token in the `Authorization` header (RFC 6750, section 2.1). It is never
//! read from the query or the body.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::SecretString;

use super::error::BearerError;

/// The longest token that is looked up, in bytes. Our tokens have 68 bytes.
const MAX_BYTES: usize = 512;

/// The content of the header.
#[derive(Debug)]
pub enum Bearer {
    /// A well-formed token (RFC 6750's `b64token`), which is not authenticated yet.
    Token(SecretString),
    /// A malformed token, which cannot be one of ours.
    Malformed,
}

/// Reads the bearer token of a request.
///
/// # Errors
/// If there is no `Authorization` header, more than one, or one with another scheme.
pub fn bearer(headers: &HeaderMap) -> Result<Bearer, BearerError> {
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
