//! What the LMS is shown: the credential and the access token, each obtained
//! by one caller for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::error::{LmsError, NoCredentialError};
use super::rate_limiter::Permit;
use crate::adapters::lms::{AccessToken, Authorization, LmsApi};
use crate::adapters::secrets::{CredentialSecret, SecretError};
use crate::clock::{SharedClock, within};
use crate::domain::Credential;

/// How old a credential may be before it is read again: one that is replaced
/// takes effect within this.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How old a credential may be that serves while Secrets Manager is away.
const SERVED_STALE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// How long after a failed read a credential is served stale before it is
/// read again. A read may fail by hanging, and not every call is to wait for that.
const AFTER_A_FAILURE: SignedDuration = SignedDuration::from_secs(15);

/// How long before its end a token is used no more, unless it lives so
/// shortly that a tenth of its life is less.
const BEFORE_THE_END: Duration = Duration::from_mins(5);

/// For how long a token is used of which the LMS did not say how long it is good.
const OF_UNKNOWN_LIFE: SignedDuration = SignedDuration::from_mins(1);

/// For how long a token is new. A JWT is good from the second on in which the clock
/// of the host that issued it has it issued, whatever leeway the LMS is set to give;
/// where that clock is ahead, others refuse the token until then.
pub(super) const NEW_FOR: Duration = Duration::from_secs(1);

/// The credential and the access token.
pub(super) struct Login {
    lms: LmsApi,
    secret: CredentialSecret,
    clock: SharedClock,
    /// How many attempts to obtain an authorization came to nothing new.
    ended: AtomicU64,
    /// Held by whoever makes an attempt.
    known: Mutex<LoginState>,
}

#[derive(Default)]
struct LoginState {
    credential: Option<Cached<Credential>>,
    /// When Secrets Manager was last found to be away.
    away_at: Option<Timestamp>,
    /// What the LMS gave for this credential.
    token: Option<Cached<AccessToken>>,
    /// How the last of the attempts ended that are counted.
    last: Option<Result<Authorization, LmsError>>,
}

/// Something with the moments at which it was asked for and had.
struct Cached<T> {
    value: T,
    at: Timestamp,
    had_at: Timestamp,
}

impl LoginState {
    /// What was last shown to the LMS.
    fn authorization(&self) -> Option<Authorization> {
        match &self.credential.as_ref()?.value {
            Credential::Static { token } => Authorization::bearer(token),
            Credential::Client { .. } => {
                let token = self.token.as_ref()?;
                Some(token.value.authorization.clone())
            }
        }
    }
}

impl Login {
    pub(super) fn new(lms: LmsApi, secret: CredentialSecret, clock: SharedClock) -> Self {
        Self {
            lms,
            secret,
            clock,
            ended: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    /// What to show to the LMS, which has refused `refused`. That is returned
    /// again where there is nothing newer.
    ///
    /// One obtains it, in its `permit`; whoever came meanwhile shares what
    /// comes of that, be it a failure.
    pub(super) async fn authorization(
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
        // What was obtained for the first time is known now, and found by
        // whoever comes next. A failure is not, nor that there is nothing newer.
        if result.is_err() || refused.is_some() {
            known.last = Some(result.clone());
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Whether this is a token that the LMS has only just issued.
    pub(super) async fn is_new(&self, authorization: &Authorization) -> bool {
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
        // Somebody may have replaced what was refused.
        let force = refused.is_some() && known.authorization().as_ref() == refused;
        self.refresh_credential(known, force).await?;
        let LoginState {
            credential, token, ..
        } = known;
        let credential = credential.as_ref().map(|cached| &cached.value);
        match credential.ok_or(NoCredentialError::NoneYet)? {
            Credential::Static { token } => {
                Ok(Authorization::bearer(token)
                    .ok_or_else(|| unreadable(&SecretError::Malformed))?)
            }
            Credential::Client { id, secret } => {
                let now = self.clock.now();
                if let Some(Cached { value, at, .. }) = token
                    && refused != Some(&value.authorization)
                    && within(good_for(value), *at, now)
                {
                    return Ok(value.authorization.clone());
                }
                let value = permit.request_token(|| self.lms.access_token(id, secret));
                let value = value.await?;
                let authorization = value.authorization.clone();
                *token = Some(Cached {
                    value,
                    at: now,
                    had_at: self.clock.now(),
                });
                Ok(authorization)
            }
        }
    }

    /// Sees to it that the known credential is a fresh one, or a stale one
    /// that serves. `force` makes it be read whatever its age.
    async fn refresh_credential(
        &self,
        known: &mut LoginState,
        force: bool,
    ) -> Result<(), NoCredentialError> {
        let began = self.clock.now();
        let is_young = |known: &LoginState, limit| {
            let cached = known.credential.as_ref();
            cached.is_some_and(|cached| within(limit, cached.at, self.clock.now()))
        };
        let was_away = known
            .away_at
            .is_some_and(|at| within(AFTER_A_FAILURE, at, began));
        if (!force && is_young(known, FRESH_FOR)) || (was_away && is_young(known, SERVED_STALE_FOR))
        {
            return Ok(());
        }
        let value = match self.secret.read().await {
            Ok(Some(value)) => value,
            Ok(None) => return Err(NoCredentialError::NoneYet),
            Err(error) if error.is_outage() => {
                known.away_at = Some(self.clock.now());
                return if is_young(known, SERVED_STALE_FOR) {
                    Ok(())
                } else {
                    Err(unreadable(&error))
                };
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let is_same = known
            .credential
            .as_ref()
            .is_some_and(|cached| cached.value == value);
        if !is_same {
            known.token = None;
        }
        known.credential = Some(Cached {
            value,
            at: began,
            had_at: self.clock.now(),
        });
        known.away_at = None;
        Ok(())
    }
}

/// For how long after it was asked for a token is used.
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
