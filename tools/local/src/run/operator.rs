//! The first actions of an operator: import users and runs, issue a token. They use the operators'
//! own command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::env_file::write_private;

/// Runs `coursehook` on the stand-ins.
pub struct Operator<'a> {
    pub cli: &'a Path,
    pub variables: &'a [(String, String)],
}

/// Error of a command of the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("{} cannot be run: {source}; `make run` builds it", .cli.display())]
    Run { cli: PathBuf, source: io::Error },
    #[error("`coursehook {command}` failed: {message}")]
    Failed { command: String, message: String },
    #[error("`coursehook {command}` printed something else than was expected: {source}")]
    Answer {
        command: String,
        source: serde_json::Error,
    },
    #[error("{} cannot be written: {source}", .path.display())]
    Keep { path: PathBuf, source: io::Error },
}

/// A staff token, and the form of the file that stores it.
#[derive(Deserialize, Serialize)]
struct Token {
    id: String,
    token: String,
}

impl Operator<'_> {
    /// Imports the samples, once for each data folder: later changes of an operator stay.
    pub async fn import_samples(&self, data: &Path) -> Result<(), OperatorError> {
        let done = data.join("samples-imported");
        if done.exists() {
            return Ok(());
        }
        let samples = local::venv::repository().join("tools/local/samples");
        for (what, file) in [("users", "users.csv"), ("runs", "runs.csv")] {
            let file = samples.join(file);
            self.call(&[what, "import", &file.to_string_lossy()])
                .await?;
        }
        write_private(&done, "").map_err(|source| OperatorError::Keep { path: done, source })
    }

    /// Returns the staff token of an earlier run on the same data while it is valid, or else a new
    /// one, which is stored in the file.
    pub async fn token(&self, file: &Path) -> Result<String, OperatorError> {
        if let Some(kept) = read(file)
            && self.is_live(&kept.id).await?
        {
            return Ok(kept.token);
        }
        let issued: Token = self
            .ask(&["tokens", "issue", "local", "--staff", "--json"])
            .await?;
        let keep = |source| OperatorError::Keep {
            path: file.to_owned(),
            source,
        };
        let text = serde_json::to_string(&issued).map_err(|error| keep(error.into()))?;
        write_private(file, &text).map_err(keep)?;
        Ok(issued.token)
    }

    async fn is_live(&self, id: &str) -> Result<bool, OperatorError> {
        #[derive(Deserialize)]
        struct Listed {
            id: String,
            state: String,
        }
        let tokens: Vec<Listed> = self.ask(&["tokens", "list", "--json"]).await?;
        Ok(tokens
            .iter()
            .any(|token| token.id == id && token.state == "live"))
    }

    async fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, OperatorError> {
        let answer = self.call(arguments).await?;
        serde_json::from_slice(&answer).map_err(|source| OperatorError::Answer {
            command: arguments.join(" "),
            source,
        })
    }

    async fn call(&self, arguments: &[&str]) -> Result<Vec<u8>, OperatorError> {
        let output = Command::new(self.cli)
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| OperatorError::Run {
                cli: self.cli.to_owned(),
                source,
            })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(OperatorError::Failed {
                command: arguments.join(" "),
                message,
            });
        }
        Ok(output.stdout)
    }
}

/// Reads the stored token. A file that is missing or invalid is no error: a new token is issued.
fn read(file: &Path) -> Option<Token> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Creates a command that lists one token, in the given state, and issues `new`.
    fn fake(folder: &Path, state: &str) -> PathBuf {
        let cli = folder.join("coursehook");
        let script = format!(
            "#!/bin/sh\n\
             echo \"$* $USERS_TABLE\" >>'{0}/calls'\n\
             case \"$2\" in\n\
             list) echo '[{{\"id\":\"1\",\"name\":\"local\",\"state\":\"{state}\"}}]';;\n\
             issue) echo '{{\"id\":\"1\",\"token\":\"new\"}}';;\n\
             import) echo 'no such file' >&2; exit 1;;\n\
             esac\n",
            folder.display()
        );
        fs::write(&cli, script).unwrap();
        fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
        cli
    }

    #[tokio::test]
    async fn a_token_is_issued_once_while_it_is_valid() {
        for (state, calls) in [
            ("live", vec!["issue", "list"]),
            ("revoked", vec!["issue", "list", "issue"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let cli = fake(folder.path(), state);
            let operator = Operator {
                cli: &cli,
                variables: &[("USERS_TABLE".to_owned(), "UsersTable".to_owned())],
            };
            let file = folder.path().join("token");
            for _ in 0..2 {
                assert_eq!(operator.token(&file).await.unwrap(), "new");
            }
            let called = fs::read_to_string(folder.path().join("calls")).unwrap();
            let verb = |line: &str| line.split(' ').nth(1).map(str::to_owned);
            assert_eq!(called.lines().filter_map(verb).collect::<Vec<_>>(), calls);
            assert!(called.lines().all(|line| line.ends_with(" UsersTable")));
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_failed_import_passes_on_the_commands_error() {
        let folder = tempfile::tempdir().unwrap();
        let operator = Operator {
            cli: &fake(folder.path(), "live"),
            variables: &[],
        };
        let error = operator.import_samples(folder.path()).await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("`coursehook users import /"),
            "{message}"
        );
        assert!(
            message.ends_with("samples/users.csv` failed: no such file"),
            "{message}"
        );
        assert!(!folder.path().join("samples-imported").exists());
    }
}
