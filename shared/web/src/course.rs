//! The course run that a delivery names, which may be none.

use std::fmt;
use std::str::FromStr;

use domain::CourseId;
use thiserror::Error;

/// The course run that a delivery names.
#[derive(Clone, PartialEq, Eq)]
pub enum Course {
    /// A well-formed course id. The portal may not know the run.
    Run(CourseId),
    /// A text that is not a course id. Up to version 0.4 the sender gives the course of
    /// an org-wide role as the word `None`.
    NotAnId(String),
}

/// Hides a text that is not a course id, because it could be anything, for example an
/// email address.
impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(id) => write!(f, "Run({id})"),
            Self::NotAnId(_) => f.write_str("NotAnId(..)"),
        }
    }
}

impl Course {
    /// The course id, or `None` if the text is not one.
    pub fn id(&self) -> Option<&CourseId> {
        match self {
            Self::Run(id) => Some(id),
            Self::NotAnId(_) => None,
        }
    }
}

/// Error: a text does not name a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CourseError {
    /// The text is blank after trimming.
    #[error("is blank")]
    Blank,
    /// The trimmed text has a control character (Unicode's category Cc).
    #[error("has a control character")]
    ControlCharacter,
    /// The trimmed text has more than [`CourseId::MAX_CHARS`] characters.
    #[error("is longer than {} characters", CourseId::MAX_CHARS)]
    TooLong,
}

impl FromStr for Course {
    type Err = CourseError;

    fn from_str(text: &str) -> Result<Self, CourseError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(CourseError::Blank);
        }
        if text.chars().any(char::is_control) {
            return Err(CourseError::ControlCharacter);
        }
        if text.chars().count() > CourseId::MAX_CHARS {
            return Err(CourseError::TooLong);
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::NotAnId(text.to_owned()), Self::Run))
    }
}
