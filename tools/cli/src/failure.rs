//! Errors that stop a command, with messages that say how to fix them.

use std::io;
use std::path::PathBuf;

use app::issuing_tokens::TokenError;
use bootstrap::aws::CredentialsError;
use bootstrap::environment::{Missing, SettingError};
use common::AwsError;
use domain::given::GivenError;
use domain::{CourseId, Email, EventKey, Mode, User};
use infra::TemplateError;
use lms::LmsError;
use lms::{LmsApiError, TokenEndpointError};
use secrets::SecretError;
use store::StoreError;
use thiserror::Error;
use uuid::Uuid;

use crate::advice;
use crate::cli::exit_code;
use crate::encoding::PlainTextError;
use crate::import::Summary;
use crate::output;
use crate::rows::FileError;
use crate::samples::SampleError;

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
    #[error(
        "there is no CloudFormation stack {name} in {region} that these credentials can see; \
         --region names another region and --profile another account's credentials, and \
         `aws cloudformation list-stacks` lists the stacks"
    )]
    NoSuchStack { name: String, region: String },
    #[error(
        "the CloudFormation stack {0} is not one of Coursehook's: none of its outputs names a \
         table or a secret; give the name under which Coursehook was deployed"
    )]
    NotCoursehook(String),
    #[error("CloudFormation: {}", describe(.0))]
    CloudFormation(AwsError),
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("DynamoDB: {}", describe_store(.0))]
    Store(#[from] StoreError),
    #[error("{}", describe_token(.0))]
    Token(#[from] TokenError),
    #[error("{}", describe_secret(.0))]
    Secret(SecretError),
    #[error(
        "no token was issued, since standard output is closed or /dev/null and the token would be \
         lost; send standard output to a terminal, a file or a variable"
    )]
    NowhereToWrite,
    #[error(
        "the token could not be written to standard output ({problem}), so {id} was revoked at \
         once; {again}, with a standard output that can be written"
    )]
    NotHandedOver {
        id: String,
        problem: io::Error,
        /// The advice, which depends on the command that issued the token.
        again: &'static str,
    },
    #[error(
        "the token could not be written to standard output ({problem}), and {id} may still be \
         valid, since it could not be revoked ({}); try: coursehook tokens revoke {id}{}",
        describe_token(.why), .old.as_deref().unwrap_or_default()
    )]
    StillInForce {
        id: String,
        problem: io::Error,
        why: TokenError,
        /// The end of the old token, if the new one was to replace one.
        old: Option<String>,
    },
    #[error(
        "the input is not a credential, and nothing was stored; piped input must be \
         {{\"client_id\": \"...\", \"client_secret\": \"...\"}} or {{\"token\": \"...\"}}"
    )]
    NoCredential,
    #[error("{}", describe_refused(.0))]
    CredentialRefused(LmsApiError),
    #[error("standard input cannot be read: {0}; nothing was stored")]
    Input(io::Error),
    #[error("standard input {0}; nothing was stored")]
    InputText(PlainTextError),
    #[error("{file}: {problem}")]
    File { file: String, problem: FileError },
    #[error("interrupted")]
    Interrupted,
    #[error(
        "{reason}\nso far {done}, and perhaps some more; \
         import the file again: records that are already stored stay as they are"
    )]
    Stopped {
        reason: Box<Failure>,
        done: Box<Summary>,
    },
    #[error(
        "interrupted\nso far {done}, and perhaps some more; the same command again does the rest"
    )]
    InterruptedAt { done: String },
    #[error("{reason}\nwhat was done stays done; to resume from there: {again}")]
    SweepStopped { reason: Box<Failure>, again: String },
    #[error("{}", describe_lms(.0))]
    Lms(LmsError),
    #[error("there is no user {}; `coursehook users import` creates users", .0.as_str())]
    NoSuchUser(Email),
    #[error("there is no user with the id {0}; `coursehook users list` lists all users")]
    NoUserOfId(Uuid),
    #[error(
        "the user has no edX username, so the LMS cannot be asked; import the user with an \
         edx_username, with `coursehook users import`"
    )]
    NoUsername,
    #[error("the new address {0}; write one such as ada@example.org")]
    Address(GivenError),
    #[error("both are the same address, as Coursehook compares them; nothing was changed")]
    SameAddress,
    #[error(
        "{} belongs to another user ({}); see `{}`: if they are the same person and the other \
         user has no records worth keeping, erase that user with `{}`, and then rename",
        .taken.as_str(), .by.user_id, output::command("status", &[.taken.as_str()], &[]),
        output::command("users erase", &[.taken.as_str()], &[])
    )]
    AddressTaken { taken: Email, by: Box<User> },
    #[error(
        "{} is a former address of {}; if it never belonged to them: {}",
        .taken.as_str(), .by.email.as_str(),
        output::command(
            "users rename-email", &[.taken.as_str(), .by.email.as_str()], &["--forget"]
        )
    )]
    AddressWasTheirs { taken: Email, by: Box<User> },
    #[error(
        "there is no user {}, and nothing is pending for that address; `coursehook users list` \
         lists all users",
        .0.as_str()
    )]
    NothingToErase(Email),
    #[error("there is no course run {0}; `coursehook runs import` creates course runs")]
    NoSuchRun(CourseId),
    #[error("a grade of 0 earns no certificate: leave out --passed, or set a --percent above 0")]
    PassOfZero,
    #[error(
        "{} is not enrolled in {course_id}; `coursehook enrollments set` with --mode creates an \
         enrollment", .email.as_str()
    )]
    NoEnrollment { email: Email, course_id: CourseId },
    #[error(
        "Open edX is not known to have a mode {}; use one of {}, or --force to set it anyway",
        output::printable(.0.as_str()), Mode::KNOWN.join(", ")
    )]
    UnknownMode(Mode),
    #[error(
        "no pending event has a key that begins with {0}; `coursehook events list` lists all \
         pending events, and an event that took effect is no longer there"
    )]
    NoSuchEvent(String),
    #[error(
        "several pending events have a key that begins with {prefix}; give enough of the key to \
         tell them apart: {}",
        join(.keys)
    )]
    SeveralEvents { prefix: String, keys: Vec<EventKey> },
    #[error(
        "the event {0} was retried or delivered again in the meantime, so it was not dropped; \
         check it with `coursehook events show {0}`, and then drop it"
    )]
    EventMoved(String),
    #[error(
        "{} has no grade in {course_id}; `coursehook grades override` sets one",
        .email.as_str()
    )]
    NoGrade { email: Email, course_id: CourseId },
    #[error(
        "{} has no certificate for {course_id}; `coursehook grades override` sets a grade that earns one",
        .email.as_str()
    )]
    NoCertificate { email: Email, course_id: CourseId },
    #[error(
        "the certificate was withdrawn, since the grade became 0, and a pass restores it: \
         wait for the LMS to announce one, or set the grade: {}",
        advice::pass(.email, .course_id)
    )]
    Withdrawn { email: Email, course_id: CourseId },
    #[error(
        "the grade is set, but Coursehook could not decide whether it earns the certificate: \
         DynamoDB: {}; run the same command again to decide it",
        describe_store(.0)
    )]
    NotCertified(StoreError),
    #[error(
        "{0} Cannot ask for confirmation, since standard input is not a terminal; \
         --yes confirms in advance"
    )]
    NoTerminal(String),
    #[error("nothing was changed, since the answer was not yes")]
    Declined,
    #[error("{}: {problem}", output::path(.path))]
    Delivery { path: PathBuf, problem: SampleError },
    #[error("{} has no *.json files", output::path(.0))]
    NoDeliveries(PathBuf),
    #[error("COURSEHOOK_URL is not a URL such as http://127.0.0.1:9000")]
    Url,
    #[error("COURSEHOOK_TOKEN is not a token; `coursehook tokens issue` issues one")]
    Bearer,
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[from] reqwest::Error),
    #[error("standard output cannot be written: {0}; changes made until then stay")]
    Output(io::Error),
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
            Self::Interrupted | Self::InterruptedAt { .. } => exit_code::INTERRUPTED,
            Self::Stopped { reason, .. } | Self::SweepStopped { reason, .. } => reason.exit_code(),
            _ => exit_code::NOT_DONE,
        }
    }
}

