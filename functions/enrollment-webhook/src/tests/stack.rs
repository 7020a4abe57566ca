//! What every test stands on: the webhook as `main` wires it, on an engine and
//! a secret of the test's own.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Region;
use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use jiff::Timestamp;
use lambda_http::http::HeaderMap;
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Context, LambdaEvent, Request, RequestExt};
use local::{Dynamodb, FaultyProxy, SecretsManager, Template};
use serde_json::{Value, json};
use shared::adapters::store::CallLimits;
use shared::adapters::store::enrollments::Enrollments;
use shared::adapters::store::kept_events::KeptEvents;
use shared::clock::HeldClock;
use shared::domain::digest::sha256_hex;
use shared::domain::{Enrollment, KeptEvent};
use shared::edge::gateway::every_header;
use shared::startup::aws;
use shared::startup::logging::subscriber;
use tracing::instrument::WithSubscriber;
use uuid::Uuid;

use crate::handler::EnrollmentWebhook;

pub const NOW: &str = "2026-11-22T09:00:00Z";
pub const ADA: &str = "ada@example.org";
pub const RUN: &str = "course-v1:Demo+RustOnLambda+2026_T3";
pub const ADA_ID: &str = "6f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";

/// Tokens of every state, by name.
pub const STAFF: &str = "chk_staff";
pub const NOT_STAFF: &str = "chk_not-staff";
pub const EXPIRED: &str = "chk_expired";
pub const REVOKED: &str = "chk_revoked";

/// Retries that do not wait, on a machine that may be slow.
pub const EAGER: CallLimits = CallLimits {
    attempt: Duration::from_secs(60),
    first_backoff: Duration::from_millis(1),
    ..CallLimits::PRODUCTION
};

/// The same where a call hangs, and is to be given up soon. The longest wait
/// is never waited; it keeps the limit of the call as a whole out of the way.
pub const IMPATIENT: CallLimits = CallLimits {
    attempt: Duration::from_millis(500),
    first_backoff: Duration::from_millis(1),
    longest_backoff: Duration::from_secs(60),
    ..CallLimits::PRODUCTION
};

pub struct Stack {
    pub webhook: EnrollmentWebhook,
    /// Reads and writes the engine past any proxy.
    pub dynamodb: Client,
    pub log: Log,
    pub clock: Arc<HeldClock>,
    /// The name of the secret that holds the tokens.
    pub secret: String,
    _engine: Dynamodb,
}

