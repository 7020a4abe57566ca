//! Why there is no answer, whoever is to blame.

use std::time::Duration;

use thiserror::Error;

use crate::adapters::lms::{InvalidResponse, LmsApiError};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LmsError {
    /// The LMS was asked, and gave none.
    #[error(transparent)]
    Api(#[from] LmsApiError),
    /// There is no credential to ask with.
    #[error("there is no credential for the LMS: {0}")]
    NoCredential(#[from] NoCredentialError),
    /// Nothing was asked: requests to the LMS are paused, since it said so, or since it
    /// failed several times in a row.
    #[error("requests to the LMS are paused")]
    Paused {
        /// How much longer, where the LMS said it.
        retry_after: Option<Duration>,
    },
}

/// Why there is nothing to ask the LMS with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoCredentialError {
    /// The secret has no value: nobody has put a credential there yet.
    #[error("nobody has stored one yet")]
    NoneYet,
    /// The secret could not be read, or it holds something else: a code that
    /// says why.
    #[error("it cannot be read ({0})")]
    Unreadable(String),
}

impl From<InvalidResponse> for LmsError {
    fn from(invalid: InvalidResponse) -> Self {
        LmsApiError::from(invalid).into()
    }
}

impl LmsError {
    /// A short text for logs and for what is stored as a last error: that of
    /// [`LmsApiError::code`], or a word of ours.
    pub fn code(&self) -> String {
        let word = match self {
            Self::Api(error) => return error.code(),
            Self::NoCredential(NoCredentialError::NoneYet) => "NoCredentialYet",
            Self::NoCredential(NoCredentialError::Unreadable(code)) => code,
            Self::Paused { .. } => "Paused",
        };
        word.to_owned()
    }

    /// The kind of error in one word, for those who read an answer.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) => error.reason(),
            Self::NoCredential(_) => "no_credential",
            Self::Paused {
                retry_after: Some(_),
            } => "lms_throttled",
            Self::Paused { retry_after: None } => "lms_failed",
        }
    }

    /// How long the LMS is not to be asked again, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) => error.retry_after(),
            Self::NoCredential(_) => None,
            Self::Paused { retry_after } => *retry_after,
        }
    }

    /// Whether the LMS asks for fewer requests.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Api(LmsApiError::Throttled { .. }))
    }

    /// Whether asking again within seconds may help.
    pub fn is_retryable(&self) -> bool {
        self.is_lms_wide()
            && !self.needs_operator()
            && !self.is_throttled()
            && self.retry_after().is_none()
    }

    /// Whether somebody has to fix it, so that asking again soon is of no use: the
    /// LMS does not take our credential, or there is none.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Self::Api(
                LmsApiError::Forbidden
                    | LmsApiError::NoToken { .. }
                    | LmsApiError::Unauthorized { .. }
            ) | Self::NoCredential(NoCredentialError::NoneYet)
        )
    }

    /// Whether asking for anything else now would fail likewise, as
    /// [`LmsApiError::is_lms_wide`] has it.
    pub fn is_lms_wide(&self) -> bool {
        match self {
            Self::Api(error) => error.is_lms_wide(),
            Self::NoCredential(_) | Self::Paused { .. } => true,
        }
    }
}
