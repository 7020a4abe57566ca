//! A portal for one test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use app::certifying::{Pass, Source};
use app::enrolling::{Announcement, EnrollmentEvent, Set};
use app::operator::override_grade;
use app::renaming::{NewAddress, Renamed, rename_email};
use app::retry::{BatchContext, RetrySummary};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue::{self, Bool, L, M, N, S, Ss};
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use bootstrap::aws;
use bootstrap::environment::Environment;
use bootstrap::wiring::Wiring;
use common::clock::{Clock, FakeClock};
use domain::{Certificate, Change, Enrollment, Grade, Lane, PendingEvent, Score, Setting};
use infra::Template;
use jiff::SignedDuration;
use lms::LmsLimits;
use local::lms::{CLIENT_ID, CLIENT_SECRET, GradeRow};
use local::{Dynamodb, FaultyProxy, Lms, SecretsManager};
use serde_json::{Value, json};
use store::CallLimits;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{ADA, ADA_ID, ADA_USERNAME, Log, RUN, client, http_client, now, tokens};

type Item = HashMap<String, AttributeValue>;

/// Tables with one user and one run, secrets, an LMS, a clock and a log.
pub struct Portal {
    /// Reads and writes the engine, bypassing any proxy.
    pub dynamodb: Client,
    /// The captured log.
    pub log: Log,
    /// A clock that stands still until it is advanced, and moves for tasks that sleep on it.
    pub clock: Arc<FakeClock>,
    /// The name of the secret that holds the tokens.
    pub secret: String,
    /// The stand-in of Secrets Manager.
    pub secrets: &'static SecretsManager,
    /// The stand-in of the LMS, without any grades at first.
    pub lms: Arc<Lms>,
    credential: String,
    environment: Environment,
    variables: Vec<(String, String)>,
    engine: Arc<Dynamodb>,
}

impl Portal {
    /// Returns a portal with tokens of every state.
    pub async fn new() -> Self {
        let portal = Self::without_tokens().await;
        let tokens = tokens().to_string();
        portal.secrets.put(&portal.secret, &tokens).await.unwrap();
        portal
    }

    /// Returns a portal whose secret of tokens has no value yet.
    pub async fn without_tokens() -> Self {
        let portal = Self::bare().await;
        portal.put_user(ADA, ADA_ID, Some(ADA_USERNAME)).await;
        portal.put_run(RUN).await;
        portal
    }

    /// Returns a portal with tokens of every state, and neither users nor runs.
    pub async fn empty() -> Self {
        let portal = Self::bare().await;
        let tokens = tokens().to_string();
        portal.secrets.put(&portal.secret, &tokens).await.unwrap();
        portal
    }

    async fn bare() -> Self {
        let engine = Dynamodb::in_memory().await.unwrap();
        let lms = Lms::start(0).await.unwrap();
        let secrets = SecretsManager::for_tests().await.unwrap();
        let [tokens, credential] = [(); 2].map(|()| Uuid::new_v4().to_string());
        secrets.create(&tokens).await.unwrap();
        secrets.create(&credential).await.unwrap();
        let client_and_secret = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        let client_and_secret = client_and_secret.to_string();
        secrets.put(&credential, &client_and_secret).await.unwrap();

        let own = [
            ("WEBHOOK_TOKENS_SECRET", tokens.as_str()),
            ("OPENEDX_API_SECRET", &credential),
            ("LMS_URL", &lms.url),
            // The stand-in needs no rate limit.
            ("LMS_ENROLLMENTS_PER_MINUTE", "1000000"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Template::load().unwrap().variables();
        let variables = Vec::from_iter(variables.into_iter().chain(own));
        Self {
            dynamodb: client(&engine.url, CallLimits::PRODUCTION),
            log: Log::default(),
            clock: Arc::new(FakeClock::leaping_from(now())),
            secret: tokens,
            secrets,
            lms: Arc::new(lms),
            credential,
            environment: variables.iter().cloned().collect(),
            variables,
            engine: Arc::new(engine),
        }
    }

    /// Returns the same portal for another process: it shares everything but the log.
    pub fn beside(&self) -> Self {
        Self {
            dynamodb: self.client(),
            log: Log::default(),
            clock: Arc::clone(&self.clock),
            secret: self.secret.clone(),
            secrets: self.secrets,
            lms: Arc::clone(&self.lms),
            credential: self.credential.clone(),
            environment: self.environment.clone(),
            variables: self.variables.clone(),
            engine: Arc::clone(&self.engine),
        }
    }

    /// Returns a new portal with the same items in its tables, the same LMS and the same clock.
    pub async fn copy(&self) -> Self {
        let mut copy = self.beside();
        copy.engine = Arc::new(Dynamodb::in_memory().await.unwrap());
        copy.dynamodb = copy.client();
        for table in Template::load().unwrap().tables {
            copy.put_items(&table.name, self.items(&table.name).await)
                .await;
        }
        copy
    }

    /// Writes many items to a table, as another program may.
    pub async fn put_items(&self, table: &str, items: Vec<Item>) {
        /// The number of items that DynamoDB writes in a call.
        const AT_ONCE: usize = 25;
        for some in items.chunks(AT_ONCE) {
            let put = |item: &Item| {
                let put = PutRequest::builder().set_item(Some(item.clone()));
                let put = put.build().unwrap();
                WriteRequest::builder().put_request(put).build()
            };
            let some = some.iter().map(put).collect();
            let write = self.dynamodb.batch_write_item().request_items(table, some);
            let left = write.send().await.unwrap().unprocessed_items;
            assert_eq!(left.unwrap_or_default(), HashMap::new());
        }
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let scan = self.dynamodb.scan().table_name(table);
        let items = scan.into_paginator().items().send();
        items.collect::<Result<_, _>>().await.unwrap()
    }

    /// Returns the environment that a function reads at its start.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the variables for a function's own process.
    pub fn variables(&self) -> Vec<(String, String)> {
        let endpoints = [
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.engine.url),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.secrets.url),
        ];
        let endpoints = endpoints.map(|(name, url)| (name.to_owned(), url.clone()));
        self.variables.iter().cloned().chain(endpoints).collect()
    }

