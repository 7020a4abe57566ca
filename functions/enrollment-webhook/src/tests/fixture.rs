//! The fixture of every test: the webhook as `main` wires it, on a portal of the test's own.

use std::ops::Deref;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use bootstrap::aws;
use domain::EventKind;
use harness::{Portal, Webhook, WebhookResponse};
use lambda_http::Request;
use lambda_http::http::request::Builder;
use local::FaultyProxy;
use serde_json::Value;
use store::CallLimits;
use tracing::instrument::WithSubscriber;
use web::logging::subscriber;
use web::start::HttpFunction;

use crate::handler::EnrollmentWebhook;

const WEBHOOK: Webhook = Webhook(EventKind::Enrollment);

pub struct Fixture {
    pub webhook: EnrollmentWebhook,
    portal: Portal,
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
        let portal = Portal::new().await;
        let client = portal.client();
        Self::wired(portal, client, Duration::from_secs(9))
    }

    /// Returns a fixture that reaches its store through a proxy, which passes every call on until
    /// it is given faults.
    pub async fn behind_proxy(limits: CallLimits) -> (Self, FaultyProxy) {
        let portal = Portal::new().await;
        let (proxy, client) = portal.proxy(limits).await;
        (Self::wired(portal, client, Duration::from_secs(9)), proxy)
    }

    /// Returns a fixture that reaches its store through this client.
    pub fn wired(portal: Portal, through: Client, store_time: Duration) -> Self {
        let secrets = portal.secrets.url.clone();
        Self::with_secrets(portal, through, store_time, &secrets)
    }

    /// Returns a fixture that reads its tokens from this address.
    pub fn with_secrets(
        portal: Portal,
        through: Client,
        store_time: Duration,
        secrets_url: &str,
    ) -> Self {
        let secrets = aws::secrets_manager(&local::sdk::configuration(secrets_url));
        let clock = portal.clock.clone();
        let wired = crate::wire(portal.environment(), through, secrets, clock, store_time);
        Self {
            webhook: wired.unwrap(),
            portal,
        }
    }

    /// Sends a request with a request id of its own.
    pub async fn send(&self, request: Request) -> WebhookResponse {
        self.webhook
            .handle(harness::with_id(request))
            .with_subscriber(subscriber(self.log.clone()))
            .await
            .into()
    }

    /// Delivers a body as the sender would.
    pub async fn deliver(&self, body: &Value) -> WebhookResponse {
        self.send(delivery(&body.to_string())).await
    }

    /// Sets one attribute of Ada's enrollment, as an earlier change would have.
    pub async fn set_enrollment(
        &self,
        attribute: &str,
        value: aws_sdk_dynamodb::types::AttributeValue,
    ) {
        self.set("EnrollmentsTable", attribute, value).await;
    }
}

/// Returns a delivery with a staff token.
pub fn delivery(body: &str) -> Request {
    WEBHOOK.delivery(body)
}

/// Returns a POST to the webhook, as yet without headers.
pub fn request() -> Builder {
    WEBHOOK.request()
}
