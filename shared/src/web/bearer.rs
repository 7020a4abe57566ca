//! The token in the `Authorization` header (RFC 6750, section 2.1). It is never
//! taken from the query or the body.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::SecretString;

use super::error::BearerError;

/// The longest token that is looked up, in bytes; ours have 68.
const MAX_BYTES: usize = 512;

/// What the header holds.
#[derive(Debug)]
pub enum Bearer {
    /// Of a token's form (RFC 6750's `b64token`); whose it is, if anybody's, is not known yet.
    Token(SecretString),
    /// Not of a token's form: it can be no token of ours.
    Malformed,
}

/// The bearer token of a request.
///
/// # Errors
/// No `Authorization`, more than one, or another scheme.
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
    // A version-2 gateway event joins repeated headers by a comma, and no
    // token holds one.
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

/// RFC 6750's `b64token`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let sound = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/".contains(&c);
    !body.is_empty() && body.bytes().all(sound)
}
