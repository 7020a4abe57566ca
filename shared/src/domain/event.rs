//! What the LMS announces, and the name by which an event goes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::sha256_hex_of_parts;
use super::{CourseId, Email};

/// What an event is about; each kind has a webhook of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Somebody is enrolled in a run or has a role there.
    Enrollment,
    /// Somebody has passed, and may have earned a certificate.
    Certificate,
}

impl EventKind {
    /// One for each webhook.
    pub const ALL: [Self; 2] = [Self::Enrollment, Self::Certificate];

    /// The word that tables, log lines and event keys have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrollment => "enrollment",
            Self::Certificate => "certificate",
        }
    }
}

/// The name of an event (kind, address, course run) wherever people and
/// machines speak of it: 64 hex digits that hold no address.
///
/// The body of a delivery bears no id, so the business key alone tells a
/// repeat from a first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventKey(String);

/// The text is no event key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not 64 lowercase hex digits")]
pub struct EventKeyError;

super::text::text!(EventKey, EventKeyError);

impl EventKey {
    /// The SHA-256 of the three, each with its length, in lowercase hex.
    pub fn of(kind: EventKind, email: &Email, course_id: &CourseId) -> Self {
        Self(sha256_hex_of_parts(&[
            kind.as_str(),
            email.as_str(),
            course_id.as_str(),
        ]))
    }
}

impl FromStr for EventKey {
    type Err = EventKeyError;

    fn from_str(text: &str) -> Result<Self, EventKeyError> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EventKeyError)
        }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
