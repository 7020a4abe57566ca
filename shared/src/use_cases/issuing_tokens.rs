//! Tokens are issued, rotated and revoked, by several operators at once if need be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::adapters::secrets::{Replaced, SecretError, TokenSecret};
use crate::clock::SharedClock;
use crate::domain::digest::sha256_hex;
use crate::domain::token::{EndTokenError, NoSuchTokenError, TokenList, TokenRecord};

/// How often a change is done again because somebody else's came first.
const ATTEMPTS: u32 = 20;

/// Changes the list of tokens.
pub struct TokenRegistry {
    secret: TokenSecret,
    clock: SharedClock,
}

/// A new token. It can be read here and never again.
#[derive(Debug)]
pub struct Issued {
    /// What is listed of it: its digest and not the token.
    pub record: TokenRecord,
    /// `chk_` and 64 hex digits.
    pub token: SecretString,
}

/// A new token in place of an old one, which is good for a while longer.
#[derive(Debug)]
pub struct Rotated {
    /// The new one, with the old one's name and rights.
    pub issued: Issued,
    /// The old one, with the end that it has now.
    pub old: TokenRecord,
    /// The old one as it was before.
    before: TokenRecord,
}

/// A token was revoked.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// As it is listed now, with the moment when it was first revoked.
    pub record: TokenRecord,
    /// Whether it was not revoked already.
    pub changed: bool,
}

/// Why the list could not be changed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The list could not be read or written, or would be too large.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The new list was sent, and what became of it is not known: the change may
    /// have been made.
    #[error("{0}, and the change may have been made")]
    Unclear(SecretError),
    /// No listed token has this id; one that died long ago is listed no more.
    #[error("{0}; `coursehook tokens list` shows them all")]
    NoSuchTokenError(#[from] NoSuchTokenError),
    /// It is expired or revoked, and whoever bore it has no use for a while longer.
    #[error("{0}; `coursehook tokens issue` issues another one")]
    Dead(EndTokenError),
    /// Its end is later than a [`jiff::Timestamp`] can be.
    #[error("the token would end after the year 9999; use a shorter time")]
    EndsTooLate,
    /// Somebody else's change came first, each of 20 times.
    #[error("others kept changing the list of tokens; try again")]
    Contended,
}

impl From<EndTokenError> for TokenError {
    fn from(error: EndTokenError) -> Self {
        match error {
            EndTokenError::NoSuchTokenError(error) => error.into(),
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
            // 244 bits of chance, behind a prefix that scanners for leaked secrets can look for.
            token: format!("chk_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
        }
    }

    /// What is listed of it.
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

/// The end of what begins now.
fn end_of(time: SignedDuration, now: Timestamp) -> Result<Timestamp, TokenError> {
    now.checked_add(time).map_err(|_| TokenError::EndsTooLate)
}

impl TokenRegistry {
    /// Takes the secret that holds the list, which may have no value yet. Makes no call.
    pub fn new(secret: TokenSecret, clock: SharedClock) -> Self {
        Self { secret, clock }
    }

    /// All tokens that are listed, dead ones included.
    pub async fn list(&self) -> Result<Vec<TokenRecord>, TokenError> {
        let stored = self.secret.read().await?;
        Ok(stored.list.unwrap_or_default().tokens)
    }

    /// Makes a token and lists its digest. It is to be shown to nobody before
    /// [`KNOWN_EVERYWHERE_AFTER`](super::authenticating::KNOWN_EVERYWHERE_AFTER).
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
            // A change that was done, and whose answer was lost, is met here again.
            if !list.lists(&record.id) {
                list.tokens.push(record.clone());
            }
            Ok(())
        })
        .await?;
        Ok(fresh.issued(record))
    }

    /// Issues a token with the name and the rights of a live one, which ends
    /// after `old_ends_in`, or when it would have anyway, if that is sooner.
    /// One change of the list: both, or neither. The new one is to be shown no
    /// sooner than one of [`TokenRegistry::issue`].
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
            // A change that was done, and whose answer was lost, is met here again.
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

    /// Undoes a rotation whose token nobody has: it is revoked, and the old
    /// one's end is what it was. One change of the list.
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

    /// Revokes a token. Functions that know it as live take it for at most a minute more.
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

    /// Reads the list, changes it, and makes it current, again and again until
    /// nobody else's change came between.
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
                    // Chance keeps two operators from meeting again each time.
                    let chance = u64::from(Uuid::new_v4().as_bytes()[0]);
                    let wait = Duration::from_millis(chance * u64::from(attempt + 1) / 4);
                    self.clock.sleep(wait).await;
                }
            }
        }
        Err(TokenError::Contended)
    }
}
