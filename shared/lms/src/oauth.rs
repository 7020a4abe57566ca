//! Login to the LMS: the credential and the access token, each obtained by one caller for all. A
//! token that the LMS refuses is renewed once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::{SharedClock, within};
use domain::Credential;
use jiff::{SignedDuration, Timestamp};
use secrets::{CachedSecret, CredentialSecret, SecretError};
use tokio::sync::Mutex;

use crate::api::LmsApi;
use crate::error::{LmsApiError, LmsError, NoCredentialError};
use crate::rate_limit::{Endpoint, Permit};
use crate::retry::send;
use crate::token::{AccessToken, Authorization};

/// The time before its expiry at which a token is no longer used, unless a tenth of its
/// lifetime is shorter.
const BEFORE_THE_END: Duration = Duration::from_mins(5);

/// The time for which a token is used if the LMS did not give its lifetime.
const OF_UNKNOWN_LIFE: SignedDuration = SignedDuration::from_mins(1);

/// The time for which a token is new. A JWT is valid from the second in which it was issued by
/// the clock of the issuing host, whatever leeway the LMS is configured to give. If that clock
/// is ahead, other hosts refuse the token until then.
const NEW_FOR: Duration = Duration::from_secs(1);

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

    /// Makes one call under its permit, with a token, and once more with a new token if the LMS
    /// refuses the first.
    pub(crate) async fn call<T, A>(
        &self,
        permit: &Permit<'_>,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, LmsError>
    where
        A: Future<Output = Result<T, LmsApiError>>,
    {
        let first = self.authorization(permit, None).await?;
        let refused = match self.call_with(permit, &first, &request).await {
            Err(refused) if is_unauthorized(&refused) => refused,
            result => return result,
        };
        let second = self.authorization(permit, Some(&first)).await?;
        if second == first {
            return Err(refused);
        }
        self.call_with(permit, &second, &request).await
    }

    /// Makes one request with this authorization, and once more after a second if the LMS refuses a
    /// token that it has only just issued.
    async fn call_with<T, A>(
        &self,
        permit: &Permit<'_>,
        authorization: &Authorization,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, LmsError>
    where
        A: Future<Output = Result<T, LmsApiError>>,
    {
        let of_enrollments = permit.endpoint() == Endpoint::Enrollments;
        let is_new = self.is_new(authorization).await;
        let result = send(permit, of_enrollments, || request(authorization.clone())).await;
        match &result {
            Err(refused) if is_new && is_unauthorized(refused) => {
                self.clock.sleep(NEW_FOR).await;
                send(permit, of_enrollments, || request(authorization.clone())).await
            }
            _ => result,
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
    async fn is_new(&self, authorization: &Authorization) -> bool {
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
                let value = send(permit, false, || self.lms.access_token(id, secret));
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

fn is_unauthorized(error: &LmsError) -> bool {
    matches!(error, LmsError::Api(LmsApiError::Unauthorized { .. }))
}
