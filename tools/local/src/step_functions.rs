//! Step Functions and Lambda: two of the services of `ministack`, on which the state machines of
//! the sweeps run in tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use local::StepFunctions;
//! use serde_json::json;
//!
//! let emulator = StepFunctions::start().await?;
//! let program = "target/debug/grade-sweep".as_ref();
//! let variables = [("LMS_URL".to_owned(), "http://127.0.0.1:9003".to_owned())];
//! let limit = Duration::from_secs(30);
//! let function = emulator.function("grade-sweep", program, limit, variables).await?;
//! let machine = emulator.sweep_machine("grade-sweep", &function, 2).await?;
//! let execution = emulator.execute(&machine, "first", &json!({})).await?;
//! let ended = emulator.ended(&execution).await?;
//! assert_eq!(ended.last_state, "Done");
//! # Ok(())
//! # }
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use infra::sweep_machine;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ministack::{Files, Ministack, MinistackError};
use crate::venv;

/// The interval at which an execution is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A Step Functions that does not wait: neither a Wait state nor the backoff of a retry takes time.
/// It limits neither the size of a state nor the history. Its functions run as processes of this
/// machine, each kept for the next call as on AWS.
#[derive(Debug)]
pub struct StepFunctions {
    ministack: Ministack,
    /// The folder into which the functions' code is unpacked.
    folder: TempDir,
}

/// The end of an execution.
#[derive(Debug)]
pub struct Ended {
    /// The status, `SUCCEEDED`, `FAILED` and so on.
    pub status: String,
    /// The name of the state that it entered last.
    pub last_state: String,
    /// The items of its Map states, in no order.
    pub mapped: Vec<Mapped>,
}

/// The end of an item of a Map state, which is an execution of its own.
#[derive(Debug)]
pub struct Mapped {
    /// The item.
    pub input: Value,
    /// The status, `SUCCEEDED`, `FAILED` and so on.
    pub status: String,
}

impl StepFunctions {
    /// Starts an emulator on a free port, without functions and state machines. It ends when this
    /// is dropped.
    ///
    /// # Errors
    /// `ministack` is not installed, or does not start.
    pub async fn start() -> Result<Self, MinistackError> {
        let folder = tempfile::tempdir().map_err(MinistackError::Spawn)?;
        let path = folder.path().to_string_lossy();
        let variables = [("SFN_WAIT_SCALE", "0"), ("TMPDIR", &path)];
        let services = "lambda,stepfunctions";
        let ministack = Ministack::start(services, &variables, 0, Files::default()).await?;
        Ok(Self { ministack, folder })
    }

    /// Creates a Lambda function from a program that speaks the runtime API, as those of
    /// `functions/` do; returns its ARN. Each call has this time limit, in whole seconds. The
    /// function gets these variables, and region and credentials besides.
    ///
    /// # Errors
    /// The program cannot be packaged, or the name is in use.
    pub async fn function(
        &self,
        name: &str,
        program: &Path,
        limit: Duration,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<String, MinistackError> {
        let failed = |source| MinistackError::Pack {
            program: program.to_owned(),
            source,
        };
        let python = venv::program("python")?;
        let zip = self.pack(&python, program).map_err(failed)?;
        let variables: serde_json::Map<_, _> = variables
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        let function = json!({
            "FunctionName": name,
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": "arn:aws:iam::000000000000:role/any",
            "Timeout": limit.as_secs(),
            "Environment": {"Variables": variables},
            "Code": {"ZipFile": STANDARD.encode(zip)},
        });
        let path = "/2015-03-31/functions";
        let made = self
            .ministack
            .request("lambda", Method::POST, path, &function);
        Ok(text(&made.await?, "FunctionArn"))
    }

    /// Returns a package whose `bootstrap` executes the program, which is too large to be copied
    /// for each test.
    fn pack(&self, python: &Path, program: &Path) -> io::Result<Vec<u8>> {
        let program = fs::canonicalize(program)?;
        let quoted = program.to_string_lossy().replace('\'', r"'\''");
        let folder = tempfile::tempdir_in(&self.folder)?;
        let bootstrap = folder.path().join("bootstrap");
        fs::write(&bootstrap, format!("#!/bin/sh\nexec '{quoted}'\n"))?;
        let zip = folder.path().join("zip");
        let mut command = Command::new(python);
        command.args(["-m", "zipfile", "-c"]).arg(&zip);
        if !command.arg(&bootstrap).status()?.success() {
            return Err(io::Error::other("python -m zipfile failed"));
        }
        fs::read(zip)
    }

    /// Creates the state machine of `infra/sweep.asl.yaml` that makes this function sweep
    /// `concurrency` runs at the same time; returns its ARN.
    ///
    /// # Errors
    /// The definition is rejected, or the name is in use.
    pub async fn sweep_machine(
        &self,
        name: &str,
        function_arn: &str,
        concurrency: u32,
    ) -> Result<String, MinistackError> {
        let definition = sweep_machine(function_arn, concurrency)?;
        let machine = json!({
            "name": name,
            "definition": definition.to_string(),
            "roleArn": "arn:aws:iam::000000000000:role/any",
        });
        let made = self.call("CreateStateMachine", machine).await?;
        Ok(text(&made, "stateMachineArn"))
    }

    /// Starts an execution under a name that is not in use yet; returns its ARN.
    ///
    /// # Errors
    /// There is no such machine, or the name is in use.
    pub async fn execute(
        &self,
        machine: &str,
        name: &str,
        input: &Value,
    ) -> Result<String, MinistackError> {
        let execution = json!({
            "stateMachineArn": machine,
            "name": name,
            "input": input.to_string(),
        });
        let started = self.call("StartExecution", execution).await?;
        Ok(text(&started, "executionArn"))
    }

    /// Waits until an execution has ended.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn ended(&self, execution: &str) -> Result<Ended, MinistackError> {
        let named = json!({"executionArn": execution});
        let status = loop {
            let described = self.call("DescribeExecution", named.clone()).await?;
            let status = text(&described, "status");
            if status != "RUNNING" {
                break status;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let newest = json!({"executionArn": execution, "reverseOrder": true, "maxResults": 1000});
        let history = self.call("GetExecutionHistory", newest).await?;
        let last_state = list(&history, "events")
            .map(|event| text(&event["stateEnteredEventDetails"], "name"))
            .find(|name| !name.is_empty());
        Ok(Ended {
            status,
            last_state: last_state.unwrap_or_default(),
            mapped: self.mapped(named).await?,
        })
    }

    async fn mapped(&self, execution: Value) -> Result<Vec<Mapped>, MinistackError> {
        let runs = self.call("ListMapRuns", execution).await?;
        let mut mapped = Vec::new();
        for run in list(&runs, "mapRuns") {
            let run = json!({"mapRunArn": run["mapRunArn"]});
            let executions = self.call("ListExecutions", run).await?;
            for execution in list(&executions, "executions") {
                let named = json!({"executionArn": execution["executionArn"]});
                let described = self.call("DescribeExecution", named).await?;
                let input = serde_json::from_str(&text(&described, "input"));
                mapped.push(Mapped {
                    input: input.unwrap_or_default(),
                    status: text(&described, "status"),
                });
            }
        }
        Ok(mapped)
    }

    async fn call(&self, operation: &str, body: Value) -> Result<Value, MinistackError> {
        let target = format!("AWSStepFunctions.{operation}");
        self.ministack.call(&target, &body).await
    }
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

fn list<'a>(body: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    body[name].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
