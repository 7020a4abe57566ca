//! Why the LMS gave no answer that can be used.

use std::fmt;
use std::time::Duration;

use serde_json::error::Category;
use thiserror::Error;

use crate::domain::PaginationError;

/// Why there is no answer that can be used.
///
/// Of what the LMS said it holds the status and a plain `error_code`, and
/// nothing of what was asked: texts of the LMS and URLs name learners.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LmsApiError {
    /// 429, or the page with which older sites refuse tokens that are asked
    /// for too often.
    #[error("the LMS asks for fewer requests")]
    Throttled {
        /// How long to ask nothing, where the LMS said it; at most
        /// [`LmsApiError::LONGEST_RETRY_AFTER`].
        retry_after: Option<Duration>,
    },
    /// An answer that says nothing about what was asked: 5xx, a redirect, or any
    /// other that is not in the form of the API, as where the base URL is wrong or
    /// something before the LMS has answered.
    #[error("the LMS answered {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// How long to ask nothing, as in [`LmsApiError::Throttled`].
        retry_after: Option<Duration>,
    },
    /// No answer in the time that there was.
    #[error("the LMS did not answer in time")]
    Timeout,
    /// No connection, or it broke before the answer was whole.
    #[error("the LMS cannot be reached")]
    Unreachable,
    /// 401: our token is not good, also after it was renewed.
    #[error("the LMS does not take our token")]
    Unauthorized {
        /// `token_expired` for instance.
        error_code: Option<ErrorCode>,
    },
    /// 403: our credential may not read what was asked for.
    #[error("the LMS does not let us read that")]
    Forbidden,
    /// The LMS gives our OAuth2 client no token.
    #[error("the LMS gives our client no token: {why}")]
    NoToken {
        /// Why not.
        why: TokenEndpointError,
        /// How long to ask nothing, as in [`LmsApiError::Throttled`].
        retry_after: Option<Duration>,
    },
    /// The LMS has no such course run, or cannot read its id.
    #[error("the LMS has no such course run")]
    NoSuchRun,
    /// The LMS has nobody of this username.
    #[error("the LMS has no such learner")]
    NoSuchLearner,
    /// The LMS cannot read the username: its list of enrollments takes `A` to `Z`,
    /// `a` to `z`, digits, `_` and `-` alone unless it is set otherwise.
    #[error("the LMS does not accept the username")]
    BadUsername,
    /// The learner was never enrolled in the course run.
    #[error("the LMS says that the learner was never enrolled there")]
    NotEnrolled,
    /// 200, with an answer that cannot be one.
    #[error("the response of the LMS is invalid: {0}")]
    InvalidResponse(#[from] InvalidResponse),
}

/// Why the token endpoint gives no token: the codes of RFC 6749, 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenEndpointError {
    /// `invalid_request`: the LMS cannot read what was asked.
    #[error("invalid_request")]
    InvalidRequest,
    /// `invalid_client`: there is no client of this id and secret.
    #[error("invalid_client")]
    InvalidClient,
    /// `invalid_grant`: what was presented to obtain the token is not good.
    #[error("invalid_grant")]
    InvalidGrant,
    /// `unauthorized_client`: the client may not ask with client credentials.
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// `unsupported_grant_type`: the LMS saw another grant type, or none.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// `invalid_scope`: the client may not have what it gets by default.
    #[error("invalid_scope")]
    InvalidScope,
    /// A code that the RFC does not have.
    #[error("another reason")]
    Other,
}

impl TokenEndpointError {
    /// What an `error` of the token endpoint means.
    pub(super) fn of(error: &str) -> Self {
        match error {
            "invalid_request" => Self::InvalidRequest,
            "invalid_client" => Self::InvalidClient,
            "invalid_grant" => Self::InvalidGrant,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "invalid_scope" => Self::InvalidScope,
            _ => Self::Other,
        }
    }

    /// A word for logs.
    fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "NoToken:invalid_request",
            Self::InvalidClient => "BadClient",
            Self::InvalidGrant => "NoToken:invalid_grant",
            Self::UnauthorizedClient => "NoToken:unauthorized_client",
            Self::UnsupportedGrantType => "NoToken:unsupported_grant_type",
            Self::InvalidScope => "NoToken:invalid_scope",
            Self::Other => "NoToken:other",
        }
    }
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidResponse {
    /// The list that must hold the learner's row is empty.
    #[error("no row")]
    NoRow,
    /// The row is of another username, or of none.
    #[error("a row of another learner")]
    AnotherLearner,
    /// The row is of another course run, or of none.
    #[error("a row of another course run")]
    AnotherRun,
    /// `percent` is no number between 0 and 2.
    #[error("a percent that is no number between 0 and 2")]
    Percent,
    /// `passed` is neither true nor false.
    #[error("passed is neither true nor false")]
    Passed,
    /// `mode` is no text, an empty one, or a long one.
    #[error("a mode that is none")]
    Mode,
    /// `is_active` is neither true nor false.
    #[error("is_active is neither true nor false")]
    IsActive,
    /// The body is larger than a mebibyte; the rest of it was not read.
    #[error("more than a mebibyte")]
    TooLarge,
    /// The body is not JSON.
    #[error("what is not JSON")]
    NotJson,
    /// The body is JSON of another shape.
    #[error("JSON of another shape")]
    NotAsExpected,
    /// A list has a learner twice.
    #[error("a learner twice")]
    Twice,
    /// The pages of a list lead in a circle.
    #[error("a page that came before")]
    Circle,
    /// A list has more pages than any course run could fill.
    #[error("pages without end")]
    TooManyPages,
}

