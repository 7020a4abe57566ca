//! A learner as the portal knows them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::Email;

/// A person of the portal. One address is one user; a username belongs to one user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Made by chance when the user is first imported, and never changed.
    pub user_id: Uuid,
    /// The address in its normal form; the table's key.
    pub email: Email,
    /// The address as it was given, before it was normalised.
    pub email_as_given: String,
    /// The learner's name in the LMS; without it the LMS cannot be asked for a grade.
    pub edx_username: Option<Username>,
    /// The person's own name, as an import gave it; absent until one did.
    pub name: Option<String>,
    /// Addresses that were theirs before, in their normal form. The LMS may go
    /// on sending them, and they find the user still.
    pub former_emails: BTreeSet<Email>,
}

impl User {
    /// All addresses that find the user: the one they have, and the former ones.
    pub fn addresses(&self) -> impl Iterator<Item = &Email> {
        [&self.email].into_iter().chain(&self.former_emails)
    }

    /// The user under another address, given as `as_given`. The one until now
    /// is a former one then.
    #[must_use]
    pub fn renamed(&self, email: Email, as_given: String) -> Self {
        let mut former_emails = self.former_emails.clone();
        former_emails.insert(self.email.clone());
        former_emails.remove(&email);
        Self {
            email,
            email_as_given: as_given,
            former_emails,
            ..self.clone()
        }
    }
}

/// By the id alone; the rest is personal.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.user_id)
    }
}

/// A username of the LMS, compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// Why a text is no username.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UsernameError {
    /// Nothing is left after trimming.
    #[error("is blank")]
    Blank,
    /// One of Unicode's category Cc is in it, after trimming.
    #[error("has a control character")]
    ControlCharacter,
    /// After trimming it has more than [`Username::MAX_CHARS`] characters.
    #[error("is longer than {} characters", Username::MAX_CHARS)]
    TooLong,
}

super::text::text!(Username, UsernameError);

impl Username {
    /// The longest username in characters: the column of the LMS (Django's `User`).
    pub const MAX_CHARS: usize = 150;
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        let text = text.trim();
        if text.is_empty() {
            Err(UsernameError::Blank)
        } else if text.chars().any(char::is_control) {
            Err(UsernameError::ControlCharacter)
        } else if text.chars().count() > Self::MAX_CHARS {
            Err(UsernameError::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// A username often is a person's name or address: `Debug` does not show it.
impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(..)")
    }
}
