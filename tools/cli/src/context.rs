//! The tables and the secret that the environment names, or a stack that is
//! deployed. A command asks for those that it uses, and only their variables
//! must be set.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use shared::adapters::secrets::{CredentialSecret, TokenSecret};
use shared::adapters::store::CallLimits;
use shared::bootstrap::aws::{self, Choice};
use shared::bootstrap::environment::{Environment, Missing};
use shared::bootstrap::lms;
use shared::bootstrap::wiring::Wiring;
use shared::clock::{SharedClock, SystemClock};
use shared::domain::Change;
use shared::use_cases::issuing_tokens::TokenRegistry;
use shared::use_cases::lms::{LmsClient, LmsLimits};
use shared::use_cases::sweeping::{EnrollmentSweep, GradeSweep, Sweeping};
use tokio::sync::OnceCell;

use crate::cli::Deployment;
use crate::deployment;
use crate::failure::Failure;
use crate::output;

/// Nobody waits at the other end of a webhook: where the tables ask an import
/// to be slower, it is.
const PATIENT: CallLimits = CallLimits {
    attempt: Duration::from_secs(10),
    attempts: 6,
    first_backoff: Duration::from_millis(100),
    longest_backoff: Duration::from_secs(2),
};

/// The file of the functions' log lines.
pub const LOG: &str = "COURSEHOOK_LOG";

/// They have calls go elsewhere than to AWS, and the local stack sets them.
const ENDPOINTS: [&str; 3] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
];

/// What surrounds a command.
pub struct Context {
    environment: Environment,
    /// The one that is deployed, where it is named.
    deployed: Option<String>,
    /// Whether it is known what that one says.
    is_read: bool,
    choice: Choice,
    limits: CallLimits,
    aws: OnceCell<SdkConfig>,
    dynamodb: OnceCell<Client>,
}

impl Context {
    /// Makes no call.
    pub fn new(named: Deployment) -> Result<Self, Failure> {
        let mut environment = Environment::of_process();
        let variable = || environment.optional("COURSEHOOK_STACK").map(str::to_owned);
        let deployed = named.stack.or_else(variable);
        if deployed.is_some() {
            // What a stack does not say must not be another one's. An empty
            // variable counts as not set.
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
            limits: PATIENT,
            environment,
            aws: OnceCell::new(),
            dynamodb: OnceCell::new(),
        })
    }

    /// Has calls of the tables give up as soon as in production, where what is
    /// wrong is to be told rather than waited for.
    pub fn use_short_timeouts(&mut self) {
        self.limits = CallLimits::PRODUCTION;
    }

    /// Finds out what was named: that a profile has credentials, and what a
    /// stack's variables are.
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

    /// Takes the variables of the stack that is named, if one is; hands back
    /// those that it lacks.
    pub async fn read_deployed(&mut self) -> Result<Vec<String>, Failure> {
        let Some(name) = &self.deployed else {
            return Ok(Vec::new());
        };
        let endpoints = ENDPOINTS.iter().copied();
        let set = endpoints.filter(|name| self.environment.optional(name).is_some());
        let set = Vec::from_iter(set).join(" and ");
        if !set.is_empty() {
            output::note(&format!(
                "note: calls go elsewhere than to AWS, by {set}; unset that where the stack {name} is on AWS"
            ));
        }
        let deployed = deployment::read(self.aws().await, name).await?;
        self.environment.extend(deployed.variables);
        self.is_read = true;
        Ok(deployed.lacking)
    }

    /// Whether a stack is named of which nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.deployed.is_some() && !self.is_read
    }

    /// The name of the stack that is deployed, where it is known.
    pub fn deployed(&self) -> Option<&str> {
        self.deployed.as_deref()
    }

    /// Region, credentials and endpoints.
    pub async fn aws(&self) -> &SdkConfig {
        let choice = self.choice.clone();
        self.aws.get_or_init(|| aws::configuration(choice)).await
    }

    /// What calls are signed with.
    pub async fn credentials(&self) -> Result<Credentials, Failure> {
        Ok(aws::credentials(self.aws().await).await?)
    }

    pub fn clock(&self) -> SharedClock {
        Arc::new(SystemClock)
    }

    pub fn variable(&self, name: &'static str) -> Result<String, Missing> {
        self.environment.required(name)
    }

    /// The file of the functions' log lines, where they are at hand.
    pub fn log(&self) -> Option<PathBuf> {
        self.environment.optional(LOG).map(Into::into)
    }

    /// Whether whoever is at the keyboard wants no colours (<https://no-color.org>),
    /// or has a terminal without.
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

    /// Whoever is at the keyboard, who changes something.
    pub fn operator(&self) -> Change {
        Change::Operator { name: self.name() }
    }

    /// Whoever is at the keyboard, who imports something.
    pub fn import(&self) -> Change {
        Change::Import { name: self.name() }
    }

    /// Who is at the keyboard, as far as the system knows.
    pub fn name(&self) -> String {
        let names = ["USER", "LOGNAME"];
        let name = names
            .iter()
            .find_map(|name| self.environment.optional(name));
        name.unwrap_or("operator").to_owned()
    }

    /// The tables, and what is done with them.
    pub async fn tables(&self) -> Wiring<'_> {
        Wiring::new(&self.environment, self.dynamodb().await, self.clock())
    }

    /// What asks the LMS. These tables' environment names the LMS.
    pub async fn lms_client(&self, tables: &Wiring<'_>) -> Result<LmsClient, Failure> {
        let secrets = self.secrets().await;
        Ok(tables.lms_client(secrets, lms::client()?, LmsLimits::NONE)?)
    }

    /// What sweeps grades, within the limits of all that go on by themselves.
    pub async fn grade_sweeping(
        &self,
        tables: &Wiring<'_>,
    ) -> Result<Sweeping<GradeSweep>, Failure> {
        let (secrets, limits) = (self.secrets().await, tables.lms_limits()?);
        Ok(tables.grade_sweeping(secrets, lms::client()?, limits)?)
    }

    /// What sweeps enrollments, within the same limits.
    pub async fn enrollment_sweeping(
        &self,
        tables: &Wiring<'_>,
    ) -> Result<Sweeping<EnrollmentSweep>, Failure> {
        let (secrets, limits) = (self.secrets().await, tables.lms_limits()?);
        Ok(tables.enrollment_sweeping(secrets, lms::client()?, limits)?)
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
