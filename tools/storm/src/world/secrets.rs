//! Secrets Manager: two secrets, called by the real SDK without a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use domain::digest::sha256_hex;
use local::lms::{CLIENT_ID, CLIENT_SECRET};
use serde_json::{Value, json};

use super::engine::{Answering, Connection, EngineAnswer, broken, respond};
use super::op::{self, SharedCounts, latency};
use crate::steps::{Fault, Service};

/// The token of the sender.
pub const TOKEN: &str = "chk_storm";

/// The secrets of the template.
pub struct Secrets {
    /// False while Secrets Manager does not answer.
    pub up: AtomicBool,
    counts: SharedCounts,
}

impl Secrets {
    /// Returns the secrets, with one valid token of staff.
    pub fn new(counts: SharedCounts) -> Self {
        Self {
            up: AtomicBool::new(true),
            counts,
        }
    }

    fn value(name: &str) -> Value {
        if name.contains("Api") {
            return json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        }
        json!({"tokens": [{
            "id": "storm",
            "name": "storm",
            "sha256": sha256_hex(TOKEN.as_bytes()),
            "staff": true,
            "created_at": "2026-01-01T00:00:00Z",
        }]})
    }

    async fn answer(self: Arc<Self>, body: String) -> Result<HttpResponse, ConnectorError> {
        let is_up = self.up.load(Ordering::SeqCst);
        let fault = op::fault(Service::Secrets, &self.counts, |_| is_up);
        latency().await;
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        let name = asked["SecretId"].as_str().unwrap_or_default();
        let fault = if is_up { fault } else { Some(Fault::Error) };
        let body = json!({
            "ARN": format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}"),
            "Name": name,
            "VersionId": "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE",
            "SecretString": Self::value(name).to_string(),
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": 1_700_000_000,
        });
        match fault {
            None => respond((200, body.to_string())),
            Some(Fault::Broken) => Err(broken()),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::HalfBody) => {
                let body = body.to_string();
                respond((200, body.chars().take(body.len() / 2).collect()))
            }
            Some(Fault::Throttled) => respond(refusal(400, "ThrottlingException")),
            Some(_) => respond(refusal(500, "InternalServiceError")),
        }
    }
}

fn refusal(status: u16, kind: &str) -> EngineAnswer {
    (status, json!({"__type": kind}).to_string())
}

/// Returns the SDK's HTTP client for the secrets.
pub fn connection(secrets: &Arc<Secrets>) -> impl HttpClient + 'static {
    let secrets = Arc::clone(secrets);
    Connection("the secrets", move |_, body| -> Answering {
        Box::pin(Arc::clone(&secrets).answer(body))
    })
}
