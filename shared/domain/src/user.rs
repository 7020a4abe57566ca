//! Learner as the portal knows them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::Email;

/// A person in the portal. One address is one user; a username belongs to one user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Random id made when the user is first imported; it never changes.
    pub user_id: Uuid,
    /// The address in its normal form; the table's key.
    pub email: Email,
    /// The address as it was given, before it was normalised.
    pub email_as_given: String,
    /// The learner's username in the LMS. Without it the LMS cannot be asked for a grade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edx_username: Option<Username>,
    /// The person's own name, as an import gave it; absent until an import does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user's former addresses in their normal form. The LMS may continue to send them, and
    /// they still find the user.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub former_emails: BTreeSet<Email>,
}

/// A user as a file contains them. An absent value leaves the stored one unchanged.
#[derive(Clone)]
pub struct UserRow {
    /// The address in its normal form, which finds the user.
    pub email: Email,
    /// The address as the file contains it.
    pub email_as_given: String,
    /// The username. A row is refused if its username belongs to another address.
    pub edx_username: Option<Username>,
    /// The person's own name.
    pub name: Option<String>,
}

impl UserRow {
    /// Returns the user that the row becomes if nobody has its address.
    pub fn user(&self, user_id: Uuid) -> User {
        User {
            user_id,
            email: self.email.clone(),
            email_as_given: self.email_as_given.clone(),
            edx_username: self.edx_username.clone(),
            name: self.name.clone(),
            former_emails: BTreeSet::new(),
        }
    }
}

/// A reference to a learner in commands and programs: an address or a user id.
#[derive(Debug, Clone)]
pub enum LearnerRef {
    /// The user who has this address, or had it before.
    Address(Email),
    /// The user with this id, who may have been erased.
    User(Uuid),
}

impl LearnerRef {
    /// Returns the address or the id as commands and programs take it.
    pub fn to_text(&self) -> String {
        match self {
            Self::Address(email) => email.as_str().to_owned(),
            Self::User(user_id) => user_id.to_string(),
        }
    }
}

impl User {
    /// All addresses that find the user: the current one and the former ones.
    pub fn addresses(&self) -> impl Iterator<Item = &Email> {
        [&self.email].into_iter().chain(&self.former_emails)
    }

    /// True if a row about an address of the user is about another person.
    ///
    /// For a former address: the usernames differ, or, if either side has no username, the
    /// names differ. For the current address: both usernames and both names are present, and
    /// both pairs differ. A missing name differs from none. Names are compared by
    /// [`is_same_name`].
    pub fn is_another_person(&self, row: &UserRow) -> bool {
        let usernames = self.edx_username.as_ref().zip(row.edx_username.as_ref());
        let names = self.name.as_deref().zip(row.name.as_deref());
        let other_username = usernames.map(|(here, there)| here.key() != there.key());
        let other_name = names.map(|(here, there)| !is_same_name(here, there));
        if self.email == row.email {
            other_username == Some(true) && other_name == Some(true)
        } else {
            other_username.or(other_name) == Some(true)
        }
    }

    /// The user after the import of a row about an address of theirs. The row's values replace
    /// the stored ones; absent ones do not. A row with a former address is older than the stored
    /// user: it only adds values that the user lacks.
    #[must_use]
    pub fn imported(&self, row: &UserRow) -> Self {
        let (here, there) = (self.clone(), row.clone());
        if self.email == row.email {
            Self {
                email_as_given: there.email_as_given,
                edx_username: there.edx_username.or(here.edx_username),
                name: there.name.or(here.name),
                ..here
            }
        } else {
            Self {
                edx_username: here.edx_username.or(there.edx_username),
                name: here.name.or(there.name),
                ..here
            }
        }
    }

    /// The user with another address, given as `as_given`. The current address becomes a former
    /// one.
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

/// Shows only the id; the rest is personal data.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.user_id)
    }
}

