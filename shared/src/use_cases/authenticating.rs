//! Who may call: the list of tokens, kept fresh, and the judgement on one token.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::adapters::secrets::{SecretError, TokenSecret};
use crate::clock::{SharedClock, within};
use crate::domain::token::{TokenList, TokenState};

/// How old a list may be before it is read anew: a revoked token dies within this.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How old a list may be that serves while Secrets Manager is away.
const SERVED_STALE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// The least time between two reads for unknown tokens.
const BETWEEN_READS: SignedDuration = SignedDuration::from_secs(5);

/// How long after a failed read the list is served stale before it is read
/// again. A read may fail by hanging, and not every delivery is to wait for that.
const AFTER_A_FAILURE: SignedDuration = SignedDuration::from_secs(15);

/// Judges bearer tokens by the list in Secrets Manager.
///
/// The list is read at start, kept for a minute, read anew by one caller for
/// all, and served for up to a quarter of an hour while Secrets Manager is
/// away. An unknown token makes it be read anew at once, or as soon as five seconds
/// have passed since the last read, so that a new token works from the moment
/// it is issued and a flood of strangers' tokens costs a read in five seconds.
pub struct TokenCheck {
    secret: TokenSecret,
    clock: SharedClock,
    known: RwLock<Known>,
    /// Held by whoever reads the list; never while waiting for a turn.
    reading: Mutex<()>,
}

/// What is known of the list, and of the last attempt to read it.
#[derive(Debug, Clone, Default)]
struct Known {
    list: Option<Arc<Listed>>,
    /// How many attempts were begun, and when the last of them was.
    begun: u64,
    begun_at: Option<Timestamp>,
    /// The last attempt that came to its end.
    last_attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Listed {
    tokens: TokenList,
    read_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Attempt {
    number: u64,
    ended: Timestamp,
    failure: Option<Unavailable>,
}

impl Attempt {
    fn failed_within(&self, limit: SignedDuration, now: Timestamp) -> bool {
        self.failure.as_ref().is_some_and(Unavailable::is_outage) && within(limit, self.ended, now)
    }
}

/// When a request came, by the clock and by the attempts made until then.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Timestamp,
    /// An attempt of a higher number was begun later: it has seen whatever was
    /// written before the request came.
    begun: u64,
    /// An attempt of a higher number ended later: its list is young enough.
    ended: u64,
}

/// The judgement on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Live, and of staff: `id` may call.
    Staff {
        /// The token's id in the list, which may be logged.
        id: String,
        /// When it ends; absent where it is good until revoked.
        expires_at: Option<Timestamp>,
    },
    /// Live, without staff rights.
    NotStaff {
        /// The token's id in the list, which may be logged.
        id: String,
        /// When it ends; absent where it is good until revoked.
        expires_at: Option<Timestamp>,
    },
    /// Listed, and its end has come.
    Expired {
        /// The token's id in the list, which may be logged.
        id: String,
    },
    /// Listed, and revoked, before its end or after.
    Revoked {
        /// The token's id in the list, which may be logged.
        id: String,
    },
    /// Not listed, also after the list was read anew.
    Unknown,
}

/// No token, or not this one, can be judged: there is no list, or it cannot be read anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The secret has no value yet: no token was ever issued.
    #[error("no token has been issued yet")]
    NoTokensYet,
    /// The list could not be read, or it is malformed.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Unavailable {
    fn is_outage(&self) -> bool {
        match self {
            Self::NoTokensYet => false,
            Self::Secret(error) => error.is_outage(),
        }
    }

    /// A word for the log.
    pub fn code(&self) -> &str {
        match self {
            Self::NoTokensYet => "NoTokensYet",
            Self::Secret(error) => error.code(),
        }
    }
}

impl TokenCheck {
    /// Reads nothing yet: [`TokenCheck::warm_up`] does, or the first token to be judged.
    pub fn new(secret: TokenSecret, clock: SharedClock) -> Self {
        Self {
            secret,
            clock,
            known: RwLock::default(),
            reading: Mutex::default(),
        }
    }

    /// Reads the list ahead of the first request. A failure is no matter: the
    /// first request tries again.
    pub async fn warm_up(&self) {
        let _ = self.read_anew(self.arrival().ended).await;
    }

