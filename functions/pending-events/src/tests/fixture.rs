//! The fixture of every test: both functions as their programs wire them, on a portal of the test's
//! own.

use std::ops::Deref;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use common::clock::Clock;
use domain::Lane;
use harness::Portal;
use lambda_runtime::{Context, Error, LambdaEvent};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;
use web::logging::subscriber;
use web::start::JsonFunction;

use crate::handler::PendingEvents;

pub struct Fixture {
    own: PendingEvents,
    lms_lane: PendingEvents,
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
        let own = crate::own_events(portal.environment(), through.clone(), portal.clock.clone());
        let lms_lane = crate::lms_events(
            portal.environment(),
            through,
            portal.secrets_client(),
            harness::http_client(),
            portal.clock.clone(),
        );
        Self {
            own: own.unwrap(),
            lms_lane: lms_lane.unwrap(),
            portal,
        }
    }

    /// Runs a batch of each lane, as the schedules do, with two minutes left. Returns what both
    /// together have done.
    pub async fn run(&self) -> Value {
        let (own, lms) = tokio::join!(self.run_lane(Lane::Own, 120), self.run_lane(Lane::Lms, 120));
        let (mut both, lms) = (own.unwrap(), lms.unwrap());
        for count in ["attempted", "done", "failed", "certified"] {
            both[count] = json!(both[count].as_u64().unwrap() + lms[count].as_u64().unwrap());
        }
        both["lms_paused"] = lms["lms_paused"].clone();
        both
    }

    /// Runs a batch of each lane ten minutes later, when the events are counted.
    pub async fn run_and_count(&self) -> Value {
        self.clock.advance(Duration::from_secs(600));
        self.run().await
    }

    /// Runs a batch of a lane with this many seconds left.
    pub async fn run_lane(&self, lane: Lane, seconds: i64) -> Result<Value, Error> {
        let mut context = Context::default();
        context.request_id = "the-batch".to_owned();
        let deadline = self.clock.now().as_millisecond() + seconds * 1000;
        context.deadline = deadline.try_into().unwrap();
        let function = match lane {
            Lane::Own => &self.own,
            Lane::Lms => &self.lms_lane,
        };
        // Boxed, as in the program.
        Box::pin(function.handle(LambdaEvent::new(json!({}), context)))
            .with_subscriber(subscriber(self.log.clone()))
            .await
    }
}
