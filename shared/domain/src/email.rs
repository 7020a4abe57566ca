//! Learner's address in the normal form that is used as a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address in the form in which Coursehook compares it: trimmed, and lowercased letter by
/// letter.
///
/// A non-ASCII letter whose lowercase is or contains an ASCII letter is left unchanged: the
/// Kelvin sign is not a k, and the two addresses may have different owners. Nothing else is
/// folded or normalised.
///
/// `Debug` shows no address, so that none reaches a log as part of a struct.
///
/// ```
/// let email: domain::Email = " Ada@Example.ORG ".parse()?;
/// assert_eq!(email.as_str(), "ada@example.org");
/// # Ok::<(), domain::email::EmailError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

/// Error of a text that is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EmailError {
    /// Nothing is left after trimming.
    #[error("is blank")]
    Blank,
    /// It contains a character of Unicode's category Cc after trimming.
    #[error("has a control character")]
    ControlCharacter,
    /// It has no @, the only requirement on its form.
    #[error("has no @")]
    NoAt,
    /// It has more than [`Email::MAX_CHARS`] characters after trimming.
    #[error("is longer than {} characters", Email::MAX_CHARS)]
    TooLong,
}

super::text::text!(Email, EmailError);

impl Email {
    /// The greatest number of characters after trimming (RFC 5321's path without its brackets,
    /// and the LMS's column).
    pub const MAX_CHARS: usize = 254;
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailError::Blank);
        }
        if text.chars().any(char::is_control) {
            return Err(EmailError::ControlCharacter);
        }
        if !text.contains('@') {
            return Err(EmailError::NoAt);
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(EmailError::TooLong);
        }
        Ok(Self(lowercase(text)))
    }
}

/// Returns the text with each letter lowercased, except a non-ASCII letter whose lowercase contains
/// an ASCII letter.
fn lowercase(text: &str) -> String {
    let mut lowered = String::with_capacity(text.len());
    for letter in text.chars() {
        let lower = letter.to_lowercase();
        if !letter.is_ascii() && lower.clone().any(|l| l.is_ascii()) {
            lowered.push(letter);
        } else {
            lowered.extend(lower);
        }
    }
    lowered
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_normal_form() {
        for (given, normal) in [
            (" Ada@Example.ORG\t", "ada@example.org"),
            ("ÀÉ@example.org", "àé@example.org"),
            // U+212A KELVIN SIGN and U+0130 I WITH DOT ABOVE lowercase into ASCII: they are
            // left unchanged.
            ("\u{212A}@example.org", "\u{212A}@example.org"),
            ("\u{0130}@example.org", "\u{0130}@example.org"),
            // U+212B ANGSTROM SIGN lowercases to a letter outside ASCII.
            ("\u{212B}@example.org", "\u{00E5}@example.org"),
            // Letters are lowercased one by one: a capital sigma at the end of a word does not
            // become a final sigma.
            (
                "ΑΣ@example.org",
                "ας@example.org".replace('ς', "σ").as_str(),
            ),
            // Nothing is normalised: a decomposed e-acute stays two characters.
            ("e\u{0301}@example.org", "e\u{0301}@example.org"),
            ("\u{a0}a b@c\u{3000}", "a b@c"),
        ] {
            assert_eq!(
                given.parse::<Email>().unwrap().as_str(),
                normal,
                "{given:?}"
            );
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        let long = format!("{}@x", "é".repeat(253));
        for (given, error) in [
            ("", EmailError::Blank),
            (" \u{3000}", EmailError::Blank),
            ("ada", EmailError::NoAt),
            ("a\u{0}@b", EmailError::ControlCharacter),
            ("a@b\u{85}c", EmailError::ControlCharacter),
            (&long, EmailError::TooLong),
        ] {
            assert_eq!(given.parse::<Email>(), Err(error), "{given:?}");
        }
        assert!(format!("{}@x", "é".repeat(252)).parse::<Email>().is_ok());
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        proptest::proptest!(|(text in "\\PC{1,60}@\\PC{1,60}")| {
            if let Ok(once) = text.parse::<Email>() {
                assert_eq!(once.as_str().parse::<Email>(), Ok(once.clone()));
            }
        });
    }

    #[test]
    fn debug_shows_no_address() {
        let email: Email = "ada@example.org".parse().unwrap();
        assert_eq!(format!("{email:?}"), "Email(..)");
    }
}
