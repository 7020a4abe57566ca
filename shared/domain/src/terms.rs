//! Words of the LMS that Coursehook stores: a course role, an enrollment mode. The LMS decides
//! which ones exist, so none is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Error of a text that is neither a role nor a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TermError {
    /// It has no characters at all. Blanks around it are removed where a text is received, not
    /// here: a text that is compared with a stored one is left as stored.
    #[error("is empty")]
    Empty,
    /// It has more characters than this, the greatest number that the type takes.
    #[error("is longer than {0} characters")]
    TooLong(usize),
}

macro_rules! term {
    ($(#[$doc:meta])* $name:ident, $max:literal, $known:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        super::text::text!($name, TermError);

        impl $name {
            /// The greatest number of characters.
            pub const MAX_CHARS: usize = $max;

            /// The words that Open edX is known to use.
            pub const KNOWN: &[&'static str] = &$known;

            /// True if it is one of [`Self::KNOWN`], compared byte for byte.
            pub fn is_known(&self) -> bool {
                Self::KNOWN.contains(&self.0.as_str())
            }

            /// Returns the text itself if Open edX is known to use it, else `other`: a text of
            /// unknown origin stays out of the log.
            pub fn for_log(&self) -> &'static str {
                let known = Self::KNOWN.iter().find(|known| **known == self.0);
                known.copied().unwrap_or("other")
            }
        }

        /// Shows the same as the log: the text may contain an address.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.for_log())
            }
        }

        impl FromStr for $name {
            type Err = TermError;

            fn from_str(text: &str) -> Result<Self, TermError> {
                if text.is_empty() {
                    Err(TermError::Empty)
                } else if text.chars().count() > Self::MAX_CHARS {
                    Err(TermError::TooLong(Self::MAX_CHARS))
                } else {
                    Ok(Self(text.to_owned()))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

term! {
    /// The role of a person in a course: instructor, staff, and so on. It gives no rights here.
    CourseRole, 64, [
        "instructor", "staff", "limited_staff", "beta_testers", "finance_admin", "sales_admin",
        "data_researcher", "library_user", "course_creator_group", "support", "ccx_coach",
        "Administrator", "Moderator", "Group Moderator", "Community TA",
    ]
}

term! {
    /// The mode of an enrollment: audit, verified, and so on (`CourseMode` of the LMS, whose
    /// column for an enrollment's mode holds 100 characters).
    Mode, 100, [
        "audit", "honor", "verified", "professional", "no-id-professional", "credit", "masters",
        "executive-education", "paid-executive-education", "unpaid-executive-education",
        "paid-bootcamp", "unpaid-bootcamp",
    ]
}

impl Mode {
    /// Returns the mode of an enrollment whose announcement named none.
    pub fn audit() -> Self {
        Self("audit".to_owned())
    }

    /// True if Open edX awards certificates in this mode, and so announces a pass in it. It
    /// does in every mode except `audit` and those whose name begins with `unpaid-`
    /// (`CourseMode.is_eligible_for_certificate`), also in a site's own modes; in `honor`
    /// unless the site has `DISABLE_HONOR_CERTIFICATES`.
    pub fn is_certificate_eligible(&self) -> bool {
        self.0 != "audit" && !self.0.starts_with("unpaid-")
    }
}

/// The modes in which a pass earns a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidModes(BTreeSet<Mode>);

/// Error of a text that is not a list of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PaidModesError {
    /// It names no mode: nobody could ever earn a certificate.
    #[error("names no mode")]
    Empty,
    /// A text between two commas is not a mode.
    #[error("names a mode that {0}")]
    Mode(#[from] TermError),
}

impl PaidModes {
    /// True if `mode` is one of them.
    pub fn contain(&self, mode: &Mode) -> bool {
        self.0.contains(mode)
    }

    /// Returns these modes and others.
    #[must_use]
    pub fn and(&self, others: impl IntoIterator<Item = Mode>) -> Self {
        Self(self.0.iter().cloned().chain(others).collect())
    }
}

/// Shows the modes with commas between them, as in the setting.
impl fmt::Display for PaidModes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modes = Vec::from_iter(self.0.iter().map(Mode::as_str));
        f.write_str(&modes.join(","))
    }
}

/// Reads modes with commas between them; blanks around them do not count.
impl FromStr for PaidModes {
    type Err = PaidModesError;

    fn from_str(text: &str) -> Result<Self, PaidModesError> {
        if text.trim().is_empty() {
            return Err(PaidModesError::Empty);
        }
        let modes = text.split(',').map(|mode| mode.trim().parse());
        Ok(Self(modes.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_logged() {
        let logged = |text: &str| text.parse::<CourseRole>().map(|role| role.for_log());
        assert_eq!(logged("instructor"), Ok("instructor"));
        assert_eq!(logged("ada@example.org"), Ok("other"));
        assert_eq!(logged(""), Err(TermError::Empty));
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!("é".repeat(64).parse::<CourseRole>().is_ok());
        assert!("é".repeat(65).parse::<CourseRole>().is_err());
        assert!("é".repeat(100).parse::<Mode>().is_ok());
        assert!("é".repeat(101).parse::<Mode>().is_err());
    }

    #[test]
    fn every_known_word_is_accepted() {
        for known in Mode::KNOWN {
            assert!(known.parse::<Mode>().is_ok(), "{known}");
            assert!(known.parse::<PaidModes>().is_ok(), "{known}");
        }
        for known in CourseRole::KNOWN {
            assert!(known.parse::<CourseRole>().is_ok(), "{known}");
        }
    }

    #[test]
    fn certificates_are_awarded_in_all_modes_except_audit_and_the_unpaid_ones() {
        let is_eligible = |mode: &str| Mode(mode.to_owned()).is_certificate_eligible();
        for mode in Mode::KNOWN
            .iter()
            .chain(&["a-site-of-its-own", "auditing", "unpaid"])
        {
            let expected =
                !["audit", "unpaid-executive-education", "unpaid-bootcamp"].contains(mode);
            assert_eq!(is_eligible(mode), expected, "{mode}");
        }
    }

    #[test]
    fn paid_modes_are_read_from_a_list() {
        let modes = " verified,\tprofessional , paid-executive-education\n";
        let modes: PaidModes = modes.parse().unwrap();
        for paid in ["verified", "professional", "paid-executive-education"] {
            assert!(modes.contain(&paid.parse().unwrap()), "{paid}");
        }
        assert!(!modes.contain(&Mode::audit()));
        let more = modes.and(["honor".parse().unwrap(), "verified".parse().unwrap()]);
        let listed = "honor,paid-executive-education,professional,verified";
        assert_eq!(more.to_string(), listed);
        assert_eq!(more.to_string().parse(), Ok(more));
        assert_eq!(" ".parse::<PaidModes>(), Err(PaidModesError::Empty));
        let gap = "verified,,audit".parse::<PaidModes>();
        assert_eq!(gap, Err(PaidModesError::Mode(TermError::Empty)));
    }
}
