//! DynamoDB: the embedded engine, called by the real SDK without a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use dynoxide::errors::DynoxideError;
use local::dynamodb::{DynamodbError, database};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::clock::{self, StormClock};
use super::op::{self, SharedCounts, latency, lock};
use crate::steps::{Fault, Service};

/// The number of writes by which an old index may lag.
const LAG: usize = 6;

/// The tables.
pub struct Engine {
    database: Database,
    clock: StormClock,
    state: Mutex<State>,
    counts: SharedCounts,
}

#[derive(Default)]
struct State {
    /// The successful writes, in order.
    writes: Vec<(String, String)>,
    /// A copy of the tables that lags behind, and the number of writes it has.
    old: Option<(Database, usize)>,
    /// Broken rules of a certificate at the moment of its write.
    broken: Vec<String>,
    /// Effects of calls that their callers have given up.
    late: Vec<tokio::task::JoinHandle<()>>,
    /// The limit of each key of an index, if there is one.
    limit: Option<KeyLimit>,
    /// Certificates are not checked.
    unchecked: bool,
}

/// The write units that each key of an index of pending events takes.
struct KeyLimit {
    per_second: f64,
    /// What a write of a retry batch counts; any other write counts 1.
    of_retries: f64,
    /// What is left of each key, and when that was.
    left: BTreeMap<String, (f64, Instant)>,
    throttled: u64,
}

impl KeyLimit {
    /// Returns the units that a key has left, at most those of a second.
    fn left(&mut self, key: &str) -> &mut f64 {
        let now = Instant::now();
        let left = self.left.entry(key.to_owned());
        let (left, then) = left.or_insert((self.per_second, now));
        let more = now.duration_since(*then).as_secs_f64() * self.per_second;
        *left = (*left + more).min(self.per_second);
        *then = now;
        left
    }
}

/// The attributes that are the keys of the indexes of pending events.
const INDEX_KEYS: [&str; 2] = ["due", "blocked_on"];

/// The answer of the engine: the status and the body.
pub type EngineAnswer = (u16, String);

impl Engine {
    /// Returns the template's tables, without items.
    ///
    /// # Errors
    /// The engine refuses a table of the template.
    pub fn new(clock: StormClock, counts: SharedCounts) -> Result<Self, DynamodbError> {
        Ok(Self {
            database: database(clock::of_engine(clock))?,
            clock,
            state: Mutex::default(),
            counts,
        })
    }

    /// Returns the number of successful writes.
    pub fn writes(&self) -> usize {
        lock(&self.state).writes.len()
    }

    /// Returns the items of a table.
    pub fn items(&self, table: &str) -> Vec<Value> {
        let (_, body) = perform(
            &self.database,
            "Scan",
            &json!({"TableName": table}).to_string(),
        );
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_default();
        match answer["Items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }

    /// Removes expired items.
    pub fn expire(&self) {
        let _ = self.database.sweep_ttl();
        let mut state = lock(&self.state);
        state.writes.push(("TimeToLive".to_owned(), String::new()));
    }

    /// Ends the check of each certificate that is written, which reads all of them.
    pub fn leave_unchecked(&self) {
        lock(&self.state).unchecked = true;
    }

    /// Takes the broken rules of certificates so far.
    pub fn broken(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).broken)
    }

    /// Limits the write units of each key of an index of pending events, of which a write of a retry
    /// batch uses `of_retries` and any other 1 for each key. A write that needs a key
    /// which has none left is throttled, as the table's own write is on AWS:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html>.
    pub fn limit_index_keys(&self, per_second: f64, of_retries: f64) {
        lock(&self.state).limit = Some(KeyLimit {
            per_second,
            of_retries,
            left: BTreeMap::new(),
            throttled: 0,
        });
    }

    /// Returns the number of writes that were throttled by that limit.
    pub fn throttled(&self) -> u64 {
        let state = lock(&self.state);
        state.limit.as_ref().map_or(0, |limit| limit.throttled)
    }

