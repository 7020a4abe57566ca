//! `ministack`, a PyPI package that stands in for services of AWS, run as a child process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use infra::TemplateError;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::aws::{self, ACCESS_KEY};
use crate::background::{client, listen};
use crate::process::Guarded;
use crate::venv::{NotInstalledError, program};

/// The time limit of its start, which takes a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The variables that [`environment`] passes on.
const LEFT: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

/// A process that stands in for some services of AWS, and ends when this is dropped. There is no
/// IAM unless its variable `AUTH` is `true`; then the access key `local`, which calls of this crate
/// and [`crate::sdk`] bear, is the root's.
#[derive(Debug)]
pub struct Ministack {
    /// The endpoint, `http://127.0.0.1:PORT`; without IAM it accepts any credentials.
    pub url: String,
    process: Guarded,
    client: reqwest::Client,
}

/// The files of a `ministack`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// The folder of the persisted state, secrets for instance. It is written when the process
    /// stops, so the process must be stopped and not killed. Without a folder all state is gone
    /// with the process.
    pub state: Option<&'a Path>,
    /// The file for the log, overwritten; without one the log is discarded.
    pub log: Option<&'a Path>,
}

/// Error of starting `ministack`, or of a call to it.
#[derive(Debug, thiserror::Error)]
pub enum MinistackError {
    /// `infra/template.yaml` or the definition beside it could not be parsed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The program is not in the virtual environment.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalledError),
    /// A function's program could not be packaged.
    #[error("{} could not be packed for a function: {source}", .program.display())]
    Pack {
        /// The program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The port is in use, or the process could not be started.
    #[error("ministack could not be started: {0}")]
    Spawn(#[source] io::Error),
    /// The file for the log could not be created or opened.
    #[error("ministack's log {} cannot be written: {source}", .path.display())]
    Log {
        /// The file, as given in [`Files::log`].
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("ministack ended while it started{}", look_into(.log.as_deref()))]
    Ended {
        /// The file, as given in [`Files::log`].
        log: Option<PathBuf>,
    },
    /// The process runs, and has not answered in time.
    #[error(
        "ministack did not answer within {} seconds{}",
        START_LIMIT.as_secs(),
        look_into(.log.as_deref())
    )]
    Silent {
        /// The file, as given in [`Files::log`].
        log: Option<PathBuf>,
    },
    /// An HTTP request failed: no connection, or an answer that is not JSON.
    #[error("no request could be made of ministack: {0}")]
    Request(#[source] reqwest::Error),
    /// A call was answered with an error.
    #[error("ministack refused {operation}: {code}: {message}")]
    Refused {
        /// The name of the operation, for instance `CreateSecret`.
        operation: String,
        /// The error code of AWS, for instance `ResourceExistsException`.
        code: String,
        /// The message for people.
        message: String,
    },
}

fn look_into(log: Option<&Path>) -> String {
    log.map(|log| format!("; look into {}", log.display()))
        .unwrap_or_default()
}

/// Returns the part of the environment for a process that must behave in the same way for
/// everybody: no variable of an operator's shell about AWS or Coursehook.
#[expect(
    clippy::disallowed_methods,
    reason = "tools have no start-up of shared"
)]
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let value_of = |name| Some((name, std::env::var_os(name)?));
    LEFT.into_iter().filter_map(value_of)
}

impl Ministack {
    /// Starts a `ministack` on a port, any free one if `port` is 0, and waits until it answers. It
    /// has these services, and these variables besides its own and [`environment`], which its
    /// functions have as well.
    pub(crate) async fn start(
        services: &str,
        variables: &[(&str, &str)],
        port: u16,
        files: Files<'_>,
    ) -> Result<Self, MinistackError> {
        let command = [program("ministack")?];
        Self::start_by(&command, services, variables, port, files).await
    }

    /// Starts a `ministack` in the same way, by another program that runs it, with its arguments.
    ///
    /// # Errors
    /// The process cannot be started, or does not answer in time.
    pub async fn start_by(
        command: &[PathBuf],
        services: &str,
        variables: &[(&str, &str)],
        port: u16,
        files: Files<'_>,
    ) -> Result<Self, MinistackError> {
        // Another process may take a free port before this child does.
        let mut tries = if port == 0 { 3 } else { 1 };
        loop {
            tries -= 1;
            match Self::try_start(command, services, variables, port, files).await {
                Err(MinistackError::Ended { .. }) if tries > 0 => {}
                other => return other,
            }
        }
    }