/// A webhook's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Stack {
    /// A stack whose store answers as it should.
    pub async fn new() -> Self {
        let engine = Dynamodb::in_memory().await.unwrap();
        let client = client(&engine.url, CallLimits::PRODUCTION);
        Self::wired(engine, client, Duration::from_secs(9)).await
    }

    /// A stack that reaches its store through a proxy, which lets
    /// everything pass until it is told otherwise.
    pub async fn behind_proxy(limits: CallLimits) -> (Self, FaultyProxy) {
        let engine = Dynamodb::in_memory().await.unwrap();
        let proxy = FaultyProxy::before(&engine.url, |_| local::Fault::Pass)
            .await
            .unwrap();
        let client = client(&proxy.url, limits);
        (
            Self::wired(engine, client, Duration::from_secs(9)).await,
            proxy,
        )
    }

    pub async fn wired(engine: Dynamodb, through: Client, store_time: Duration) -> Self {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let stack = Self::with_secrets(engine, through, store_time, &secrets.url).await;
        secrets
            .put(&stack.secret, &tokens().to_string())
            .await
            .unwrap();
        stack
    }

    /// A stack that knows no token yet, and asks for them at this address.
    pub async fn with_secrets(
        engine: Dynamodb,
        through: Client,
        store_time: Duration,
        secrets_url: &str,
    ) -> Self {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let secret = Uuid::new_v4().to_string();
        secrets.create(&secret).await.unwrap();

        let variables = Template::load().unwrap().variables();
        let environment = variables
            .into_iter()
            .chain([("WEBHOOK_TOKENS_SECRET".to_owned(), secret.clone())])
            .collect();
        let clock = Arc::new(HeldClock::leaping_from(now()));
        let webhook = crate::wire(
            &environment,
            through,
            aws::secrets_manager(&local::sdk::configuration(secrets_url)),
            clock.clone(),
            store_time,
        )
        .unwrap();
        let dynamodb = client(&engine.url, CallLimits::PRODUCTION);
        let stack = Self {
            webhook,
            dynamodb,
            log: Log::default(),
            clock,
            secret,
            _engine: engine,
        };
        stack.put_user(ADA, ADA_ID).await;
        stack.put_run(RUN).await;
        stack
    }

    pub async fn put_user(&self, email: &str, user_id: &str) {
        self.dynamodb
            .put_item()
            .table_name("UsersTable")
            .item("email", S(email.to_owned()))
            .item("user_id", S(user_id.to_owned()))
            .item("email_as_given", S(email.to_owned()))
            .send()
            .await
            .unwrap();
    }

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

    /// Sends a request with a request id of its own.
    pub async fn send(&self, request: Request) -> Answer {
        let mut context = Context::default();
        context.request_id = Uuid::new_v4().to_string();
        let answer = self
            .webhook
            .handle(request.with_lambda_context(context))
            .with_subscriber(subscriber(self.log.clone()))
            .await;
        let (parts, body) = answer.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    /// Delivers a body as the sender would.
    pub async fn deliver(&self, body: &Value) -> Answer {
        self.send(delivery(&body.to_string())).await
    }

    pub async fn enrollments(&self, user_id: &str) -> Vec<Enrollment> {
        Enrollments::new(self.dynamodb.clone(), "EnrollmentsTable".to_owned())
            .of_user(user_id.parse().unwrap())
            .await
            .unwrap()
    }

    /// Ada's one enrollment.
    pub async fn enrollment(&self) -> Enrollment {
        let mut all = self.enrollments(ADA_ID).await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub async fn kept(&self) -> Vec<KeptEvent> {
        KeptEvents::new(self.dynamodb.clone(), "KeptEventsTable".to_owned())
            .page(None)
            .await
            .unwrap()
            .0
    }

    /// Sets one attribute of Ada's enrollment, as an earlier change would have.
    pub async fn set_enrollment(
        &self,
        attribute: &str,
        value: aws_sdk_dynamodb::types::AttributeValue,
    ) {
        self.dynamodb
            .update_item()
            .table_name("EnrollmentsTable")
            .key("user_id", S(ADA_ID.to_owned()))
            .key("course_id", S(RUN.to_owned()))
            .update_expression("SET #a = :v")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .unwrap();
    }
}

/// A client for an engine or a proxy. The SDK allows a process so many retries
/// a region, and no test is to use up another's: each has a region of its own.
pub fn client(url: &str, limits: CallLimits) -> Client {
    aws::dynamodb(&configuration(url), limits)
}

pub fn configuration(url: &str) -> SdkConfig {
    let region = Region::new(Uuid::new_v4().to_string());
    local::sdk::configuration(url)
        .into_builder()
        .region(region)
        .build()
}

/// A delivery with a staff token.
pub fn delivery(body: &str) -> Request {
    request()
        .header("authorization", format!("Bearer {STAFF}"))
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

/// A gateway's event as the function gets it.
pub fn from_gateway(event: &str) -> Request {
    let event: LambdaRequest = serde_json::from_str(event).unwrap();
    every_header(LambdaEvent::new(event, Context::default()))
        .payload
        .into()
}

/// A POST to the webhook, as yet without headers.
pub fn request() -> lambda_http::http::request::Builder {
    lambda_http::http::Request::post("https://hooks.example.org/api/openedx_webhook/enrollment/")
}

/// A list with a token of every state.
pub fn tokens() -> Value {
    let record = |token: &str, staff: bool, expires: Option<&str>, revoked: Option<&str>| {
        let mut record = json!({
            "id": token.trim_start_matches("chk_"),
            "name": token,
            "sha256": sha256_hex(token.as_bytes()),
            "staff": staff,
            "created_at": "2026-01-01T00:00:00Z",
        });
        for (field, at) in [("expires_at", expires), ("revoked_at", revoked)] {
            if let Some(at) = at {
                record[field] = json!(at);
            }
        }
        record
    };
    json!({"tokens": [
        record(STAFF, true, None, None),
        record(NOT_STAFF, false, None, None),
        record(EXPIRED, true, Some("2026-11-22T08:59:59Z"), None),
        record(REVOKED, true, None, Some("2026-11-20T00:00:00Z")),
    ]})
}

pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The log lines that a test has caused.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// All lines, each parsed.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The last `done` line.
    pub fn done(&self) -> Value {
        let last = self
            .lines()
            .into_iter()
            .rfind(|line| line["message"] == "done");
        last.unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
