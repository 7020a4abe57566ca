//! Gives a command the tables and secrets that the environment, or a deployed stack,
//! names. Only the variables of those that the command uses must be set.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use app::issuing_tokens::TokenRegistry;
use app::sweeping::{EnrollmentSweep, GradeSweep, Sweeping};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use bootstrap::aws::{self, Choice};
use bootstrap::environment::{Environment, Missing};
use bootstrap::lms_http;
use bootstrap::wiring::Wiring;
use common::clock::{SharedClock, SystemClock};
use domain::Change;
use lms::{LmsClient, LmsLimits};
use secrets::{CredentialSecret, TokenSecret};
use store::CallLimits;
use tokio::sync::OnceCell;

use crate::cli::Deployment;
use crate::deployment;
use crate::failure::Failure;
use crate::output;

/// Limits of the calls of this program. No webhook waits for an answer: if the tables
/// throttle an import, it slows down.
const IMPORT_LIMITS: CallLimits = CallLimits {
    attempt: Duration::from_secs(10),
    attempts: 6,
    first_backoff: Duration::from_millis(100),
    longest_backoff: Duration::from_secs(2),
};

/// The variable that names the file of the functions' log lines.
pub const LOG: &str = "COURSEHOOK_LOG";

/// The variables that send calls to another endpoint than AWS's; the local stack sets
/// them.
const ENDPOINTS: [&str; 3] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
];

/// The environment of a command.
pub struct Context {
    environment: Environment,
    /// The name of the deployed stack, if one is named.
    deployed: Option<String>,
    /// True once the stack's variables have been read.
    is_read: bool,
    choice: Choice,
    limits: CallLimits,
    aws: OnceCell<SdkConfig>,
    dynamodb: OnceCell<Client>,
}

impl Context {
    /// Builds a context without making a call.
    pub fn new(named: Deployment) -> Result<Self, Failure> {
        let mut environment = Environment::of_process();
        let variable = || environment.optional("COURSEHOOK_STACK").map(str::to_owned);
        let deployed = named.stack.or_else(variable);
        if deployed.is_some() {
            // A variable that the stack lacks must not be taken from the environment of another
            // one. An empty variable counts as not set.
            let names = deployment::names()?.into_iter().chain([LOG.to_owned()]);
            environment.extend(names.map(|name| (name, String::new())));
        }
        Ok(Self {
            deployed,
            is_read: false,
            choice: Choice {
                profile: named.profile,
                region: named.region,
            },
            limits: IMPORT_LIMITS,
            environment,
            aws: OnceCell::new(),
            dynamodb: OnceCell::new(),
        })
    }

    /// Makes calls of the tables give up as soon as in production, so that errors are
    /// reported and not waited for.
    pub fn use_short_timeouts(&mut self) {
        self.limits = CallLimits::PRODUCTION;
    }

    /// Checks what was named: that the profile has credentials, and that the stack has
    /// variables.
    pub async fn open(&mut self) -> Result<(), Failure> {
        let profile = self.choice.profile.as_deref();
        let profile = profile.or(self.environment.optional("AWS_PROFILE"));
        if profile.is_some() || self.deployed.is_some() {
            self.credentials().await?;
        }
        let lacking = self.read_deployed().await?;
        if let (Some(name), false) = (&self.deployed, lacking.is_empty()) {
            output::note(&format!(
                "warning: the stack {name} lacks {}; deploy the template of this version",
                lacking.join(", ")
            ));
        }
        Ok(())
    }

    /// Reads the variables of the stack that is named, if one is. Returns those that it
    /// lacks.
    pub async fn read_deployed(&mut self) -> Result<Vec<String>, Failure> {
        let Some(name) = &self.deployed else {
            return Ok(Vec::new());
        };
        let endpoints = ENDPOINTS.iter().copied();
        let set = endpoints.filter(|name| self.environment.optional(name).is_some());
        let set = Vec::from_iter(set).join(" and ");
        if !set.is_empty() {
            output::note(&format!(
                "note: calls go to another endpoint than AWS's, by {set}; unset that if the stack \
                 {name} is on AWS"
            ));
        }
        let deployed = deployment::read(self.aws().await, name).await?;
        self.environment.extend(deployed.variables);
        self.is_read = true;
        Ok(deployed.lacking)
    }

