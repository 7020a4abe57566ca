//! Tests of the state machine of the sweeps, on functions that answer from a script.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::sync::{Barrier, Notify};

use super::*;
use crate::background::{Background, listen};

/// A Lambda function that forwards each call to a server, and crashes if the answer is empty.
const RELAY: &str = r#"#!/usr/bin/env python3
import os
from urllib.request import ProxyHandler, build_opener

calls = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
to = build_opener(ProxyHandler({}))
while True:
    with to.open(f"{calls}/next") as call:
        request_id, event = call.headers["Lambda-Runtime-Aws-Request-Id"], call.read()
    with to.open(os.environ["SCRIPT_URL"], event) as answer:
        text = answer.read()
    if not text:
        os._exit(1)
    to.open(f"{calls}/{request_id}/response", text).close()
"#;

/// An emulator with a machine whose function answers from a script.
struct Scripted {
    emulator: StepFunctions,
    machine: String,
    calls: Arc<Mutex<Vec<Value>>>,
    _folder: TempDir,
    _script: Background,
}

impl Scripted {
    /// Starts an emulator. The script gets a call, and the number of times that it was made so far.
    async fn start<F>(
        concurrency: u32,
        script: impl Fn(Value, usize) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = FunctionOutput> + Send + 'static,
    {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&calls);
        let answer = async move |body: Bytes| {
            let call: Value = serde_json::from_slice(&body).unwrap();
            let times = {
                let mut made = made.lock().unwrap();
                made.push(call.clone());
                made.iter().filter(|other| **other == call).count()
            };
            script(call, times)
                .await
                .map(|answer| answer.to_string())
                .unwrap_or_default()
        };
        let (listener, url) = listen(0).await.unwrap();
        let script = Background::serve(listener, Router::new().route("/", post(answer)));

        let folder = tempfile::tempdir().unwrap();
        let relay = folder.path().join("a relay's");
        fs::write(&relay, RELAY).unwrap();
        fs::set_permissions(&relay, fs::Permissions::from_mode(0o700)).unwrap();
        let emulator = StepFunctions::start().await.unwrap();
        let variables = [("SCRIPT_URL".to_owned(), url)];
        let limit = Duration::from_secs(20);
        let function = emulator.function("sweep", &relay, limit, variables);
        let function = function.await.unwrap();
        let machine = emulator.sweep_machine("sweep", &function, concurrency);
        Self {
            machine: machine.await.unwrap(),
            emulator,
            calls,
            _folder: folder,
            _script: script,
        }
    }

    /// Starts an execution with this input and waits until it has ended.
    async fn run(&self, name: &str, input: Value) -> Ended {
        let execution = self.emulator.execute(&self.machine, name, &input).await;
        self.emulator.ended(&execution.unwrap()).await.unwrap()
    }

