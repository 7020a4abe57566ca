//! The functions, which `cargo lambda watch` runs, and the gateway in front of them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::EventKind;
use local::process::Guarded;
use local::rest_api::{RestApi, RestApiError};
use local::venv;

use super::settings::Settings;

/// The time limit of the start: the functions were built just before, and there is time to build
/// them again.
const START_LIMIT: Duration = Duration::from_secs(300);

/// The name of the file with the functions' log lines, in the folder of logs.
pub const FUNCTIONS_LOG: &str = "functions.log";

/// The number of instances of one function that may run at once, as on AWS.
const CONCURRENCY: &str = "4";

/// The running gateway.
pub struct Gateway {
    process: Guarded,
    api: RestApi,
    log: PathBuf,
    /// True if the functions' log lines are written to the terminal, too.
    shows: Arc<AtomicBool>,
}

/// Error of starting the gateway or the functions.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway could not be started: {0}")]
    Spawn(#[from] io::Error),
    #[error(transparent)]
    Api(#[from] RestApiError),
    #[error("the gateway needs an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("{what}; the end of {}:\n{end}", .log.display())]
    Silent {
        what: String,
        log: PathBuf,
        end: String,
    },
}

impl Gateway {
    /// Starts the gateway. The functions' log lines are appended to `functions.log` in the folder,
    /// all other output is written to `gateway.log`.
    pub async fn start(
        settings: &Settings,
        variables: &[(String, String)],
        logs: &Path,
    ) -> Result<Self, GatewayError> {
        let log = logs.join("gateway.log");
        let port = free_port()?;
        let api = RestApi::start(settings.port, format!("http://127.0.0.1:{port}")).await?;
        // Cargo finds the subcommand `cargo-lambda` on the path.
        let mut path = venv::bin().into_os_string();
        path.push(":");
        path.push(super::settings::path());
        let mut command = Guarded::command("cargo");
        command
            .args(["lambda", "watch", "--offline", "--color", "never"])
            .args(["--concurrency", CONCURRENCY])
            .args(["-A", "127.0.0.1", "-P", &port.to_string()])
            .current_dir(venv::repository())
            .env("PATH", path)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let rest = File::create(&log)?;
        let mut functions = File::options();
        let functions = functions.create(true).append(true);
        let functions = functions.open(logs.join(FUNCTIONS_LOG))?;

        let mut process = Guarded::spawn(&mut command)?;
        let shows = Arc::new(AtomicBool::new(false));
        let (stdout, stderr) = process.output();
        let sinks = Sinks {
            functions,
            rest,
            shows: Arc::clone(&shows),
        };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            sinks.try_clone()?.drain(stdout);
            sinks.drain(stderr);
        }
        Ok(Self {
            process,
            api,
            log,
            shows,
        })
    }

    /// Waits until the webhooks answer a request that needs no data: 401, since it has no token.
    pub async fn wait_until_up(&mut self) -> Result<(), GatewayError> {
        let end = tokio::time::Instant::now() + START_LIMIT;
        for kind in EventKind::ALL {
            self.wait_for(kind.path(), end).await?;
        }
        Ok(())
    }

    async fn wait_for(
        &mut self,
        probe: &str,
        end: tokio::time::Instant,
    ) -> Result<(), GatewayError> {
        let client = local::client()?;
        let probe = format!("{}{probe}", self.api.url);
        let mut last = "no answer".to_owned();
        while tokio::time::Instant::now() < end {
            if self.process.has_ended() {
                return Err(self.silent("cargo lambda watch ended".into()));
            }
            let call = client.post(&probe).timeout(Duration::from_secs(5));
            match call.send().await {
                Ok(answer) if answer.status() == reqwest::StatusCode::UNAUTHORIZED => {
                    return Ok(());
                }
                Ok(answer) => last = format!("the status {}", answer.status()),
                Err(_) => {}
            }
            if self.tail().lines().any(is_error) {
                return Err(self.silent("the functions were not built or not started".into()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = START_LIMIT.as_secs();
        Err(self.silent(format!(
            "the functions gave {last} within {seconds} seconds"
        )))
    }

    /// Writes the functions' log lines to the terminal, too, from now on.
    pub fn show_log_lines(&self) {
        self.shows.store(true, Ordering::Relaxed);
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the gateway has ended by itself, which it never should.
    pub async fn ended(&mut self) {
        self.process.ended().await;
    }

    /// Ends the gateway and the functions.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    fn silent(&self, what: String) -> GatewayError {
        GatewayError::Silent {
            what,
            log: self.log.clone(),
            end: self.tail(),
        }
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Returns a port that is not in use, for the functions behind the gateway.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The destinations of output lines.
struct Sinks {
    functions: File,
    rest: File,
    shows: Arc<AtomicBool>,
}

impl Sinks {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            functions: self.functions.try_clone()?,
            rest: self.rest.try_clone()?,
            shows: Arc::clone(&self.shows),
        })
    }

    /// Sorts lines until the pipe closes. A line that cannot be written is lost; the functions must
    /// not wait for it.
    fn drain(mut self, pipe: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = [line, b"\n".to_vec()].concat();
                if is_log_line(&line) {
                    let _ = self.functions.write_all(&line);
                    // Metrics are for programs.
                    if self.shows.load(Ordering::Relaxed) && !is_metrics(&line) {
                        let _ = io::stdout().write_all(&line);
                    }
                } else {
                    let _ = self.rest.write_all(&line);
                }
            }
        });
    }
}

/// True if a line is an error of Cargo, or of a program that ends early: both begin in this way.
fn is_error(line: &str) -> bool {
    line.starts_with("error") || line.starts_with("Error")
}

/// True if a line is a metrics document, which has metadata.
fn is_metrics(line: &[u8]) -> bool {
    let fields = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(line);
    fields.is_ok_and(|fields| fields.contains_key("_aws"))
}

/// True if a line is a log line of a function: they are JSON objects, and no other line is.
fn is_log_line(line: &[u8]) -> bool {
    line.starts_with(b"{") && serde_json::from_slice::<serde_json::Value>(line).is_ok()
}