    /// Returns the URL of the tables' engine.
    pub fn engine_url(&self) -> &str {
        &self.engine.url
    }

    /// Returns a client for the tables.
    pub fn client(&self) -> Client {
        client(&self.engine.url, CallLimits::PRODUCTION)
    }

    /// Returns a proxy in front of the tables, which passes every call on until it is given faults,
    /// and a client that uses it.
    pub async fn proxy(&self, limits: CallLimits) -> (FaultyProxy, Client) {
        let pass = |_: &local::Call| local::Fault::Pass;
        let proxy = FaultyProxy::before(&self.engine.url, pass).await.unwrap();
        let client = client(&proxy.url, limits);
        (proxy, client)
    }

    /// Returns a client for the secrets.
    pub fn secrets_client(&self) -> aws_sdk_secretsmanager::Client {
        aws::secrets_manager(&local::sdk::configuration(&self.secrets.url))
    }

    /// Returns the use cases on the tables that `dynamodb` reaches.
    pub fn wiring(&self, dynamodb: Client) -> Wiring<'_> {
        Wiring::new(&self.environment, dynamodb, self.clock.clone())
    }

    /// Returns the use cases on the tables themselves.
    pub fn use_cases(&self) -> Wiring<'_> {
        self.wiring(self.dynamodb.clone())
    }

    /// Writes a user with the username, as another program may.
    pub async fn put_user(&self, email: &str, user_id: &str, username: Option<&str>) {
        let item = [
            ("email", email),
            ("user_id", user_id),
            ("email_as_given", email),
            ("name", "A Learner"),
        ];
        let item = item.into_iter();
        let item = item.chain(username.map(|username| ("edx_username", username)));
        let item = item.map(|(name, value)| (name.to_owned(), S(value.to_owned())));
        let put = self.dynamodb.put_item().table_name("UsersTable");
        put.set_item(Some(item.collect())).send().await.unwrap();
        if let Some(username) = username {
            let put = self.dynamodb.put_item().table_name("UsernamesTable");
            put.item("username_key", S(username.to_ascii_lowercase()))
                .item("edx_username", S(username.to_owned()))
                .item("email", S(email.to_owned()))
                .item("user_id", S(user_id.to_owned()))
                .send()
                .await
                .unwrap();
        }
    }

    /// Writes a run, as another program may.
    pub async fn put_run(&self, course_id: &str) {
        self.dynamodb
            .put_item()
            .table_name("CourseRunsTable")
            .item("course_id", S(course_id.to_owned()))
            .item("title", S("Rust on Lambda".to_owned()))
            .item("live", Bool(true))
            .item("is_self_paced", Bool(false))
            .send()
            .await
            .unwrap();
    }

    /// Sets one attribute of a run, as another program may.
    pub async fn set_run(&self, course_id: &str, attribute: &str, value: AttributeValue) {
        self.dynamodb
            .update_item()
            .table_name("CourseRunsTable")
            .key("course_id", S(course_id.to_owned()))
            .update_expression("SET #a = :v")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .unwrap();
    }

    /// Sets one attribute of Ada's record in the run, in one of the tables keyed by user and run,
    /// as an earlier change would have.
    pub async fn set(&self, table: &str, attribute: &str, value: AttributeValue) {
        self.dynamodb
            .update_item()
            .table_name(table)
            .key("user_id", S(ADA_ID.to_owned()))
            .key("course_id", S(RUN.to_owned()))
            .update_expression("SET #a = :v")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .unwrap();
    }

    /// Enrolls Ada in the run, in this mode and active.
    pub async fn enroll(&self, mode: &str) {
        self.enroll_user(ADA, mode).await;
    }

    /// Enrolls a user in the run, as an operator.
    pub async fn enroll_user(&self, email: &str, mode: &str) {
        self.set_enrollment(email, RUN, mode, true).await;
    }

    /// Sets a user's enrollment, as an operator.
    pub async fn set_enrollment(&self, email: &str, course_id: &str, mode: &str, active: bool) {
        let enrolling = self.use_cases().enrolling().unwrap();
        let (email, run) = (email.parse().unwrap(), course_id.parse().unwrap());
        let mode = mode.parse().unwrap();
        let set = enrolling.set(
            &email,
            &run,
            Setting::mode(mode, active),
            by(),
            self.clock.now(),
        );
        assert!(matches!(set.await.unwrap(), Set::Stands(_)));
    }

    /// Changes a user's address, as an operator.
    pub async fn rename(&self, old: &str, new: &str) -> Renamed {
        let wiring = self.use_cases();
        let (users, pending_events) = (wiring.users().unwrap(), wiring.pending_events().unwrap());
        let address = NewAddress {
            email: new.parse().unwrap(),
            as_given: new.to_owned(),
        };
        let (old, now) = (old.parse().unwrap(), self.clock.now());
        let renamed = rename_email(&users, &pending_events, &old, &address, false, now);
        renamed.await.unwrap()
    }

    /// Announces an enrollment or a role in the run, as the webhook does.
    pub async fn announce(&self, email: &str, role: Option<&str>, mode: Option<&str>) {
        let event = EnrollmentEvent::Enrolled {
            role: role.map(|role| role.parse().unwrap()),
            mode: mode.map(|mode| mode.parse().unwrap()),
        };
        self.announce_event(email, event).await;
    }

    /// Announces an un-enrollment from the run, as the webhook does.
    pub async fn unenroll(&self, email: &str) {
        self.announce_event(email, EnrollmentEvent::Unenrolled)
            .await;
    }

    async fn announce_event(&self, email: &str, event: EnrollmentEvent) {
        let announcement = Announcement {
            email: email.parse().unwrap(),
            course_id: Some(RUN.parse().unwrap()),
            event: Some(event),
            by: by(),
            at: self.clock.now(),
        };
        let enrolling = self.use_cases().enrolling().unwrap();
        enrolling.enroll(&announcement).await.unwrap();
    }

    /// Announces that Ada has passed, as the webhook does; the event becomes pending.
    pub async fn add_pending_pass(&self) {
        self.add_pending_pass_of(ADA).await;
    }

    /// Announces another learner's pass in the same way.
    pub async fn add_pending_pass_of(&self, email: &str) {
        let wiring = self.use_cases();
        let http = http_client();
        let lms = wiring.lms_client(self.secrets_client(), http, LmsLimits::NONE);
        let pass = Pass {
            email: email.parse().unwrap(),
            course_id: Some(RUN.parse().unwrap()),
            by: by(),
            at: self.clock.now(),
        };
        let source = Source::Lms {
            lms: &lms.unwrap(),
            asking: &|_| {},
        };
        let until = Instant::now() + Duration::from_secs(60);
        let certifying = wiring.certifying().unwrap();
        let certified = certifying.certify(&pass, source, until).await.unwrap();
        assert!(certified.pending.is_some(), "{certified:?}");
    }

    /// Sets Ada's grade in the run in the LMS.
    pub fn grade(&self, percent: f64, passed: bool) {
        let row = GradeRow {
            percent,
            passed,
            letter_grade: Some(if passed { "Pass" } else { "F" }.to_owned()),
        };
        self.lms.grade(ADA_USERNAME, RUN, row);
    }

    /// Returns all enrollments of a user.
    pub async fn enrollments(&self, user_id: &str) -> Vec<Enrollment> {
        let enrollments = self.use_cases().enrollments().unwrap();
        enrollments.of_user(user_id.parse().unwrap()).await.unwrap()
    }

    /// Returns Ada's one enrollment.
    pub async fn enrollment(&self) -> Enrollment {
        let [enrollment] = self.enrollments(ADA_ID).await.try_into().unwrap();
        enrollment
    }

    /// Returns Ada's one grade, or `None`.
    pub async fn stored_grade(&self) -> Option<Grade> {
        let grades = self.use_cases().grades().unwrap();
        let mut grades = grades.of_user(ADA_ID.parse().unwrap()).await.unwrap();
        assert!(grades.len() < 2, "{grades:?}");
        grades.pop()
    }

    /// Returns Ada's one certificate, or `None`.
    pub async fn certificate(&self) -> Option<Certificate> {
        let certificates = self.use_cases().certificates().unwrap();
        let all = certificates.of_user(ADA_ID.parse().unwrap());
        let mut all = all.await.unwrap();
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }

    /// Returns all items of the portal, except the states of sweeps.
    pub async fn everything(&self) -> BTreeMap<String, Value> {
        let mut items = BTreeMap::new();
        for table in Template::load().unwrap().tables {
            if table.name == "SweepsTable" {
                continue;
            }
            let keys = table.definition.key_schema.iter();
            let keys = Vec::from_iter(keys.map(|key| key.attribute_name.as_str()));
            for item in self.items(&table.name).await {
                let key = keys.iter().map(|key| item[*key].as_s().unwrap().as_str());
                let key = format!("{} {}", table.name, Vec::from_iter(key).join(" "));
                items.insert(key, plain(&M(item)));
            }
        }
        items
    }

    /// Returns all readable pending events, in no order.
    pub async fn pending(&self) -> Vec<PendingEvent> {
        let pending_events = self.use_cases().pending_events().unwrap();
        let page = pending_events.page(None).await.unwrap();
        assert!(page.next.is_none());
        page.entries.into_iter().flatten().collect()
    }

    /// Returns the one pending event.
    pub async fn pending_event(&self) -> PendingEvent {
        let [event] = self.pending().await.try_into().unwrap();
        event
    }

    /// Returns the number of attempts at all pending events together.
    pub async fn attempts(&self) -> u32 {
        self.pending()
            .await
            .iter()
            .map(|event| event.attempts)
            .sum()
    }

    /// Sets Ada's grade in the run, as an operator.
    pub async fn override_grade(&self, percent: f64, passed: bool) {
        let records = self.use_cases().records().unwrap();
        let score = Score {
            percent: percent.try_into().unwrap(),
            passed,
            letter_grade: None,
        };
        let (user_id, run) = (ADA_ID.parse().unwrap(), RUN.parse().unwrap());
        let now = self.clock.now();
        let by = by();
        let set = override_grade(&records, user_id, &run, &score, &by, now);
        assert!(set.await.unwrap().changed);
    }

    /// Returns the name of the secret that holds the credential for the LMS.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// Retries the due pending events of both lanes, as the schedules do. Returns what both together
    /// have done.
    pub async fn retry_due(&self) -> RetrySummary {
        let wiring = self.use_cases();
        let own = wiring.own_worker().unwrap();
        let lms = wiring.lms_worker(self.secrets_client(), http_client());
        let mut summary = RetrySummary::new(Lane::Own);
        for worker in [own, lms.unwrap()] {
            let context = BatchContext {
                request_id: "a-retry".to_owned(),
                claim_until: Instant::now() + Duration::from_secs(60),
                holder_id: Uuid::new_v4(),
                counts: false,
                lease: self.clock.now() + SignedDuration::from_mins(2),
            };
            // Boxed because the future is large in a debug build.
            let retried = Box::pin(worker.run(&context, |_| {})).await.unwrap();
            summary = RetrySummary {
                attempted: summary.attempted + retried.attempted,
                done: summary.done + retried.done,
                failed: summary.failed + retried.failed,
                certified: summary.certified + retried.certified,
                ..retried
            };
        }
        summary
    }
}

/// Returns the author of a test's changes.
fn by() -> Change {
    Change::Operator {
        name: "a test".to_owned(),
    }
}

/// Converts an attribute to JSON, so that maps and sets compare in any order.
fn plain(value: &AttributeValue) -> Value {
    match value {
        S(text) => text.as_str().into(),
        N(number) => number.parse::<f64>().unwrap().into(),
        Bool(flag) => (*flag).into(),
        L(all) => all.iter().map(plain).collect(),
        M(all) => all
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Ss(all) => BTreeSet::from_iter(all).into_iter().cloned().collect(),
        other => panic!("{other:?}"),
    }
}
