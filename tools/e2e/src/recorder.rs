//! A proxy between the functions and the emulator, which records each call that their SDK makes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// A call as IAM checks it: an action and the name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The action, for instance `dynamodb:UpdateItem`.
    pub action: String,
    /// The name of a table; for an index `TABLE/index/INDEX`; the ARN or name of a secret.
    pub resource: String,
}

/// The recorded calls, by their access key: each function has its own.
#[derive(Debug, Clone, Default)]
pub struct CallRecord {
    /// The calls that were answered.
    pub made: BTreeMap<String, BTreeSet<Call>>,
    /// The calls that IAM denied, with its message.
    pub refused: BTreeMap<String, BTreeSet<String>>,
}

/// The proxy; it runs as long as the program.
pub struct Recorder {
    /// The URL that the functions call.
    pub url: String,
    shared: Arc<Shared>,
    listener: TcpListener,
}

struct Shared {
    client: reqwest::Client,
    upstream: OnceLock<String>,
    record: Mutex<CallRecord>,
}

/// A view of the recorded calls.
#[derive(Clone)]
pub struct CallLog(Arc<Shared>);

impl CallLog {
    /// Returns all calls so far.
    pub fn record(&self) -> CallRecord {
        let record = &self.0.record;
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Recorder {
    /// Binds a port; calls wait until it is known where to send them.
    pub async fn listen() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(Failure::Port)?;
        let address = listener.local_addr().map_err(Failure::Port)?;
        let shared = Shared {
            client: local::client()?,
            upstream: OnceLock::new(),
            record: Mutex::default(),
        };
        Ok(Self {
            url: format!("http://{address}"),
            shared: Arc::new(shared),
            listener,
        })
    }

    /// Sends all calls there from now on.
    pub fn forward_to(self, upstream: &str) -> CallLog {
        let call_log = CallLog(Arc::clone(&self.shared));
        // It was not set before: this method consumes the recorder.
        let _ = self.shared.upstream.set(upstream.to_owned());
        let router = axum::Router::new().fallback(answer).with_state(self.shared);
        let listener = self.listener;
        tokio::spawn(async move {
            // The server ends with the program.
            let _ = axum::serve(listener, router).await;
        });
        call_log
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match forward(&shared, request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, error).into_response(),
    }
}

async fn forward(shared: &Shared, request: Request) -> Result<Response, String> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.map_err(|error| error.to_string())?;
    let upstream = shared.upstream.get().map_or("", String::as_str);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // The signature covers the host that was called, so the header is passed on unchanged.
    let forwarded = shared
        .client
        .request(parts.method, format!("{upstream}{path}"))
        .headers(without_length(&parts.headers))
        .body(body.clone())
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let status = forwarded.status();
    let headers = without_length(forwarded.headers());
    let answer = forwarded.bytes().await.map_err(|error| error.to_string())?;
    note(shared, &parts.headers, &body, status, &answer);
    Ok((status, headers, answer).into_response())
}

/// Returns the headers without those that describe the body, which are set again with it.
fn without_length(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
    ] {
        headers.remove(name);
    }
    headers
}

fn note(shared: &Shared, headers: &HeaderMap, body: &Bytes, status: StatusCode, answer: &Bytes) {
    let (access_key, service) = credential(headers);
    let target = headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.rsplit('.').next());
    let body = serde_json::from_slice(body).unwrap_or_default();
    let calls = calls(&service, operation.unwrap_or("?"), &body);
    let record = &shared.record;
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    if is_refusal(status, answer) {
        let said = String::from_utf8_lossy(answer).into_owned();
        record.refused.entry(access_key).or_default().insert(said);
    } else {
        record.made.entry(access_key).or_default().extend(calls);
    }
}

