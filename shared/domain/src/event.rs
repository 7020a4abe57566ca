//! Events that the LMS announces, the table of their webhooks, and their keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::sha256_hex_of_parts;
use super::{CourseId, Email};

/// Defines the webhooks: for each the kind of its events, its word, and what its use case does.
/// All names of a webhook follow from its kind and its word.
macro_rules! webhooks {
    ($(
        $(#[$doc:meta])*
        $kind:ident {
            word: $word:literal,
            asks_lms: $asks_lms:literal,
            certifies: $certifies:literal,
        }
    )*) => {
        /// The kind of an event. Each kind has its own webhook.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $word)] $kind,)*
        }

        impl EventKind {
            /// All kinds, one for each webhook.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$kind),*];

            /// Returns the name of the kind in tables, log lines and event keys. The folder of
            /// `events/` with its samples has the same name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)* }
            }

            /// Returns the path of the webhook, without a slash at the end.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$kind => concat!("/api/openedx_webhook/", $word),)* }
            }

            /// True if the webhook asks the LMS. Its calls of the LMS are then logged and
            /// measured, and its pending events wait while requests to the LMS are paused.
            pub const fn asks_lms(self) -> bool {
                match self { $(Self::$kind => $asks_lms,)* }
            }

            /// True if an event of this kind earns a certificate: the outcome `created` then
            /// counts as one that was issued.
            pub const fn certifies(self) -> bool {
                match self { $(Self::$kind => $certifies,)* }
            }

            /// Returns the name of the webhook's program, and of its folder in `functions/`.
            pub const fn program(self) -> &'static str {
                match self { $(Self::$kind => concat!($word, "-webhook"),)* }
            }

            /// Returns the logical id of the webhook's function in the template.
            pub const fn function(self) -> &'static str {
                match self { $(Self::$kind => concat!(stringify!($kind), "WebhookFunction"),)* }
            }

            /// Returns the logical id of the function's role in the template.
            pub const fn role(self) -> &'static str {
                match self { $(Self::$kind => concat!(stringify!($kind), "WebhookRole"),)* }
            }

            /// Returns the template's output with the URL of the webhook.
            pub const fn url_output(self) -> &'static str {
                match self { $(Self::$kind => concat!(stringify!($kind), "WebhookUrl"),)* }
            }

            /// Returns the template's output with the log group of the function, which is also
            /// the logical id of that group.
            pub const fn log_group_output(self) -> &'static str {
                match self { $(Self::$kind => concat!(stringify!($kind), "WebhookLogGroup"),)* }
            }
        }
    };
}

webhooks! {
    /// Somebody is enrolled in a run or has a role there.
    Enrollment {
        word: "enrollment",
        asks_lms: false,
        certifies: false,
    }
    /// Somebody has passed, and may have earned a certificate.
    Certificate {
        word: "certificate",
        asks_lms: true,
        certifies: true,
    }
}

impl EventKind {
    /// Returns the lane in which its pending events wait.
    pub const fn lane(self) -> Lane {
        if self.asks_lms() {
            Lane::Lms
        } else {
            Lane::Own
        }
    }
}

/// A lane of pending events. Events of one lane never wait behind those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Events that need our own tables alone.
    Own,
    /// Events for which the LMS is asked, within its limits.
    Lms,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 2] = [Self::Own, Self::Lms];

    /// Returns the name of the lane in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Lms => "lms",
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

    /// Returns the first digit, by which an index spreads its entries over sixteen keys.
    pub fn shard(&self) -> &str {
        self.0.get(..1).unwrap_or_default()
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
