//! `ministack`, a PyPI package that stands in for services of AWS, run as a
//! child process.

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

/// It is up within a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What [`environment`] leaves.
const LEFT: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

/// A process that answers for some services of AWS, and ends when this is
/// dropped. There is no IAM unless its variable `AUTH` is `true`; then the access
/// key `local`, which calls of this crate and [`crate::sdk`] bear, is the root's.
#[derive(Debug)]
pub struct Ministack {
    /// Endpoint, `http://127.0.0.1:PORT`; without IAM any credentials will do.
    pub url: String,
    process: Guarded,
    client: reqwest::Client,
}

/// Where `ministack` keeps what it has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// Folder of what it is to remember, secrets for instance. That is written
    /// when it stops, so that it must be stopped and not killed. Without it all
    /// is gone with the process.
    pub state: Option<&'a Path>,
    /// File for what it logs, written again; without it that is thrown away.
    pub log: Option<&'a Path>,
}

/// Why `ministack` does not run, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum MinistackError {
    /// `infra/template.yaml` or the definition beside it could not be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is not in the virtual environment.
    #[error(transparent)]
    NotInstalledError(#[from] NotInstalledError),
    /// A function's program could not be packed.
    #[error("{} could not be packed for a function: {source}", .program.display())]
    Pack {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The port is taken, or the process could not be started.
    #[error("ministack could not be started: {0}")]
    Spawn(#[source] io::Error),
    /// The file that was to hold its log could not be made or opened.
    #[error("ministack's log {} cannot be written: {source}", .path.display())]
    Log {
        /// The file, as [`Files::log`] named it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("ministack ended while it started{}", look_into(.log.as_deref()))]
    Ended {
        /// The file, as [`Files::log`] named it.
        log: Option<PathBuf>,
    },
    /// The process runs, and has not answered in time.
    #[error(
        "ministack did not answer within {} seconds{}",
        START_LIMIT.as_secs(),
        look_into(.log.as_deref())
    )]
    Silent {
        /// The file, as [`Files::log`] named it.
        log: Option<PathBuf>,
    },
    /// HTTP failed: no connection, or an answer that is not JSON.
    #[error("no request could be made of ministack: {0}")]
    Request(#[source] reqwest::Error),
    /// It answered with an error.
    #[error("ministack refused {operation}: {code}: {message}")]
    Refused {
        /// The operation's name, `CreateSecret` for instance.
        operation: String,
        /// AWS's error code, `ResourceExistsException` for instance.
        code: String,
        /// What it says to people.
        message: String,
    },
}

fn look_into(log: Option<&Path>) -> String {
    log.map(|log| format!("; look into {}", log.display()))
        .unwrap_or_default()
}

/// What is left of the environment to a process that is to behave as it does for
/// everybody: nothing that an operator's shell says of AWS or of Coursehook.
#[expect(
    clippy::disallowed_methods,
    reason = "tools have no start-up of shared"
)]
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let value_of = |name| Some((name, std::env::var_os(name)?));
    LEFT.into_iter().filter_map(value_of)
}

impl Ministack {
    /// Starts one on a port, any free one if `port` is 0, and waits until it
    /// answers. It has these services, and these variables besides its own and
    /// [`environment`], which its functions have as well.
    pub(crate) async fn start(
        services: &str,
        variables: &[(&str, &str)],
        port: u16,
        files: Files<'_>,
    ) -> Result<Self, MinistackError> {
        let command = [program("ministack")?];
        Self::start_by(&command, services, variables, port, files).await
    }

    /// The same, by another program that runs it, with its arguments.
    ///
    /// # Errors
    /// Where it cannot be started, or does not answer in time.
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
        // Without a program `sh` runs nothing, and has ended.
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

    /// A call of `SERVICE.OPERATION`, `DynamoDB_20120810.GetItem` for instance, and
    /// its answer.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn call(&self, target: &str, body: &Value) -> Result<Value, MinistackError> {
        let call = aws::call(&self.client, &self.url, target, body);
        let operation = target.rsplit('.').next().unwrap_or(target);
        answer(call, operation).await
    }

    /// A call of a service whose operations have paths, `lambda` for instance, and
    /// its answer.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
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
    #[expect(clippy::disallowed_methods, reason = "what the test itself was given")]
    async fn the_environment_of_whoever_starts_it_is_not_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let files = Files {
            state: None,
            log: Some(&log),
        };
        // Instead of it, a program that writes its variables and ends.
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
        // It is Cargo's, and those who run tests have it.
        assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
        assert!(!names.contains(&"CARGO_MANIFEST_DIR"));
    }
}
