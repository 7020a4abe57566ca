//! The LMS client: the requests that it sends, the meaning of every answer, and the
//! tokens, limits and retries that all callers share.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod answers;
mod client;
mod rate_limiter;
mod runs;
mod server;

use std::sync::Arc;
use std::time::Duration;

use bootstrap::aws;
use common::clock::FakeClock;
use domain::{CourseId, Score, Username};
use jiff::Timestamp;
use lms::{LmsApi, LmsApiError};
use lms::{LmsClient, LmsError, LmsLimits};
use local::{Fault, FaultyProxy, SecretsManager};
use secrets::CredentialSecret;
use serde_json::{Value, json};
use server::{Asked, Reply, Server};
use uuid::Uuid;

const RUN: &str = "course-v1:Org+Course+Run";
const LEARNER: &str = "ada.personal@example.org";
const CLIENT: &str = r#"{"client_id": "id", "client_secret": "hidden-secret"}"#;
const STATIC: &str = r#"{"token": "hidden-static"}"#;

/// Longer than any answer takes in these tests.
const AMPLE: Duration = Duration::from_secs(60);

/// An LMS, a secret for one test, and the client between them.
struct Site {
    server: Server,
    secrets: FaultyProxy,
    secret: String,
    clock: Arc<FakeClock>,
    client: LmsClient,
}

impl Site {
    async fn new(credential: &str, plan: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let clock = FakeClock::at(start());
        Self::with(credential, clock, LmsLimits::NONE, plan).await
    }

    async fn with(
        credential: &str,
        clock: FakeClock,
        limits: LmsLimits,
        plan: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let server = Server::start(plan).await;
        let manager = SecretsManager::for_tests().await.unwrap();
        let secret = Uuid::new_v4().to_string();
        manager.create(&secret).await.unwrap();
        if !credential.is_empty() {
            manager.put(&secret, credential).await.unwrap();
        }
        let secrets = FaultyProxy::before(&manager.url, |_| Fault::Pass)
            .await
            .unwrap();
        let clock = Arc::new(clock);
        let manager = aws::secrets_manager(&local::sdk::configuration(&secrets.url));
        let client = LmsClient::new(
            lms(&server.url),
            CredentialSecret::new(manager, secret.clone()),
            clock.clone(),
            limits,
        );
        Self {
            server,
            secrets,
            secret,
            clock,
            client,
        }
    }

    async fn grade(&self) -> Result<Score, LmsError> {
        self.grade_within(AMPLE).await
    }

    async fn grade_within(&self, within: Duration) -> Result<Score, LmsError> {
        self.client.grade(&run(), &learner(), within).await
    }

    async fn put(&self, credential: &str) {
        let manager = SecretsManager::for_tests().await.unwrap();
        manager.put(&self.secret, credential).await.unwrap();
    }

    /// The number of reads of the secret.
    fn reads(&self) -> usize {
        self.secrets.calls().len()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn start() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

fn lms(url: &str) -> LmsApi {
    LmsApi::new(bootstrap::lms_http::client().unwrap(), url.parse().unwrap())
}

fn run() -> CourseId {
    RUN.parse().unwrap()
}

fn learner() -> Username {
    LEARNER.parse().unwrap()
}

fn row(username: &str) -> Value {
    json!({
        "username": username, "email": "", "course_id": RUN,
        "passed": true, "percent": 0.87, "letter_grade": null,
    })
}

/// The grade in every valid row.
fn score() -> Score {
    Score {
        percent: 0.87.try_into().unwrap(),
        passed: true,
        letter_grade: None,
    }
}

/// The reply with the learner's row.
fn good() -> Reply {
    Reply::json(200, &json!([row(LEARNER)]))
}

fn throttled(retry_after: Option<u64>) -> LmsApiError {
    let retry_after = retry_after.map(Duration::from_secs);
    LmsApiError::Throttled { retry_after }
}

fn unavailable(status: u16) -> LmsApiError {
    LmsApiError::Unavailable {
        status,
        retry_after: None,
    }
}

/// Asserts that an error reveals no secret and no learner in any of its forms.
fn assert_discreet(case: &str, error: impl Into<LmsError>) {
    let error = error.into();
    for text in [format!("{error:?}"), error.to_string(), error.code()] {
        for secret in ["ada.", "example.org", "hidden", "127.0.0.1", "http"] {
            assert!(!text.contains(secret), "{case}: {text}");
        }
    }
}

/// Checks at compile time that `work` can run on a multi-threaded runtime.
fn is_send<T: Send>(work: T) -> T {
    work
}
