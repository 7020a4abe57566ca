//! Errors of calls to AWS.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use thiserror::Error;

/// Error of a call to AWS that failed after its retries. It holds AWS's error code and
/// nothing else of the request or the answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AwsError {
    /// AWS asked for fewer calls or was too busy. Holds its error code, or
    /// `UnprocessedKeys`.
    #[error("throttled ({0})")]
    Throttled(String),
    /// Connecting, an attempt or the whole call exceeded its time limit.
    #[error("no answer in time")]
    Timeout,
    /// The request could not be sent, or the connection broke before an answer.
    #[error("cannot be reached")]
    Unreachable,
    /// Any other failure. Holds AWS's error code, or a code of ours such as
    /// `UnreadableAnswer`.
    #[error("failed ({0})")]
    Failed(String),
}

/// Error codes with which a service says that it has failed itself, or that another
/// request was writing the same item at that moment.
const OUTAGES: [&str; 5] = [
    "InternalServerError",
    "InternalServiceError",
    "ServiceUnavailable",
    "TransactionConflictException",
    UNREADABLE,
];

/// Error codes that say that the request is wrong, either of a call or of one item of a
/// transaction (DynamoDB's API reference).
const INVALID_REQUEST: [&str; 2] = ["ValidationException", "ValidationError"];

/// Our code for an answer that does not have the form of the service's answers.
const UNREADABLE: &str = "UnreadableAnswer";

impl AwsError {
    /// True if the service is unavailable or overloaded, as opposed to refusing the
    /// request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Timeout | Self::Unreachable => true,
            Self::Failed(code) => OUTAGES.contains(&code.as_str()),
        }
    }

    /// True if the service refuses the request itself, for example an item over 400 KB.
    /// The same request would be refused again.
    pub fn is_invalid_request(&self) -> bool {
        matches!(self, Self::Failed(code) if INVALID_REQUEST.contains(&code.as_str()))
    }

    /// AWS's error code, or a code of ours if there was no answer.
    pub fn code(&self) -> &str {
        match self {
            Self::Throttled(code) | Self::Failed(code) => code,
            Self::Timeout => "Timeout",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// Error codes that ask for fewer calls (DynamoDB and Secrets Manager API references).
const THROTTLING: [&str; 6] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
    // The same transaction, sent by an attempt that timed out, is still in progress.
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
