//! The error that stops a command.

use std::error::Error;

use app::issuing_tokens::TokenError;
use bootstrap::aws::CredentialsError;
use bootstrap::environment::{Missing, SettingError};
use infra::TemplateError;
use lms::LmsError;
use secrets::SecretError;
use store::StoreError;
use thiserror::Error;

use crate::cli::exit_code;
use crate::output::OutputError;
use crate::{aws_errors, lms_errors};

/// The error that stops a command; its message says how to fix it.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{}", describe_missing(.name, .stack.as_deref()))]
    Variable {
        name: String,
        /// The stack that lacks the variable, if one is named.
        stack: Option<String>,
    },
    #[error("{0}")]
    Setting(SettingError),
    #[error(
        "{0}; log in to AWS, or name another profile with --profile. If the profile has SSO, \
         credential_process or MFA, let the AWS CLI read the credentials, and omit --profile: \
         eval \"$(aws configure export-credentials --profile NAME --format env)\""
    )]
    Credentials(#[from] CredentialsError),
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("DynamoDB: {}", aws_errors::describe_store(.0))]
    Store(#[from] StoreError),
    #[error("{}", aws_errors::describe_token(.0))]
    Token(#[from] TokenError),
    #[error("{}", aws_errors::describe_secret(.0))]
    Secret(#[from] SecretError),
    #[error("{}", lms_errors::describe(.0))]
    Lms(#[from] LmsError),
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[from] reqwest::Error),
    #[error("{0}")]
    Output(#[from] OutputError),
    #[error("interrupted")]
    Interrupted,
    /// The command did a part of its work.
    #[error("{reason}\n{done}")]
    CutShort {
        reason: Box<Self>,
        /// Says which part was done, and how to do the rest.
        done: String,
    },
    /// An error of one module.
    #[error("{0}")]
    Command(Box<dyn Error + Send + Sync>),
}

/// An error of one module that stops a command. Nothing but its message is needed to
/// report it.
pub trait CommandError: Error + Send + Sync + 'static {}

impl<E: CommandError> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Command(Box::new(error))
    }
}

impl From<Missing> for Failure {
    fn from(Missing(name): Missing) -> Self {
        Self::missing(name)
    }
}

/// A variable that is not set gives the same message, whichever layer read it.
impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        match error {
            SettingError::Missing(missing) => missing.into(),
            malformed @ SettingError::Malformed { .. } => Self::Setting(malformed),
        }
    }
}

impl Failure {
    /// Returns the error of a required variable that is not set.
    pub fn missing(name: impl Into<String>) -> Self {
        Self::Variable {
            name: name.into(),
            stack: None,
        }
    }

    /// Adds the name of the stack, if one is named: the stack, and not the environment,
    /// must then have the variable.
    pub fn of_stack(self, named: Option<&str>) -> Self {
        match self {
            Self::Variable { name, .. } => Self::Variable {
                name,
                stack: named.map(str::to_owned),
            },
            other => other,
        }
    }

    /// Returns the exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => exit_code::INTERRUPTED,
            Self::CutShort { reason, .. } => reason.exit_code(),
            _ => exit_code::NOT_DONE,
        }
    }
}

/// Describes a missing variable, and where to get it.
fn describe_missing(name: &str, stack: Option<&str>) -> String {
    match (name, stack) {
        ("COURSEHOOK_LOG", _) => {
            let why = match stack {
                None => "the environment variable COURSEHOOK_LOG is not set".to_owned(),
                Some(stack) => format!("there is no local log of the stack {stack}"),
            };
            format!(
                "{why}; name a log file with --log FILE, or let the AWS CLI read the log: \
                 aws logs tail GROUP --format short | coursehook deliveries --log -"
            )
        }
        ("COURSEHOOK_TOKEN", _) => format!(
            "the environment variable {name} is not set; \
             `coursehook tokens issue NAME --staff` issues a token"
        ),
        (_, None) => format!(
            "the environment variable {name} is not set; \
             for the local stack: set -a; . .local/env; set +a; for one on AWS: --stack NAME"
        ),
        (_, Some(stack)) => format!(
            "the stack {stack} has no output or parameter for {name}, and the environment's value \
             is not used instead; deploy the template of this version, or omit --stack (and \
             COURSEHOOK_STACK) and set all variables yourself"
        ),
    }
}
