//! The secrets in Secrets Manager: the list of webhook tokens, and the credential for the
//! LMS.

mod cached_secret;
mod credential;
mod tokens;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use common::AwsError;
use thiserror::Error;

pub use cached_secret::{CachedSecret, ReadResult, SecretSource};
pub use credential::{CredentialSecret, parse as parse_credential};
pub use tokens::{Replaced, StoredTokens, TokenSecret};

/// The largest value that Secrets Manager accepts, in bytes (AWS quotas).
const MAX_BYTES: usize = 65_536;

/// Error of reading or writing a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Secrets Manager failed or refused, for example because there is no such secret.
    #[error("Secrets Manager: {0}")]
    Aws(#[from] AwsError),
    /// The secret has a value that is not in the required form.
    #[error("the secret's value is not of the form that it must have")]
    Malformed,
    /// The list of tokens does not fit into a secret.
    #[error("the list of tokens would exceed {MAX_BYTES} bytes; revoke tokens that are not used")]
    TooLarge,
}

impl SecretError {
    /// True if Secrets Manager is unavailable, as opposed to refusing the request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Aws(failure) => failure.is_outage(),
            Self::Malformed | Self::TooLarge => false,
        }
    }

    /// AWS's error code, or a code of ours.
    pub fn code(&self) -> &str {
        match self {
            Self::Aws(failure) => failure.code(),
            Self::Malformed => "MalformedSecret",
            Self::TooLarge => "TokenListTooLarge",
        }
    }
}

/// The current value of a secret, as readers get it.
#[derive(Default)]
struct Value {
    /// The current version; `None` if the secret never had one.
    version: Option<String>,
    /// The text; `None` if the secret has no value yet.
    text: Option<String>,
}

/// Reads the current value of a secret.
async fn current(client: &Client, secret_id: &str) -> Result<Value, SecretError> {
    let answer = client.get_secret_value().secret_id(secret_id).send().await;
    match answer {
        // A value is stored, but not as text.
        Ok(answer) if answer.secret_string.is_none() && answer.secret_binary.is_some() => {
            Err(SecretError::Malformed)
        }
        Ok(answer) => Ok(Value {
            version: answer.version_id,
            text: answer.secret_string.filter(|text| !text.is_empty()),
        }),
        Err(error) => match error.as_service_error() {
            // Secrets Manager answers "not found" both for a secret without any version
            // and for a secret that does not exist. Only the message tells them apart.
            Some(GetSecretValueError::ResourceNotFoundException(e))
                if e.message().is_some_and(|m| m.contains("staging label")) =>
            {
                Ok(Value::default())
            }
            _ => Err(AwsError::from(&error).into()),
        },
    }
}
