//! Child processes that never outlive this one, however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Runs the program and ends it when the pipe on standard input closes. The kernel closes that pipe
/// when this process ends, even by SIGKILL, so no process is left behind. The program is asked to
/// end first, because Secrets Manager saves its data only then; five seconds later its whole group
/// is killed.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; kill -s TERM "$child"; sleep 5; kill -s KILL -- "-$$"; } >/dev/null 2>&1 &
wait "$child" 2>/dev/null
kill -s KILL -- "-$$"
"#;

/// The interval at which a child is polled. Polling needs no runtime, so tests with a runtime each
/// can share a child.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running child process. Dropping it asks the child to end and does not wait; [`Guarded::stop`]
/// waits.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
}

impl Guarded {
    /// Returns a command for the program. It takes arguments, variables and output files, and is
    /// then passed to [`Guarded::spawn`].
    #[must_use]
    pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(program);
        command
    }

    /// Starts a command made by [`Guarded::command`] in a process group of its own, so that Ctrl-C
    /// in a terminal reaches this process alone.
    ///
    /// # Errors
    /// `sh` cannot be started. A missing program is no error but a child that ends at once.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let guard = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { guard })
    }

    /// Takes the child's output pipes, if the command asked for pipes; a second call returns
    /// `None`.
    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.guard.stdout.take(), self.guard.stderr.take())
    }

    /// True if the child has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        // An error means that there is no such child.
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// Waits until the child has ended by itself.
    pub async fn ended(&mut self) {
        while !self.has_ended() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Asks the child to end, waits for it, and kills it with all its processes if it has not ended
    /// within five seconds.
    pub async fn stop(mut self) {
        drop(self.guard.stdin.take());
        self.ended().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Starts a shell that writes its pid and that of a grandchild, and runs on.
    fn family(file: &Path, first: &str) -> Guarded {
        let script =
            format!("{first} sleep 600 & echo $$ $! > \"$0.new\"; mv \"$0.new\" \"$0\"; wait");
        let mut command = Guarded::command("sh");
        Guarded::spawn(command.args(["-c", &script]).arg(file)).unwrap()
    }

    async fn pids(file: &Path) -> Vec<String> {
        while !file.exists() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let pids = std::fs::read_to_string(file).unwrap();
        pids.split_whitespace().map(str::to_owned).collect()
    }

    /// True if a process runs; one that has ended and was not yet waited for does not.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state comes after the name, which is in parentheses.
        let state = stat.rsplit(')').next().unwrap_or_default();
        !state.is_empty() && !state.starts_with(" Z")
    }

    #[tokio::test]
    async fn stop_ends_the_child_and_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let child = family(&file, "");
        let pids = pids(&file).await;
        assert!(pids.iter().all(|pid| runs(pid)));
        child.stop().await;
        assert!(!pids.iter().any(|pid| runs(pid)));
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let child = family(&file, "trap '' TERM;");
        let pids = pids(&file).await;
        child.stop().await;
        assert!(!pids.iter().any(|pid| runs(pid)));
    }

    #[tokio::test]
    async fn a_dropped_pipe_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let mut child = family(&file, "");
        let pids = pids(&file).await;
        drop(child.guard.stdin.take());
        std::mem::forget(child);
        while pids.iter().any(|pid| runs(pid)) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_by_itself_is_noticed() {
        let mut child = Guarded::spawn(&mut Guarded::command("true")).unwrap();
        child.ended().await;
    }
}
