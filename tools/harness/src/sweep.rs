//! Calls a sweep's function, as the state machine does.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue::S;
use bootstrap::environment::{Environment, SettingError};
use common::clock::{Clock, SharedClock};
use lambda_http::{Context, Error, LambdaEvent};
use local::lms::At;
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;
use uuid::Uuid;
use web::logging::subscriber;
use web::start::JsonFunction;

use crate::stop::{Stop, stopped};
use crate::{FAST_RETRIES, Portal, RUN, http_client};

/// A sweep's function on a portal of the test's own.
pub struct Sweep {
    /// The portal of the sweep.
    pub portal: Portal,
    function: Box<dyn Fn(LambdaEvent<Value>) -> Answering>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Value, Error>>>>;

impl Deref for Sweep {
    type Target = Portal;

    fn deref(&self) -> &Portal {
        &self.portal
    }
}

/// Returns the id of the learner of this number.
pub fn id(learner: u32) -> Uuid {
    Uuid::from_u128(u128::from(learner) + 1)
}

/// Returns the learner's username in the LMS; usernames sort as the numbers do.
pub fn username(learner: u32) -> String {
    format!("learner{learner:06}")
}

/// Returns the learner's address.
pub fn email(learner: u32) -> String {
    format!("{}@example.org", username(learner))
}

impl Sweep {
    /// Returns the function that `wire` builds, on a portal whose store it reaches through this
    /// client.
    pub fn wired<F: JsonFunction + 'static>(
        portal: Portal,
        through: Client,
        wire: impl FnOnce(
            &Environment,
            Client,
            aws_sdk_secretsmanager::Client,
            reqwest::Client,
            SharedClock,
        ) -> Result<F, SettingError>,
    ) -> Self {
        let function = wire(
            portal.environment(),
            through,
            portal.secrets_client(),
            http_client(),
            portal.clock.clone(),
        );
        let function = Arc::new(function.unwrap());
        Self {
            portal,
            function: Box::new(move |event| {
                let function = Arc::clone(&function);
                Box::pin(async move { function.handle(event).await })
            }),
        }
    }

    /// Sweeps the run, in as many calls as needed; returns the last answer.
    pub async fn sweep(&self) -> Value {
        self.sweep_with(json!({})).await
    }

    /// Sweeps the run in the same way, with more fields in the request.
    pub async fn sweep_with(&self, fields: Value) -> Value {
        self.sweep_for(fields, 900).await
    }

    /// Sweeps the run in the same way, in calls of this many seconds each; a call that is short of
    /// time processes one page.
    pub async fn sweep_for(&self, fields: Value, seconds: i64) -> Value {
        let mut request = json!({"run": RUN});
        let fields = fields.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(fields);
        loop {
            let call = json!({"sweep": request.clone()});
            let answer = self.call_for(call, seconds).await.unwrap();
            if answer["status"] != "suspended" {
                return answer;
            }
            let wait = answer["wait_seconds"].as_u64().unwrap();
            self.clock.advance(Duration::from_secs(wait));
        }
    }

    /// Makes one call, as the state machine does.
    pub async fn call(&self, call: Value) -> Result<Value, Error> {
        self.call_for(call, 900).await
    }

    /// Makes one call with this many seconds left.
    pub async fn call_for(&self, call: Value, seconds: i64) -> Result<Value, Error> {
        let mut context = Context::default();
        context.request_id = "the-call".to_owned();
        let deadline = self.clock.now().as_millisecond() + seconds * 1000;
        context.deadline = deadline.try_into().unwrap();
        (self.function)(LambdaEvent::new(call, context))
            .with_subscriber(subscriber(self.log.clone()))
            .await
    }