/// Returns the access key and the service that the signature names.
fn credential(headers: &HeaderMap) -> (String, String) {
    let signature = headers.get(header::AUTHORIZATION);
    let signature = signature.and_then(|value| value.to_str().ok());
    let scope = signature.and_then(|signature| signature.split("Credential=").nth(1));
    let mut scope = scope.unwrap_or_default().split('/');
    let access_key = scope.next().unwrap_or_default().to_owned();
    // Between them are the date and the region.
    let service = scope.nth(2).unwrap_or_default().to_owned();
    (access_key, service)
}

fn is_refusal(status: StatusCode, answer: &Bytes) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let code = answer["__type"].as_str().unwrap_or_default();
    status.is_client_error() && code.contains("AccessDenied")
}

/// Returns the calls that IAM checks for one request. A transaction has no action of its own: its
/// items are checked. A batch read is checked for each table.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>
fn calls(service: &str, operation: &str, body: &Value) -> BTreeSet<Call> {
    let call = |operation: &str, resource: &str| Call {
        action: format!("{service}:{operation}"),
        resource: resource.to_owned(),
    };
    let table = |of: &Value| of["TableName"].as_str().unwrap_or("?").to_owned();
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let items = body["TransactItems"].as_array().into_iter().flatten();
            let parts = items.filter_map(Value::as_object).flatten();
            parts
                .map(|(kind, item)| match kind.as_str() {
                    "ConditionCheck" => call("ConditionCheckItem", &table(item)),
                    kind => call(&format!("{kind}Item"), &table(item)),
                })
                .collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten();
            tables.map(|(name, _)| call(operation, name)).collect()
        }
        operation => {
            let name = ["TableName", "SecretId"].map(|field| body[field].as_str());
            let name = name.into_iter().flatten().next().unwrap_or("?");
            let name = match body["IndexName"].as_str() {
                Some(index) => format!("{name}/index/{index}"),
                None => name.to_owned(),
            };
            BTreeSet::from([call(operation, &name)])
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_recorded_as_the_calls_that_iam_checks() {
        let transaction = json!({"TransactItems": [
            {"Put": {"TableName": "G"}},
            {"ConditionCheck": {"TableName": "E"}},
            {"Update": {"TableName": "C"}},
            {"Delete": {"TableName": "C"}},
        ]});
        let batch = json!({"RequestItems": {"U": {}, "R": {}}});
        let query = json!({"TableName": "K", "IndexName": "by_due"});
        for (service, operation, body, expected) in [
            (
                "dynamodb",
                "TransactWriteItems",
                transaction,
                vec![
                    "dynamodb:ConditionCheckItem E",
                    "dynamodb:DeleteItem C",
                    "dynamodb:PutItem G",
                    "dynamodb:UpdateItem C",
                ],
            ),
            (
                "dynamodb",
                "BatchGetItem",
                batch,
                vec!["dynamodb:BatchGetItem R", "dynamodb:BatchGetItem U"],
            ),
            (
                "dynamodb",
                "Query",
                query,
                vec!["dynamodb:Query K/index/by_due"],
            ),
            (
                "secretsmanager",
                "GetSecretValue",
                json!({"SecretId": "S"}),
                vec!["secretsmanager:GetSecretValue S"],
            ),
            // An unknown request matches nothing that a role allows.
            ("sqs", "?", json!(null), vec!["sqs:? ?"]),
        ] {
            let calls = calls(service, operation, &body).into_iter();
            let calls: Vec<_> = calls
                .map(|call| format!("{} {}", call.action, call.resource))
                .collect();
            assert_eq!(calls, expected);
        }
    }

    #[test]
    fn a_signature_names_the_access_key_and_the_service() {
        let mut headers = HeaderMap::new();
        let signature = "AWS4-HMAC-SHA256 Credential=ASIA1/20261123/us-east-1/dynamodb/aws4_request, Signature=0";
        headers.insert(header::AUTHORIZATION, signature.parse().unwrap());
        let expected = ("ASIA1".to_owned(), "dynamodb".to_owned());
        assert_eq!(credential(&headers), expected);
    }
}
