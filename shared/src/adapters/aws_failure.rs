//! What went wrong when AWS was called.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// A call to AWS that failed after its retries. Holds AWS's error code and
/// nothing that the request or the answer said besides.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AwsError {
    /// AWS asked for fewer calls, or was too busy: its error code, or `UnprocessedKeys`.
    #[error("throttled ({0})")]
    Throttled(String),
    /// Connecting, an attempt or the whole call took longer than it may.
    #[error("no answer in time")]
    Timeout,
    /// The request could not be sent, or the connection broke before an answer.
    #[error("cannot be reached")]
    Unreachable,
    /// Anything else: AWS's error code, or a word of ours such as `UnreadableAnswer`.
    #[error("failed ({0})")]
    Failed(String),
}

/// Error codes with which a service says that it has failed itself, or that
/// somebody else was writing the same just then.
const OUTAGES: [&str; 5] = [
    "InternalServerError",
    "InternalServiceError",
    "ServiceUnavailable",
    "TransactionConflictException",
    UNREADABLE,
];

/// Error codes that say that the request is wrong: of a call, and of one item of
/// a transaction (DynamoDB's API reference).
const INVALID_REQUEST: [&str; 2] = ["ValidationException", "ValidationError"];

/// Our word for an answer that is none of the service's.
const UNREADABLE: &str = "UnreadableAnswer";

impl AwsError {
    /// Whether the service is away or overloaded, rather than there and saying no.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Timeout | Self::Unreachable => true,
            Self::Failed(code) => OUTAGES.contains(&code.as_str()),
        }
    }

    /// Whether the service refuses the request itself: an item over 400 KB, for
    /// instance. Sent again it is refused again.
    pub fn is_invalid_request(&self) -> bool {
        matches!(self, Self::Failed(code) if INVALID_REQUEST.contains(&code.as_str()))
    }

    /// AWS's error code, or a word of ours where there was no answer.
    pub fn code(&self) -> &str {
        match self {
            Self::Throttled(code) | Self::Failed(code) => code,
            Self::Timeout => "Timeout",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// Error codes that say "slower" (DynamoDB and Secrets Manager API references).
const THROTTLING: [&str; 6] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
    // The same transaction is still on its way, sent by an attempt that timed out.
    "TransactionInProgressException",
];

impl<E, R> From<&SdkError<E, R>> for AwsError
where
    E: ProvideErrorMetadata,
{
    fn from(error: &SdkError<E, R>) -> Self {
        match error {
            SdkError::TimeoutError(_) => Self::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Timeout,
            SdkError::DispatchFailure(_) => Self::Unreachable,
            SdkError::ResponseError(_) => Self::Failed(UNREADABLE.to_owned()),
            SdkError::ConstructionFailure(_) => Self::Failed("ConstructionFailure".to_owned()),
            SdkError::ServiceError(service) => match service.err().code() {
                Some(code) if THROTTLING.contains(&code) => Self::Throttled(code.to_owned()),
                Some(code) => Self::Failed(code.to_owned()),
                None => Self::Failed(UNREADABLE.to_owned()),
            },
            _ => Self::Failed("Unknown".to_owned()),
        }
    }
}
