//! Every error of a webhook, and the one table that maps each to an answer.

use app::authenticating::TokensUnavailableError;
use app::{DeliveryError, StoreError};
use domain::EventKey;
use http::StatusCode;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use uuid::Uuid;

use super::answer::ErrorResponse;
use super::course::Course;
use super::delivery::MAX_BODY_BYTES;
use super::pipeline::{EndpointError, PipelineError};

/// Error of a delivery: it is not simply accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookError {
    /// The request does not have exactly one `Authorization` header with a bearer token.
    NoBearer(BearerError),
    /// The token cannot be authenticated at the moment.
    TokensUnavailable(TokensUnavailableError),
    /// The token is malformed, not listed, expired or revoked (`invalid_token` of RFC
    /// 6750, section 3.1).
    InvalidToken(InvalidTokenError),
    /// The token is live but has no staff rights.
    NotStaff,
    /// The method is not POST.
    MethodNotAllowed,
    /// The decoded body has more than [`MAX_BODY_BYTES`].
    TooLarge,
    /// The content type is missing or not JSON.
    NotJsonType,
    /// The content type is JSON, but the body is not a JSON object.
    NotJson(NotJsonError),
    /// Some fields are invalid. Holds all of them.
    Invalid(Vec<FieldFault>),
    /// No user has the email address.
    UserNotFound {
        /// The pending event; `None` if it was dropped because no course id was sent.
        pending: Option<EventKey>,
    },
    /// The user is known, but the course run is not.
    RunNotFound {
        /// The course as sent. The answer repeats it only if it is a course id or a short
        /// plain word.
        course: Course,
        /// The user who was found, for the log.
        user_id: Uuid,
        /// The pending event; `None` if it was dropped because no course id was sent.
        pending: Option<EventKey>,
    },
    /// The store failed, or one of its items is malformed.
    Store {
        /// The error of the store.
        error: StoreError,
        /// The pending event, stored with the reason `failed` if the failure is not
        /// temporary.
        pending: Option<EventKey>,
    },
    /// The store did not answer within the time limit of a request.
    OutOfTime,
    /// The code panicked.
    Panicked {
        /// The location of the panic in the source as `FILE:LINE`, or `unknown`.
        location: String,
    },
}

/// Error: the request has no bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerError {
    /// There is no `Authorization` header.
    Missing,
    /// There is more than one such header, or several that the gateway has joined with
    /// commas.
    Repeated,
    /// The scheme is not `Bearer`, in any case, or the header is not readable text.
    OtherScheme,
}

/// Error: a bearer token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidTokenError {
    /// The token is malformed, which is known without the list of tokens.
    Malformed,
    /// The token is not listed, even after the list was read again.
    Unknown,
    /// The token is listed and has expired.
    Expired,
    /// The token is listed and revoked.
    Revoked,
}

/// Error: a body is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJsonError {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text is not valid JSON, or ends too early.
    NotJson,
    /// The text is JSON of another type: an array, a string, and so on.
    NotAnObject,
    /// Arrays and objects are nested more than 128 deep.
    TooDeep,
}

/// A field and its error, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// The field: `email`, `course_id`, `role`, `mode` or `is_active`.
    pub field: &'static str,
    /// The rest of a sentence that begins with the field's name, for example `is
    /// missing`.
    pub what: String,
}

/// The number of seconds after which a sender may retry. By then a slow store has
/// answered or timed out, and the list of tokens may be read again.
const RETRY_SOON: &str = "5";

const REALM: &str = r#"Bearer realm="api""#;
const INVALID_TOKEN: &str = r#"Bearer realm="api", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str = r#"Bearer realm="api", error="insufficient_scope""#;

