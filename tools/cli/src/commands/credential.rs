//! `coursehook credential`

use std::io::{self, BufRead, IsTerminal, Read};
use std::process::ExitCode;
use std::time::Duration;

use console::Term;
use domain::Credential;
use lms::{BaseUrl, LmsApi, LmsApiError, TokenEndpointError};
use secrecy::SecretString;
use secrets::{SecretError, parse_credential};
use serde::Serialize;
use thiserror::Error;

use crate::cli;
use crate::context::Context;
use crate::encoding::{PlainTextError, without_byte_order_mark};
use crate::failure::{CommandError, Failure};
use crate::lms_errors;
use crate::output::{self, Output};

/// The timeout of a request, the same as a webhook's for a grade.
pub const LIMIT: Duration = Duration::from_secs(15);

/// More bytes than any secret can hold.
const MAX_BYTES: u64 = 65_537;

/// Error of a credential that is not stored.
#[derive(Debug, Error)]
enum CredentialError {
    #[error(
        "the input is not a credential, and nothing was stored; piped input must be \
         {{\"client_id\": \"...\", \"client_secret\": \"...\"}} or {{\"token\": \"...\"}}"
    )]
    NotACredential,
    #[error("{}", describe_refused(.0))]
    Refused(LmsApiError),
    #[error("standard input cannot be read: {0}; nothing was stored")]
    Input(io::Error),
    #[error("standard input {0}; nothing was stored")]
    Text(PlainTextError),
}

impl CommandError for CredentialError {}

/// Describes the LMS's answer to a new credential.
fn describe_refused(error: &LmsApiError) -> String {
    let (cause, fix) = lms_errors::explain(&error.code());
    let is_invalid_client = matches!(
        error,
        LmsApiError::NoToken {
            why: TokenEndpointError::InvalidClient,
            ..
        }
    );
    if is_invalid_client {
        format!(
            "{cause} Nothing was stored; enter another one, or store it without a check with \
             --unchecked"
        )
    } else {
        format!(
            "{cause} Nothing was stored. {fix}; or store it without a check with \
             --unchecked"
        )
    }
}

pub async fn run(
    command: cli::Credential,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Credential::Set {
            is_static,
            unchecked,
        } => set(is_static, unchecked, context, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(
    is_static: bool,
    unchecked: bool,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let secret = context.credential_for_the_lms().await?;
    let credential = if io::stdin().is_terminal() {
        typed(is_static).map_err(CredentialError::Input)?
    } else {
        piped()?
    };
    let check = if unchecked {
        Check::NotAsked
    } else {
        check(context, &credential).await?
    };
    let checked = match check {
        Check::Accepted => true,
        Check::NotAsked => false,
        Check::Refused(error) => return Err(CredentialError::Refused(error).into()),
    };
    secret
        .write(&credential)
        .await
        .map_err(|error| match error {
            SecretError::Malformed => CredentialError::NotACredential.into(),
            error => Failure::Secret(error),
        })?;
    let client_id = match &credential {
        Credential::Client { id, .. } => Some(id.as_str()),
        Credential::Static { .. } => None,
    };
    let shown = Stored { client_id, checked };
    output.answer(&shown, || {
        let what = match client_id {
            Some(id) => format!("the client {}", output::printable(id)),
            None => "the static token".to_owned(),
        };
        let asked = if checked {
            "the LMS gave it a token"
        } else {
            "the LMS was not asked; `coursehook doctor` reads a grade with it"
        };
        format!("stored {what}: {asked}. The functions use it within a minute.")
    })?;
    Ok(())
}

/// The LMS's answer to a credential.
pub enum Check {
    Accepted,
    Refused(LmsApiError),
    /// A static token can be checked only by reading a grade.
    NotAsked,
}

/// Asks the LMS for a token for a client.
pub async fn check(context: &Context, credential: &Credential) -> Result<Check, Failure> {
    let Credential::Client { id, secret } = credential else {
        return Ok(Check::NotAsked);
    };
    let lms_url: BaseUrl = context.setting("LMS_URL")?;
    let lms = LmsApi::new(bootstrap::lms_http::client()?, lms_url);
    let token = tokio::time::timeout(LIMIT, lms.access_token(id, secret)).await;
    Ok(match token.unwrap_or(Err(LmsApiError::Timeout)) {
        Ok(_) => Check::Accepted,
        Err(error) => Check::Refused(error),
    })
}

/// Asks for a credential on the terminal.
fn typed(is_static: bool) -> io::Result<Credential> {
    if is_static {
        return Ok(Credential::Static {
            token: hidden("Static token (not shown):")?,
        });
    }
    output::question("Client id:");
    let mut id = String::new();
    io::stdin().lock().read_line(&mut id)?;
    Ok(Credential::Client {
        id: id.trim().to_owned(),
        secret: hidden("Client secret (not shown):")?,
    })
}

/// Reads a line that the terminal does not echo.
fn hidden(question: &str) -> io::Result<SecretString> {
    output::question(question);
    let line = Term::stderr().read_secure_line()?;
    Ok(SecretString::from(line.trim()))
}

/// Reads a credential from another program.
fn piped() -> Result<Credential, CredentialError> {
    let mut bytes = Vec::new();
    let mut input = io::stdin().take(MAX_BYTES);
    input
        .read_to_end(&mut bytes)
        .map_err(CredentialError::Input)?;
    let text = without_byte_order_mark(&bytes).map_err(CredentialError::Text)?;
    let text = str::from_utf8(text).map_err(|_| CredentialError::NotACredential)?;
    parse_credential(text).map_err(|_| CredentialError::NotACredential)
}

#[derive(Serialize)]
struct Stored<'a> {
    /// The client's id; `null` for a static token.
    client_id: Option<&'a str>,
    /// True if the LMS accepted the credential before it was stored.
    checked: bool,
}
