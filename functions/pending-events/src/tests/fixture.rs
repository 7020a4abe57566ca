//! The fixture of every test: the function as `main` wires it, on a portal of the test's own.

use std::ops::Deref;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use common::clock::Clock;
use harness::Portal;
use lambda_runtime::{Context, Error, LambdaEvent};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;
use web::logging::subscriber;
use web::start::JsonFunction;

use crate::handler::PendingEvents;

pub struct Fixture {
    pub function: PendingEvents,
    pub portal: Portal,
}

impl Deref for Fixture {
    type Target = Portal;

    fn deref(&self) -> &Portal {
        &self.portal
    }
}

impl Fixture {
    pub async fn new() -> Self {
        Self::on(Portal::new().await)
    }

    pub fn on(portal: Portal) -> Self {
        let client = portal.client();
        Self::wired(portal, client)
    }

    /// Returns a fixture that reaches its store through this client.
    pub fn wired(portal: Portal, through: Client) -> Self {
        let wired = crate::wire(
            portal.environment(),
            through,
            portal.secrets_client(),
            harness::http_client(),
            portal.clock.clone(),
        );
        Self {
            function: wired.unwrap(),
            portal,
        }
    }

    /// Runs a batch as the schedule does, with two minutes left.
    pub async fn run(&self) -> Value {
        self.run_for(120).await.unwrap()
    }

    /// Runs a batch ten minutes later, which counts the events.
    pub async fn run_and_count(&self) -> Value {
        self.clock.advance(Duration::from_secs(600));
        self.run().await
    }

    /// Runs a batch with this many seconds left.
    pub async fn run_for(&self, seconds: i64) -> Result<Value, Error> {
        let mut context = Context::default();
        context.request_id = "the-batch".to_owned();
        let deadline = self.clock.now().as_millisecond() + seconds * 1000;
        context.deadline = deadline.try_into().unwrap();
        self.function
            .handle(LambdaEvent::new(json!({}), context))
            .with_subscriber(subscriber(self.log.clone()))
            .await
    }
}
