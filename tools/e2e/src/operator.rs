//! The operator, who knows the stack's name and uses `coursehook`.

use std::path::PathBuf;
use std::process::Stdio;

use local::Ministack;
use local::ministack::environment;
use serde_json::Value;
use tokio::process::Command;

use crate::deploy::{DeployedStack, credentials};
use crate::failure::{Failure, of_file};

/// Runs `coursehook --stack NAME`.
pub struct Operator {
    program: PathBuf,
    arguments: [String; 4],
    variables: [(&'static str, String); 6],
}

impl Operator {
    /// Returns an operator with the program beside this one.
    pub fn new(aws: &Ministack, stack: &DeployedStack) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(of_file("this program".as_ref()))?;
        let program = own.with_file_name("coursehook");
        if !program.is_file() {
            return Err(Failure::NotThere(program));
        }
        let arguments = ["--json", "--stack", &stack.name, "--region=us-east-1"];
        Ok(Self {
            program,
            arguments: arguments.map(str::to_owned),
            variables: credentials(&aws.url),
        })
    }

    /// Runs a command; returns its output. A command that fails is an error.
    pub async fn run(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.run_on(Stdio::null(), arguments).await
    }

    /// Runs a command with this standard input.
    pub async fn run_on(
        &self,
        input: impl Into<Stdio>,
        arguments: &[&str],
    ) -> Result<Value, Failure> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .args(arguments)
            .env_clear()
            .envs(environment())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(input)
            .kill_on_drop(true)
            .output()
            .await;
        let command = || format!("coursehook {}", arguments.join(" "));
        let output = output.map_err(|source| Failure::Run {
            command: command(),
            source,
        })?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr];
            let said = said.map(|said| String::from_utf8_lossy(&said).into_owned());
            return Err(Failure::Command {
                command: command(),
                output: said.concat(),
            });
        }
        // Several objects, or none, are an output that no caller reads.
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}
