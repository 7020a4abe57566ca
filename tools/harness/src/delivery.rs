//! Deliveries as the gateway passes them on, and tokens to send them with.

use domain::EventKind;
use domain::digest::sha256_hex;
use lambda_http::http::HeaderMap;
use lambda_http::http::request::Builder;
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Context, LambdaEvent, Request, RequestExt, Response};
use serde_json::{Value, json};
use uuid::Uuid;
use web::gateway::multi_value_headers;

/// A valid token of staff.
pub const STAFF: &str = "chk_staff";
/// A valid token without the right to call the webhooks.
pub const NOT_STAFF: &str = "chk_not-staff";
/// An expired token.
pub const EXPIRED: &str = "chk_expired";
/// A revoked token.
pub const REVOKED: &str = "chk_revoked";

/// The webhook of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Webhook(pub EventKind);

impl Webhook {
    /// Returns a POST to the webhook, as yet without headers.
    pub fn request(self) -> Builder {
        let Self(kind) = self;
        lambda_http::http::Request::post(format!("https://hooks.example.org{}/", kind.path()))
    }

    /// Returns a delivery with a staff token.
    pub fn delivery(self, body: &str) -> Request {
        self.request()
            .header("authorization", format!("Bearer {STAFF}"))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap()
    }
}

/// A webhook's answer.
#[derive(Debug)]
pub struct WebhookResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers as they leave the function.
    pub headers: HeaderMap,
    /// The parsed JSON body.
    pub body: Value,
}

impl From<Response<Body>> for WebhookResponse {
    fn from(answer: Response<Body>) -> Self {
        let (parts, body) = answer.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }
}

/// Returns the request with a request id of its own.
pub fn with_id(request: Request) -> Request {
    let mut context = Context::default();
    context.request_id = Uuid::new_v4().to_string();
    request.with_lambda_context(context)
}

/// Returns a gateway's event as the function receives it.
pub fn from_gateway(event: &str) -> Request {
    let event: LambdaRequest = serde_json::from_str(event).unwrap();
    multi_value_headers(LambdaEvent::new(event, Context::default()))
        .payload
        .into()
}

/// Returns a token list with a token of every state.
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
