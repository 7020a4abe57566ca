//! Tokens that may call the webhooks, and the check of one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The time for which a dead token stays listed, so that a delivery that still uses it can be
/// distinguished from a stranger's.
const DEAD_TOKENS_ARE_LISTED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The stored data of one token. The token itself is known only to its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Twelve hex digits that identify the token in logs, histories and commands.
    pub id: String,
    /// The name that the operator gave it.
    pub name: String,
    /// Lowercase hex SHA-256 of the token.
    pub sha256: String,
    /// True if its holder may call the webhooks.
    pub staff: bool,
    /// The time at which it was issued, to the millisecond.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer valid; absent if it is valid until revoked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
    /// The time at which it was first revoked; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
}

/// The state of a token at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It is neither revoked nor expired.
    Live,
    /// Its expiry time has passed, and nobody has revoked it.
    Expired,
    /// Somebody has revoked it, before or after its expiry time.
    Revoked,
}

impl TokenRecord {
    /// Returns the state at `now`. A revocation counts whatever its time.
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            TokenState::Expired
        } else {
            TokenState::Live
        }
    }

    /// Returns the token with an expiry time, unless it has an earlier one.
    #[must_use]
    pub fn ending(&self, at: Timestamp) -> Self {
        let end = self.expires_at.map_or(at, |end| end.min(at));
        Self {
            expires_at: Some(end),
            ..self.clone()
        }
    }

    /// The time at which the token expired or was revoked, or `None` if it is live.
    fn died_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state(now) {
            TokenState::Live => None,
            TokenState::Expired => self.expires_at,
            TokenState::Revoked => self.revoked_at,
        }
    }
}

/// All tokens, as the secret `webhook-tokens` holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// The tokens in the order of issue. A dead one is removed by the first change after its 30
    /// days.
    pub tokens: Vec<TokenRecord>,
}

/// Error of an id that no token has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no token with the id {0}")]
pub struct NoSuchTokenError(pub String);

/// The reason why a token cannot be given an expiry time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndTokenError {
    /// There is no token with this id.
    #[error(transparent)]
    NoSuchToken(#[from] NoSuchTokenError),
    /// It is no longer valid.
    #[error("the token {id} is {}", .state.as_str())]
    Dead {
        /// The token's id.
        id: String,
        /// Expired or revoked.
        state: TokenState,
    },
}

impl TokenState {
    /// Returns the name of the state that people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl TokenList {
    /// The record of the token with this digest (lowercase hex SHA-256). All are compared, each
    /// in constant time.
    pub fn find(&self, digest: &str) -> Option<&TokenRecord> {
        self.tokens.iter().fold(None, |found, record| {
            let same = bool::from(record.sha256.as_bytes().ct_eq(digest.as_bytes()));
            if same { Some(record) } else { found }
        })
    }

    /// True if a token with this id is listed, live or dead.
    pub fn lists(&self, id: &str) -> bool {
        self.tokens.iter().any(|record| record.id == id)
    }

    fn record(&mut self, id: &str) -> Result<&mut TokenRecord, NoSuchTokenError> {
        let mut records = self.tokens.iter_mut();
        let record = records.find(|record| record.id == id);
        record.ok_or_else(|| NoSuchTokenError(id.to_owned()))
    }

