//! The deployed portal, from the side of its senders, its operators and its schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::EventKind;
use local::lms::{CLIENT_ID, CLIENT_SECRET, GradeRow};
use local::{Lms, Ministack};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::deploy::DeployedStack;
use crate::failure::{Failure, of_file, same};
use crate::operator::Operator;

/// The interval at which a running execution is polled, and the number of polls: five minutes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const POLLS: usize = 6000;

/// The deployed stack, and everything needed to drive it.
pub struct Portal<'a> {
    pub aws: &'a Ministack,
    pub stack: &'a DeployedStack,
    pub lms: &'a Lms,
    pub operator: Operator,
    /// The base URL of the API, without a slash at its end.
    pub url: String,
    folder: &'a Path,
    http: reqwest::Client,
    /// The statuses with which each path has answered.
    statuses: Mutex<BTreeMap<String, BTreeSet<u16>>>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: HeaderMap,
    /// The parsed body, or null if it is no JSON.
    pub body: Value,
}

impl<'a> Portal<'a> {
    pub fn new(
        aws: &'a Ministack,
        stack: &'a DeployedStack,
        lms: &'a Lms,
        folder: &'a Path,
    ) -> Result<Self, Failure> {
        Ok(Self {
            aws,
            stack,
            lms,
            operator: Operator::new(aws, stack)?,
            url: stack.url(aws)?,
            folder,
            http: local::client()?,
            statuses: Mutex::default(),
        })
    }

    /// Returns the stage's path in API Gateway's own API.
    pub fn stage(&self) -> Result<String, Failure> {
        let (api, stage) = self.stack.api()?;
        Ok(format!("/restapis/{api}/stages/{stage}"))
    }

    // ------------------------------------------------------------ senders

