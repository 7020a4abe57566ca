//! The `Authorization` header and the access token that it is made from.

use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::error::InvalidResponse;

/// The value of an `Authorization` header. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// Returns `JWT <token>`, for an access token of the LMS; `None` if the token is
    /// empty or cannot be sent in a header.
    pub fn jwt(token: &SecretString) -> Option<Self> {
        Self::of("JWT", token)
    }

    /// Returns `Bearer <token>`, for a static service token; `None` if the token is empty
    /// or cannot be sent in a header.
    pub fn bearer(token: &SecretString) -> Option<Self> {
        Self::of("Bearer", token)
    }

    fn of(scheme: &str, token: &SecretString) -> Option<Self> {
        let token = token.expose_secret();
        if token.is_empty() {
            return None;
        }
        let mut value = HeaderValue::from_str(&format!("{scheme} {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// A new access token from the LMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token, ready to be sent.
    pub authorization: Authorization,
    /// The lifetime of the token in whole seconds; `None` if the LMS did not give it,
    /// which RFC 6749, 5.1, only recommends.
    pub expires_in: Option<Duration>,
}

impl AccessToken {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, InvalidResponse> {
        #[derive(Deserialize)]
        struct TokenResponse {
            access_token: String,
            expires_in: Option<Seconds>,
        }
        let answer: TokenResponse = serde_json::from_slice(body)?;
        Ok(Self {
            authorization: Authorization::jwt(&answer.access_token.into())
                .ok_or(InvalidResponse::NotAsExpected)?,
            expires_in: answer.expires_in.map(|Seconds(seconds)| seconds),
        })
    }
}

/// A number of seconds: `3600`, `3600.0` or `"3600"`, rounded down to whole seconds.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Seconds(Duration);

impl TryFrom<Value> for Seconds {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let seconds = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let seconds = seconds.filter(|seconds| *seconds >= 0.0);
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.ok_or("it is no number of seconds")?;
        Ok(Self(Duration::from_secs(seconds.as_secs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_but_never_shown_in_debug_output() {
        let jwt = Authorization::jwt(&"hidden".into()).unwrap();
        assert_eq!(jwt.header(), "JWT hidden");
        assert!(!format!("{jwt:?}").contains("hidden"));
        let bearer = Authorization::bearer(&"hidden".into()).unwrap();
        assert_eq!(bearer.header(), "Bearer hidden");
        for token in ["", "a\nb"] {
            assert_eq!(Authorization::jwt(&token.into()), None, "{token:?}");
        }
    }

    #[test]
    fn answers_of_the_token_endpoint_are_parsed_or_rejected() {
        for (expires_in, seconds) in [
            (r#","expires_in": 3600"#, Some(3600)),
            (r#","expires_in": "3600""#, Some(3600)),
            (r#","expires_in": " 3600 ""#, Some(3600)),
            (r#","expires_in": 3600.0"#, Some(3600)),
            (r#","expires_in": "3600.0""#, Some(3600)),
            (r#","expires_in": 3599.9"#, Some(3599)),
            (r#","expires_in": 3.6e3"#, Some(3600)),
            (r#","expires_in": 0"#, Some(0)),
            (r#","expires_in": null"#, None),
            ("", None),
        ] {
            let body = format!(
                r#"{{"access_token": "t", "token_type": "JWT", "scope": "x"{expires_in}}}"#
            );
            let token = AccessToken {
                authorization: Authorization::jwt(&"t".into()).unwrap(),
                expires_in: seconds.map(Duration::from_secs),
            };
            assert_eq!(AccessToken::parse(body.as_bytes()), Ok(token), "{body}");
        }
        for (body, invalid) in [
            ("", InvalidResponse::NotJson),
            ("<html>", InvalidResponse::NotJson),
            (
                r#"{"access_token": "t", "expires_"#,
                InvalidResponse::NotJson,
            ),
            ("[]", InvalidResponse::NotAsExpected),
            (r#"{"expires_in": 3600}"#, InvalidResponse::NotAsExpected),
            (
                r#"{"access_token": null, "expires_in": 1}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "", "expires_in": 1}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "a\nb", "expires_in": 1}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": -1}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": "an hour"}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": ""}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": "NaN"}"#,
                InvalidResponse::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": [3600]}"#,
                InvalidResponse::NotAsExpected,
            ),
        ] {
            assert_eq!(AccessToken::parse(body.as_bytes()), Err(invalid), "{body}");
        }
    }
}
