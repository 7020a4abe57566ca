//! Authentication of bearer tokens: the cached list of tokens, and the decision on one token.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::adapters::secrets::{SecretError, TokenSecret};
use crate::clock::{SharedClock, within};
use crate::domain::digest::sha256_hex;
use crate::domain::token::{TokenList, TokenState};

/// The age at which the list is read again: a revoked token is refused within this time.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The greatest age of a list that is used while Secrets Manager is unavailable.
const SERVED_STALE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// The greatest age of a list by which an unknown token is refused.
const REFUSES_FOR: SignedDuration = SignedDuration::from_secs(2);

/// The time after which every instance accepts a token that was written to the list: a list
/// that refuses it is older than `REFUSES_FOR` by then, and so is read again. One more second
/// is for Secrets Manager, whose reads may be behind a write.
///
/// A token must not be handed out earlier: if a caller uses it sooner, it may be remembered as
/// unknown for as long as the list is cached.
pub const KNOWN_EVERYWHERE_AFTER: Duration = Duration::from_secs(3);

/// The greatest number of digests of unknown tokens remembered with a list, each of 64 bytes.
const MAX_STRANGERS: usize = 1000;

/// The time after a failed read in which the stale list is used without a new read. A read may
/// fail by hanging, and not every delivery should wait for that.
const AFTER_A_FAILURE: SignedDuration = SignedDuration::from_secs(15);

/// Authenticates bearer tokens by the list in Secrets Manager.
///
/// The list is read at start and cached for a minute. One caller then reads it again for all.
/// While Secrets Manager is unavailable, the list is used for up to a quarter of an hour. A
/// token that is not in it is refused at once if the list is younger than two seconds, or has
/// refused it before; otherwise the list is read again first. So a new token works from the
/// moment it is shown ([`KNOWN_EVERYWHERE_AFTER`]), no caller waits for anything but a read,
/// and a flood of unknown tokens costs at most one read every two seconds.
pub struct TokenCheck {
    secret: TokenSecret,
    clock: SharedClock,
    known: RwLock<TokenListState>,
    /// Held by the caller that reads the list.
    reading: tokio::sync::Mutex<()>,
}

/// The cached list, and the last attempt to read it.
#[derive(Debug, Clone, Default)]
struct TokenListState {
    list: Option<Arc<Listed>>,
    /// The last attempt that has ended.
    last_attempt: Option<Attempt>,
}

impl TokenListState {
    /// The number of attempts that have ended.
    fn attempts(&self) -> u64 {
        self.last_attempt
            .as_ref()
            .map_or(0, |attempt| attempt.number)
    }
}

#[derive(Debug)]
struct Listed {
    tokens: TokenList,
    /// The time at which the read began.
    read_at: Timestamp,
    /// Digests of tokens that are not in it, at most [`MAX_STRANGERS`].
    strangers: Mutex<HashSet<String>>,
}

impl Listed {
    fn new(tokens: TokenList, read_at: Timestamp) -> Self {
        Self {
            tokens,
            read_at,
            strangers: Mutex::default(),
        }
    }

    fn has_refused(&self, digest: &str) -> bool {
        self.strangers().contains(digest)
    }