impl EndpointError for WebhookError {
    /// Returns the response to this error. A temporary error is never a 4xx, because the
    /// sender drops those for good.
    fn response(&self) -> ErrorResponse {
        let response = |status, header, message: &str, outcome, reason: &str| ErrorResponse {
            status,
            header,
            message: message.to_owned(),
            outcome,
            reason: reason.to_owned(),
        };
        match self {
            Self::NoBearer(why) => response(
                StatusCode::UNAUTHORIZED,
                Some((WWW_AUTHENTICATE, REALM)),
                "A bearer token is required in one Authorization header.",
                "unauthorized",
                match why {
                    BearerError::Missing => "no_authorization",
                    BearerError::Repeated => "two_authorizations",
                    BearerError::OtherScheme => "other_scheme",
                },
            ),
            Self::TokensUnavailable(_) => response(
                StatusCode::SERVICE_UNAVAILABLE,
                Some((RETRY_AFTER, RETRY_SOON)),
                "The token cannot be checked for now; try again.",
                "unavailable",
                "tokens",
            ),
            Self::InvalidToken(why) => response(
                StatusCode::UNAUTHORIZED,
                Some((WWW_AUTHENTICATE, INVALID_TOKEN)),
                "The token is not valid.",
                "unauthorized",
                match why {
                    InvalidTokenError::Malformed => "malformed_token",
                    InvalidTokenError::Unknown => "unknown_token",
                    InvalidTokenError::Expired => "expired_token",
                    InvalidTokenError::Revoked => "revoked_token",
                },
            ),
            Self::NotStaff => response(
                StatusCode::FORBIDDEN,
                Some((WWW_AUTHENTICATE, INSUFFICIENT_SCOPE)),
                "The token has no staff rights.",
                "forbidden",
                "insufficient_scope",
            ),
            Self::MethodNotAllowed => response(
                StatusCode::METHOD_NOT_ALLOWED,
                Some((ALLOW, "POST")),
                "Only POST is allowed.",
                "method_not_allowed",
                "method",
            ),
            Self::TooLarge => response(
                StatusCode::PAYLOAD_TOO_LARGE,
                None,
                &format!("The body is larger than {} KiB.", MAX_BODY_BYTES / 1024),
                "too_large",
                "body",
            ),
            Self::NotJsonType => response(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
                "The content type must be application/json.",
                "unsupported_type",
                "content_type",
            ),
            Self::NotJson(why) => response(
                StatusCode::BAD_REQUEST,
                None,
                "The body must be a JSON object in UTF-8.",
                "malformed",
                match why {
                    NotJsonError::NotUtf8 => "not_utf8",
                    NotJsonError::NotJson => "not_json",
                    NotJsonError::NotAnObject => "not_an_object",
                    NotJsonError::TooDeep => "too_deep",
                },
            ),
            Self::Invalid(faults) => {
                let descriptions: Vec<_> = faults
                    .iter()
                    .map(|f| format!("{} {}", f.field, f.what))
                    .collect();
                let fields: Vec<_> = faults.iter().map(|f| f.field).collect();
                response(
                    StatusCode::BAD_REQUEST,
                    None,
                    &format!("{}.", descriptions.join("; ")),
                    "invalid",
                    &fields.join(","),
                )
            }
            Self::UserNotFound { pending } => response(
                StatusCode::NOT_FOUND,
                None,
                "User not found",
                pending_or_dropped(pending.as_ref()),
                "no_such_user",
            ),
            Self::RunNotFound {
                course, pending, ..
            } => response(
                StatusCode::NOT_FOUND,
                None,
                &format!("Course run with id {} not found", named(course)),
                pending_or_dropped(pending.as_ref()),
                "no_such_run",
            ),
            Self::Store {
                error: StoreError::Aws(failure),
                ..
            } if failure.is_invalid_request() => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "Something went wrong.",
                "failed",
                "store",
            ),
            Self::Store {
                error: StoreError::Aws(_),
                ..
            } => response(
                StatusCode::SERVICE_UNAVAILABLE,
                Some((RETRY_AFTER, RETRY_SOON)),
                "The store is not available for now; try again.",
                "unavailable",
                "store",
            ),
            Self::OutOfTime => response(
                StatusCode::SERVICE_UNAVAILABLE,
                Some((RETRY_AFTER, RETRY_SOON)),
                "The store is not available for now; try again.",
                "unavailable",
                "out_of_time",
            ),
            Self::Store {
                error: StoreError::Corrupt(table),
                ..
            } => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "Something went wrong.",
                "failed",
                &format!("corrupt_item:{table}"),
            ),
            Self::Panicked { location } => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "Something went wrong.",
                "failed",
                &format!("panic:{location}"),
            ),
        }
    }

    /// The error code of the outside service that failed, or `None` if none did.
    fn error_code(&self) -> Option<&str> {
        match self {
            Self::TokensUnavailable(error) => Some(error.code()),
            Self::Store { error, .. } => Some(error.code()),
            Self::OutOfTime => Some("Timeout"),
            _ => None,
        }
    }
}

