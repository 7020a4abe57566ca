//! The tables and the secret that the environment names. A command asks for
//! those that it uses, and only their variables must be set.

use aws_sdk_dynamodb::Client;
use std::sync::Arc;
use std::time::Duration;

use shared::adapters::secrets::TokenSecret;
use shared::adapters::store::CallLimits;
use shared::clock::{SharedClock, SystemClock};
use shared::domain::Change;
use shared::startup::aws;
use shared::startup::environment::{Environment, Missing};
use shared::startup::wiring::Wiring;
use shared::use_cases::issuing_tokens::TokenRegistry;
use tokio::sync::OnceCell;

use crate::failure::Failure;

/// Nobody waits at the other end of a webhook: where the tables ask an import
/// to be slower, it is.
const PATIENT: CallLimits = CallLimits {
    attempt: Duration::from_secs(10),
    attempts: 6,
    first_backoff: Duration::from_millis(100),
    longest_backoff: Duration::from_secs(2),
};

/// What surrounds a command.
pub struct Stack {
    environment: Environment,
    dynamodb: OnceCell<Client>,
}

impl Stack {
    pub fn new() -> Self {
        Self {
            environment: Environment::of_process(),
            dynamodb: OnceCell::new(),
        }
    }

    pub fn clock(&self) -> SharedClock {
        Arc::new(SystemClock)
    }

    pub fn variable(&self, name: &'static str) -> Result<String, Missing> {
        self.environment.required(name)
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
    fn name(&self) -> String {
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

    pub async fn tokens(&self) -> Result<TokenRegistry, Failure> {
        let secret = self.variable("WEBHOOK_TOKENS_SECRET")?;
        let client = aws::secrets_manager(&aws::configuration().await);
        Ok(TokenRegistry::new(
            TokenSecret::new(client, secret),
            self.clock(),
        ))
    }

    async fn dynamodb(&self) -> Client {
        let client = self
            .dynamodb
            .get_or_init(async || aws::dynamodb(&aws::configuration().await, PATIENT))
            .await;
        client.clone()
    }
}
