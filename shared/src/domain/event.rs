//! Events that the LMS announces, and their keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::sha256_hex_of_parts;
use super::{CourseId, Email};

/// The kind of an event. Each kind has its own webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Somebody is enrolled in a run or has a role there.
    Enrollment,
    /// Somebody has passed, and may have earned a certificate.
    Certificate,
}

impl EventKind {
    /// All kinds, one for each webhook.
    pub const ALL: [Self; 2] = [Self::Enrollment, Self::Certificate];

    /// Returns the name of the kind in tables, log lines and event keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrollment => "enrollment",
            Self::Certificate => "certificate",
        }
    }
}

/// The key of an event (kind, address, course run) in the table, logs and commands: 64 hex
/// digits that reveal no address.
///
/// The body of a delivery contains no id, so only this business key identifies a repeated
/// delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventKey(String);

/// Error of a text that is not an event key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not 64 lowercase hex digits")]
pub struct EventKeyError;

super::text::text!(EventKey, EventKeyError);

impl EventKey {
    /// Returns the SHA-256 of the three, each preceded by its length, in lowercase hex.
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