impl WebhookError {
    /// The pending event, or `None` if there is none.
    pub fn pending(&self) -> Option<&EventKey> {
        match self {
            Self::UserNotFound { pending }
            | Self::RunNotFound { pending, .. }
            | Self::Store { pending, .. } => pending.as_ref(),
            _ => None,
        }
    }

    /// The user, or `None` if none was found.
    pub fn user_id(&self) -> Option<Uuid> {
        match self {
            Self::RunNotFound { user_id, .. } => Some(*user_id),
            _ => None,
        }
    }
}

impl From<PipelineError> for WebhookError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::OutOfTime => Self::OutOfTime,
            PipelineError::Panicked { location } => Self::Panicked { location },
        }
    }
}

impl From<NotJsonError> for WebhookError {
    fn from(why: NotJsonError) -> Self {
        Self::NotJson(why)
    }
}

impl From<StoreError> for WebhookError {
    fn from(error: StoreError) -> Self {
        Self::Store {
            error,
            pending: None,
        }
    }
}

impl From<DeliveryError> for WebhookError {
    fn from(DeliveryError { error, pending }: DeliveryError) -> Self {
        Self::Store { error, pending }
    }
}

fn pending_or_dropped(pending: Option<&EventKey>) -> &'static str {
    if pending.is_some() {
        "pending"
    } else {
        "dropped"
    }
}