    /// Performs a call within the limit of the index's keys, if there is one.
    fn call_within_limit(&self, operation: &str, body: &str) -> EngineAnswer {
        let is_limited = lock(&self.state).limit.is_some();
        if !is_limited || !writes(operation) || !body.contains("\"PendingEventsTable\"") {
            return self.call(operation, body);
        }
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let key = match operation {
            "PutItem" => json!({"event_key": asked["Item"]["event_key"]}),
            _ => asked["Key"].clone(),
        };
        let get = json!({"TableName": "PendingEventsTable", "Key": key}).to_string();
        let item = || {
            let (_, found) = perform(&self.database, "GetItem", &get);
            let found: Value = serde_json::from_str(&found).unwrap_or_default();
            found["Item"].clone()
        };
        let before = item();
        let written = [&asked["Item"], &asked["ExpressionAttributeValues"]];
        let keys = INDEX_KEYS.iter().flat_map(|name| {
            let new = written.map(|values| match &values[format!(":{name}")] {
                Value::Null => values[*name]["S"].as_str(),
                value => value["S"].as_str(),
            });
            new.into_iter().chain([before[*name]["S"].as_str()])
        });
        let keys = BTreeSet::from_iter(keys.flatten().map(str::to_owned));
        let mut state = lock(&self.state);
        if let Some(limit) = &mut state.limit
            && keys.iter().any(|key| *limit.left(key) <= 0.0)
        {
            limit.throttled += 1;
            return error(400, "ThrottlingException");
        }
        drop(state);
        let answer = self.call(operation, body);
        let after = item();
        let entry = |item: &Value, name: &str| {
            let order = (name == "due").then(|| item["due_order"]["S"].clone());
            (item[name]["S"].as_str().map(str::to_owned), order)
        };
        let mut state = lock(&self.state);
        if let Some(limit) = &mut state.limit {
            for name in INDEX_KEYS {
                let (old, new) = (entry(&before, name), entry(&after, name));
                if old != new {
                    let is_retried = before["claimed_until"]["S"].is_string();
                    let units = if is_retried { limit.of_retries } else { 1.0 };
                    for key in [old.0, new.0].into_iter().flatten() {
                        *limit.left(&key) -= units;
                    }
                }
            }
        }
        answer
    }

    /// Waits for the calls of callers that have given up.
    pub async fn settle(&self) {
        loop {
            let late = std::mem::take(&mut lock(&self.state).late);
            if late.is_empty() {
                return;
            }
            for effect in late {
                let _ = effect.await;
            }
        }
    }

    /// Performs a call, and notes it if it wrote.
    pub fn call(&self, operation: &str, body: &str) -> EngineAnswer {
        let is_checked = is_certificate_write(operation, body) && !lock(&self.state).unchecked;
        let before = is_checked.then(|| self.items("CertificatesTable"));
        let answer = perform(&self.database, operation, body);
        if answer.0 == 200 && writes(operation) {
            let write = (operation.to_owned(), body.to_owned());
            lock(&self.state).writes.push(write);
            if let Some(before) = before {
                self.check_certificates(&before);
            }
        }
        answer
    }

    /// Checks each certificate that came into force in a write, by the other items at that moment.
    fn check_certificates(&self, before: &[Value]) {
        let key = |item: &Value| (item["user_id"]["S"].clone(), item["course_id"]["S"].clone());
        let in_force = |item: &&Value| item["state"]["S"] == "in_force";
        for item in self.items("CertificatesTable").iter().filter(in_force) {
            let mine = |other: &&Value| key(other) == key(item);
            // An erasure moves it to an id that belongs to nobody.
            let id = &item["certificate_id"];
            if before
                .iter()
                .filter(in_force)
                .any(|other| other["certificate_id"] == *id)
            {
                continue;
            }
            let entries = item["history"]["L"].as_array();
            let entries = entries.map(Vec::as_slice).unwrap_or_default();
            let last = |from_end: usize| entries.iter().rev().nth(from_end).map(|e| &e["M"]);
            let by_import = last(0).is_some_and(|entry| entry["by"]["S"] == "import");
            let by_operator = last(0).is_some_and(|entry| entry["by"]["S"] == "operator");
            let was_revoked = last(1).is_some_and(|entry| entry["state"]["S"] == "revoked");
            if by_import || (by_operator && was_revoked) {
                continue;
            }
            let of = |table| self.items(table).into_iter().find(|item| mine(&item));
            let grade = of("GradesTable").unwrap_or_default();
            let percent = grade["percent"]["N"]
                .as_str()
                .and_then(|n| n.parse::<f64>().ok());
            let enrollment = of("EnrollmentsTable").unwrap_or_default();
            for (holds, rule) in [
                (percent > Some(0.0), "without a grade above 0"),
                (grade["passed"]["BOOL"] == true, "without a pass"),
                (
                    enrollment["active"]["BOOL"] == true,
                    "without an active enrollment",
                ),
                (enrollment["mode"]["S"] == "verified", "in an unpaid mode"),
            ] {
                if !holds {
                    let text = format!("a certificate came into force {rule}: {item}");
                    lock(&self.state).broken.push(text);
                }
            }
        }
    }

