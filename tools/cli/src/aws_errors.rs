//! Says in sentences what the errors of AWS, and of what is stored there, mean, and how to
//! fix them.

use app::issuing_tokens::TokenError;
use common::AwsError;
use secrets::SecretError;
use store::StoreError;

/// Describes an error of the tables, and how to fix it.
pub fn describe_store(error: &StoreError) -> String {
    match error {
        StoreError::Aws(failure) => describe(failure),
        StoreError::Corrupt(_) => format!("{error}; was it written by a newer version?"),
    }
}

/// Describes an error of the list of tokens, and how to fix it.
pub fn describe_token(error: &TokenError) -> String {
    match error {
        TokenError::Secret(error) => describe_secret(error),
        TokenError::Unclear(_) => format!(
            "{error}; check `coursehook tokens list`: a new token there is not in use and should \
             be revoked, and the old one may end sooner or be revoked"
        ),
        _ => error.to_string(),
    }
}

/// Describes an error of a secret, and how to fix it.
pub fn describe_secret(error: &SecretError) -> String {
    match error {
        SecretError::Aws(failure) => format!("Secrets Manager: {}", describe(failure)),
        SecretError::Malformed => {
            format!("{error}; make an earlier version of the secret current")
        }
        SecretError::TooLarge => error.to_string(),
    }
}

/// Describes an error of AWS, and how to fix it.
pub fn describe(failure: &AwsError) -> String {
    let advice = match failure {
        AwsError::Unreachable => {
            "is the local stack running (make run)? On AWS, are a region and credentials set \
             (--region and --profile, or AWS_REGION and so on)?"
        }
        AwsError::Timeout => "try again; if that does not help, check the network in between",
        AwsError::Throttled(_) => "wait a minute and try again",
        AwsError::Failed(code) => match code.as_str() {
            "ResourceNotFoundException" => {
                "check the name in the environment variables, AWS_REGION, and where \
                 AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL_SECRETS_MANAGER \
                 leads if it is set"
            }
            "AccessDeniedException" | "AccessDenied" => {
                "these credentials are not allowed to do this; use others"
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "IncompleteSignature" => "log in to AWS again",
            "ConstructionFailure" => "are a region and credentials set (AWS_REGION, --region)?",
            _ => "try again; AWS's documentation explains the code",
        },
    };
    format!("{failure}; {advice}")
}
