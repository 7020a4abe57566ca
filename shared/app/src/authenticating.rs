//! Authentication of bearer tokens: the cached list of tokens, and the decision on one token.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::SharedClock;
use domain::digest::sha256_hex;
use domain::token::{TokenList, TokenState};
use jiff::{SignedDuration, Timestamp};
use secrets::{CachedSecret, SecretError, SecretSource, TokenSecret};

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

/// Authenticates bearer tokens by the list in Secrets Manager.
///
/// The list is read at start and cached (`CachedSecret`). A token that is not in it is refused
/// at once if the list is younger than two seconds, or has refused it before; otherwise the list
/// is read again first. So a new token works from the moment it is shown
/// ([`KNOWN_EVERYWHERE_AFTER`]), no caller waits for anything but a read, and a flood of unknown
/// tokens costs at most one read every two seconds.
pub struct TokenCheck {
    secret: CachedSecret<ListSource>,
    clock: SharedClock,
}

/// A list as it was read, and the tokens that it has refused.
pub(crate) struct Listed {
    tokens: TokenList,
    /// Digests of tokens that are not in it, at most [`MAX_STRANGERS`].
    strangers: Mutex<HashSet<String>>,
}

impl Listed {
    fn new(tokens: TokenList) -> Self {
        Self {
            tokens,
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

    fn strangers(&self) -> MutexGuard<'_, HashSet<String>> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Returns the error's name in the log.
    pub fn code(&self) -> &str {
        match self {
            Self::NoTokensYet => "NoTokensYet",
            Self::Secret(error) => error.code(),
        }
    }
}

/// The source of the cached list.
struct ListSource(TokenSecret);

impl SecretSource for ListSource {
    type Value = Listed;

    async fn read_value(&self) -> Result<Option<Listed>, SecretError> {
        Ok(self.0.read().await?.list.map(Listed::new))
    }
}

impl TokenCheck {
    /// Makes no read: the first one is made by [`TokenCheck::warm_up`] or by the first token to
    /// be authenticated.
    pub fn new(secret: TokenSecret, clock: SharedClock) -> Self {
        Self {
            secret: CachedSecret::new(ListSource(secret), clock.clone()),
            clock,
        }
    }

    /// Reads the list ahead of the first request. A failure is ignored: the first request tries
    /// again.
    pub async fn warm_up(&self) {
        let _ = self.secret.get().await;
    }

    /// Authenticates one token.
    pub async fn authenticate(&self, token: &str) -> Result<AuthDecision, TokensUnavailableError> {
        let arrived = self.clock.now();
        let digest = sha256_hex(token.as_bytes());
        let list = self.secret.get().await?;
        let list = list.ok_or(TokensUnavailableError::NoTokensYet)?;
        if let Some(decision) = self.decide(&list, &digest) {
            return Ok(decision);
        }
        if list.has_refused(&digest) {
            return Ok(AuthDecision::Unknown);
        }
        // A token that is not in this list was not shown to anybody before the request came.
        let list = self.secret.get_recent(REFUSES_FOR, arrived).await?;
        let list = list.ok_or(TokensUnavailableError::NoTokensYet)?;
        Ok(self.decide(&list, &digest).unwrap_or_else(|| {
            list.remember(digest);
            AuthDecision::Unknown
        }))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list remembers a limited number of unknown tokens, however many are presented.
    #[test]
    fn a_list_remembers_at_most_a_thousand_unknown_tokens() {
        let list = Listed::new(TokenList::default());
        let digest = |n: usize| sha256_hex(n.to_string().as_bytes());
        for n in 0..2 * MAX_STRANGERS {
            list.remember(digest(n));
        }
        let refused = (0..2 * MAX_STRANGERS).filter(|n| list.has_refused(&digest(*n)));
        assert!(refused.eq(0..MAX_STRANGERS));
    }
}
