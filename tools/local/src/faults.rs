//! A proxy that makes DynamoDB and Secrets Manager fail as AWS does at times, and as no stand-in
//! does by itself.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use crate::background::{Background, client, listen};

/// One call of a client.
#[derive(Debug, Clone)]
pub struct Call {
    /// The number of the call, from 1, over all operations and including a client's own retries.
    pub number: usize,
    /// The name of the operation, for instance `UpdateItem`.
    pub operation: String,
    /// The body of the request as the client sent it, JSON.
    pub body: Bytes,
}

/// The treatment of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is forwarded and answered.
    Pass,
    /// 400: another transaction holds the item. The SDK does not retry.
    Conflict,
    /// 400: too many calls. The SDK retries.
    Throttle,
    /// 500: the service failed. The SDK retries.
    InternalError,
    /// 400 with this error code, for instance `AccessDeniedException`.
    Refuse(&'static str),
    /// 400: a transaction is cancelled, and this code is the reason of its first item. The SDK does
    /// not retry.
    Cancel(&'static str),
    /// The call is never answered.
    Hang,
    /// The call is forwarded and takes effect, and is never answered.
    Swallow,
    /// The call waits until the plan is replaced, and is then forwarded.
    Hold,
    /// The call is forwarded and takes effect, but the connection breaks in the middle of the
    /// answer.
    LostAnswer,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with this body, for an answer of AWS that no stand-in gives.
    Reply(&'static str),
}

type Plan = Arc<dyn Fn(&Call) -> Fault + Send + Sync>;

/// An HTTP proxy between a client and a stand-in, gone when dropped.
#[derive(Debug)]
pub struct FaultyProxy {
    /// The endpoint for the client, `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
    _server: Background,
}

/// Error of starting a proxy.
#[derive(Debug, thiserror::Error)]
pub enum FaultyProxyError {
    /// No port of this machine could be bound.
    #[error("the faulty proxy found no free port: {0}")]
    Port(#[from] io::Error),
    /// The TLS library could not be initialized; this never happens in practice.
    #[error("the faulty proxy could not make its HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl FaultyProxy {
    /// Starts a proxy on a free port, in front of the server at `upstream`.
    pub async fn before(
        upstream: &str,
        plan: impl Fn(&Call) -> Fault + Send + Sync + 'static,
    ) -> Result<Self, FaultyProxyError> {
        let (listener, url) = listen(0).await?;
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: client()?,
            plan: Mutex::new(Arc::new(plan)),
            plans: watch::Sender::default(),
            calls: Mutex::default(),
            stuck: watch::Sender::default(),
        });
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        Ok(Self {
            url,
            shared,
            _server: Background::serve(listener, router),
        })
    }

    /// Replaces the plan for all later calls.
    pub fn set(&self, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *lock(&self.shared.plan) = Arc::new(plan);
        self.shared.plans.send_modify(|plans| *plans += 1);
    }

    /// Waits until this many calls hang, are swallowed or held; swallowed calls have then taken
    /// effect.
    pub async fn stuck(&self, calls: usize) {
        let mut stuck = self.shared.stuck.subscribe();
        // The sender lives as long as this proxy.
        let _ = stuck.wait_for(|stuck| *stuck >= calls).await;
    }

    /// Returns the operations called so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.shared.calls).clone()
    }
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    plan: Mutex<Plan>,
    /// Counts the plans, so that held calls notice a new one.
    plans: watch::Sender<usize>,
    calls: Mutex<Vec<String>>,
    stuck: watch::Sender<usize>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// Locks a mutex, even if a plan has panicked, say in an assertion: that leaves no inconsistent
/// data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let call = Call {
        number: {
            let mut calls = lock(&shared.calls);
            calls.push(operation.to_owned());
            calls.len()
        },
        operation: operation.to_owned(),
        body: body.clone(),
    };
    let mut another_plan = shared.plans.subscribe();
    let plan = Arc::clone(&lock(&shared.plan));
    let of_secrets_manager = service == "secretsmanager";
    match plan(&call) {
        Fault::Pass => passed(&shared, parts, body).await,
        Fault::LostAnswer => match forward(&shared, parts, body).await {
            Ok((status, headers, body)) => (status, headers, broken(&body)).into_response(),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        },
        Fault::Conflict => error(StatusCode::BAD_REQUEST, "TransactionConflictException"),
        Fault::Throttle if of_secrets_manager => {
            error(StatusCode::BAD_REQUEST, "ThrottlingException")
        }
        Fault::Throttle => error(
            StatusCode::BAD_REQUEST,
            "ProvisionedThroughputExceededException",
        ),
        Fault::InternalError if of_secrets_manager => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError")
        }
        Fault::InternalError => error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        Fault::Refuse(code) => error(StatusCode::BAD_REQUEST, code),
        Fault::Cancel(code) => {
            let body = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "message": "This fault was asked for.",
                "CancellationReasons": [{"Code": code}, {"Code": "None"}],
            });
            (StatusCode::BAD_REQUEST, JSON, body.to_string()).into_response()
        }
        Fault::Hang => {
            shared.stuck.send_modify(|stuck| *stuck += 1);
            std::future::pending().await
        }
        Fault::Swallow => {
            let _ = forward(&shared, parts, body).await;
            shared.stuck.send_modify(|stuck| *stuck += 1);
            std::future::pending().await
        }
        Fault::Hold => {
            shared.stuck.send_modify(|stuck| *stuck += 1);
            let _ = another_plan.changed().await;
            passed(&shared, parts, body).await
        }
        Fault::Garbage => (JSON, "<html>no JSON at all").into_response(),
        Fault::Reply(body) => (JSON, body).into_response(),
    }
}

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];

fn error(status: StatusCode, code: &str) -> Response {
    let body = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
        "message": "This fault was asked for.",
    });
    (status, JSON, body.to_string()).into_response()
}

async fn passed(shared: &Shared, parts: axum::http::request::Parts, body: Bytes) -> Response {
    match forward(shared, parts, body).await {
        Ok((status, headers, body)) => (status, headers, body).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn forward(
    shared: &Shared,
    parts: axum::http::request::Parts,
    body: Bytes,
) -> reqwest::Result<(StatusCode, HeaderMap, Bytes)> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    remove_hop_by_hop(&mut headers);
    headers.remove(header::HOST);
    let url = format!("{}{path}", shared.upstream);
    let request = shared.client.request(parts.method, url);
    let answer = request.headers(headers).body(body).send().await?;
    let status = answer.status();
    let mut headers = answer.headers().clone();
    remove_hop_by_hop(&mut headers);
    Ok((status, headers, answer.bytes().await?))
}

/// Removes the headers that belong to one connection and not to the message.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ] {
        headers.remove(name);
    }
}

/// Returns the first half of an answer whose headers promise all of it.
fn broken(body: &Bytes) -> Body {
    let half = Ok(body.slice(..body.len() / 2));
    let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    Body::from_stream(futures::stream::iter([half, end]))
}

#[cfg(test)]
mod tests;
