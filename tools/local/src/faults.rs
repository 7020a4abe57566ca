//! A proxy that makes DynamoDB and Secrets Manager fail as AWS does now and
//! then and as no stand-in does by itself.

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
    /// Counted from 1 over all operations, a client's own retries included.
    pub number: usize,
    /// The operation's name, `UpdateItem` for instance.
    pub operation: String,
    /// The request as the client sent it, JSON.
    pub body: Bytes,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is forwarded and answered.
    Pass,
    /// 400: another transaction holds the item. The SDK does not try again.
    Conflict,
    /// 400: too many calls. The SDK tries again.
    Throttle,
    /// 500: the service failed. The SDK tries again.
    InternalError,
    /// 400 with this error code, `AccessDeniedException` for instance.
    Refuse(&'static str),
    /// 400: a transaction is cancelled, and this code is the reason of its
    /// first item. The SDK does not try again.
    Cancel(&'static str),
    /// No answer, ever.
    Hang,
    /// It is forwarded and takes effect, and there is no answer, ever.
    Swallow,
    /// It waits until there is another plan, and then passes.
    Hold,
    /// It is forwarded and takes effect, but the connection breaks in the
    /// middle of the answer.
    LostAnswer,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with this body, for what AWS answers and no stand-in does.
    Reply(&'static str),
}

type Plan = Arc<dyn Fn(&Call) -> Fault + Send + Sync>;

/// An HTTP proxy between a client and a stand-in, gone when dropped.
#[derive(Debug)]
pub struct FaultyProxy {
    /// Endpoint for the client, `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
    _server: Background,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum FaultyProxyError {
    /// Nothing could listen on a port of this machine.
    #[error("the faulty proxy found no free port: {0}")]
    Port(#[from] io::Error),
    /// The TLS library could refuse to start; in practice it never does.
    #[error("the faulty proxy could not make its HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl FaultyProxy {
    /// Starts one on a free port, in front of the server at `upstream`.
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

    /// Replaces the plan for the calls to come.
    pub fn set(&self, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *lock(&self.shared.plan) = Arc::new(plan);
        self.shared.plans.send_modify(|plans| *plans += 1);
    }

    /// Waits until that many calls hang, are swallowed or held: what the
    /// swallowed ones do is then done.
    pub async fn stuck(&self, calls: usize) {
        let mut stuck = self.shared.stuck.subscribe();
        // The sender lives as long as this proxy.
        let _ = stuck.wait_for(|stuck| *stuck >= calls).await;
    }

    /// The operations called so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.shared.calls).clone()
    }
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    plan: Mutex<Plan>,
    /// Counts the plans, for whoever waits for another one.
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

/// A plan that panics, say by an assertion, spoils nothing that is behind a lock.
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

/// These belong to one connection and not to the message.
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

/// The first half of an answer whose headers promise all of it.
fn broken(body: &Bytes) -> Body {
    let half = Ok(body.slice(..body.len() / 2));
    let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    Body::from_stream(futures::stream::iter([half, end]))
}

#[cfg(test)]
mod tests;
