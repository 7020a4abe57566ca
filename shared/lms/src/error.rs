//! Errors of requests to the LMS: of the client ([`LmsError`]), and of one request
//! ([`LmsApiError`]).

use std::fmt;
use std::time::Duration;

use domain::PaginationError;
use serde_json::error::Category;
use thiserror::Error;

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

/// Error of a request to the LMS: there is no usable answer.
///
/// It holds the status and a plain `error_code` of the answer and nothing of the request,
/// because texts of the LMS and URLs name learners.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LmsApiError {
    /// 429, or the page with which older sites refuse tokens that are requested too
    /// often.
    #[error("the LMS asks for fewer requests")]
    Throttled {
        /// The time without requests that the LMS asks for, if it gave one; at most
        /// [`LmsApiError::LONGEST_RETRY_AFTER`].
        retry_after: Option<Duration>,
    },
    /// An answer that says nothing about the request: 5xx, a redirect, or any other
    /// answer that does not have the form of the API. For example, the base URL is wrong
    /// or a proxy before the LMS has answered.
    #[error("the LMS answered {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The time without requests that the LMS asks for, as in
        /// [`LmsApiError::Throttled`].
        retry_after: Option<Duration>,
    },
    /// No answer within the time limit.
    #[error("the LMS did not answer in time")]
    Timeout,
    /// No connection, or the connection broke before the answer was complete.
    #[error("the LMS cannot be reached")]
    Unreachable,
    /// 401: our token is not valid, even after it was renewed.
    #[error("the LMS does not take our token")]
    Unauthorized {
        /// The LMS's code, for example `token_expired`.
        error_code: Option<ErrorCode>,
    },
    /// 403: our credential may not read the resource.
    #[error("the LMS does not let us read that")]
    Forbidden,
    /// The LMS gives our OAuth2 client no token.
    #[error("the LMS gives our client no token: {why}")]
    NoToken {
        /// The reason of the token endpoint.
        why: TokenEndpointError,
        /// The time without requests that the LMS asks for, as in
        /// [`LmsApiError::Throttled`].
        retry_after: Option<Duration>,
    },
    /// The LMS has no such course run, or cannot read its id.
    #[error("the LMS has no such course run")]
    NoSuchRun,
    /// The LMS has no user with this username.
    #[error("the LMS has no such learner")]
    NoSuchLearner,
    /// The LMS cannot parse the username. Its list of enrollments accepts only `A` to
    /// `Z`, `a` to `z`, digits, `_` and `-`, unless it is configured otherwise.
    #[error("the LMS does not accept the username")]
    BadUsername,
    /// The learner was never enrolled in the course run.
    #[error("the LMS says that the learner was never enrolled there")]
    NotEnrolled,
    /// 200 with an invalid answer.
    #[error("the response of the LMS is invalid: {0}")]
    InvalidResponse(#[from] InvalidResponse),
}

/// Error codes of the token endpoint (RFC 6749, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenEndpointError {
    /// `invalid_request`: the LMS cannot parse the request.
    #[error("invalid_request")]
    InvalidRequest,
    /// `invalid_client`: there is no client with this id and secret.
    #[error("invalid_client")]
    InvalidClient,
    /// `invalid_grant`: the grant presented to obtain the token is not valid.
    #[error("invalid_grant")]
    InvalidGrant,
    /// `unauthorized_client`: the client may not use the client credentials grant.
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// `unsupported_grant_type`: the LMS saw another grant type or none.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// `invalid_scope`: the client may not have its default scope.
    #[error("invalid_scope")]
    InvalidScope,
    /// A code that the RFC does not define.
    #[error("another reason")]
    Other,
}

impl TokenEndpointError {
    /// Parses the `error` of an answer of the token endpoint.
    pub(crate) fn of(error: &str) -> Self {
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

    /// The code for logs.
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

/// The defect of an invalid response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidResponse {
    /// The list that must hold the learner's row is empty.
    #[error("it has no row")]
    NoRow,
    /// The row has another username or none.
    #[error("its row is of another learner")]
    AnotherLearner,
    /// The row has another course run or none.
    #[error("its row is of another course run")]
    AnotherRun,
    /// `percent` is not a number between 0 and 2.
    #[error("percent is not a number between 0 and 2")]
    Percent,
    /// `passed` is neither true nor false.
    #[error("passed is neither true nor false")]
    Passed,
    /// `mode` is not text, is empty or is too long.
    #[error("mode is not text, is empty or is too long")]
    Mode,
    /// `is_active` is neither true nor false.
    #[error("is_active is neither true nor false")]
    IsActive,
    /// The body is larger than a mebibyte. The rest of it was not read.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// The body is not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// The body is JSON of another shape.
    #[error("its JSON has another shape")]
    NotAsExpected,
    /// A list has the same learner twice.
    #[error("it lists a learner twice")]
    Twice,
    /// The pages of a list lead back to an earlier page.
    #[error("its pages lead back to an earlier page")]
    Cycle,
    /// A list has more pages than any course run could fill.
    #[error("it has too many pages")]
    TooManyPages,
}

/// An error code of the LMS: at most forty characters of `a` to `z` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCode(String);

impl ErrorCode {
    const MAX_CHARS: usize = 40;

    /// Parses an error code; `None` for any other text, which could name a person.
    pub fn new(word: &str) -> Option<Self> {
        let is_plain = (1..=Self::MAX_CHARS).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_plain.then(|| Self(word.to_owned()))
    }

    /// The code as text.
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
    /// The longest time without requests that is accepted from the LMS.
    pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(12);

    /// A short code for logs and for stored last errors: the status, with the LMS's code
    /// if there is one, or a code of our own.
    pub fn code(&self) -> String {
        let word = match self {
            // Only these two statuses are answers of the API itself.
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

    /// The kind of error as one word, for readers of an answer.
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

    /// The time without requests that the LMS asks for, or `None` if it asks for none.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after }
            | Self::Unavailable { retry_after, .. }
            | Self::NoToken { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// True if the LMS answered the request and there is no such run, learner or
    /// enrollment. Such an answer is not a failure.
    pub fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRun | Self::NoSuchLearner | Self::BadUsername | Self::NotEnrolled
        )
    }

    /// True if the LMS, or our credential for it, is unavailable as a whole, so that any
    /// other request now would fail likewise. False for an error of this learner, this
    /// run or this row.
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
                | InvalidResponse::Cycle
                | InvalidResponse::TooManyPages => false,
            },
        }
    }
}

impl InvalidResponse {
    /// The code for logs.
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
            Self::Cycle => "cycle",
            Self::TooManyPages => "too_many_pages",
        }
    }
}

impl From<PaginationError> for InvalidResponse {
    fn from(error: PaginationError) -> Self {
        match error {
            PaginationError::Cycle => Self::Cycle,
            PaginationError::TooManyPages => Self::TooManyPages,
        }
    }
}

/// Keeps only the kind of serde_json's error, which may quote the body.
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
    fn an_error_code_has_only_lowercase_letters_and_underscores() {
        assert!(ErrorCode::new("user_not_enrolled").is_some());
        assert!(ErrorCode::new(&"a".repeat(40)).is_some());
        let long = "a".repeat(41);
        for word in ["", "ada@example.org", "Ada", "a b", "a1", "é", &long] {
            assert_eq!(ErrorCode::new(word), None, "{word}");
        }
    }
}
