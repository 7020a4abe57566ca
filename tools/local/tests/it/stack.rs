//! Runs `coursehook-local` with a folder and ports of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Is long enough to build the functions on a slow machine; a start takes seconds if they are built.
pub const START: Duration = Duration::from_secs(600);
const STOP: Duration = Duration::from_secs(30);

/// Names a user of the samples.
pub const ADA: &str = "ada@example.org";
/// Names a course run of the samples.
pub const RUN: &str = "course-v1:Demo+RustOnLambda+2026_T3";

/// The number of stacks whose ports are tried.
const STACKS: u16 = 1000;

pub struct RunningStack {
    process: Child,
    pub port: u16,
    variables: Vec<(String, String)>,
}

/// Returns the folder of the built programs.
pub fn programs() -> PathBuf {
    let local = Path::new(env!("CARGO_BIN_EXE_coursehook-local"));
    local.parent().unwrap().to_owned()
}

pub fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coursehook-local"));
    command
        .env("COURSEHOOK_LOCAL", folder)
        .env("PORT", port.to_string())
        .env_remove("DATA")
        .env_remove("LMS_URL")
        .env_remove("SCHEDULE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl RunningStack {
    pub async fn start(folder: &Path, port: u16) -> Self {
        Self::started(command(folder, port), folder, port).await
    }

    /// Starts a stack that retries no pending event by itself.
    pub async fn without_schedule(folder: &Path, port: u16) -> Self {
        let mut command = command(folder, port);
        command.env("SCHEDULE", "off");
        Self::started(command, folder, port).await
    }

    async fn started(mut command: Command, folder: &Path, port: u16) -> Self {
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let up = async {
            let mut said = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                let is_last = line.starts_with("Ctrl-C");
                said.push(line);
                if is_last {
                    return said.join("\n");
                }
            }
            panic!("it ended: {said:?}");
        };
        let said = timeout(START, up).await.unwrap();
        assert!(said.contains(&format!("http://127.0.0.1:{port}")), "{said}");
        // What it says from now on is of no interest, but it must not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let variables = fs::read_to_string(folder.join("env")).unwrap();
        let variables = variables.lines().map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        Self {
            process,
            port,
            variables: variables.collect(),
        }
    }

    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(n, _)| n == name);
        found.map_or_else(|| panic!("no {name}"), |(_, value)| value)
    }

    /// Delivers to the webhook, and returns the status and the body.
    pub async fn deliver(&self, path: &str, token: &str) -> (u16, Value) {
        let answer = local::client()
            .unwrap()
            .post(format!("{}{path}", self.variable("COURSEHOOK_URL")))
            .bearer_auth(token)
            .json(&json!({"email": ADA, "course_id": RUN}))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Calls the function that retries passes as the schedule does, and returns its summary.
    pub async fn retry_due(&self) -> Value {
        let url = self.variable("COURSEHOOK_URL");
        let url = format!("{url}/2015-03-31/functions/lms-events/invocations");
        let call = local::client().unwrap().post(url).body("{}");
        call.send().await.unwrap().json().await.unwrap()
    }

    pub async fn coursehook(&self, arguments: &[&str]) -> Output {
        Command::new(programs().join("coursehook"))
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .await
            .unwrap()
    }

    /// Sends a signal, and returns the exit code if there is one.
    pub async fn end(mut self, signal: &str) -> Option<i32> {
        let process = self.process.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &process])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
        let status = timeout(STOP, self.process.wait()).await.unwrap().unwrap();
        let free = async {
            while !are_free(self.port) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(STOP, free).await.expect("a process still listens");
        status.code()
    }
}

/// Returns true if nothing listens on a stack's four ports.
fn are_free(port: u16) -> bool {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    (port..port + 4).all(|port| listen(port).is_ok())
}

/// Returns the first of four ports that are free, away from those that the system hands out.
pub fn ports() -> u16 {
    // The tests of one process run at the same time.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let somewhere = (std::process::id() % u32::from(STACKS)) as u16;
    for _ in 0..STACKS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (somewhere + next) % STACKS * 4;
        if are_free(port) {
            return port;
        }
    }
    panic!("no four ports are free");
}