    /// Answers a query of an index as it was some writes ago.
    fn call_old(&self, body: &str) -> EngineAnswer {
        let mut state = lock(&self.state);
        let upto = state.writes.len().saturating_sub(1 + body.len() % LAG);
        let (copy, done) = match state.old.take() {
            Some(old) => old,
            None => match database(clock::of_engine(self.clock)) {
                Ok(copy) => (copy, 0),
                Err(_) => return perform(&self.database, "Query", body),
            },
        };
        for (operation, body) in state.writes.iter().take(upto).skip(done) {
            if operation == "TimeToLive" {
                let _ = copy.sweep_ttl();
            } else {
                perform(&copy, operation, body);
            }
        }
        let answer = perform(&copy, "Query", body);
        state.old = Some((copy, done.max(upto)));
        answer
    }

    async fn answer(
        self: Arc<Self>,
        operation: String,
        body: String,
    ) -> Result<HttpResponse, ConnectorError> {
        let fault = op::fault(Service::Tables, &self.counts, |fault| {
            applies(fault, &operation, &body)
        });
        latency().await;
        let answer = match fault {
            None
            | Some(Fault::ErrorAfter | Fault::BrokenAfter | Fault::HangsAfter | Fault::HalfBody) => {
                self.call_within_limit(&operation, &body)
            }
            Some(Fault::Error) => error(500, "InternalServerError"),
            Some(Fault::Throttled) => refuse(&operation, &body, Unavailable::Throttled),
            Some(Fault::Conflict) => refuse(&operation, &body, Unavailable::Conflict),
            Some(Fault::Stale) => self.call_old(&body),
            Some(Fault::Unprocessed) => self.leave_one(&body),
            Some(Fault::Broken) => return Err(broken()),
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::Late) => {
                let engine = Arc::clone(&self);
                let effect = tokio::spawn(async move {
                    // Longer than all attempts of a call.
                    tokio::time::sleep(Duration::from_secs(8)).await;
                    engine.call(&operation, &body);
                });
                lock(&self.state).late.push(effect);
                return std::future::pending().await;
            }
        };
        latency().await;
        match fault {
            Some(Fault::ErrorAfter) => respond(error(500, "InternalServerError")),
            Some(Fault::BrokenAfter) => Err(broken()),
            Some(Fault::HangsAfter) => std::future::pending().await,
            Some(Fault::HalfBody) => {
                let (status, body) = answer;
                let half = body.chars().take(body.len() / 2).collect();
                respond((status, half))
            }
            _ => respond(answer),
        }
    }

    /// Answers a BatchGetItem without one of its keys, which is left unprocessed.
    fn leave_one(&self, body: &str) -> EngineAnswer {
        let mut asked: Value = serde_json::from_str(body).unwrap_or_default();
        let mut left = json!({});
        if let Some(tables) = asked["RequestItems"].as_object_mut()
            && let Some((table, keys)) = tables.iter_mut().next_back()
            && let Some(key) = keys["Keys"].as_array_mut().and_then(Vec::pop)
        {
            let mut again = keys.clone();
            again["Keys"] = json!([key]);
            left = json!({ table.clone(): again });
            let (table, is_empty) = (table.clone(), keys["Keys"] == json!([]));
            if is_empty {
                tables.remove(&table);
            }
        }
        let answer = if asked["RequestItems"] == json!({}) {
            (200, json!({"Responses": {}}).to_string())
        } else {
            self.call("BatchGetItem", &asked.to_string())
        };
        let mut body: Value = serde_json::from_str(&answer.1).unwrap_or_default();
        body["UnprocessedKeys"] = left;
        (answer.0, body.to_string())
    }
}

/// True if the fault means something for the call.
fn applies(fault: Fault, operation: &str, body: &str) -> bool {
    match fault {
        Fault::Conflict => writes(operation),
        Fault::Stale => operation == "Query" && body.contains("\"IndexName\""),
        Fault::Unprocessed => operation == "BatchGetItem",
        Fault::Late | Fault::ErrorAfter => writes(operation),
        _ => true,
    }
}