    /// Sends a request to the gateway, with a body of this type.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<HttpResponse, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await?;
        let status = answer.status().as_u16();
        lock(&self.statuses)
            .entry(path.to_owned())
            .or_default()
            .insert(status);
        Ok(HttpResponse {
            status,
            headers: answer.headers().clone(),
            body: serde_json::from_slice(&answer.bytes().await?).unwrap_or_default(),
        })
    }

    /// Returns all statuses with which a path has answered so far.
    pub fn statuses(&self, path: &str) -> Vec<u16> {
        let statuses = lock(&self.statuses);
        statuses.get(path).into_iter().flatten().copied().collect()
    }

    /// Sends a delivery as the LMS does.
    pub async fn deliver(
        &self,
        kind: EventKind,
        token: &str,
        body: &Value,
    ) -> Result<HttpResponse, Failure> {
        let path = format!("{}/", kind.path());
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.request(Method::POST, &path, &headers, body.to_string())
            .await
    }

    // ---------------------------------------------------------- operators

    /// Imports rows, CSV with its heading, with `coursehook WHAT import`.
    pub async fn import(&self, what: &str, rows: &str) -> Result<(), Failure> {
        let file = self.folder.join("import.csv");
        std::fs::write(&file, rows).map_err(of_file(&file))?;
        let file = file.to_string_lossy();
        self.operator.run(&[what, "import", &file]).await.map(drop)
    }

    /// Stores the LMS's credential for the functions.
    pub async fn set_credential(&self) -> Result<(), Failure> {
        let credential = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        let file = self.folder.join("credential.json");
        std::fs::write(&file, credential.to_string()).map_err(of_file(&file))?;
        let file = File::open(&file).map_err(of_file(&file))?;
        let set = ["credential", "set"];
        self.operator.run_on(file, &set).await.map(drop)
    }

    /// Calls DynamoDB directly, for an item in a state that takes days to reach.
    pub async fn dynamodb(
        &self,
        operation: &str,
        table: &str,
        mut body: Value,
    ) -> Result<Value, Failure> {
        body["TableName"] = json!(self.stack.output(table)?);
        let target = format!("DynamoDB_20120810.{operation}");
        Ok(self.aws.call(&target, &body).await?)
    }

    /// Returns the pending events of an address, as DynamoDB stores them.
    pub async fn pending(&self, email: &str) -> Result<Vec<Value>, Failure> {
        let items = self
            .dynamodb("Scan", "PendingEventsTable", json!({}))
            .await?;
        let items = items["Items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .into_iter()
            .filter(|item| item["email"]["S"] == email)
            .collect())
    }

    /// Compares the pending events of an address with the expected blocked reasons or final states,
    /// in alphabetical order.
    pub async fn has_pending(&self, email: &str, expected: &[&str]) -> Result<(), Failure> {
        let pending = self.pending(email).await?;
        let word = |item: &'_ Value| {
            let text = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
            match text("state").as_str() {
                "waiting" => text("reason"),
                state => state.to_owned(),
            }
        };
        let mut words: Vec<_> = pending.iter().map(word).collect();
        words.sort();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        same(
            &format!("what is pending of {email}"),
            &words.as_slice(),
            &expected,
        )
    }

    /// Returns the state of a learner's certificate in a run, or an empty text if there is none.
    pub async fn certificate(&self, email: &str, run: &str) -> Result<String, Failure> {
        let found = self.operator.run(&["certificates", "show", email]).await?;
        let certificates = found.as_array().into_iter().flatten();
        let state = certificates
            .filter(|certificate| certificate["course_id"] == run)
            .filter_map(|certificate| certificate["state"].as_str());
        Ok(state.collect())
    }

    /// Returns a user's id.
    pub async fn user_id(&self, email: &str) -> Result<String, Failure> {
        let user = self.operator.run(&["users", "show", email]).await?;
        let id = user["user_id"].as_str();
        Ok(id
            .ok_or_else(|| Failure::Lacks(format!("user {email}")))?
            .to_owned())
    }

    // ---------------------------------------------------------- the clock

    /// Switches the schedules on or off, so that nothing happens between the steps.
    pub async fn schedules(&self, on: bool) -> Result<(), Failure> {
        for (_, name) in self.stack.of_kind("AWS::Scheduler::Schedule") {
            let path = format!("/schedules/{name}");
            let request = |method, body| {
                let path = path.clone();
                async move { self.aws.request("scheduler", method, &path, &body).await }
            };
            let mut schedule = request(Method::GET, json!(null)).await?;
            schedule["State"] = json!(if on { "ENABLED" } else { "DISABLED" });
            request(Method::PUT, schedule).await?;
        }
        Ok(())
    }

    /// Retries the due pending events of both lanes, as the schedules do each minute. Returns the
    /// number of events that were retried.
    pub async fn retry_due(&self) -> Result<u64, Failure> {
        let mut attempted = 0;
        for function in ["OwnEventsFunction", "LmsEventsFunction"] {
            let name = self.stack.physical_id(function)?;
            let path = format!("/2015-03-31/functions/{name}/invocations");
            let answer = self
                .aws
                .request("lambda", Method::POST, &path, &json!({}))
                .await?;
            same("failures of a retry", &answer["failed"], &json!(0))?;
            attempted += answer["attempted"].as_u64().unwrap_or_default();
        }
        Ok(attempted)
    }

    /// Executes the state machine of a sweep to its end.
    pub async fn sweep(&self, machine: &str, request: &Value) -> Result<(), Failure> {
        let start = json!({
            "stateMachineArn": self.stack.physical_id(machine)?,
            "input": request.to_string(),
        });
        let started = self.states("StartExecution", &start).await?;
        let named = json!({"executionArn": started["executionArn"]});
        for _ in 0..POLLS {
            let described = self.states("DescribeExecution", &named).await?;
            if described["status"] != "RUNNING" {
                let cause = &described["cause"];
                let what = format!("{machine} of {request}, {cause}");
                return same(&what, &described["status"], &json!("SUCCEEDED"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(Failure::Lacks(format!("end of {machine} of {request}")))
    }

    async fn states(&self, operation: &str, body: &Value) -> Result<Value, Failure> {
        let target = format!("AWSStepFunctions.{operation}");
        Ok(self.aws.call(&target, body).await?)
    }

    // ---------------------------------------------------------------- logs

    /// Returns every line in every log group that has any, by group.
    pub async fn logs(&self) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let mut logs = BTreeMap::new();
        let groups = self
            .pages("DescribeLogGroups", json!({}), "logGroups")
            .await?;
        for group in groups {
            let name = group["logGroupName"].as_str().unwrap_or_default();
            let request = json!({"logGroupName": name});
            let events = self.pages("FilterLogEvents", request, "events").await?;
            let lines = events.iter().filter_map(|event| event["message"].as_str());
            logs.insert(name.to_owned(), lines.map(str::to_owned).collect());
        }
        Ok(logs)
    }

    async fn pages(
        &self,
        operation: &str,
        mut request: Value,
        list: &str,
    ) -> Result<Vec<Value>, Failure> {
        let target = format!("Logs_20140328.{operation}");
        let mut all = Vec::new();
        loop {
            let page = self.aws.call(&target, &request).await?;
            all.extend(page[list].as_array().cloned().unwrap_or_default());
            if page["nextToken"].is_null() {
                return Ok(all);
            }
            request["nextToken"] = page["nextToken"].clone();
        }
    }
}

/// Returns the LMS's grade of a learner with this part of a course.
pub fn grade(percent: f64) -> GradeRow {
    GradeRow {
        percent,
        passed: percent >= 0.6,
        letter_grade: None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
