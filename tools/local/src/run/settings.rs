//! The settings of `make run`, and its folders.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use local::venv::repository;

/// The time that the processes of a killed run need to release a port, about a second, with a
/// margin.
const PATIENCE: Duration = Duration::from_secs(3);

/// Settings of one run.
pub struct Settings {
    /// The port of the gateway; the stand-ins have the next three.
    pub port: u16,
    /// The folder of the data that outlives a run.
    pub data: PathBuf,
    /// The URL of an LMS to use instead of the stand-in.
    pub lms_url: Option<String>,
    /// The path of the operators' command, `coursehook`.
    pub cli: PathBuf,
    /// Is true if a retry batch starts each minute; else each call of the function is one.
    pub is_scheduled: bool,
}

/// Error of a setting.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("PORT is {0:?}; give a number between 1 and 65532")]
    Port(String),
    #[error("port {port} is taken; choose others: PORT={other} make run")]
    Taken { port: u16, other: u16 },
    #[error("port {port} cannot be used: {source}; choose others: PORT=9100 make run")]
    Unusable { port: u16, source: io::Error },
    #[error("SCHEDULE is {0:?}; give on or off")]
    Schedule(String),
    #[error("the folder of this program is unknown: {0}")]
    Program(io::Error),
}

impl Settings {
    /// Reads `PORT`, `DATA`, `LMS_URL`, `SCHEDULE`, `COURSEHOOK_LOCAL` and `COURSEHOOK_CLI`; an
    /// empty value counts as absent.
    pub fn read() -> Result<Self, SettingsError> {
        let port = match variable("PORT") {
            None => 9000,
            Some(port) => match port.parse() {
                Ok(number @ 1..=65532) => number,
                _ => return Err(SettingsError::Port(port)),
            },
        };
        let is_scheduled = match variable("SCHEDULE").as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => return Err(SettingsError::Schedule(other.to_owned())),
        };
        // Cargo puts all of the workspace's programs into one folder.
        let beside = std::env::current_exe().map_err(SettingsError::Program)?;
        Ok(Self {
            port,
            data: variable("DATA")
                .map_or_else(|| folder().join("data"), |data| repository().join(data)),
            lms_url: variable("LMS_URL"),
            cli: variable("COURSEHOOK_CLI")
                .map_or_else(|| beside.with_file_name("coursehook"), PathBuf::from),
            is_scheduled,
        })
    }

    pub fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn dynamodb_port(&self) -> u16 {
        self.port + 1
    }

    pub fn secrets_manager_port(&self) -> u16 {
        self.port + 2
    }

    pub fn lms_port(&self) -> u16 {
        self.port + 3
    }

    /// Returns the path of the stand-in's grades.
    pub fn grades(&self) -> PathBuf {
        self.data.join("grades.csv")
    }

    /// Returns the path of the stand-in's enrollments.
    pub fn enrollments(&self) -> PathBuf {
        self.data.join("lms-enrollments.csv")
    }

    /// Fails if a port is in use, before anything is started.
    pub async fn check_ports(&self) -> Result<(), SettingsError> {
        let last = match self.lms_url {
            Some(_) => self.secrets_manager_port(),
            None => self.lms_port(),
        };
        let end = tokio::time::Instant::now() + PATIENCE;
        for port in self.port..=last {
            while let Err(source) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                if source.kind() != io::ErrorKind::AddrInUse {
                    return Err(SettingsError::Unusable { port, source });
                }
                if tokio::time::Instant::now() > end {
                    // A hundred further, or the default if there are no more ports.
                    let other = self.port.checked_add(100).filter(|port| *port <= 65532);
                    let other = other.unwrap_or(9000);
                    return Err(SettingsError::Taken { port, other });
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

/// Returns the folder of the environment file and the logs, and of the data unless `DATA` names
/// another.
pub fn folder() -> PathBuf {
    repository().join(variable("COURSEHOOK_LOCAL").unwrap_or_else(|| ".local".into()))
}

/// Returns the search path for programs.
pub fn path() -> String {
    variable("PATH").unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tools have no start-up of shared"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
