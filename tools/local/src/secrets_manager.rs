//! Secrets Manager: one of the services of `ministack`.

use infra::Template;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::ministack::{Files, Ministack, MinistackError};

/// A Secrets Manager with the template's secrets, which have no value until one is put. Stages move
/// as on AWS; there is no IAM. The same endpoint has a CloudFormation without any stack.
#[derive(Debug)]
pub struct SecretsManager {
    /// The endpoint, `http://127.0.0.1:PORT`; it accepts any credentials.
    pub url: String,
    ministack: Ministack,
}

impl SecretsManager {
    /// Starts a Secrets Manager on a port, any free one if `port` is 0, and waits until it answers
    /// and has the template's secrets.
    pub async fn start(port: u16, files: Files<'_>) -> Result<Self, MinistackError> {
        let services = "secretsmanager,cloudformation";
        let ministack = Ministack::start(services, &[], port, files).await?;
        let started = Self {
            url: ministack.url.clone(),
            ministack,
        };
        for name in Template::load()?.secrets {
            started.create(&name).await?;
        }
        Ok(started)
    }

    /// Returns the one Secrets Manager of this test process, started at first use and ended with
    /// the process. Tests share it, so each creates secrets under names of its own with
    /// [`SecretsManager::create`].
    pub async fn for_tests() -> Result<&'static Self, MinistackError> {
        static SHARED: OnceCell<SecretsManager> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| Self::start(0, Files::default()))
            .await
    }

    /// Creates a secret without a value; an existing one stays as it is.
    pub async fn create(&self, name: &str) -> Result<(), MinistackError> {
        match self.call("CreateSecret", json!({"Name": name})).await {
            Err(MinistackError::Refused { code, .. }) if code == "ResourceExistsException" => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Puts a value, which becomes the secret's current one.
    pub async fn put(&self, name: &str, value: &str) -> Result<(), MinistackError> {
        let body = json!({"SecretId": name, "SecretString": value});
        self.call("PutSecretValue", body).await.map(drop)
    }

    /// Returns the current value, or `None` if there was never one.
    pub async fn value(&self, name: &str) -> Result<Option<String>, MinistackError> {
        let body = self.call("GetSecretValue", json!({"SecretId": name})).await;
        match body {
            Ok(body) => Ok(body["SecretString"].as_str().map(str::to_owned)),
            Err(MinistackError::Refused { code, .. }) if code == "ResourceNotFoundException" => {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Waits until the process has ended by itself, which it never should.
    pub async fn ended(&mut self) {
        self.ministack.ended().await;
    }

    /// Ends the process and waits until it has saved its state.
    pub async fn stop(self) {
        self.ministack.stop().await;
    }

    async fn call(&self, operation: &str, body: Value) -> Result<Value, MinistackError> {
        let target = format!("secretsmanager.{operation}");
        self.ministack.call(&target, &body).await
    }
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

    // This test has a second runtime, as every test has one: the process outlives the runtime that
    // started it.
    #[tokio::test]
    async fn the_templates_secrets_are_there_without_a_value() {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let template = Template::load().unwrap();
        for name in &template.secrets {
            assert_eq!(secrets.value(name).await.unwrap(), None);
            let refused = secrets.call("CreateSecret", json!({"Name": name})).await;
            assert!(matches!(refused, Err(MinistackError::Refused { .. })));
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
}
