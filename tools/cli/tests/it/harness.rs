//! The program and what surrounds it.

use std::path::PathBuf;
use std::process::Stdio;

use aws_sdk_dynamodb::Client;
use local::{Dynamodb, SecretsManager, Template};
use serde_json::Value;
use shared::adapters::store::CallLimits;
use shared::startup;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use uuid::Uuid;

/// Tables and a list of tokens that no other test has.
pub struct Stack {
    dynamodb: Dynamodb,
    /// Set where a test needs Secrets Manager.
    secrets: Option<(&'static SecretsManager, String)>,
    folder: TempDir,
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output of a run that went well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
}

impl Stack {
    pub async fn start() -> Self {
        Self {
            dynamodb: Dynamodb::in_memory().await.unwrap(),
            secrets: None,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn with_secrets() -> Self {
        let secrets = SecretsManager::for_tests().await;
        // The message says how to install what is missing.
        let secrets = secrets.unwrap_or_else(|error| panic!("{error}"));
        let name = format!("tokens-{}", Uuid::new_v4());
        secrets.create(&name).await.unwrap();
        Self {
            secrets: Some((secrets, name)),
            ..Self::start().await
        }
    }

    /// A file with this content; the path to it.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// A path in this test's own folder, which is where the program runs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The endpoint of DynamoDB.
    pub fn url(&self) -> &str {
        &self.dynamodb.url
    }

    /// The program, to be run in an environment that has only what it needs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coursehook"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .envs(Template::load().unwrap().variables())
            .envs([
                ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url.as_str()),
                // Nobody listens there.
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "local"),
                ("AWS_SECRET_ACCESS_KEY", "local"),
                ("USER", "grace"),
                ("NO_PROXY", "*"),
            ]);
        for variable in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"] {
            command.env_remove(variable);
        }
        if let Some((secrets, name)) = &self.secrets {
            command
                .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url)
                .env("WEBHOOK_TOKENS_SECRET", name);
        }
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments)).await
    }

    /// Runs the program with `input` as its standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let write = async move { stdin.write_all(input.as_bytes()).await.unwrap() };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        Ran::from(output.unwrap())
    }

    /// The value of the secret, as the functions read it.
    pub async fn secret(&self) -> String {
        let (secrets, name) = self.secrets.as_ref().unwrap();
        secrets.value(name).await.unwrap().unwrap()
    }

    /// A client for the tables, for what the program itself never writes.
    pub fn dynamodb(&self) -> Client {
        let aws = local::sdk::configuration(&self.dynamodb.url);
        startup::aws::dynamodb(&aws, CallLimits::PRODUCTION)
    }
}

/// Runs a command to its end.
pub async fn ran(mut command: Command) -> Ran {
    Ran::from(command.output().await.unwrap())
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("the program was killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}
