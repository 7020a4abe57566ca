//! What goes into the `Authorization` header, and where it comes from.

use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Nonsense;

/// The value of an `Authorization` header. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// `JWT <token>`, for an access token of the LMS; `None` where the token
    /// is empty or could not stand in a header.
    pub fn jwt(token: &SecretString) -> Option<Self> {
        Self::of("JWT", token)
    }

    /// `Bearer <token>`, for a static service token; `None` where the token is
    /// empty or could not stand in a header.
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

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// An access token, as the LMS has just given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token, ready to be sent.
    pub authorization: Authorization,
    /// For how long it is good; whole seconds.
    pub expires_in: Duration,
}

impl AccessToken {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Nonsense> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: u64,
        }
        let answer: Answer = serde_json::from_slice(body)?;
        Ok(Self {
            authorization: Authorization::jwt(&answer.access_token.into())
                .ok_or(Nonsense::NotAsExpected)?,
            expires_in: Duration::from_secs(answer.expires_in),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_not_shown() {
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
    fn what_the_token_endpoint_answers() {
        let token = AccessToken::parse(
            br#"{"access_token": "t", "expires_in": 3600, "token_type": "JWT", "scope": "read"}"#,
        );
        assert_eq!(
            token,
            Ok(AccessToken {
                authorization: Authorization::jwt(&"t".into()).unwrap(),
                expires_in: Duration::from_secs(3600)
            })
        );
        for (body, nonsense) in [
            ("", Nonsense::NotJson),
            ("<html>", Nonsense::NotJson),
            (r#"{"access_token": "t", "expires_"#, Nonsense::NotJson),
            ("[]", Nonsense::NotAsExpected),
            (r#"{"access_token": "t"}"#, Nonsense::NotAsExpected),
            (
                r#"{"access_token": null, "expires_in": 1}"#,
                Nonsense::NotAsExpected,
            ),
            (
                r#"{"access_token": "", "expires_in": 1}"#,
                Nonsense::NotAsExpected,
            ),
            (
                r#"{"access_token": "a\nb", "expires_in": 1}"#,
                Nonsense::NotAsExpected,
            ),
            (
                r#"{"access_token": "t", "expires_in": -1}"#,
                Nonsense::NotAsExpected,
            ),
        ] {
            assert_eq!(AccessToken::parse(body.as_bytes()), Err(nonsense), "{body}");
        }
    }
}