/// True if two texts are the same name. The case of letters, the number and kind of blanks, and
/// Unicode's forms of one character (NFKC) do not count.
pub fn is_same_name(one: &str, other: &str) -> bool {
    let form = |name: &str| {
        // Uppercase first: it unifies letters that share a capital, such as ß and SS.
        let folded = name.to_uppercase().to_lowercase();
        let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(&folded);
        Vec::from_iter(normal.split_whitespace()).join(" ")
    };
    form(one) == form(other)
}

/// A username of the LMS in its original spelling, which is used in requests to the LMS.
///
/// Two spellings may be the same learner's: the [`key`](Username::key) identifies the owner. A
/// spelling must not be the key of a map.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// The key of a username: the username with its ASCII letters lowercased.
///
/// In the LMS (Django's `User`, on MySQL's usual collations) two usernames cannot differ only
/// in the case of letters. Letters outside ASCII are compared as they are spelled.
///
/// ```
/// use domain::Username;
///
/// let [one, other] = ["Kepler", "kepler"].map(|text| text.parse::<Username>().unwrap());
/// assert_ne!(one, other);
/// assert_eq!(one.key(), other.key());
/// assert_eq!(one.key().as_str(), "kepler");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsernameKey(String);

/// Error of a text that is not a username.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UsernameError {
    /// Nothing is left after trimming.
    #[error("is blank")]
    Blank,
    /// It contains a character of Unicode's category Cc after trimming.
    #[error("has a control character")]
    ControlCharacter,
    /// It has more than [`Username::MAX_CHARS`] characters after trimming.
    #[error("is longer than {} characters", Username::MAX_CHARS)]
    TooLong,
}

super::text::text!(Username, UsernameError);
super::text::text!(UsernameKey, UsernameError);

impl Username {
    /// Returns the key by which the username is unique and found.
    pub fn key(&self) -> UsernameKey {
        UsernameKey(self.0.to_ascii_lowercase())
    }

    /// The greatest number of characters: that of the LMS's column (Django's `User`).
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

/// Parses any spelling into its key.
impl FromStr for UsernameKey {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        Ok(text.parse::<Username>()?.key())
    }
}

/// Hides the username, which often is a person's name or address.
impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(..)")
    }
}

