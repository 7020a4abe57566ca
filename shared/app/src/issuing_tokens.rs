//! Issue, rotation and revocation of tokens, also by several operators at the same time.

use std::time::Duration;

use common::clock::SharedClock;
use domain::digest::sha256_hex;
use domain::token::{EndTokenError, NoSuchTokenError, TokenList, TokenRecord};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use secrets::{Replaced, SecretError, TokenSecret};
use thiserror::Error;
use uuid::Uuid;

/// The number of attempts at a change when other operators keep changing the list.
const ATTEMPTS: u32 = 20;

/// Changes the list of tokens.
pub struct TokenRegistry {
    secret: TokenSecret,
    clock: SharedClock,
}

/// A new token. It can be read only here.
#[derive(Debug)]
pub struct Issued {
    /// The listed record of the token: it holds the digest, not the token.
    pub record: TokenRecord,
    /// The token: `chk_` and 64 hex digits.
    pub token: SecretString,
}

/// A new token that replaces an old one, which stays valid for a while.
#[derive(Debug)]
pub struct Rotated {
    /// The new token, with the old one's name and rights.
    pub issued: Issued,
    /// The old token, with its new end.
    pub old: TokenRecord,
    /// The old token as it was before.
    before: TokenRecord,
}

/// The result of a revocation.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The token as it is listed now, with the time at which it was first revoked.
    pub record: TokenRecord,
    /// True if it was not revoked before.
    pub changed: bool,
}

/// Error of a change of the list.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The list could not be read or written, or would be too large.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The new list was sent, but its outcome is not known: the change may have been made.
    #[error("{0}, and the change may have been made")]
    Unclear(SecretError),
    /// No listed token has this id; one that died long ago is no longer listed.
    #[error("{0}; `coursehook tokens list` shows them all")]
    NoSuchToken(#[from] NoSuchTokenError),
    /// The token is expired or revoked, so extending its use by a rotation makes no sense.
    #[error("{0}; `coursehook tokens issue` issues another one")]
    Dead(EndTokenError),
    /// The end is later than the greatest [`jiff::Timestamp`].
    #[error("the token would end after the year 9999; use a shorter time")]
    EndsTooLate,
    /// Another operator's change came first, in each of 20 attempts.
    #[error("others kept changing the list of tokens; try again")]
    Contended,
}

impl From<EndTokenError> for TokenError {
    fn from(error: EndTokenError) -> Self {
        match error {
            EndTokenError::NoSuchToken(error) => error.into(),
            dead @ EndTokenError::Dead { .. } => Self::Dead(dead),
        }
    }
}

/// A token that is not listed yet.
struct Fresh {
    id: String,
    token: String,
}