    fn remember(&self, digest: String) {
        let mut strangers = self.strangers();
        if strangers.len() < MAX_STRANGERS {
            strangers.insert(digest);
        }
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
struct Attempt {
    number: u64,
    ended: Timestamp,
    failure: Option<TokensUnavailableError>,
}

impl Attempt {
    /// The failure, if it still counts at `now`: until it is older, the list is not read again.
    /// The failure of an outage counts for longer, because a read may hang in an outage.
    fn stands(&self, now: Timestamp) -> Option<&TokensUnavailableError> {
        self.failure.as_ref().filter(|failure| {
            let limit = if failure.is_outage() {
                AFTER_A_FAILURE
            } else {
                REFUSES_FOR
            };
            within(limit, self.ended, now)
        })
    }
}

/// The arrival of a request: its time, and the number of attempts that had ended by then.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Timestamp,
    /// The number of attempts that had ended. An attempt with a higher number ended later, so
    /// its list is young enough.
    ended: u64,
}

/// The decision on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthDecision {
    /// The token is live and has staff rights: its holder may call.
    Staff {
        /// The token's id in the list, which may be logged.
        id: String,
        /// The time at which it expires; absent if it is valid until revoked.
        expires_at: Option<Timestamp>,
    },
    /// The token is live but has no staff rights.
    NotStaff {
        /// The token's id in the list, which may be logged.
        id: String,
        /// The time at which it expires; absent if it is valid until revoked.
        expires_at: Option<Timestamp>,
    },
    /// The token is listed and has expired.
    Expired {
        /// The token's id in the list, which may be logged.
        id: String,
    },
    /// The token is listed and was revoked, before or after its expiry time.
    Revoked {
        /// The token's id in the list, which may be logged.
        id: String,
    },
    /// The token is not listed, even after the list was read again.
    Unknown,
}

/// Error of an authentication without a usable list: there is none, or it cannot be read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensUnavailableError {
    /// The secret has no value yet: no token was ever issued.
    #[error("no token has been issued yet")]
    NoTokensYet,
    /// The list could not be read, or it is malformed.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl TokensUnavailableError {
    fn is_outage(&self) -> bool {
        match self {
            Self::NoTokensYet => false,
            Self::Secret(error) => error.is_outage(),
        }
    }

    /// Returns the error's name in the log.
    pub fn code(&self) -> &str {
        match self {
            Self::NoTokensYet => "NoTokensYet",
            Self::Secret(error) => error.code(),
        }
    }
}

