//! The errors of a test run.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use local::ministack::MinistackError;

/// Error of a step that failed, or whose result was not the expected one.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Emulator(#[from] MinistackError),
    #[error("nothing could listen on a port of this machine: {0}")]
    Port(io::Error),
    #[error("no request could be made: {0}")]
    Request(#[from] reqwest::Error),
    #[error("{} is not there; `make e2e` makes it", .0.display())]
    NotThere(PathBuf),
    #[error("{} cannot be read or written: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{command}` cannot be run: {source}")]
    Run { command: String, source: io::Error },
    #[error("`{command}` failed:\n{output}")]
    Command { command: String, output: String },
    #[error("CloudFormation failed: {0}")]
    CloudFormation(String),
    #[error("the stack has no {0}")]
    Lacks(String),
    #[error("{what}\n  expected  {expected}\n  came      {came}")]
    Unexpected {
        what: String,
        expected: String,
        came: String,
    },
    #[error("{what} differ:\n{differences}")]
    Differences { what: String, differences: String },
    #[error("it was not done within {} minutes", .0.as_secs() / 60)]
    TooLong(Duration),
    #[error("it was asked to stop")]
    Interrupted,
    #[error("no signal can be waited for: {0}")]
    Signal(io::Error),
}

/// Compares a result with the expected one.
pub fn same<T: PartialEq + Debug>(what: &str, came: &T, expected: &T) -> Result<(), Failure> {
    if came == expected {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: what.to_owned(),
        expected: format!("{expected:?}"),
        came: format!("{came:?}"),
    })
}

/// Fails with all differences, if there are any.
pub fn none(what: &str, differences: &[String]) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::Differences {
        what: what.to_owned(),
        differences: format!("  {}", differences.join("\n  ")),
    })
}

/// Returns the error of an operation on this file.
pub fn of_file(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { path, source }
}