    /// Judges one token.
    pub async fn judge(&self, token: &str) -> Result<Judgement, Unavailable> {
        let arrived = self.arrival();
        let list = self.list(arrived).await?;
        match self.judgement(&list, token) {
            Judgement::Unknown => {
                let list = self.list_read_after(arrived).await?;
                Ok(self.judgement(&list, token))
            }
            known => Ok(known),
        }
    }

    fn arrival(&self) -> Arrival {
        let known = self.known();
        let ended = known.last_attempt.map_or(0, |attempt| attempt.number);
        Arrival {
            at: self.clock.now(),
            begun: known.begun,
            ended,
        }
    }

    fn judgement(&self, list: &Listed, token: &str) -> Judgement {
        let Some(record) = list.tokens.find(token) else {
            return Judgement::Unknown;
        };
        let (id, expires_at) = (record.id.clone(), record.expires_at);
        match record.state(self.clock.now()) {
            TokenState::Live if record.staff => Judgement::Staff { id, expires_at },
            TokenState::Live => Judgement::NotStaff { id, expires_at },
            TokenState::Expired => Judgement::Expired { id },
            TokenState::Revoked => Judgement::Revoked { id },
        }
    }

    /// The list: fresh if it can be had, else stale, within its limits.
    async fn list(&self, arrived: Arrival) -> Result<Arc<Listed>, Unavailable> {
        let known = self.known();
        let Some(list) = known.list else {
            // Nothing can be judged without: every request may try.
            return self.read_anew(arrived.ended).await;
        };
        if within(FRESH_FOR, list.read_at, arrived.at) {
            return Ok(list);
        }
        let serves = |list: &Listed| within(SERVED_STALE_FOR, list.read_at, self.clock.now());
        match known.last_attempt {
            Some(last) if last.failed_within(AFTER_A_FAILURE, arrived.at) && serves(&list) => {
                Ok(list)
            }
            _ => match self.read_anew(arrived.ended).await {
                Err(failure) if failure.is_outage() && serves(&list) => Ok(list),
                read => read,
            },
        }
    }

    /// The list as it is after `arrived`, as soon as its turn comes.
    async fn list_read_after(&self, arrived: Arrival) -> Result<Arc<Listed>, Unavailable> {
        loop {
            let (known, now) = (self.known(), self.clock.now());
            let is_begun = known.begun > arrived.begun;
            match known.begun_at {
                Some(begun_at) if !is_begun && within(BETWEEN_READS, begun_at, now) => {
                    let turn = BETWEEN_READS - now.duration_since(begun_at);
                    self.clock.sleep(turn.unsigned_abs()).await;
                }
                _ => break,
            }
        }
        self.read_anew(arrived.begun).await
    }

    /// Reads the list, or shares what an attempt of a number above `after` has
    /// found. One reads; the others wait for it.
    async fn read_anew(&self, after: u64) -> Result<Arc<Listed>, Unavailable> {
        let _reading = self.reading.lock().await;
        let known = self.known();
        if let Some(attempt) = known.last_attempt
            && attempt.number > after
        {
            return match (attempt.failure, known.list) {
                (None, Some(list)) => Ok(list),
                (failure, _) => Err(failure.unwrap_or(Unavailable::NoTokensYet)),
            };
        }
        let began = self.clock.now();
        let number = known.begun + 1;
        self.know(|known| {
            known.begun = number;
            known.begun_at = Some(began);
        });
        let result = self.read(began).await;
        let failure = result.as_ref().err().cloned();
        let ended = self.clock.now();
        self.know(|known| {
            known.last_attempt = Some(Attempt {
                number,
                ended,
                failure,
            });
            if let Ok(list) = &result {
                known.list = Some(Arc::clone(list));
            }
        });
        result
    }

    async fn read(&self, began: Timestamp) -> Result<Arc<Listed>, Unavailable> {
        let tokens = self
            .secret
            .read()
            .await?
            .list
            .ok_or(Unavailable::NoTokensYet)?;
        Ok(Arc::new(Listed {
            tokens,
            read_at: began,
        }))
    }

    fn know(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn known(&self) -> Known {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