fn writes(operation: &str) -> bool {
    matches!(
        operation,
        "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" | "BatchWriteItem"
    )
}

fn is_certificate_write(operation: &str, body: &str) -> bool {
    writes(operation) && body.contains("\"CertificatesTable\"")
}

fn error(status: u16, kind: &str) -> EngineAnswer {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    (
        status,
        json!({"__type": kind, "message": "a fault"}).to_string(),
    )
}

/// The reason for which a call is refused.
enum Unavailable {
    Throttled,
    /// It meets a transaction.
    Conflict,
}

/// Returns the answer to a call that is refused. A transaction names the reason for each item:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>.
fn refuse(operation: &str, body: &str, refusal: Unavailable) -> EngineAnswer {
    let (kind, code) = match refusal {
        Unavailable::Throttled => ("ThrottlingException", "ThrottlingError"),
        Unavailable::Conflict => ("TransactionConflictException", "TransactionConflict"),
    };
    if operation != "TransactWriteItems" {
        return error(400, kind);
    }
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let items = asked["TransactItems"].as_array().map_or(1, Vec::len).max(1);
    let mut reasons = vec![json!({"Code": "None"}); items];
    // Not always the same item.
    reasons[body.len() % items] = json!({"Code": code, "Message": "a fault"});
    let answer = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "Transaction cancelled",
        "CancellationReasons": reasons,
    });
    (400, answer.to_string())
}

/// Returns the error of a broken connection.
pub fn broken() -> ConnectorError {
    ConnectorError::io("the connection broke".into())
}

/// Returns the response of a service that speaks JSON.
pub fn respond((status, body): EngineAnswer) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|_| broken())?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

/// Performs one operation of the engine.
fn perform(database: &Database, operation: &str, body: &str) -> EngineAnswer {
    fn with<Q: DeserializeOwned, A: Serialize>(
        body: &str,
        call: impl FnOnce(Q) -> Result<A, DynoxideError>,
    ) -> Result<String, DynoxideError> {
        let bad = |error: serde_json::Error| DynoxideError::InternalServerError(error.to_string());
        serde_json::to_string(&call(serde_json::from_str(body).map_err(bad)?)?).map_err(bad)
    }
    let answer = match operation {
        "GetItem" => with(body, |q| database.get_item(q)),
        "PutItem" => with(body, |q| database.put_item(q)),
        "UpdateItem" => with(body, |q| database.update_item(q)),
        "DeleteItem" => with(body, |q| database.delete_item(q)),
        "Query" => with(body, |q| database.query(q)),
        "Scan" => with(body, |q| database.scan(q)),
        "BatchGetItem" => with(body, |q| database.batch_get_item(q)),
        "BatchWriteItem" => with(body, |q| database.batch_write_item(q)),
        "TransactWriteItems" => with(body, |q| database.transact_write_items(q)),
        "TransactGetItems" => with(body, |q| database.transact_get_items(q)),
        "DescribeTable" => with(body, |q| database.describe_table(q)),
        _ => return error(400, "UnknownOperationException"),
    };
    match answer {
        Ok(body) => (200, body),
        Err(error) => (error.status_code(), error.to_json()),
    }
}

/// The HTTP client of the SDK, which reaches what `answer` answers.
pub struct Connection<F>(pub &'static str, pub F);

impl<F> std::fmt::Debug for Connection<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// An answer to the SDK that is being made.
pub type Answering =
    std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, ConnectorError>> + Send>>;

impl<F: Fn(String, String) -> Answering + Send + Sync + 'static> HttpConnector for Connection<F> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(body).into_owned();
        HttpConnectorFuture::new((self.1)(operation, body))
    }
}

impl<F: Fn(String, String) -> Answering + Clone + Send + Sync + 'static> HttpClient
    for Connection<F>
{
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Self(self.0, self.1.clone()))
    }
}

/// Returns the SDK's HTTP client for the tables.
pub fn connection(engine: &Arc<Engine>) -> impl HttpClient + 'static {
    let engine = Arc::clone(engine);
    Connection("the tables", move |operation, body| -> Answering {
        Box::pin(Arc::clone(&engine).answer(operation, body))
    })
}