impl Fresh {
    fn new() -> Self {
        Self {
            id: Uuid::new_v4().simple().to_string()[..12].to_owned(),
            // 244 random bits, behind a prefix that scanners for leaked secrets can look for.
            token: format!("chk_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
        }
    }

    /// Returns the record to be listed.
    fn record(
        &self,
        name: &str,
        staff: bool,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> TokenRecord {
        TokenRecord {
            id: self.id.clone(),
            name: name.to_owned(),
            sha256: sha256_hex(self.token.as_bytes()),
            staff,
            created_at,
            expires_at,
            revoked_at: None,
        }
    }

    fn issued(self, record: TokenRecord) -> Issued {
        Issued {
            record,
            token: SecretString::from(self.token),
        }
    }
}

/// Returns the end of a period that begins now.
fn end_of(time: SignedDuration, now: Timestamp) -> Result<Timestamp, TokenError> {
    now.checked_add(time).map_err(|_| TokenError::EndsTooLate)
}

impl TokenRegistry {
    /// Takes the secret that holds the list, which may have no value yet. Makes no call.
    pub fn new(secret: TokenSecret, clock: SharedClock) -> Self {
        Self { secret, clock }
    }

    /// Returns all listed tokens, dead ones included.
    pub async fn list(&self) -> Result<Vec<TokenRecord>, TokenError> {
        let stored = self.secret.read().await?;
        Ok(stored.list.unwrap_or_default().tokens)
    }

    /// Makes a token and lists its digest. The caller must not show it before
    /// [`KNOWN_EVERYWHERE_AFTER`](super::authenticating::KNOWN_EVERYWHERE_AFTER) has passed.
    pub async fn issue(
        &self,
        name: &str,
        staff: bool,
        expires_in: Option<SignedDuration>,
    ) -> Result<Issued, TokenError> {
        let now = self.clock.now();
        let expires_at = expires_in.map(|time| end_of(time, now)).transpose()?;
        let fresh = Fresh::new();
        let record = fresh.record(name, staff, now, expires_at);
        self.change(|list| {
            // A change that was made, and whose answer was lost, is found here.
            if !list.lists(&record.id) {
                list.tokens.push(record.clone());
            }
            Ok(())
        })
        .await?;
        Ok(fresh.issued(record))
    }

    /// Issues a token with the name and the rights of a live one. The old one then ends after
    /// `old_ends_in`, or at its own end if that is sooner. This is one change of the list: both
    /// happen, or neither. The caller must wait before showing the new token, as after
    /// [`TokenRegistry::issue`].
    pub async fn rotate(
        &self,
        id: &str,
        old_ends_in: SignedDuration,
        expires_in: Option<SignedDuration>,
    ) -> Result<Rotated, TokenError> {
        let now = self.clock.now();
        let old_end = end_of(old_ends_in, now)?;
        let expires_at = expires_in.map(|time| end_of(time, now)).transpose()?;
        let fresh = Fresh::new();
        let mut before = None;
        self.change(|list| {
            // A change that was made, and whose answer was lost, is found here.
            if !list.lists(&fresh.id) {
                let old = list.end(id, old_end, now)?;
                let record = fresh.record(&old.name, old.staff, now, expires_at);
                list.tokens.push(record);
                before = Some(old);
            }
            Ok(())
        })
        .await?;
        let before = before.ok_or_else(|| NoSuchTokenError(id.to_owned()))?;
        let record = fresh.record(&before.name, before.staff, now, expires_at);
        Ok(Rotated {
            issued: fresh.issued(record),
            old: before.ending(old_end),
            before,
        })
    }

    /// Undoes a rotation whose token nobody has received: revokes the new token, and restores
    /// the end of the old one. This is one change of the list.
    pub async fn undo(&self, rotated: &Rotated) -> Result<(), TokenError> {
        let now = self.clock.now();
        let Rotated {
            issued,
            old,
            before,
        } = rotated;
        self.change(|list| {
            list.put_back_end(before, old.expires_at)?;
            list.revoke(&issued.record.id, now)?;
            Ok(())
        })
        .await
    }

    /// Revokes a token. Functions that have it cached as live accept it for at most another
    /// minute.
    pub async fn revoke(&self, id: &str) -> Result<Revoked, TokenError> {
        let now = self.clock.now();
        let (record, changed) = self
            .change(|list| {
                let changed = list.revoke(id, now)?;
                let record = list.tokens.iter().find(|record| record.id == id).cloned();
                Ok((
                    record.ok_or_else(|| NoSuchTokenError(id.to_owned()))?,
                    changed,
                ))
            })
            .await?;
        Ok(Revoked { record, changed })
    }

    /// Reads the list, changes it, and makes it current. Retries until no other change came in
    /// between.
    async fn change<T>(
        &self,
        mut change: impl FnMut(&mut TokenList) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut is_sent = false;
        for attempt in 0..ATTEMPTS {
            let stored = match self.secret.read().await {
                Err(error) if is_sent => return Err(TokenError::Unclear(error)),
                read => read?,
            };
            let mut list = stored.list.clone().unwrap_or_default();
            let outcome = change(&mut list)?;
            list.prune(self.clock.now());
            if stored.list.as_ref() == Some(&list) {
                return Ok(outcome);
            }
            is_sent = true;
            let replaced = self.secret.replace(&stored, &list, self.clock.now());
            match replaced.await {
                Err(error) if error.is_outage() => return Err(TokenError::Unclear(error)),
                Err(error) => return Err(error.into()),
                Ok(Replaced::Done) => return Ok(outcome),
                Ok(Replaced::Moved) => {
                    // The random wait keeps two operators from colliding each time.
                    let random = u64::from(Uuid::new_v4().as_bytes()[0]);
                    let wait = Duration::from_millis(random * u64::from(attempt + 1) / 4);
                    self.clock.sleep(wait).await;
                }
            }
        }
        Err(TokenError::Contended)
    }
}
