//! Secrets Manager: the PyPI package `ministack`, run as a child process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use infra::{Template, TemplateError};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::aws;
use crate::background::{client, listen};
use crate::process::Guarded;
use crate::venv::{NotInstalled, program};

/// It is up within a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A Secrets Manager with the template's secrets, which have no value until
/// one is put. Stages move as on AWS; there is no IAM. At the same endpoint is
/// a CloudFormation, which has no stack.
#[derive(Debug)]
pub struct SecretsManager {
    /// Endpoint, `http://127.0.0.1:PORT`; any credentials will do.
    pub url: String,
    process: Guarded,
    client: reqwest::Client,
}

/// Where a [`SecretsManager`] keeps what it has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// Folder of the secrets. They are written when it stops, so that it must
    /// be stopped and not killed. Without it they are gone with the process.
    pub state: Option<&'a Path>,
    /// File for what it logs, written anew; without it that is thrown away.
    pub log: Option<&'a Path>,
}

/// Why there is no Secrets Manager, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretsManagerError {
    /// `infra/template.yaml`, which names the secrets, could not be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// `ministack` is not in the virtual environment.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// The port is taken, or the process could not be started.
    #[error("Secrets Manager could not be started: {0}")]
    Spawn(#[source] io::Error),
    /// The file that was to hold its log could not be made or opened.
    #[error("Secrets Manager's log {} cannot be written: {source}", .path.display())]
    Log {
        /// The file, as [`Files::log`] named it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("Secrets Manager ended while it started; look into its log")]
    Ended,
    /// The process runs, and has not answered in time.
    #[error("Secrets Manager did not answer within {} seconds; look into its log", START_LIMIT.as_secs())]
    Silent,
    /// HTTP failed: no connection, or an answer that is not JSON.
    #[error("no request could be made of Secrets Manager: {0}")]
    Request(#[source] reqwest::Error),
    /// It answered with an error.
    #[error("Secrets Manager refused {operation}: {code}: {message}")]
    Refused {
        /// The operation's name, `CreateSecret` for instance.
        operation: &'static str,
        /// AWS's error code, `ResourceExistsException` for instance.
        code: String,
        /// What it says to people.
        message: String,
    },
}

impl SecretsManager {
    /// Starts one on a port, any free one if `port` is 0, and waits until it
    /// answers and has the template's secrets.
    pub async fn start(port: u16, files: Files<'_>) -> Result<Self, SecretsManagerError> {
        // Another process may take a free port before this child does.
        let mut tries = if port == 0 { 3 } else { 1 };
        loop {
            tries -= 1;
            match Self::try_start(port, files).await {
                Err(SecretsManagerError::Ended) if tries > 0 => {}
                other => return other,
            }
        }
    }

    /// The one Secrets Manager of this test process, started at first use and
    /// ended with the process. Tests share it, so each creates secrets under
    /// names of its own with [`SecretsManager::create`].
    pub async fn for_tests() -> Result<&'static Self, SecretsManagerError> {
        static SHARED: OnceCell<SecretsManager> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| Self::start(0, Files::default()))
            .await
    }

    async fn try_start(port: u16, files: Files<'_>) -> Result<Self, SecretsManagerError> {
        let (listener, url) = listen(port).await.map_err(SecretsManagerError::Spawn)?;
        let port = listener.local_addr().map_err(SecretsManagerError::Spawn)?;
        drop(listener);

        let mut command = Guarded::command(program("ministack")?);
        command
            .env("SERVICES", "secretsmanager,cloudformation")
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.port().to_string())
            .env("SFTP_ENABLED", "0");
        if let Some(state) = files.state {
            command.env("PERSIST_STATE", "1").env("STATE_DIR", state);
        }
        let (out, err) = log_to(files.log)?;
        command.stdout(out).stderr(err);

        let process = Guarded::spawn(&mut command).map_err(SecretsManagerError::Spawn)?;
        let client = client().map_err(SecretsManagerError::Request)?;
        let mut started = Self {
            url,
            process,
            client,
        };
        started.wait_until_it_answers().await?;
        for name in Template::load()?.secrets {
            started.create(&name).await?;
        }
        Ok(started)
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), SecretsManagerError> {
        let end = Instant::now() + START_LIMIT;
        let health = format!("{}/_ministack/health", self.url);
        while Instant::now() < end {
            if self.process.has_ended() {
                return Err(SecretsManagerError::Ended);
            }
            let answer = self.client.get(&health).timeout(Duration::from_secs(1));
            if answer.send().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(SecretsManagerError::Silent)
    }

    /// Creates a secret without a value; one that is there stays as it is.
    pub async fn create(&self, name: &str) -> Result<(), SecretsManagerError> {
        match self.call("CreateSecret", json!({"Name": name})).await {
            Err(SecretsManagerError::Refused { code, .. }) if code == "ResourceExistsException" => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Puts a value, which becomes the secret's current one.
    pub async fn put(&self, name: &str, value: &str) -> Result<(), SecretsManagerError> {
        let body = json!({"SecretId": name, "SecretString": value});
        self.call("PutSecretValue", body).await.map(drop)
    }

    /// The current value; none if there was never one.
    pub async fn value(&self, name: &str) -> Result<Option<String>, SecretsManagerError> {
        let body = self.call("GetSecretValue", json!({"SecretId": name})).await;
        match body {
            Ok(body) => Ok(body["SecretString"].as_str().map(str::to_owned)),
            Err(SecretsManagerError::Refused { code, .. })
                if code == "ResourceNotFoundException" =>
            {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Waits until the process has ended by itself, which it never should.
    pub async fn ended(&mut self) {
        self.process.ended().await;
    }

    /// Ends the process and waits until it has saved its state.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    async fn call(
        &self,
        operation: &'static str,
        body: Value,
    ) -> Result<Value, SecretsManagerError> {
        let target = format!("secretsmanager.{operation}");
        let call = aws::call(&self.client, &self.url, &target, &body);
        let answer = call.send().await.map_err(SecretsManagerError::Request)?;
        let refused = !answer.status().is_success();
        let body: Value = answer.json().await.map_err(SecretsManagerError::Request)?;
        if refused {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            return Err(SecretsManagerError::Refused {
                operation,
                code: text("__type"),
                message: text("message"),
            });
        }
        Ok(body)
    }
}

fn log_to(log: Option<&Path>) -> Result<(Stdio, Stdio), SecretsManagerError> {
    let Some(path) = log else {
        return Ok((Stdio::null(), Stdio::null()));
    };
    let failed = |source| SecretsManagerError::Log {
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
    async fn a_secret_is_created_once_and_keeps_the_last_value() {
        let secrets = SecretsManager::for_tests().await.unwrap();
        secrets.create("mine").await.unwrap();
        assert_eq!(secrets.value("mine").await.unwrap(), None);
        secrets.put("mine", "first").await.unwrap();
        secrets.put("mine", "second").await.unwrap();
        secrets.create("mine").await.unwrap();
        let value = secrets.value("mine").await.unwrap();
        assert_eq!(value.as_deref(), Some("second"));
    }

    // A second runtime, as every test has one: the process outlives the one
    // that started it.
    #[tokio::test]
    async fn the_templates_secrets_are_there_without_a_value() {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let template = Template::load().unwrap();
        for name in &template.secrets {
            assert_eq!(secrets.value(name).await.unwrap(), None);
            let refused = secrets.call("CreateSecret", json!({"Name": name})).await;
            assert!(matches!(refused, Err(SecretsManagerError::Refused { .. })));
        }
    }

    #[tokio::test]
    async fn values_outlive_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            state: Some(folder.path()),
            log: None,
        };
        let secrets = SecretsManager::start(0, files).await.unwrap();
        secrets.put("OpenedxApiSecret", "kept").await.unwrap();
        secrets.stop().await;
        let secrets = SecretsManager::start(0, files).await.unwrap();
        let value = secrets.value("OpenedxApiSecret").await.unwrap();
        assert_eq!(value.as_deref(), Some("kept"));
        secrets.stop().await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let (_listener, url) = listen(0).await.unwrap();
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let started = SecretsManager::start(port, Files::default()).await;
        assert!(matches!(started, Err(SecretsManagerError::Spawn(_))));
    }
}
