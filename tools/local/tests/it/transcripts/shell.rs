//! Runs the shell of an operator in a temporary folder that looks like the repository.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use local::terminal::Terminal;
use local::venv::repository;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::stack::programs;

/// Is longer than any command takes.
const LIMIT: Duration = Duration::from_secs(300);

/// Marks the end of each output.
const END: &str = "-- end of the output --";

/// Stands before the answer to a question.
pub const QUESTION: &str = "[y/N] ";

/// Is the first port of `make run`.
const USUAL_PORT: u16 = 9000;

/// Holds a shell that runs until it is dropped.
pub struct Shell {
    _process: Child,
    commands: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Shell {
    /// Starts a shell. The folder may hold the `.local` of a stack on `port`.
    pub async fn start(folder: &Path, port: u16) -> Self {
        // The commands of the pages name these.
        for name in ["Makefile", "events", "docs"] {
            symlink(repository().join(name), folder.join(name)).unwrap();
        }
        std::fs::create_dir(folder.join("target")).unwrap();
        symlink(programs(), folder.join("target/debug")).unwrap();
        // Where it writes to a terminal, curl shows no progress either.
        std::fs::write(folder.join(".curlrc"), "silent\nshow-error\n").unwrap();

        let mut process = Command::new("sh")
            .current_dir(folder)
            // Nothing of the person who runs the tests gets in, nor their ~/.aws.
            .env_clear()
            .env("PATH", format!("{}:{}", programs().display(), path()))
            .env("HOME", folder)
            .env("USER", "grace")
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut commands = process.stdin.take().unwrap();
        commands.write_all(b"status=0\n").await.unwrap();
        Self {
            commands,
            printed: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
            port,
        }
    }

    /// Runs a command, and types the answer to its question if there is one. Returns what a terminal
    /// shows to a person who has started `make run`.
    pub async fn run(&mut self, command: &str, answer: Option<&str>) -> Vec<String> {
        let terminal = answer.map(|answer| {
            let mut terminal = Terminal::open().unwrap();
            terminal.type_line(answer).unwrap();
            terminal
        });
        let input = terminal
            .as_ref()
            .map_or(Path::new("/dev/null"), Terminal::path);
        // `$?` is the status of the command before.
        let script = format!(
            "(exit $status); eval '{}' <{} 2>&1; status=$?; printf '\\n{END}\\n'\n",
            command.replace('\'', r"'\''"),
            input.display()
        );
        self.commands.write_all(script.as_bytes()).await.unwrap();
        let printed = timeout(LIMIT, self.read()).await;
        let printed = printed.unwrap_or_else(|_| panic!("does not end: $ {command}"));
        let mut printed = printed.join("\n");
        if let Some(answer) = answer {
            printed = printed.replacen(QUESTION, &format!("{QUESTION}{answer}\n"), 1);
        }
        for offset in 0..4 {
            let [here, usual] = [self.port, USUAL_PORT].map(|port| port + offset);
            printed = printed.replace(&format!("127.0.0.1:{here}"), &format!("127.0.0.1:{usual}"));
        }
        printed.trim_end().lines().map(str::to_owned).collect()
    }

    async fn read(&mut self) -> Vec<String> {
        let mut printed = Vec::new();
        loop {
            let line = self.printed.next_line().await.unwrap();
            match line.expect("the shell has ended") {
                line if line == END => return printed,
                line => printed.push(line),
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no start-up of shared"
)]
fn path() -> String {
    std::env::var("PATH").unwrap()
}
