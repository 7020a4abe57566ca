//! Why there is no answer, whoever is to blame.

use std::time::Duration;

use thiserror::Error;

use crate::adapters::lms::{LmsError, Nonsense};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// The LMS was asked, and gave none.
    #[error(transparent)]
    Lms(#[from] LmsError),
    /// There is no credential to ask with.
    #[error("there is no credential for the LMS: {0}")]
    NoCredential(#[from] NoCredential),
    /// Nothing was asked: the LMS is left alone, since it said so, or since it
    /// failed several times in a row.
    #[error("the LMS is left alone for now")]
    Resting {
        /// How much longer, where the LMS said it.
        retry_after: Option<Duration>,
    },
}

/// Why there is nothing to ask the LMS with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoCredential {
    /// The secret has no value: nobody has put a credential there yet.
    #[error("nobody has stored one yet")]
    NoneYet,
    /// The secret could not be read, or it holds something else: a code that
    /// says why.
    #[error("it cannot be read ({0})")]
    Unreadable(String),
}

impl From<Nonsense> for AskError {
    fn from(nonsense: Nonsense) -> Self {
        LmsError::from(nonsense).into()
    }
}

impl AskError {
    /// A short text for logs and for what is stored as a last error: that of
    /// [`LmsError::code`], or a word of ours.
    pub fn code(&self) -> String {
        let word = match self {
            Self::Lms(error) => return error.code(),
            Self::NoCredential(NoCredential::NoneYet) => "NoCredentialYet",
            Self::NoCredential(NoCredential::Unreadable(code)) => code,
            Self::Resting { .. } => "Resting",
        };
        word.to_owned()
    }

    /// The kind of trouble in one word, for those who read an answer.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Lms(error) => error.reason(),
            Self::NoCredential(_) => "no_credential",
            Self::Resting {
                retry_after: Some(_),
            } => "lms_throttled",
            Self::Resting { retry_after: None } => "lms_failed",
        }
    }

    /// How long the LMS is not to be asked again, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Lms(error) => error.retry_after(),
            Self::NoCredential(_) => None,
            Self::Resting { retry_after } => *retry_after,
        }
    }

    /// Whether the LMS asks for fewer requests.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Lms(LmsError::Throttled { .. }))
    }

    /// Whether asking again within seconds may help.
    pub fn may_pass_soon(&self) -> bool {
        self.is_the_lms_own()
            && !self.is_a_refusal()
            && !self.is_throttled()
            && self.retry_after().is_none()
    }

    /// Whether somebody has to mend it, so that asking again soon is of no use: the
    /// LMS does not take our credential, or there is none.
    pub fn is_a_refusal(&self) -> bool {
        matches!(
            self,
            Self::Lms(
                LmsError::Forbidden | LmsError::NoToken { .. } | LmsError::Unauthorized { .. }
            ) | Self::NoCredential(NoCredential::NoneYet)
        )
    }

    /// Whether asking for anything else now would fail likewise, as
    /// [`LmsError::is_the_lms_own`] has it.
    pub fn is_the_lms_own(&self) -> bool {
        match self {
            Self::Lms(error) => error.is_the_lms_own(),
            Self::NoCredential(_) | Self::Resting { .. } => true,
        }
    }
}