impl fmt::Debug for UsernameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsernameKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn spellings_of_one_username_have_one_key() {
        let key = |text: &str| text.parse::<Username>().unwrap().key();
        for (one, other, is_same) in [
            ("Kepler", "kepler", true),
            ("KEPLER", " kEPLER ", true),
            ("a.B+c_D-1@X", "A.b+C_d-1@x", true),
            ("kepler", "keplers", false),
            // Only ASCII letters are lowercased, and nothing is normalised.
            ("\u{212A}epler", "kepler", false),
            ("É", "é", false),
            ("\u{e9}", "e\u{301}", false),
        ] {
            assert_eq!(key(one) == key(other), is_same, "{one} {other}");
            assert_eq!(key(key(one).as_str()), key(one), "{one}");
            assert_eq!(one.parse(), Ok(key(one)), "{one}");
        }
        let username: Username = "Ada".parse().unwrap();
        assert_eq!(
            format!("{username:?} {:?}", username.key()),
            "Username(..) UsernameKey(..)"
        );
    }

    #[test]
    fn spellings_of_one_name_are_the_same_name() {
        for (one, other, is_same) in [
            ("Ada Lovelace", "Ada Lovelace", true),
            ("Ada Lovelace", "ADA lovelace", true),
            (" Ada\u{a0} Lovelace\t", "Ada Lovelace", true),
            ("Ada\u{3000}Lovelace", "Ada Lovelace", true),
            ("Zoë", "Zoe\u{308}", true),
            ("ZOË", "zoe\u{308}", true),
            ("Ａｄａ", "Ada", true),
            ("Groß", "GROSS", true),
            ("ΟΔΥΣΣΕΥΣ", "Οδυσσευς", true),
            ("Ada Lovelace", "AdaLovelace", false),
            ("Ada Lovelace", "Lovelace Ada", false),
            ("Zoë", "Zoe", false),
            ("Ada", "Аda", false),
        ] {
            assert_eq!(is_same_name(one, other), is_same, "{one:?} {other:?}");
            assert_eq!(is_same_name(other, one), is_same, "{other:?} {one:?}");
        }
    }

    /// Each row: username and name here, those of the file, and whether the file's belong to
    /// another person at the current address and at a former one.
    #[test]
    fn a_different_username_or_name_means_another_person() {
        for (here, there, at_current, at_former) in [
            (["ada", "Ada"], ["ada", "Ada"], false, false),
            (["ada", "Ada"], ["ada", "Bob"], false, false),
            (["ada", "Ada"], ["ADA", "Bob"], false, false),
            (["ada", "Ada"], ["bob", "Ada"], false, true),
            (["ada", "Ada"], ["bob", "ADA "], false, true),
            (["ada", "Ada"], ["bob", "Bob"], true, true),
            (["ada", "Ada"], ["bob", ""], false, true),
            (["ada", "Ada"], ["", "Bob"], false, true),
            (["ada", "Ada"], ["", "aDa"], false, false),
            (["ada", "Ada"], ["", ""], false, false),
            (["ada", ""], ["bob", "Bob"], false, true),
            (["ada", ""], ["", "Bob"], false, false),
            (["", "Ada"], ["bob", "Bob"], false, true),
            (["", "Ada"], ["bob", "Ada"], false, false),
            (["", "Ada"], ["bob", ""], false, false),
            (["", "Ada"], ["", "Bob"], false, true),
            (["", ""], ["bob", "Bob"], false, false),
        ] {
            let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let username = |text: &str| filled(text).map(|text| text.parse().unwrap());
            let user = User {
                user_id: Uuid::nil(),
                email: "ada@example.org".parse().unwrap(),
                email_as_given: String::new(),
                edx_username: username(here[0]),
                name: filled(here[1]),
                former_emails: BTreeSet::new(),
            };
            for (email, expected) in [
                ("ada@example.org", at_current),
                ("former@example.org", at_former),
            ] {
                let row = UserRow {
                    email: email.parse().unwrap(),
                    email_as_given: email.to_owned(),
                    edx_username: username(there[0]),
                    name: filled(there[1]),
                };
                let is_another = user.is_another_person(&row);
                assert_eq!(is_another, expected, "{here:?} {there:?} {email}");
            }
        }
    }

    /// Each row: the address, username and name of a file, and all three of the user after it.
    #[test]
    fn a_row_replaces_values_or_adds_missing_ones() {
        for (here, row, after) in [
            (
                ["ada", "Ada"],
                ["ada@x", "ADA", "Eve"],
                ["ada@x", "ADA", "Eve"],
            ),
            (["ada", "Ada"], ["ada@x", "", ""], ["ada@x", "ada", "Ada"]),
            (["", ""], ["ada@x", "ada", "Ada"], ["ada@x", "ada", "Ada"]),
            (
                ["ada", "Ada"],
                ["old@x", "ADA", "Eve"],
                ["ada@x", "ada", "Ada"],
            ),
            (
                ["ada", ""],
                ["old@x", "ADA", "Eve"],
                ["ada@x", "ada", "Eve"],
            ),
            (["", ""], ["old@x", "ada", ""], ["ada@x", "ada", ""]),
        ] {
            let of = |[email, username, name]: [&str; 3]| UserRow {
                email: email.parse().unwrap(),
                email_as_given: email.to_owned(),
                edx_username: (!username.is_empty()).then(|| username.parse().unwrap()),
                name: (!name.is_empty()).then(|| name.to_owned()),
            };
            let user = of(["ada@x", here[0], here[1]]).user(Uuid::nil());
            let expected = of(after).user(Uuid::nil());
            assert!(user.imported(&of(row)) == expected, "{here:?} {row:?}");
        }
    }
}
