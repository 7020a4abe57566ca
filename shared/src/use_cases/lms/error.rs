//! Errors of requests to the LMS, on the LMS's side or ours.

use std::time::Duration;

use thiserror::Error;

use crate::adapters::lms::{InvalidResponse, LmsApiError};

/// Error of a request to the LMS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LmsError {
    /// The LMS was asked, and gave no usable answer.
    #[error(transparent)]
    Api(#[from] LmsApiError),
    /// There is no usable credential for the request.
    #[error("there is no usable credential for the LMS: {0}")]
    NoCredential(#[from] NoCredentialError),
    /// No request was made: requests to the LMS are paused, because the LMS asked for that, or
    /// because it failed several times in a row.
    #[error("requests to the LMS are paused")]
    Paused {
        /// The rest of the pause, if the LMS gave its length.
        retry_after: Option<Duration>,
    },
}

/// The reason why there is no usable credential for the LMS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoCredentialError {
    /// The secret has no value: no credential has been stored yet.
    #[error("nobody has stored one yet")]
    NoneYet,
    /// The secret could not be read, or it holds something else. The text is a code that says
    /// why.
    #[error("it cannot be read ({0})")]
    Unreadable(String),
}

impl From<InvalidResponse> for LmsError {
    fn from(invalid: InvalidResponse) -> Self {
        LmsApiError::from(invalid).into()
    }
}

impl LmsError {
    /// Returns a short text for logs and for `last_error`: that of [`LmsApiError::code`], or a
    /// word of our own.
    pub fn code(&self) -> String {
        let word = match self {
            Self::Api(error) => return error.code(),
            Self::NoCredential(NoCredentialError::NoneYet) => "NoCredentialYet",
            Self::NoCredential(NoCredentialError::Unreadable(code)) => code,
            Self::Paused { .. } => "Paused",
        };
        word.to_owned()
    }

    /// Returns the kind of error as one word, for the readers of an answer.
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

    /// The time without requests that the LMS asks for, or `None` if it gave none.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) => error.retry_after(),
            Self::NoCredential(_) => None,
            Self::Paused { retry_after } => *retry_after,
        }
    }

    /// True if the LMS asks for fewer requests.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Api(LmsApiError::Throttled { .. }))
    }

    /// True if a retry within seconds may help.
    pub fn is_retryable(&self) -> bool {
        self.is_lms_wide()
            && !self.needs_operator()
            && !self.is_throttled()
            && self.retry_after().is_none()
    }

    /// True if an operator has to fix the cause, so that an early retry is of no use: the LMS
    /// does not accept our credential, or there is none.
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

    /// True if any other request would fail now too; see [`LmsApiError::is_lms_wide`].
    pub fn is_lms_wide(&self) -> bool {
        match self {
            Self::Api(error) => error.is_lms_wide(),
            Self::NoCredential(_) | Self::Paused { .. } => true,
        }
    }
}
