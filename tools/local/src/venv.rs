//! The programs of the virtual environment of `requirements.txt`.

use std::path::{Path, PathBuf};

/// Returns the folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    // The manifest is at tools/local, two folders down.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Error of a program that is not installed.
#[derive(Debug, thiserror::Error)]
#[error("{} is not there; run `make tools`, which installs it", .0.display())]
pub struct NotInstalledError(PathBuf);

/// Returns the folder of the virtual environment's programs: `bin` of `COURSEHOOK_VENV`, or of
/// `.local/venv`, where `make tools` creates it.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tools have no start-up of shared"
)]
pub fn bin() -> PathBuf {
    let venv = std::env::var_os("COURSEHOOK_VENV").filter(|value| !value.is_empty());
    // Joining an absolute path gives that path.
    repository()
        .join(venv.unwrap_or_else(|| ".local/venv".into()))
        .join("bin")
}

/// Returns the path of a program of the virtual environment.
///
/// # Errors
/// The program is not installed; the message names the command that installs it.
pub fn program(name: &str) -> Result<PathBuf, NotInstalledError> {
    let path = bin().join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(NotInstalledError(path))
    }
}
