//! Tokens are issued and revoked, by several operators at once if need be.

use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::adapters::secrets::{Replaced, SecretError, TokenSecret};
use crate::clock::SharedClock;
use crate::domain::digest::sha256_hex;
use crate::domain::token::{NoSuchToken, TokenList, TokenRecord};

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
    /// No listed token has this id; one that died long ago is listed no more.
    #[error("{0}; `coursehook tokens list` shows them all")]
    NoSuchToken(#[from] NoSuchToken),
    /// Its end is later than a [`jiff::Timestamp`] can be.
    #[error("the token would end after the year 9999; use a shorter time")]
    EndsTooLate,
    /// Somebody else's change came first, each of 20 times.
    #[error("others kept changing the list of tokens; try again")]
    Contended,
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

    /// Makes a token and lists its digest. It works at once.
    pub async fn issue(
        &self,
        name: &str,
        staff: bool,
        expires_in: Option<SignedDuration>,
    ) -> Result<Issued, TokenError> {
        let now = self.clock.now();
        let expires_at = expires_in
            .map(|time| now.checked_add(time))
            .transpose()
            .map_err(|_| TokenError::EndsTooLate)?;
        // 244 bits of chance, behind a prefix that scanners for leaked secrets can look for.
        let token = format!("chk_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let record = TokenRecord {
            id: Uuid::new_v4().simple().to_string()[..12].to_owned(),
            name: name.to_owned(),
            sha256: sha256_hex(token.as_bytes()),
            staff,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        self.change(|list| {
            // A change that was done, and whose answer was lost, is met here again.
            if !list.tokens.iter().any(|listed| listed.id == record.id) {
                list.tokens.push(record.clone());
            }
            Ok(())
        })
        .await?;
        Ok(Issued {
            record,
            token: SecretString::from(token),
        })
    }

    /// Revokes a token. Functions that know it as live take it for at most a minute more.
    pub async fn revoke(&self, id: &str) -> Result<Revoked, TokenError> {
        let now = self.clock.now();
        let (record, changed) = self
            .change(|list| {
                let changed = list.revoke(id, now)?;
                let record = list.tokens.iter().find(|record| record.id == id).cloned();
                Ok((record.ok_or_else(|| NoSuchToken(id.to_owned()))?, changed))
            })
            .await?;
        Ok(Revoked { record, changed })
    }

    /// Reads the list, changes it, and makes it current, again and again until
    /// nobody else's change came between.
    async fn change<T>(
        &self,
        change: impl Fn(&mut TokenList) -> Result<T, NoSuchToken>,
    ) -> Result<T, TokenError> {
        for attempt in 0..ATTEMPTS {
            let stored = self.secret.read().await?;
            let mut list = stored.list.clone().unwrap_or_default();
            let outcome = change(&mut list)?;
            list.prune(self.clock.now());
            if stored.list.as_ref() == Some(&list) {
                return Ok(outcome);
            }
            match self
                .secret
                .replace(&stored, &list, self.clock.now())
                .await?
            {
                Replaced::Done => return Ok(outcome),
                Replaced::Moved => {
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