/// The course as an answer may name it. A text that is not a course id could be anything,
/// for example an email address or a token, so only a short plain word is repeated.
fn named(course: &Course) -> &str {
    const LONGEST_WORD: usize = 32;
    match course {
        Course::Run(id) => id.as_str(),
        Course::NotAnId(text) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
            if text.len() <= LONGEST_WORD && text.chars().all(plain) {
                text
            } else {
                "(no course id)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::AwsError;
    use secrets::SecretError;

    use super::*;

    /// Every row of the table has its status, header, message, outcome, reason and error
    /// code.
    #[test]
    fn every_error_has_its_response() {
        let key = || {
            EventKey::of(
                domain::EventKind::Enrollment,
                &"ada@example.org".parse().unwrap(),
                &"course-v1:A+B+C".parse().unwrap(),
            )
        };
        let fault = |field, what: &str| FieldFault {
            field,
            what: what.to_owned(),
        };
        let run = |text: &str, pending| WebhookError::RunNotFound {
            course: text.parse().unwrap(),
            user_id: Uuid::nil(),
            pending,
        };
        let store = |failure| WebhookError::from(StoreError::Aws(failure));
        let throttled = || AwsError::Throttled("ThrottlingException".to_owned());
        let denied = || AwsError::Failed("AccessDeniedException".to_owned());
        let secret = SecretError::Aws(AwsError::Unreachable);

        let bearer = "A bearer token is required in one Authorization header.";
        let invalid = "The token is not valid.";
        let unchecked = "The token cannot be checked for now; try again.";
        let json = "The body must be a JSON object in UTF-8.";
        let later = "The store is not available for now; try again.";
        let wrong = "Something went wrong.";
        let realm = r#"www-authenticate: Bearer realm="api""#;
        let bad = r#"www-authenticate: Bearer realm="api", error="invalid_token""#;
        let scope = r#"www-authenticate: Bearer realm="api", error="insufficient_scope""#;
        let retry = "retry-after: 5";

        struct Row {
            error: WebhookError,
            status: u16,
            header: &'static str,
            message: &'static str,
            outcome: &'static str,
            reason: &'static str,
            code: &'static str,
        }
        let table = [
            Row {
                error: WebhookError::NoBearer(BearerError::Missing),
                status: 401,
                header: realm,
                message: bearer,
                outcome: "unauthorized",
                reason: "no_authorization",
                code: "",
            },
            Row {
                error: WebhookError::NoBearer(BearerError::Repeated),
                status: 401,
                header: realm,
                message: bearer,
                outcome: "unauthorized",
                reason: "two_authorizations",
                code: "",
            },
            Row {
                error: WebhookError::NoBearer(BearerError::OtherScheme),
                status: 401,
                header: realm,
                message: bearer,
                outcome: "unauthorized",
                reason: "other_scheme",
                code: "",
            },
            Row {
                error: WebhookError::TokensUnavailable(TokensUnavailableError::NoTokensYet),
                status: 503,
                header: retry,
                message: unchecked,
                outcome: "unavailable",
                reason: "tokens",
                code: "NoTokensYet",
            },
            Row {
                error: WebhookError::TokensUnavailable(secret.into()),
                status: 503,
                header: retry,
                message: unchecked,
                outcome: "unavailable",
                reason: "tokens",
                code: "Unreachable",
            },
            Row {
                error: WebhookError::TokensUnavailable(SecretError::Malformed.into()),
                status: 503,
                header: retry,
                message: unchecked,
                outcome: "unavailable",
                reason: "tokens",
                code: "MalformedSecret",
            },
            Row {
                error: WebhookError::InvalidToken(InvalidTokenError::Malformed),
                status: 401,
                header: bad,
                message: invalid,
                outcome: "unauthorized",
                reason: "malformed_token",
                code: "",
            },
            Row {
                error: WebhookError::InvalidToken(InvalidTokenError::Unknown),
                status: 401,
                header: bad,
                message: invalid,
                outcome: "unauthorized",
                reason: "unknown_token",
                code: "",
            },
            Row {
                error: WebhookError::InvalidToken(InvalidTokenError::Expired),
                status: 401,
                header: bad,
                message: invalid,
                outcome: "unauthorized",
                reason: "expired_token",
                code: "",
            },
            Row {
                error: WebhookError::InvalidToken(InvalidTokenError::Revoked),
                status: 401,
                header: bad,
                message: invalid,
                outcome: "unauthorized",
                reason: "revoked_token",
                code: "",
            },
            Row {
                error: WebhookError::NotStaff,
                status: 403,
                header: scope,
                message: "The token has no staff rights.",
                outcome: "forbidden",
                reason: "insufficient_scope",
                code: "",
            },
            Row {
                error: WebhookError::MethodNotAllowed,
                status: 405,
                header: "allow: POST",
                message: "Only POST is allowed.",
                outcome: "method_not_allowed",
                reason: "method",
                code: "",
            },
            Row {
                error: WebhookError::TooLarge,
                status: 413,
                header: "",
                message: "The body is larger than 64 KiB.",
                outcome: "too_large",
                reason: "body",
                code: "",
            },
            Row {
                error: WebhookError::NotJsonType,
                status: 415,
                header: "",
                message: "The content type must be application/json.",
                outcome: "unsupported_type",
                reason: "content_type",
                code: "",
            },
            Row {
                error: NotJsonError::NotUtf8.into(),
                status: 400,
                header: "",
                message: json,
                outcome: "malformed",
                reason: "not_utf8",
                code: "",
            },
            Row {
                error: NotJsonError::NotJson.into(),
                status: 400,
                header: "",
                message: json,
                outcome: "malformed",
                reason: "not_json",
                code: "",
            },
            Row {
                error: NotJsonError::NotAnObject.into(),
                status: 400,
                header: "",
                message: json,
                outcome: "malformed",
                reason: "not_an_object",
                code: "",
            },
            Row {
                error: NotJsonError::TooDeep.into(),
                status: 400,
                header: "",
                message: json,
                outcome: "malformed",
                reason: "too_deep",
                code: "",
            },
            Row {
                error: WebhookError::Invalid(vec![
                    fault("email", "is blank"),
                    fault("role", "is not a string"),
                ]),
                status: 400,
                header: "",
                message: "email is blank; role is not a string.",
                outcome: "invalid",
                reason: "email,role",
                code: "",
            },
            Row {
                error: WebhookError::UserNotFound {
                    pending: Some(key()),
                },
                status: 404,
                header: "",
                message: "User not found",
                outcome: "pending",
                reason: "no_such_user",
                code: "",
            },
            Row {
                error: WebhookError::UserNotFound { pending: None },
                status: 404,
                header: "",
                message: "User not found",
                outcome: "dropped",
                reason: "no_such_user",
                code: "",
            },
            Row {
                error: run("course-v1:A+B+C", Some(key())),
                status: 404,
                header: "",
                message: "Course run with id course-v1:A+B+C not found",
                outcome: "pending",
                reason: "no_such_run",
                code: "",
            },
            Row {
                error: run("None", None),
                status: 404,
                header: "",
                message: "Course run with id None not found",
                outcome: "dropped",
                reason: "no_such_run",
                code: "",
            },
            Row {
                error: run("ada@example.org", None),
                status: 404,
                header: "",
                message: "Course run with id (no course id) not found",
                outcome: "dropped",
                reason: "no_such_run",
                code: "",
            },
            Row {
                error: store(throttled()),
                status: 503,
                header: retry,
                message: later,
                outcome: "unavailable",
                reason: "store",
                code: "ThrottlingException",
            },
            Row {
                error: store(AwsError::Timeout),
                status: 503,
                header: retry,
                message: later,
                outcome: "unavailable",
                reason: "store",
                code: "Timeout",
            },
            Row {
                error: store(AwsError::Unreachable),
                status: 503,
                header: retry,
                message: later,
                outcome: "unavailable",
                reason: "store",
                code: "Unreachable",
            },
            Row {
                error: store(denied()),
                status: 503,
                header: retry,
                message: later,
                outcome: "unavailable",
                reason: "store",
                code: "AccessDeniedException",
            },
            Row {
                error: store(AwsError::Failed("ValidationException".to_owned())),
                status: 500,
                header: "",
                message: wrong,
                outcome: "failed",
                reason: "store",
                code: "ValidationException",
            },
            Row {
                error: WebhookError::OutOfTime,
                status: 503,
                header: retry,
                message: later,
                outcome: "unavailable",
                reason: "out_of_time",
                code: "Timeout",
            },
            Row {
                error: StoreError::Corrupt("T".to_owned()).into(),
                status: 500,
                header: "",
                message: wrong,
                outcome: "failed",
                reason: "corrupt_item:T",
                code: "CorruptItem",
            },
            Row {
                error: WebhookError::Panicked {
                    location: "a.rs:1".to_owned(),
                },
                status: 500,
                header: "",
                message: wrong,
                outcome: "failed",
                reason: "panic:a.rs:1",
                code: "",
            },
        ];
        for row in table {
            let error = row.error;
            let response = error.response();
            let described = response
                .header
                .map(|(name, value)| format!("{name}: {value}"));
            assert_eq!(
                (
                    response.status.as_u16(),
                    described.as_deref().unwrap_or(""),
                    response.message.as_str()
                ),
                (row.status, row.header, row.message),
                "{error:?}"
            );
            assert_eq!(
                (response.outcome, response.reason.as_str()),
                (row.outcome, row.reason),
                "{error:?}"
            );
            assert_eq!(error.error_code().unwrap_or(""), row.code, "{error:?}");
        }
    }
}