    /// True if a stack is named whose variables could not be read.
    pub fn is_unknown(&self) -> bool {
        self.deployed.is_some() && !self.is_read
    }

    /// The name of the stack, or `None`.
    pub fn deployed(&self) -> Option<&str> {
        self.deployed.as_deref()
    }

    /// Returns region, credentials and endpoints.
    pub async fn aws(&self) -> &SdkConfig {
        let choice = self.choice.clone();
        self.aws.get_or_init(|| aws::configuration(choice)).await
    }

    /// Returns the credentials that calls are signed with.
    pub async fn credentials(&self) -> Result<Credentials, Failure> {
        Ok(aws::credentials(self.aws().await).await?)
    }

    pub fn clock(&self) -> SharedClock {
        Arc::new(SystemClock)
    }

    pub fn variable(&self, name: &'static str) -> Result<String, Missing> {
        self.environment.required(name)
    }

    /// The file of the functions' log lines, or `None`.
    pub fn log(&self) -> Option<PathBuf> {
        self.environment.optional(LOG).map(Into::into)
    }

    /// True if the operator wants no colours (<https://no-color.org>), or has a terminal
    /// without.
    pub fn wants_no_color(&self) -> bool {
        self.environment.optional("NO_COLOR").is_some()
            || self.environment.optional("TERM") == Some("dumb")
    }

    pub fn setting<T>(&self, name: &'static str) -> Result<T, Failure>
    where
        T: FromStr<Err: Display>,
    {
        Ok(self.environment.parsed(name)?)
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        self.environment.optional(name)
    }

    /// The operator, as the source of a change.
    pub fn operator(&self) -> Change {
        Change::Operator { name: self.name() }
    }

    /// The operator's import, as the source of a change.
    pub fn import(&self) -> Change {
        Change::Import { name: self.name() }
    }

    /// The operator's name, as far as the system knows it.
    pub fn name(&self) -> String {
        let names = ["USER", "LOGNAME"];
        let name = names
            .iter()
            .find_map(|name| self.environment.optional(name));
        name.unwrap_or("operator").to_owned()
    }

    /// Returns the tables and the use cases on them.
    pub async fn tables(&self) -> Wiring<'_> {
        Wiring::new(&self.environment, self.dynamodb().await, self.clock())
    }

    /// Returns the client of the LMS, which these tables' environment names.
    pub async fn lms_client(&self, tables: &Wiring<'_>) -> Result<LmsClient, Failure> {
        let secrets = self.secrets().await;
        Ok(tables.lms_client(secrets, lms_http::client()?, LmsLimits::NONE)?)
    }

    /// Returns the sweep of grades, within the rate limits that all scheduled work
    /// shares.
    pub async fn grade_sweeping(
        &self,
        tables: &Wiring<'_>,
    ) -> Result<Sweeping<GradeSweep>, Failure> {
        let (secrets, limits) = (self.secrets().await, tables.lms_limits()?);
        Ok(tables.grade_sweeping(secrets, lms_http::client()?, limits)?)
    }

    /// Returns the sweep of enrollments, within the same rate limits.
    pub async fn enrollment_sweeping(
        &self,
        tables: &Wiring<'_>,
    ) -> Result<Sweeping<EnrollmentSweep>, Failure> {
        let (secrets, limits) = (self.secrets().await, tables.lms_limits()?);
        Ok(tables.enrollment_sweeping(secrets, lms_http::client()?, limits)?)
    }

    pub async fn tokens(&self) -> Result<TokenRegistry, Failure> {
        let secret = self.variable("WEBHOOK_TOKENS_SECRET")?;
        Ok(TokenRegistry::new(
            TokenSecret::new(self.secrets().await, secret),
            self.clock(),
        ))
    }

    pub async fn credential_for_the_lms(&self) -> Result<CredentialSecret, Failure> {
        let secret = self.variable("OPENEDX_API_SECRET")?;
        Ok(CredentialSecret::new(self.secrets().await, secret))
    }

    pub async fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws::secrets_manager(self.aws().await)
    }

    pub async fn dynamodb(&self) -> Client {
        let client = self
            .dynamodb
            .get_or_init(async || aws::dynamodb(self.aws().await, self.limits))
            .await;
        client.clone()
    }
}
