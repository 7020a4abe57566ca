//! `coursehook completions`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};
use serde::Serialize;

use crate::cli::{Cli, Shell};
use crate::failure::Failure;
use crate::output::{self, Output};

pub fn run(shell: Shell, output: Output) -> Result<ExitCode, Failure> {
    let script = script(shell);
    if output.is_json() {
        output.answer(&Completions { script: &script }, String::new)?;
    } else {
        output::line(script.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the script that the shell reads.
fn script(shell: Shell) -> String {
    const NAME: &str = "coursehook";
    let mut program = Cli::command();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(Bash, &mut program, NAME, &mut script),
        Shell::Zsh => generate(Zsh, &mut program, NAME, &mut script),
        Shell::Fish => generate(Fish, &mut program, NAME, &mut script),
    }
    String::from_utf8_lossy(&script).into_owned()
}

#[derive(Serialize)]
struct Completions<'a> {
    script: &'a str,
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Every command is in the script of each shell, and the shell can read the script if
    /// it is on this machine. Bash always is.
    #[test]
    fn every_command_is_completed() {
        for (shell, program) in [
            (Shell::Bash, "bash"),
            (Shell::Zsh, "zsh"),
            (Shell::Fish, "fish"),
        ] {
            let script = script(shell);
            let mut all = vec![Cli::command()];
            while let Some(command) = all.pop() {
                for below in command.get_subcommands() {
                    assert!(script.contains(below.get_name()), "{program}: {below}");
                    all.push(below.clone());
                }
            }
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("script");
            std::fs::write(&file, script).unwrap();
            match Command::new(program).arg("-n").arg(&file).output() {
                Ok(read) => assert!(read.status.success(), "{program}: {read:?}"),
                Err(error) => assert_ne!(program, "bash", "{error}"),
            }
        }
    }
}