/// The LMS's own word for what is wrong, a plain one: at most forty of `a` to
/// `z` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCode(String);

impl ErrorCode {
    const MAX_CHARS: usize = 40;

    /// The word, if it is a plain one; what is not could be a text about somebody.
    pub fn new(word: &str) -> Option<Self> {
        let is_plain = (1..=Self::MAX_CHARS).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_plain.then(|| Self(word.to_owned()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LmsApiError {
    /// The longest time for which the LMS may silence us.
    pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(12);

    /// A short text for logs and for what is stored as a last error: the
    /// status, with the LMS's code where there is one, or a word of ours.
    pub fn code(&self) -> String {
        let word = match self {
            // Alone these two are the API's own.
            Self::Unavailable {
                status: status @ (401 | 403),
                ..
            } => return format!("{status} not_the_api"),
            Self::Unavailable { status, .. } => return status.to_string(),
            Self::NoToken { why, .. } => why.code(),
            Self::Unauthorized {
                error_code: Some(code),
            } => return format!("401 {code}"),
            Self::InvalidResponse(invalid) => return format!("InvalidResponse:{}", invalid.code()),
            Self::Throttled { .. } => "429",
            Self::Unauthorized { error_code: None } => "401",
            Self::Forbidden => "403",
            Self::NoSuchRun => "404 course_does_not_exist",
            Self::NoSuchLearner => "404 user_does_not_exist",
            Self::NotEnrolled => "404 user_not_enrolled",
            Self::Timeout => "Timeout",
            Self::Unreachable => "Unreachable",
            Self::BadUsername => "400 username",
        };
        word.to_owned()
    }

    /// The kind of error in one word, for those who read an answer.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "lms_throttled",
            Self::Unavailable { .. } => "lms_failed",
            Self::Timeout => "lms_timeout",
            Self::Unreachable => "lms_unreachable",
            Self::Unauthorized { .. } | Self::Forbidden | Self::NoToken { .. } => "lms_refused",
            Self::NoSuchRun => "lms_no_such_run",
            Self::NoSuchLearner | Self::BadUsername => "lms_no_such_learner",
            Self::NotEnrolled => "lms_not_enrolled",
            Self::InvalidResponse(_) => "lms_invalid_response",
        }
    }

    /// How long the LMS is not to be asked again, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after }
            | Self::Unavailable { retry_after, .. }
            | Self::NoToken { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the LMS has answered what was asked, only that there is no such
    /// thing: no failure, of nobody.
    pub fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRun | Self::NoSuchLearner | Self::BadUsername | Self::NotEnrolled
        )
    }

    /// Whether the LMS, or our credential for it, is unavailable as a whole, so
    /// that asking for anything else now would fail likewise; `false` for what
    /// is the matter with this learner, this run or this row.
    pub fn is_lms_wide(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Timeout
            | Self::Unreachable
            | Self::Unauthorized { .. }
            | Self::Forbidden
            | Self::NoToken { .. } => true,
            Self::NoSuchRun | Self::NoSuchLearner | Self::BadUsername | Self::NotEnrolled => false,
            Self::InvalidResponse(invalid) => match invalid {
                InvalidResponse::TooLarge
                | InvalidResponse::NotJson
                | InvalidResponse::NotAsExpected => true,
                InvalidResponse::NoRow
                | InvalidResponse::AnotherLearner
                | InvalidResponse::AnotherRun
                | InvalidResponse::Percent
                | InvalidResponse::Passed
                | InvalidResponse::Mode
                | InvalidResponse::IsActive
                | InvalidResponse::Twice
                | InvalidResponse::Circle
                | InvalidResponse::TooManyPages => false,
            },
        }
    }
}

impl InvalidResponse {
    /// A word for logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRow => "no_row",
            Self::AnotherLearner => "another_learner",
            Self::AnotherRun => "another_run",
            Self::Percent => "percent",
            Self::Passed => "passed",
            Self::Mode => "mode",
            Self::IsActive => "is_active",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::NotAsExpected => "not_as_expected",
            Self::Twice => "twice",
            Self::Circle => "circle",
            Self::TooManyPages => "too_many_pages",
        }
    }
}

impl From<PaginationError> for InvalidResponse {
    fn from(error: PaginationError) -> Self {
        match error {
            PaginationError::Circle => Self::Circle,
            PaginationError::TooManyPages => Self::TooManyPages,
        }
    }
}

/// Of serde_json's error, which may quote the body, only its kind is kept.
impl From<serde_json::Error> for InvalidResponse {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Data => Self::NotAsExpected,
            Category::Io | Category::Syntax | Category::Eof => Self::NotJson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_is_a_plain_word() {
        assert!(ErrorCode::new("user_not_enrolled").is_some());
        assert!(ErrorCode::new(&"a".repeat(40)).is_some());
        let long = "a".repeat(41);
        for word in ["", "ada@example.org", "Ada", "a b", "a1", "é", &long] {
            assert_eq!(ErrorCode::new(word), None, "{word}");
        }
    }
}
