//! Login to the LMS: the credential and the access token, each obtained by one caller for all, and
//! the `Authorization` header made from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::{SharedClock, within};
use domain::Credential;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use secrets::{CachedSecret, CredentialSecret, SecretError};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::api::LmsApi;
use crate::error::{InvalidResponse, LmsError, NoCredentialError};
use crate::rate_limit::Permit;
use crate::retry;

/// The time before its expiry at which a token is no longer used, unless a tenth of its
/// lifetime is shorter.
const BEFORE_THE_END: Duration = Duration::from_mins(5);

/// The time for which a token is used if the LMS did not give its lifetime.
const OF_UNKNOWN_LIFE: SignedDuration = SignedDuration::from_mins(1);

/// The time for which a token is new. A JWT is valid from the second in which it was issued by
/// the clock of the issuing host, whatever leeway the LMS is configured to give. If that clock
/// is ahead, other hosts refuse the token until then.
pub(crate) const NEW_FOR: Duration = Duration::from_secs(1);

/// The credential and the access token.
pub(crate) struct Login {
    lms: LmsApi,
    secret: CachedSecret<CredentialSecret>,
    clock: SharedClock,
    /// The number of attempts to obtain an authorization that failed, or that followed a
    /// refusal.
    ended: AtomicU64,
    /// Held by the caller that makes an attempt.
    known: Mutex<LoginState>,
}

#[derive(Default)]
struct LoginState {
    /// The credential that was last used.
    credential: Option<Arc<Credential>>,
    /// The token that the LMS gave for this credential.
    token: Option<CachedToken>,
    /// The result of the last attempt counted in `ended`.
    last: Option<Result<Authorization, LmsError>>,
}

/// A token with the times at which it was requested and received.
struct CachedToken {
    value: AccessToken,
    at: Timestamp,
    had_at: Timestamp,
}

impl LoginState {
    /// The authorization that was last used for the LMS.
    fn authorization(&self) -> Option<Authorization> {
        match self.credential.as_deref()? {
            Credential::Static { token } => Authorization::bearer(token),
            Credential::Client { .. } => {
                let token = self.token.as_ref()?;
                Some(token.value.authorization.clone())
            }
        }
    }
}

impl Login {
    pub(crate) fn new(lms: LmsApi, secret: CredentialSecret, clock: SharedClock) -> Self {
        Self {
            lms,
            secret: CachedSecret::new(secret, clock.clone()),
            clock,
            ended: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    /// Returns an authorization for the LMS; after a refusal of `refused`, a newer one. Returns
    /// `refused` again if there is none newer.
    ///
    /// One caller obtains it, under its `permit`. The callers that arrived meanwhile share the
    /// result, even a failure.
    pub(crate) async fn authorization(
        &self,
        permit: &Permit<'_>,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, LmsError> {
        let arrived = self.ended.load(Ordering::Relaxed);
        let mut known = self.known.lock().await;
        if let Some(last) = &known.last
            && self.ended.load(Ordering::Relaxed) > arrived
        {
            return last.clone();
        }
        let result = self.obtain(&mut known, permit, refused).await;
        // A first authorization is in the cache now, where the next caller finds it. A failure
        // is not, and neither is the fact that there is nothing newer.
        if result.is_err() || refused.is_some() {
            known.last = Some(result.clone());
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// True if the LMS has only just issued this token.
    pub(crate) async fn is_new(&self, authorization: &Authorization) -> bool {
        let known = self.known.lock().await;
        let new_for = SignedDuration::try_from(NEW_FOR).unwrap_or(SignedDuration::ZERO);
        known.token.as_ref().is_some_and(|token| {
            token.value.authorization == *authorization
                && within(new_for, token.had_at, self.clock.now())
        })
    }

    async fn obtain(
        &self,
        known: &mut LoginState,
        permit: &Permit<'_>,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, LmsError> {
        // Another caller may already have replaced the refused token.
        let force = refused.is_some() && known.authorization().as_ref() == refused;
        let credential = if force {
            self.secret.refresh().await
        } else {
            self.secret.get().await
        };
        let credential = credential.map_err(|error| unreadable(&error))?;
        let credential = credential.ok_or(NoCredentialError::NoneYet)?;
        if known.credential.as_ref() != Some(&credential) {
            known.credential = Some(Arc::clone(&credential));
            known.token = None;
        }
        match credential.as_ref() {
            Credential::Static { token } => {
                Ok(Authorization::bearer(token)
                    .ok_or_else(|| unreadable(&SecretError::Malformed))?)
            }
            Credential::Client { id, secret } => {
                let now = self.clock.now();
                if let Some(CachedToken { value, at, .. }) = &known.token
                    && refused != Some(&value.authorization)
                    && within(good_for(value), *at, now)
                {
                    return Ok(value.authorization.clone());
                }
                let value = retry::request_token(permit, || self.lms.access_token(id, secret));
                let value = value.await?;
                let authorization = value.authorization.clone();
                known.token = Some(CachedToken {
                    value,
                    at: now,
                    had_at: self.clock.now(),
                });
                Ok(authorization)
            }
        }
    }
}

/// Returns the time for which a token is used, counted from its request.
fn good_for(token: &AccessToken) -> SignedDuration {
    let Some(expires_in) = token.expires_in else {
        return OF_UNKNOWN_LIFE;
    };
    let margin = BEFORE_THE_END.min(expires_in / 10);
    SignedDuration::try_from(expires_in - margin).unwrap_or(SignedDuration::MAX)
}

fn unreadable(error: &SecretError) -> NoCredentialError {
    NoCredentialError::Unreadable(error.code().to_owned())
}

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