    fn calls(&self) -> Vec<Value> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

/// The output of a function; `None` is a crash.
type FunctionOutput = Option<Value>;

fn run(name: &str) -> Value {
    json!({"sweep": {"run": name}})
}

fn page(runs: &[&str], next: Value) -> FunctionOutput {
    let sweeps: Vec<_> = runs.iter().map(|name| run(name)).collect();
    Some(json!({"sweeps": sweeps, "next": next, "concurrency": 1}))
}

fn status(status: &str, wait_seconds: u32) -> FunctionOutput {
    Some(json!({"status": status, "wait_seconds": wait_seconds, "run": "any"}))
}

#[tokio::test]
async fn every_run_of_every_page_is_swept_until_it_is_done() {
    let second = json!({"list": {"force": true, "start": "steady"}});
    let next = second.clone();
    let scripted = Scripted::start(1, move |call, times| {
        let answer = match call["sweep"]["run"].as_str() {
            None if call["list"].get("start").is_none() => {
                page(&["steady", "crashes", "crashed_once"], next.clone())
            }
            None => page(&["halted", "failed", "last"], Value::Null),
            // The LMS asks for a pause before the first of two more calls.
            Some("steady") if times < 3 => status("suspended", [30, 0][times - 1]),
            Some("crashes") => None,
            Some("crashed_once") if times == 1 => None,
            Some(name @ ("halted" | "failed")) => status(name, 0),
            Some(_) => status("done", 0),
        };
        std::future::ready(answer)
    })
    .await;
    let ended = scripted.run("first", json!({"force": true})).await;
    assert_eq!(
        (ended.status.as_str(), ended.last_state.as_str()),
        ("SUCCEEDED", "Done")
    );
    assert_eq!(ended.mapped.len(), 6);
    for mapped in ended.mapped {
        let is_skipped = mapped.input == run("crashes");
        let status = if is_skipped { "FAILED" } else { "SUCCEEDED" };
        assert_eq!(mapped.status, status, "{}", mapped.input);
    }

    // The runs are swept one after the other: a machine without a limit would mix them.
    let mut expected = vec![json!({"list": {"force": true}})];
    expected.extend(vec![run("steady"); 3]);
    expected.extend(vec![run("crashes"); 1 + 5]);
    expected.extend(vec![run("crashed_once"); 2]);
    expected.push(second);
    expected.extend([run("halted"), run("failed"), run("last")]);
    assert_eq!(scripted.calls(), expected);
}

#[tokio::test]
async fn several_runs_are_swept_at_the_same_time() {
    let two = Arc::new(Barrier::new(2));
    let scripted = Scripted::start(2, move |call, _| {
        let two = Arc::clone(&two);
        async move {
            if call.get("list").is_some() {
                return page(&["one", "two"], Value::Null);
            }
            // Neither is answered before both have arrived.
            two.wait().await;
            status("done", 0)
        }
    })
    .await;
    let ended = scripted.run("first", json!({})).await;
    assert_eq!(ended.last_state, "Done");
    assert_eq!(scripted.calls().len(), 3);
}

#[tokio::test]
async fn a_second_execution_ends_at_once_while_one_runs() {
    let (listed, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked, may_go_on) = (Arc::clone(&listed), Arc::clone(&go_on));
    let scripted = Scripted::start(1, move |call, times| {
        let (asked, may_go_on) = (Arc::clone(&asked), Arc::clone(&may_go_on));
        async move {
            if (call, times) == (json!({"list": {}}), 1) {
                asked.notify_one();
                may_go_on.notified().await;
            }
            page(&[], Value::Null)
        }
    })
    .await;
    let (emulator, machine) = (&scripted.emulator, &scripted.machine);
    // Of two executions started in the same millisecond the first by name continues.
    let first = emulator.execute(machine, "a", &json!({})).await.unwrap();
    listed.notified().await;
    let second = scripted.run("b", json!({})).await;
    assert_eq!(
        (second.status.as_str(), second.last_state.as_str()),
        ("SUCCEEDED", "AnotherIsRunning")
    );
    // An execution that a person started does not end as if it were done.
    let asked_for = scripted.run("asked-for", json!({"run": "one"})).await;
    assert_eq!(
        (asked_for.status.as_str(), asked_for.last_state.as_str()),
        ("FAILED", "Busy")
    );
    assert_eq!(scripted.calls(), [json!({"list": {}})]);

    go_on.notify_one();
    let first = emulator.ended(&first).await.unwrap();
    assert_eq!(first.last_state, "Done");
    let third = scripted.run("c", json!({"run": "one"})).await;
    assert_eq!(third.last_state, "Done");
    assert_eq!(scripted.calls(), [json!({"list": {"run": "one"}})]);
}

#[tokio::test]
async fn an_execution_whose_runs_cannot_be_listed_fails() {
    let scripted = Scripted::start(1, |_, _| std::future::ready(None)).await;
    let ended = scripted.run("first", json!({})).await;
    assert_eq!(
        (ended.status.as_str(), ended.last_state.as_str()),
        ("FAILED", "ListRuns")
    );
    assert_eq!(scripted.calls().len(), 1 + 5);
}