fn join(keys: &[EventKey]) -> String {
    let keys: Vec<_> = keys.iter().map(EventKey::as_str).collect();
    keys.join(", ")
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

fn describe_store(error: &StoreError) -> String {
    match error {
        StoreError::Aws(failure) => describe(failure),
        StoreError::Corrupt(_) => format!("{error}; was it written by a newer version?"),
    }
}

fn describe_token(error: &TokenError) -> String {
    match error {
        TokenError::Secret(error) => describe_secret(error),
        TokenError::Unclear(_) => format!(
            "{error}; check `coursehook tokens list`: a new token there is not in use and should \
             be revoked, and the old one may end sooner or be revoked"
        ),
        _ => error.to_string(),
    }
}

fn describe_secret(error: &SecretError) -> String {
    match error {
        SecretError::Aws(failure) => format!("Secrets Manager: {}", describe(failure)),
        SecretError::Malformed => {
            format!("{error}; make an earlier version of the secret current")
        }
        SecretError::TooLarge => error.to_string(),
    }
}

/// Describes an error of the LMS, and how to fix it.
fn describe_lms(error: &LmsError) -> String {
    let (cause, fix) = advice::of_the_lms(&error.code());
    format!("{cause} {fix}.")
}

/// Describes the LMS's answer to a new credential.
fn describe_refused(error: &LmsApiError) -> String {
    let (cause, fix) = advice::of_the_lms(&error.code());
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

/// Describes an error of AWS, and how to fix it.
fn describe(failure: &AwsError) -> String {
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