    /// Gives a live token an expiry time, unless it has an earlier one. Returns the token as it
    /// was before.
    pub fn end(
        &mut self,
        id: &str,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<TokenRecord, EndTokenError> {
        let record = self.record(id)?;
        let before = record.clone();
        match before.state(now) {
            TokenState::Live => {
                *record = before.ending(at);
                Ok(before)
            }
            state => Err(EndTokenError::Dead {
                id: before.id,
                state,
            }),
        }
    }

    /// Restores the expiry time that a token had, if it still has the one that it was given
    /// since.
    pub fn put_back_end(
        &mut self,
        before: &TokenRecord,
        given: Option<Timestamp>,
    ) -> Result<(), NoSuchTokenError> {
        let record = self.record(&before.id)?;
        if record.expires_at == given {
            record.expires_at = before.expires_at;
        }
        Ok(())
    }

    /// Revokes a token from now on. Returns true if that changed anything.
    pub fn revoke(&mut self, id: &str, now: Timestamp) -> Result<bool, NoSuchTokenError> {
        let record = self.record(id)?;
        // Our own revocation, at this very moment, is found again if its answer was lost.
        let changes = record.revoked_at.is_none_or(|at| at == now);
        if changes {
            record.revoked_at = Some(now);
        }
        Ok(changes)
    }

    /// Removes the tokens that died 30 days ago or earlier.
    pub fn prune(&mut self, now: Timestamp) {
        self.tokens.retain(|record| {
            record
                .died_at(now)
                .is_none_or(|died| now.duration_since(died) < DEAD_TOKENS_ARE_LISTED_FOR)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256_hex;

    fn record(id: &str, expires: Option<i64>, revoked: Option<i64>) -> TokenRecord {
        let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        TokenRecord {
            id: id.to_owned(),
            name: id.to_owned(),
            sha256: sha256_hex(id.as_bytes()),
            staff: true,
            created_at: day(0),
            expires_at: expires.map(day),
            revoked_at: revoked.map(day),
        }
    }

    #[test]
    fn a_token_expires_and_is_pruned_30_days_after_its_death() {
        // id, expires on, revoked on, state on day 50, still listed on day 50
        let rows = [
            ("forever", None, None, TokenState::Live, true),
            ("later", Some(51), None, TokenState::Live, true),
            ("today", Some(50), None, TokenState::Expired, true),
            ("lately", Some(21), None, TokenState::Expired, true),
            ("long-ago", Some(20), None, TokenState::Expired, false),
            ("revoked", Some(60), Some(30), TokenState::Revoked, true),
            ("forgotten", Some(60), Some(20), TokenState::Revoked, false),
        ];
        let now = Timestamp::from_second(50 * 86_400).unwrap();
        let mut list = TokenList {
            tokens: rows
                .map(|(id, expires, revoked, ..)| record(id, expires, revoked))
                .to_vec(),
        };
        for (id, _, _, state, _) in rows {
            let found = list.find(&sha256_hex(id.as_bytes()));
            assert_eq!(found.map(|r| r.state(now)), Some(state), "{id}");
        }
        list.prune(now);
        for (id, .., is_listed) in rows {
            let found = list.find(&sha256_hex(id.as_bytes()));
            assert_eq!(found.is_some(), is_listed, "{id}");
        }
        assert_eq!(list.find(&sha256_hex(b"unknown")), None);
    }

    #[test]
    fn an_end_is_never_moved_later_and_can_be_restored() {
        let day = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        let dead = |id: &str, state| {
            let id = id.to_owned();
            Err(EndTokenError::Dead { id, state })
        };
        // id, expires on, revoked on, expires on after it is given the end on day 57
        for (id, expires, revoked, expected) in [
            ("forever", None, None, Ok(57)),
            ("later", Some(60), None, Ok(57)),
            ("sooner", Some(51), None, Ok(51)),
            (
                "expired",
                Some(50),
                None,
                dead("expired", TokenState::Expired),
            ),
            (
                "revoked",
                None,
                Some(40),
                dead("revoked", TokenState::Revoked),
            ),
        ] {
            let before = record(id, expires, revoked);
            let mut list = TokenList {
                tokens: vec![before.clone()],
            };
            let ended = list.end(id, day(57), day(50));
            assert_eq!(ended, expected.clone().map(|_| before.clone()), "{id}");
            let given = expected.map_or(before.expires_at, |end| Some(day(end)));
            assert_eq!(list.tokens[0].expires_at, given, "{id}");

            // An end that somebody else set is left unchanged.
            assert_eq!(list.put_back_end(&before, Some(day(99))), Ok(()), "{id}");
            assert_eq!(list.tokens[0].expires_at, given, "{id}");
            assert_eq!(list.put_back_end(&before, given), Ok(()), "{id}");
            assert_eq!(list.tokens[0], before, "{id}");
        }
        let none = TokenList::default().end("a", day(1), day(0));
        assert_eq!(none, Err(NoSuchTokenError("a".to_owned()).into()));
    }

    #[test]
    fn revoking_twice_keeps_the_first_moment() {
        let mut list = TokenList {
            tokens: vec![record("a", None, None)],
        };
        let first = Timestamp::from_second(1).unwrap();
        assert_eq!(list.revoke("a", first), Ok(true));
        assert_eq!(
            list.revoke("a", Timestamp::from_second(2).unwrap()),
            Ok(false)
        );
        assert_eq!(list.tokens[0].revoked_at, Some(first));
        assert_eq!(
            list.revoke("b", first),
            Err(NoSuchTokenError("b".to_owned()))
        );
    }
}
