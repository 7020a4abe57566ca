//! The fixture of every test: the webhook as `main` wires it, on a portal of the test's own.

use std::ops::Deref;
use std::time::Duration;

use app::certifying::CERTIFYING_TIME;
use aws_sdk_dynamodb::Client;
use domain::EventKind;
use harness::{ADA, Portal, RUN, Webhook, WebhookResponse};
use lambda_http::Request;
use local::FaultyProxy;
use serde_json::{Value, json};
use store::CallLimits;
use tracing::instrument::WithSubscriber;
use web::logging::subscriber;
use web::start::HttpFunction;

use crate::handler::CertificateWebhook;

pub const WEBHOOK: Webhook = Webhook(EventKind::Certificate);

pub struct Fixture {
    pub webhook: CertificateWebhook,
    pub portal: Portal,
}

impl Deref for Fixture {
    type Target = Portal;

    fn deref(&self) -> &Portal {
        &self.portal
    }
}

impl Fixture {
    /// Returns a fixture whose store works.
    pub async fn new() -> Self {
        Self::on(Portal::new().await)
    }

    pub fn on(portal: Portal) -> Self {
        let client = portal.client();
        Self::wired(portal, client, CERTIFYING_TIME)
    }

    /// Returns a fixture that reaches its store through a proxy, which passes every call on until
    /// it is given faults.
    pub async fn behind_proxy(limits: CallLimits) -> (Self, FaultyProxy) {
        let portal = Portal::new().await;
        let (proxy, client) = portal.proxy(limits).await;
        (Self::wired(portal, client, CERTIFYING_TIME), proxy)
    }

    /// Returns a fixture that reaches its store through this client.
    pub fn wired(portal: Portal, through: Client, acting_time: Duration) -> Self {
        let wired = crate::wire(
            portal.environment(),
            through,
            portal.secrets_client(),
            harness::http_client(),
            portal.clock.clone(),
            acting_time,
        );
        Self {
            webhook: wired.unwrap(),
            portal,
        }
    }

    /// Sends a request with a request id of its own.
    pub async fn send(&self, request: Request) -> WebhookResponse {
        let handled = self.webhook.handle(harness::with_id(request));
        // Boxed because the future is large in a debug build, and a test thread has 2 MiB of stack.
        Box::pin(handled.with_subscriber(subscriber(self.log.clone())))
            .await
            .into()
    }

    /// Delivers a body as the sender would.
    pub async fn deliver(&self, body: &Value) -> WebhookResponse {
        self.send(WEBHOOK.delivery(&body.to_string())).await
    }

    /// Delivers Ada's pass.
    pub async fn pass(&self) -> WebhookResponse {
        self.deliver(&passed(ADA)).await
    }
}

/// Returns the body that announces that this learner has passed the run.
pub fn passed(email: &str) -> Value {
    json!({"email": email, "course_id": RUN})
}
