//! `.local/env`: the variables of a run, for shells and other programs.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;

/// The environment file of a running stack.
pub struct EnvFile {
    path: PathBuf,
    text: String,
}

impl EnvFile {
    /// Writes the variables to the file.
    pub fn write(path: &Path, variables: &[(String, String)]) -> Result<Self, Error> {
        let text = text(variables);
        write_private(path, &text).map_err(|source| Error::Folder {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    /// Removes the file, unless another stack has written its own by now: the variables of a
    /// stopped stack are useless.
    pub fn remove(self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            // A file that cannot be removed is overwritten by the next run.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a file that only its owner can read, completely or not at all.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file has mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Returns lines `NAME=value` that a shell reads with `set -a; . .local/env; set +a`.
fn text(variables: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        // Writing to a `String` never fails.
        let _ = writeln!(text, "{name}={}", quoted(value));
    }
    text
}

/// Quotes a value for a shell; most values need no quotes, and get none.
fn quoted(value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+=,".contains(letter);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_the_values_and_other_users_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        let value = "http://lms.example.org/?a=1&b='$HOME' \"x\"";
        let variables = [("LMS_URL".to_owned(), value.to_owned())];
        write_private(&file, "old").unwrap();
        write_private(&file, &text(&variables)).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut shell = Command::new("sh");
        shell.args(["-c", "set -a; . \"$0\"; printenv LMS_URL"]);
        let read = shell.arg(&file).output().unwrap().stdout;
        assert_eq!(String::from_utf8(read).unwrap().trim_end(), value);
    }

    #[test]
    fn plain_values_have_no_quotes() {
        let url = (
            "COURSEHOOK_URL".to_owned(),
            "http://127.0.0.1:9000".to_owned(),
        );
        assert_eq!(text(&[url]), "COURSEHOOK_URL=http://127.0.0.1:9000\n");
    }
}