    /// Returns the effects that the last ended sweep logged, for each user that has any.
    pub fn effects(&self) -> BTreeMap<Uuid, Vec<String>> {
        let sweep_id = &self.log.last("sweep ended")["sweep_id"];
        let mut effects = BTreeMap::<Uuid, Vec<String>>::new();
        for line in self.log.lines() {
            if line["message"] == "learner swept" && line["sweep_id"] == *sweep_id {
                let text = |field: &str| line[field].as_str().unwrap().to_owned();
                let of_user = effects.entry(text("user_id").parse().unwrap());
                of_user.or_default().push(text("effect"));
            }
        }
        effects
    }

    /// Adds the learner of this number: a user with a username.
    pub async fn put_learner(&self, learner: u32) {
        let (email, id) = (email(learner), id(learner).to_string());
        self.put_user(&email, &id, Some(&username(learner))).await;
    }

    /// Makes learners count as enrolled in the run, without any other record.
    pub async fn put_others(&self, learners: Range<u32>) {
        let run = S(RUN.to_owned());
        let enrollments = learners.map(|learner| {
            HashMap::from([
                ("user_id".to_owned(), S(id(learner).to_string())),
                ("course_id".to_owned(), run.clone()),
            ])
        });
        self.put_items("EnrollmentsTable", enrollments.collect())
            .await;
    }
}

/// Returns the calls of one whole sweep of the portal: those to the tables by operation, and the
/// number of requests to this part of the LMS.
pub async fn calls_of_a_sweep(
    portal: Portal,
    at: At,
    wired: impl Fn(Portal, Client) -> Sweep,
) -> (BTreeMap<String, usize>, usize) {
    let (proxy, client) = portal.proxy(FAST_RETRIES).await;
    let sweep = wired(portal, client);
    let asked = sweep.lms.count(at);
    assert_eq!(sweep.sweep().await["status"], "done");
    let mut calls = BTreeMap::new();
    for call in proxy.calls() {
        *calls.entry(call).or_default() += 1;
    }
    (calls, sweep.lms.count(at) - asked)
}

/// Sweeps copies of a portal, each stopped before or after one of the outside calls and resumed by
/// another process; asserts that each ends as an uninterrupted sweep, and returns that end. The
/// calls of a sweep have this many seconds each.
pub async fn ends_the_same(
    before: &Portal,
    at: At,
    seconds: i64,
    wired: impl Fn(Portal, Client) -> Sweep,
) -> BTreeMap<String, Value> {
    let portal = before.copy().await;
    let (proxy, client) = portal.proxy(FAST_RETRIES).await;
    let sweep = wired(portal, client);
    let whole = |sweep: Sweep| async move {
        let answer = sweep.sweep_for(json!({}), seconds).await;
        (answer, sweep)
    };
    let (answer, sweep) = whole(sweep).await;
    assert_eq!(answer["status"], "done", "{answer}");
    let expected = settled(sweep.everything().await);
    let calls = proxy.calls().len();

    let mut stops = 0;
    for stop in Stop::all(calls, at) {
        let portal = before.copy().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let sweep = wired(portal, client);
        let work = sweep.sweep_for(json!({}), seconds);
        let was_reached = stopped(stop, &proxy, &sweep.lms, work).await;
        stops += usize::from(was_reached);
        sweep.clock.advance(Duration::from_secs(60));
        let beside = sweep.beside();
        let client = beside.client();
        let (answer, next) = whole(wired(beside, client)).await;
        assert_eq!(answer["status"], "done", "{stop:?}: {answer}");
        let found = settled(next.everything().await);
        assert_eq!(found, expected, "{stop:?}");
    }
    // The calls that run at the same time, and thus their order, are random.
    assert!(stops >= 2 * calls, "{stops} of {calls}");
    expected
}

/// Returns the items without the values that are generated each time: the ids of changes, sweeps,
/// certificates and enrollments, and timestamps.
pub fn settled(mut all: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    fn strip(value: &mut Value) {
        const GENERATED: [&str; 7] = [
            "change_id",
            "sweep_id",
            "certificate_id",
            "enrollment_id",
            "at",
            "issued_at",
            "changed_at",
        ];
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !GENERATED.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    all.values_mut().for_each(strip);
    all
}
