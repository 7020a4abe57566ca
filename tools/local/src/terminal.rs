//! Opens a terminal that a test types into. Some programs ask a question only on a terminal.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Holds a terminal open until it is dropped.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    path: PathBuf,
}

impl Terminal {
    /// Opens a terminal.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn open() -> io::Result<Self> {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&keyboard)?;
        unlockpt(&keyboard)?;
        let path = ptsname(&keyboard, Vec::new())?.into_bytes();
        Ok(Self {
            keyboard: keyboard.into(),
            path: OsString::from_vec(path).into(),
        })
    }

    /// Returns the file that is the standard input of a program on this terminal.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Types a line. A program that reads later reads it too.
    ///
    /// # Errors
    /// When the terminal takes no more.
    pub fn type_line(&mut self, line: &str) -> io::Result<()> {
        self.keyboard.write_all(format!("{line}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_reads_what_was_typed_before_it_started() {
        let mut terminal = Terminal::open().unwrap();
        terminal.type_line("y").unwrap();
        terminal.type_line("n").unwrap();
        let script = "test -t 0 && read -r first && read -r second && echo \"$first $second\"";
        let program = Command::new("sh")
            .args(["-c", script])
            .stdin(File::open(terminal.path()).unwrap())
            .output();
        assert_eq!(program.unwrap().stdout, b"y n\n");
    }
}
