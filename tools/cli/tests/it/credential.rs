use std::process::Stdio;

use local::Lms;
use local::lms::{At, CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{CliFixture, Ran};

/// Runs a program on a terminal of its own, and answers its questions with the lines of
/// standard input; a question for a secret is answered once the echo is off. Writes what
/// the terminal has shown.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys, termios
signal.alarm(60)
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
for answer in sys.stdin.read().splitlines():
    seen = len(shown)
    while not shown[seen:].endswith(b": "):
        shown += os.read(terminal, 1024)
    while b"not shown" in shown[seen:] and termios.tcgetattr(terminal)[3] & termios.ECHO:
        pass
    os.write(terminal, answer.encode() + b"\n")
try:
    while more := os.read(terminal, 1024):
        shown += more
except OSError:
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"#;

/// A stack with a secret that has no value yet, and an LMS.
struct Portal {
    stack: CliFixture,
    secret: String,
    lms: Lms,
}

impl Portal {
    async fn start() -> Self {
        let stack = CliFixture::with_secrets().await;
        Self {
            secret: stack.another_secret(None).await,
            lms: Lms::start(0).await.unwrap(),
            stack,
        }
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = self.stack.command(&["credential", "set"]);
        command
            .args(options)
            .env("LMS_URL", &self.lms.url)
            .env("OPENEDX_API_SECRET", &self.secret);
        command
    }

    /// Runs the command, and types each of these lines when it is asked for.
    async fn typed(&self, options: &[&str], lines: &str) -> Ran {
        let program = self.command(options);
        let program = program.as_std();
        let mut terminal = Command::new("python3");
        terminal
            .args(["-c", ON_A_TERMINAL])
            .arg(program.get_program())
            .args(program.get_args())
            .env_clear()
            .envs(
                program
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        with_input(terminal, lines).await
    }

    /// Returns the stored credential, and removes it.
    async fn stored(&mut self) -> Option<Value> {
        let value = self.stack.value_of(&self.secret).await;
        self.secret = self.stack.another_secret(None).await;
        value.map(|value| serde_json::from_str(&value).unwrap())
    }
}

async fn with_input(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    Ran::from(child.wait_with_output().await.unwrap())
}

#[tokio::test]
async fn a_typed_credential_is_stored_and_not_echoed() {
    let mut portal = Portal::start().await;
    let client = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    let lines = format!("{CLIENT_ID}\n{CLIENT_SECRET}\n");
    let ran = portal.typed(&[], &lines).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.out.starts_with(&format!("Client id: {CLIENT_ID}")),
        "{ran:?}"
    );
    assert!(ran.out.contains("the LMS gave it a token"), "{ran:?}");
    assert!(!ran.out.contains(CLIENT_SECRET), "{ran:?}");
    assert_eq!(portal.stored().await, Some(client));

    let ran = portal
        .typed(&["--static"], &format!("{STATIC_TOKEN}\n"))
        .await;
    assert!(ran.out.contains("stored the static token"), "{ran:?}");
    assert!(!ran.out.contains(STATIC_TOKEN), "{ran:?}");
    assert_eq!(ran.code, 0);
    assert_eq!(portal.stored().await, Some(json!({"token": STATIC_TOKEN})));

    for (options, lines, message) in [
        (
            &["--static"][..],
            "\n",
            "is not a credential, and nothing was stored",
        ),
        (
            &["--unchecked"],
            "\nsecret\n",
            "is not a credential, and nothing was stored",
        ),
        (&[], "x\ny\n", "does not know our client"),
    ] {
        let ran = portal.typed(options, lines).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.out.contains(message), "{message}: {ran:?}");
        assert_eq!(portal.stored().await, None);
    }
}

#[tokio::test]
async fn a_credential_that_the_lms_refuses_is_not_stored() {
    let mut portal = Portal::start().await;
    let good = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    let bad = json!({"client_id": CLIENT_ID, "client_secret": "planted"});
    let of_site = json!({"token": STATIC_TOKEN});
    let here = portal.lms.url.clone();
    let nowhere = "http://127.0.0.1:1";
    let stored =
        |client_id: Value, checked: bool| Ok(json!({"client_id": client_id, "checked": checked}));
    for (options, lms, input, expected, asks) in [
        (
            &[][..],
            here.as_str(),
            good.to_string(),
            stored(json!(CLIENT_ID), true),
            1,
        ),
        (
            &[],
            &here,
            bad.to_string(),
            Err("does not know our client id and secret. Nothing"),
            1,
        ),
        (
            &["--unchecked"],
            &here,
            bad.to_string(),
            stored(json!(CLIENT_ID), false),
            0,
        ),
        (
            &[],
            nowhere,
            good.to_string(),
            Err("could not be reached in time. Nothing was"),
            0,
        ),
        (
            &["--unchecked"],
            nowhere,
            good.to_string(),
            stored(json!(CLIENT_ID), false),
            0,
        ),
        (
            &[],
            &here,
            of_site.to_string(),
            stored(json!(null), false),
            0,
        ),
        (
            &[],
            &here,
            "planted".to_owned(),
            Err("is not a credential, and nothing was"),
            0,
        ),
        (
            &[],
            &here,
            String::new(),
            Err("is not a credential, and nothing was"),
            0,
        ),
        // Windows writes text like this.
        (
            &[],
            &here,
            format!("\u{feff}{good}"),
            stored(json!(CLIENT_ID), true),
            1,
        ),
        (
            &[],
            &here,
            format!("\u{feff}\u{feff}{good}"),
            Err(
                "begins with two byte order marks (U+FEFF); save it as UTF-8 with one or none; nothing was",
            ),
            0,
        ),
        (
            &[],
            &here,
            good.to_string().replace(|_: char| true, "\0x"),
            Err("is in UTF-16BE"),
            0,
        ),
        (&[], "", good.to_string(), Err("LMS_URL is not set"), 0),
    ] {
        let before = portal.lms.count(At::Token);
        let mut command = portal.command(options);
        command.arg("--json").env("LMS_URL", lms);
        let ran = with_input(command, &input).await;
        assert_eq!(portal.lms.count(At::Token) - before, asks, "{input}");
        for secret in [CLIENT_SECRET, STATIC_TOKEN, "planted"] {
            assert!(!format!("{ran:?}").contains(secret), "{ran:?}");
        }
        let kept = portal.stored().await;
        match expected {
            Ok(expected) => {
                assert_eq!(ran.json(), expected, "{input}");
                let input = input.trim_start_matches('\u{feff}').to_owned();
                assert_eq!(kept.map(|kept| kept.to_string()), Some(input));
            }
            Err(message) => {
                assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
                assert!(ran.err.contains(message), "{message}: {ran:?}");
                assert_eq!(kept, None, "{message}");
            }
        }
    }
}