impl TokenCheck {
    /// Makes no read: the first one is made by [`TokenCheck::warm_up`] or by the first token to
    /// be authenticated.
    pub fn new(secret: TokenSecret, clock: SharedClock) -> Self {
        Self {
            secret,
            clock,
            known: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Reads the list ahead of the first request. A failure is ignored: the first request tries
    /// again.
    pub async fn warm_up(&self) {
        let _ = self.read_after(self.arrival()).await;
    }

    /// Authenticates one token.
    pub async fn authenticate(&self, token: &str) -> Result<AuthDecision, TokensUnavailableError> {
        let arrived = self.arrival();
        let digest = sha256_hex(token.as_bytes());
        let list = self.list(arrived).await?;
        if let Some(decision) = self.decide(&list, &digest) {
            return Ok(decision);
        }
        if list.has_refused(&digest) {
            return Ok(AuthDecision::Unknown);
        }
        let list = self.list_that_refuses(arrived).await?;
        Ok(self.decide(&list, &digest).unwrap_or_else(|| {
            list.remember(digest);
            AuthDecision::Unknown
        }))
    }

    fn arrival(&self) -> Arrival {
        Arrival {
            at: self.clock.now(),
            ended: self.known().attempts(),
        }
    }

    /// Returns the decision on a listed token, or `None` if the token is not listed.
    fn decide(&self, list: &Listed, digest: &str) -> Option<AuthDecision> {
        let record = list.tokens.find(digest)?;
        let (id, expires_at) = (record.id.clone(), record.expires_at);
        Some(match record.state(self.clock.now()) {
            TokenState::Live if record.staff => AuthDecision::Staff { id, expires_at },
            TokenState::Live => AuthDecision::NotStaff { id, expires_at },
            TokenState::Expired => AuthDecision::Expired { id },
            TokenState::Revoked => AuthDecision::Revoked { id },
        })
    }

    /// Returns a fresh list if possible, else a stale one within its limits.
    async fn list(&self, arrived: Arrival) -> Result<Arc<Listed>, TokensUnavailableError> {
        let known = self.known();
        let Some(list) = known.list else {
            // Nothing can be authenticated without a list, so every request may try to read it.
            return self.read_after(arrived).await;
        };
        if within(FRESH_FOR, list.read_at, arrived.at) {
            return Ok(list);
        }
        let serves = |list: &Listed| within(SERVED_STALE_FOR, list.read_at, self.clock.now());
        let failure = known
            .last_attempt
            .as_ref()
            .and_then(|last| last.stands(arrived.at));
        if failure.is_some_and(TokensUnavailableError::is_outage) && serves(&list) {
            return Ok(list);
        }
        match self.read_after(arrived).await {
            Err(failure) if failure.is_outage() && serves(&list) => Ok(list),
            read => read,
        }
    }

    /// Returns the list as it was at most [`REFUSES_FOR`] ago, or since `arrived`: a token that
    /// is not in it was not shown to anybody before the request came.
    async fn list_that_refuses(
        &self,
        arrived: Arrival,
    ) -> Result<Arc<Listed>, TokensUnavailableError> {
        self.read_unless(|known| {
            let now = self.clock.now();
            let list = known.list.as_ref();
            let is_young = |list: &&Arc<Listed>| {
                list.read_at >= arrived.at || within(REFUSES_FOR, list.read_at, now)
            };
            if let Some(list) = list.filter(is_young) {
                return Some(Ok(Arc::clone(list)));
            }
            let failure = known
                .last_attempt
                .as_ref()
                .and_then(|last| last.stands(now));
            failure.cloned().map(Err)
        })
        .await
    }

    /// Reads the list, or shares the result of an attempt that ended since `arrived`.
    async fn read_after(&self, arrived: Arrival) -> Result<Arc<Listed>, TokensUnavailableError> {
        self.read_unless(|known| {
            let attempt = known.last_attempt.as_ref();
            let attempt = attempt.filter(|attempt| attempt.number > arrived.ended)?;
            Some(match (&attempt.failure, &known.list) {
                (None, Some(list)) => Ok(Arc::clone(list)),
                (failure, _) => Err(failure
                    .clone()
                    .unwrap_or(TokensUnavailableError::NoTokensYet)),
            })
        })
        .await
    }

    /// Reads the list, unless the cached state is enough. One caller reads; the others wait for
    /// it, and then check the state.
    async fn read_unless(
        &self,
        enough: impl FnOnce(&TokenListState) -> Option<Result<Arc<Listed>, TokensUnavailableError>>,
    ) -> Result<Arc<Listed>, TokensUnavailableError> {
        let _reading = self.reading.lock().await;
        let known = self.known();
        if let Some(known) = enough(&known) {
            return known;
        }
        let result = self.read(self.clock.now()).await;
        let attempt = Attempt {
            number: known.attempts() + 1,
            ended: self.clock.now(),
            failure: result.as_ref().err().cloned(),
        };
        self.know(|known| {
            known.last_attempt = Some(attempt);
            if let Ok(list) = &result {
                known.list = Some(Arc::clone(list));
            }
        });
        result
    }

    async fn read(&self, began: Timestamp) -> Result<Arc<Listed>, TokensUnavailableError> {
        let tokens = self
            .secret
            .read()
            .await?
            .list
            .ok_or(TokensUnavailableError::NoTokensYet)?;
        Ok(Arc::new(Listed::new(tokens, began)))
    }

    fn know(&self, change: impl FnOnce(&mut TokenListState)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn known(&self) -> TokenListState {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list remembers a limited number of unknown tokens, however many are presented.
    #[test]
    fn a_list_remembers_at_most_a_thousand_unknown_tokens() {
        let list = Listed::new(TokenList::default(), Timestamp::UNIX_EPOCH);
        let digest = |n: usize| sha256_hex(n.to_string().as_bytes());
        for n in 0..2 * MAX_STRANGERS {
            list.remember(digest(n));
        }
        let refused = (0..2 * MAX_STRANGERS).filter(|n| list.has_refused(&digest(*n)));
        assert!(refused.eq(0..MAX_STRANGERS));
    }
}