    async fn try_start(
        program: &[PathBuf],
        services: &str,
        variables: &[(&str, &str)],
        port: u16,
        files: Files<'_>,
    ) -> Result<Self, MinistackError> {
        let (listener, url) = listen(port).await.map_err(MinistackError::Spawn)?;
        let port = listener.local_addr().map_err(MinistackError::Spawn)?;
        drop(listener);

        let log = files.log.map(Path::to_owned);
        // Without a program there is no process to wait for.
        let Some((program, arguments)) = program.split_first() else {
            return Err(MinistackError::Ended { log });
        };
        let mut command = Guarded::command(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment())
            .env("SERVICES", services)
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.port().to_string())
            .env("SFTP_ENABLED", "0")
            .env("IOT_MTLS_ENABLED", "0")
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
            .envs(variables.iter().copied());
        if let Some(state) = files.state {
            command.env("PERSIST_STATE", "1").env("STATE_DIR", state);
        }
        let (out, err) = log_to(files.log)?;
        command.stdout(out).stderr(err);

        let process = Guarded::spawn(&mut command).map_err(MinistackError::Spawn)?;
        let client = client().map_err(MinistackError::Request)?;
        let mut started = Self {
            url,
            process,
            client,
        };
        match started.wait_until_it_answers(log).await {
            Ok(()) => Ok(started),
            Err(error) => {
                started.stop().await;
                Err(error)
            }
        }
    }

    async fn wait_until_it_answers(&mut self, log: Option<PathBuf>) -> Result<(), MinistackError> {
        let end = Instant::now() + START_LIMIT;
        let health = format!("{}/_ministack/health", self.url);
        while Instant::now() < end {
            if self.process.has_ended() {
                return Err(MinistackError::Ended { log });
            }
            let answer = self.client.get(&health).timeout(Duration::from_secs(1));
            if answer.send().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(MinistackError::Silent { log })
    }

    /// Waits until the process has ended by itself, which it never should.
    pub async fn ended(&mut self) {
        self.process.ended().await;
    }

    /// Ends the process and waits until it has saved its state.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    /// Calls `SERVICE.OPERATION`, for instance `DynamoDB_20120810.GetItem`; returns the answer.
    ///
    /// # Errors
    /// There is no answer, or it is an error.
    pub async fn call(&self, target: &str, body: &Value) -> Result<Value, MinistackError> {
        let call = aws::call(&self.client, &self.url, target, body);
        let operation = target.rsplit('.').next().unwrap_or(target);
        answer(call, operation).await
    }

    /// Calls a service whose operations have paths, for instance `lambda`; returns the answer.
    ///
    /// # Errors
    /// There is no answer, or it is an error.
    pub async fn request(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, MinistackError> {
        let call = self.client.request(method, format!("{}{path}", self.url));
        answer(aws::signed(call, service).json(body), path).await
    }
}

async fn answer(call: reqwest::RequestBuilder, operation: &str) -> Result<Value, MinistackError> {
    let answer = call.send().await.map_err(MinistackError::Request)?;
    let refused = !answer.status().is_success();
    if answer.status() == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    let body: Value = answer.json().await.map_err(MinistackError::Request)?;
    if refused {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        return Err(MinistackError::Refused {
            operation: operation.to_owned(),
            code: text("__type"),
            message: text("message"),
        });
    }
    Ok(body)
}

fn log_to(log: Option<&Path>) -> Result<(Stdio, Stdio), MinistackError> {
    let Some(path) = log else {
        return Ok((Stdio::null(), Stdio::null()));
    };
    let failed = |source| MinistackError::Log {
        path: path.to_owned(),
        source,
    };
    let out = File::create(path).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    Ok((out.into(), err.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let (_listener, url) = listen(0).await.unwrap();
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let started = Ministack::start("secretsmanager", &[], port, Files::default()).await;
        assert!(matches!(started, Err(MinistackError::Spawn(_))));
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment of the test itself"
    )]
    async fn the_environment_of_the_caller_is_not_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let files = Files {
            state: None,
            log: Some(&log),
        };
        // A program in place of `ministack` that writes its variables and ends.
        let command = ["env".into()];
        let variables = [("AUTH", "true")];
        let ended = Ministack::start_by(&command, "lambda", &variables, 0, files).await;
        let said = ended.unwrap_err().to_string();
        assert!(said.ends_with(&format!("; look into {}", log.display())));
        let written = std::fs::read_to_string(&log).unwrap();
        let names = written
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0));
        let names: Vec<_> = names.collect();
        assert!(names.contains(&"AUTH"));
        // Cargo sets this variable for every test.
        assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
        assert!(!names.contains(&"CARGO_MANIFEST_DIR"));
    }
}
