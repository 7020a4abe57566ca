use std::fs::File;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{BlockedReason, EventKind};
use jiff::Timestamp;
use local::{Fault, FaultyProxy, SecretsManager};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::{ADA, CliFixture, RUN, Ran, interrupted, ran};

/// The advice when an import was cut short.
const AGAIN: &str = "import the file again: records that are already stored stay as they are";

#[tokio::test]
async fn a_missing_variable_is_named_and_only_used_ones_are_required() {
    let stack = CliFixture::start().await;
    for (arguments, variable) in [
        (["users", "show", "a@b"], "USERNAMES_TABLE"),
        (["runs", "show", "a/b/c"], "COURSE_RUNS_TABLE"),
        (["enrollments", "show", "a@b"], "ENROLLMENTS_TABLE"),
        (["grades", "show", "a@b"], "GRADES_TABLE"),
        (["certificates", "show", "a@b"], "CERTIFICATES_TABLE"),
        (["sweep", "list", "--json"], "SWEEPS_TABLE"),
        (["sweep", "grades", "--json"], "PAID_MODES"),
        (["sweep", "enrollments", "--json"], "LMS_PER_SECOND"),
        (["tokens", "revoke", "x"], "WEBHOOK_TOKENS_SECRET"),
        (["events", "list", "--json"], "PENDING_EVENTS_TABLE"),
        (["events", "drop", "abcdef"], "PENDING_EVENTS_TABLE"),
        (["replay", "x.json", "--json"], "COURSEHOOK_URL"),
    ] {
        let mut command = stack.command(&arguments);
        command.env_remove(variable);
        let ran = ran(command).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{variable}");
        assert_eq!(
            ran.err,
            format!(
                "error: the environment variable {variable} is not set; \
                 for the local stack: set -a; . .local/env; set +a; for one on AWS: --stack NAME\n"
            )
        );
    }
    let mut command = stack.command(&["replay", "x.json"]);
    command.env("COURSEHOOK_URL", "http://127.0.0.1:1");
    let message = "error: the environment variable COURSEHOOK_TOKEN is not set; \
                `coursehook tokens issue NAME --staff` issues a token\n";
    assert_eq!(ran(command).await.err, message);
    let mut command = stack.command(&["events", "list"]);
    command
        .env_remove("USERS_TABLE")
        .env_remove("WEBHOOK_TOKENS_SECRET");
    ran(command).await.ok();
}

#[tokio::test]
async fn an_error_of_aws_is_one_sentence_with_a_fix() {
    let stack = CliFixture::start().await;
    let describe = async |arguments: &[&str], variable: &str, value: &str| {
        let mut command = stack.command(arguments);
        command.env(variable, value);
        let ran = ran(command).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        ran.err
    };
    let nowhere = "http://127.0.0.1:1";
    let unreachable = describe(&["events", "list"], "AWS_ENDPOINT_URL_DYNAMODB", nowhere).await;
    assert!(
        unreachable.contains("is the local stack running"),
        "{unreachable}"
    );
    let of_tokens = describe(
        &["tokens", "list"],
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        nowhere,
    )
    .await;
    assert!(
        of_tokens.contains("Secrets Manager: cannot be reached"),
        "{of_tokens}"
    );
    let absent = describe(&["events", "list"], "PENDING_EVENTS_TABLE", "NoSuchTable").await;
    assert!(
        absent.contains("(ResourceNotFoundException); check the name"),
        "{absent}"
    );
    assert!(absent.contains("AWS_ENDPOINT_URL_DYNAMODB"), "{absent}");

    let proxy = FaultyProxy::before(nowhere, |_| Fault::Refuse("AccessDeniedException"));
    let proxy = proxy.await.unwrap();
    let denied = describe(&["events", "list"], "AWS_ENDPOINT_URL_DYNAMODB", &proxy.url).await;
    assert!(
        denied.contains("(AccessDeniedException); these credentials are not"),
        "{denied}"
    );
}

#[tokio::test]
async fn an_import_that_is_cut_short_says_so_and_can_be_repeated() {
    let stack = CliFixture::start().await;
    let mut csv = "email\n".to_owned();
    csv.extend((0..500).map(|n| format!("learner{n}@example.org\n")));
    let file = stack.file("users.csv", csv);
    // Eight batches are written at once, and the ninth begins when one is done.
    let writes = AtomicUsize::new(0);
    let proxy = FaultyProxy::before(stack.url(), move |call| {
        let is_write = call.operation == "TransactWriteItems";
        if is_write && writes.fetch_add(1, Ordering::Relaxed) >= 8 {
            Fault::Refuse("AccessDeniedException")
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&["users", "import", &file]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let ran = ran(command).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("AccessDeniedException"), "{ran:?}");
    assert!(ran.err.contains(AGAIN), "{ran:?}");

    // It is unknown whether some batches were written.
    let nothing = FaultyProxy::before(stack.url(), |_| Fault::Refuse("AccessDeniedException"));
    let nothing = nothing.await.unwrap();
    let mut command = stack.command(&["users", "import", &file, "--json"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &nothing.url);
    let ran = crate::harness::ran(command).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains(AGAIN), "{ran:?}");
    let summary = ran.json();
    let mut expected = json!({"created": 0, "updated": 0, "unchanged": 0, "differing": [], "bad_lines": [], "warnings": [], "events_due": 0, "dry_run": false});
    expected["stopped"] = summary["stopped"].clone();
    assert_eq!(summary, expected);
    let reason = summary["stopped"].as_str().unwrap();
    assert!(reason.contains("AccessDeniedException"), "{reason}");

    stack.run(&["users", "import", &file]).await.ok();
    let summary = stack
        .run(&["users", "import", &file, "--json"])
        .await
        .json();
    assert_eq!(summary["unchanged"], 500);
}

/// Events that are blocked on rows written before the interruption become due.
#[tokio::test]
async fn an_interrupted_import_makes_the_events_of_its_rows_due() {
    let stack = CliFixture::start().await;
    let (enrollment, run) = (EventKind::Enrollment, "course-v1:Org+Bees+2026");
    let waits = stack.add_pending(enrollment, "a0@example.org", run, BlockedReason::NoSuchUser);
    let key = waits.await.event_key;
    let mut command = stack.command(&["users", "import", "-"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let rows: String = (0..60).map(|n| format!("a{n}@example.org\n")).collect();
    let file = format!("email\n{rows}");
    input.write_all(file.as_bytes()).await.unwrap();
    // The first rows are written, while more are awaited.
    let written =
        async { while stack.run(&["users", "show", "a0@example.org"]).await.code != 0 {} };
    timeout(Duration::from_secs(60), written).await.unwrap();
    assert!(stack.due().await.is_empty());
    let ran = interrupted(child).await;
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(
        ran.err.contains("1 pending event waited for this"),
        "{ran:?}"
    );
    assert_eq!(stack.due().await, [key]);
}

#[tokio::test]
async fn an_import_can_be_interrupted() {
    let stack = CliFixture::start().await;
    let file = stack.file("users.csv", "email\nnobody\nada@example.org\n");
    for json in [false, true] {
        let (calls, mut called) = mpsc::unbounded_channel();
        let proxy = FaultyProxy::before(stack.url(), move |_| {
            calls.send(()).unwrap();
            Fault::Hang
        });
        let proxy = proxy.await.unwrap();
        let arguments = ["users", "import", &file, "--json"];
        let mut command = stack.command(&arguments[..if json { 4 } else { 3 }]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let child = command.spawn().unwrap();
        called.recv().await.unwrap();
        let ran = interrupted(child).await;
        assert_eq!(ran.code, 130, "{ran:?}");
        assert!(ran.err.contains("error: interrupted\nso far "), "{ran:?}");
        assert!(ran.err.contains(AGAIN), "{ran:?}");
        if json {
            let bad = json!([{"line": 2, "problem": "email has no @"}]);
            assert_eq!(ran.json()["bad_lines"], bad, "{ran:?}");
            assert_eq!(ran.json()["stopped"], "interrupted", "{ran:?}");
        } else {
            assert_eq!(ran.out, "", "{ran:?}");
        }
    }
}

#[tokio::test]
async fn throttling_only_slows_an_import() {
    let stack = CliFixture::start().await;
    let proxy = FaultyProxy::before(stack.url(), |call| {
        if call.number % 3 == 0 {
            Fault::Throttle
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let file = stack.file("users.csv", "email\na@example.org\nb@example.org\n");
    for expected in [
        "2 created, 0 updated, 0 unchanged",
        "0 created, 0 updated, 2 unchanged",
    ] {
        let mut command = stack.command(&["users", "import", &file]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let out = ran(command).await.ok();
        assert!(out.starts_with(expected), "{out}");
    }
}

#[tokio::test]
async fn unreadable_files_are_refused_at_once() {
    let stack = CliFixture::start().await;
    let too_long_array = format!("[{}]", "{\"email\": \"ada@example.org\"},".repeat(4_000));
    for (content, message) in [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("name\nAda\n", "no column email; its first line names: name"),
        ("email\n", "no row below the line that names the columns"),
        (
            "email\n\n \n",
            "no row below the line that names the columns",
        ),
        (
            "sep=,\nemail\n",
            "no row below the line that names the columns",
        ),
        ("sep=,\n", "is empty"),
        ("\u{feff}", "is empty"),
        (
            "email;name\na@b;Ada\n",
            "has ; between its cells, and not commas; save it as",
        ),
        (
            "\"name\";\"email\"\n",
            "has ; between its cells, and not commas; save it as",
        ),
        (
            "email\tname\na@b\tAda\n",
            "has tabs between its cells, and not commas; save it as",
        ),
        (
            "email|name\n",
            "has | between its cells, and not commas; save it as",
        ),
        (
            "sep=;\nemail;name\n",
            "has ; between its cells, and not commas; save it as",
        ),
        (
            "sep=\t\nemail\tname\n",
            "has tabs between its cells, and not commas; save it as",
        ),
        (
            "\u{feff}\u{feff}email\na@b\n",
            "begins with two byte order marks (U+FEFF); save it as UTF-8",
        ),
        ("e\0m\0a\0i\0l\0\n\0", "is in UTF-16LE"),
        ("\0e\0m\0a\0i\0l\0\n", "is in UTF-16BE"),
        ("PK\u{3}\u{4}\u{14}\0", "is a ZIP archive, as workbooks"),
        (
            "email\u{2028}a@b\u{2028}",
            "has lines that end in LINE SEPARATOR (U+2028); save it",
        ),
        (
            "email\u{2029}a@b\u{2029}",
            "has lines that end in PARAGRAPH SEPARATOR (U+2029)",
        ),
        (
            "email,name\u{85}a@b,Ada\u{85}",
            "has lines that end in NEL (U+0085); save it",
        ),
        (
            "email\u{b}a@b\u{b}",
            "has lines that end in VT (U+000B); save it",
        ),
        (
            "email\u{c}a@b\u{c}",
            "has lines that end in FF (U+000C); save it",
        ),
        ("email,name,Email\n", "the column email twice"),
        ("[{\"email\": \"ada@example.org\"}]", "is a JSON array"),
        (
            "\n  [\n  {\"email\": \"ada@example.org\"}\n]",
            "is a JSON array",
        ),
        ("\u{1b}[2Jname\n", "its first line names: \u{fffd}[2Jname"),
        (&too_long_array, "is a JSON array"),
        ("email,\"name\n", "line 1: a quotation mark is not closed"),
        (
            "\nemail,na\"me\n",
            "line 2, which must name the columns: a quotation mark stands",
        ),
    ] {
        let file = stack.file("users.csv", content);
        let ran = stack.run(&["users", "import", &file]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{content:?}");
        let named = format!("error: {file}: ");
        assert!(ran.err.starts_with(&named), "{content:?}: {}", ran.err);
        assert!(ran.err.contains(message), "{content:?}: {}", ran.err);
        assert!(ran.err.len() < 1_000, "{}", ran.err);
    }
    let ran = stack
        .run_with_input(&["runs", "import", "-"], "course_id\nOrg/C/1\n")
        .await;
    let message = "error: standard input: has no column title";
    assert!(ran.err.starts_with(message), "{ran:?}");
    let ran = stack.run(&["users", "import", "absent.csv"]).await;
    assert_eq!(ran.code, 2);
    let message = "error: absent.csv: cannot be read";
    assert!(ran.err.starts_with(message), "{ran:?}");

    let heading = stack.file("long.csv", "x".repeat(1_000));
    let ran = stack.run(&["users", "import", &heading]).await;
    let message = format!("its first line names: {}…\n", "x".repeat(200));
    assert!(ran.err.ends_with(&message), "{ran:?}");
}

#[tokio::test]
async fn a_file_without_rows_is_imported_with_allow_empty() {
    let stack = CliFixture::start().await;
    for (what, heading) in [
        ("users", "email"),
        ("runs", "course_id,title"),
        ("certificates", "email,course_id,certificate_id,issued_at"),
        ("grades", "email,course_id,percent,passed"),
        ("enrollments", "email,course_id,mode"),
    ] {
        for file in [
            String::new(),
            format!("{heading}\r\n"),
            format!("{heading}\r"),
        ] {
            let only_reads: &[&str] = match what {
                "users" | "runs" => &[],
                _ => &["--dry-run"],
            };
            let import = [&[what, "import", "-"], only_reads].concat();
            let ran = stack.run_with_input(&import, &file).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{what} {file:?}");
            let message = "error: standard input: ";
            assert!(ran.err.starts_with(message), "{what} {file:?}: {ran:?}");
            let import = [&import[..], &["--allow-empty"]].concat();
            let ran = stack.run_with_input(&import, &file).await;
            assert!(ran.ok().starts_with("0 "), "{what} {file:?}");
        }
    }
}

#[tokio::test]
async fn usage_errors_are_explained() {
    let stack = CliFixture::start().await;
    for (arguments, message) in [
        (&["users"][..], "Usage: coursehook users"),
        (&["users", "import"], "<FILE>"),
        (&["users", "show", "nobody"], "has no @"),
        (&["users", "show", "mailto:a@b"], "begins with mailto:"),
        (&["status", "a@b,c@d"], "has more than one address"),
        (
            &["users", "erase", "\u{2060}a@b"],
            "has U+2060 WORD JOINER at 1",
        ),
        (
            &["sweep", "grades", "--learner", "a b@c"],
            "has U+0020 SPACE at 2",
        ),
        (
            &["runs", "show", "Org/C\u{ad}/1"],
            "has U+00AD SOFT HYPHEN at 6",
        ),
        (
            &["tokens", "issue", "a\u{202e}b"],
            "has U+202E RIGHT-TO-LEFT OVERRIDE at 2",
        ),
        (&["runs", "show", "None"], "course-v1:Org+Course+Run"),
        (&["enrollments", "set", "a@b", "a/b/c"], "--mode <MODE>"),
        (
            &["grades", "override", "a@b", "a/b/c"],
            "--percent <PERCENT>",
        ),
        (&["certificates", "revoke", "a@b"], "<COURSE_ID>"),
        (&["tokens", "issue", " "], "is blank"),
        (
            &["tokens", "issue", "x", "--expires-in", "soon"],
            "such as 90d",
        ),
        (&["events", "show"], "<KEY>"),
        (&["events", "retry", "c96cd"], "6 to 64 hex digits"),
        (&["events", "drop", "C96CD1F12633"], "6 to 64 hex digits"),
        (
            &["events", "list", "--dead", "--expired"],
            "cannot be used with",
        ),
        (&["replay"], "<PATH>"),
    ] {
        let ran = stack.run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains(message), "{arguments:?}: {}", ran.err);
    }
}

/// A pipe as standard output that has no reader.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

#[tokio::test]
async fn a_closed_pipe_is_not_an_error_of_a_read_only_command() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let event = stack.add_pending(
        EventKind::Enrollment,
        "bob@example.org",
        RUN,
        BlockedReason::NoSuchUser,
    );
    let key = event.await.event_key;
    for arguments in [
        &["events", "list"][..],
        &["events", "show", key.as_str()],
        &["grades", "show", ADA],
        &["certificates", "show", ADA],
        &["users", "list"],
        &["enrollments", "list", "--run", RUN],
        &["sweep", "list"],
        &["status", ADA],
        &["users", "import", "--help"],
    ] {
        let mut command = stack.command(arguments);
        command.stdout(closed_pipe());
        let ran = Ran::from(command.spawn().unwrap().wait_with_output().await.unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }
    let file = stack.file("users.csv", "email\nada@example.org\n");
    let mut command = stack.command(&["users", "import", &file]);
    command.stdout(closed_pipe());
    let ran = Ran::from(command.spawn().unwrap().wait_with_output().await.unwrap());
    assert_eq!(ran.code, 2);
    let message = "changes made until then stay";
    assert!(ran.err.contains(message), "{ran:?}");
}

#[tokio::test]
async fn a_token_that_cannot_be_written_is_revoked() {
    let stack = CliFixture::with_secrets().await;
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for (out, more) in [
        (closed_pipe(), None),
        (full(), None),
        (full(), Some("--json")),
    ] {
        let mut command = stack.command(&["tokens", "issue", "lost", "--staff"]);
        command.args(more).stdout(out);
        let ran = Ran::from(command.spawn().unwrap().wait_with_output().await.unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("was revoked at once"), "{ran:?}");
    }
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    let states: Vec<_> = listed.as_array().unwrap().iter().collect();
    assert_eq!(states.len(), 3);
    assert!(states.iter().all(|token| token["state"] == "revoked"));

    let issue = ["tokens", "issue", "kept", "--staff", "--json"];
    let kept = stack.run(&issue).await.json();
    let id = kept["id"].as_str().unwrap();
    let mut command = stack.command(&["tokens", "rotate", id]);
    command.stdout(full());
    let ran = Ran::from(command.spawn().unwrap().wait_with_output().await.unwrap());
    assert_eq!(ran.code, 2, "{ran:?}");
    let message = "was revoked at once; the old one ends when it did before; rotate it again";
    assert!(ran.err.contains(message), "{ran:?}");
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    assert_eq!(listed[3]["expires_at"], json!(null));
    assert_eq!(listed[4]["state"], "revoked");

    // If standard output is closed from the start, no token is issued.
    let closed = stack.command(&[]);
    let program = closed.as_std().get_program().to_owned();
    let mut nowhere = stack.command(&["tokens", "issue", "lost"]);
    nowhere.stdout(Stdio::null());
    let shell = {
        let mut shell = Command::new("sh");
        let variables = closed.as_std().get_envs();
        shell
            .args(["-c", "exec \"$0\" tokens issue lost >&-"])
            .arg(program)
            .env_clear()
            .envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .stderr(Stdio::piped());
        shell
    };
    for mut command in [nowhere, shell] {
        let ran = Ran::from(command.spawn().unwrap().wait_with_output().await.unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("no token was issued"), "{ran:?}");
    }
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 5);
}

/// If the answer to a change is lost, it is unknown whether it was made, and the message
/// says how to find out.
#[tokio::test]
async fn a_change_of_tokens_whose_answer_is_lost_says_how_to_check() {
    let stack = CliFixture::with_secrets().await;
    let secrets = SecretsManager::for_tests().await.unwrap();
    let issue = ["tokens", "issue", "lms", "--staff", "--json"];
    let issued = stack.run(&issue).await.json();
    let id = issued["id"].as_str().unwrap();
    let is_write = |operation: &str| operation == "UpdateSecretVersionStage";
    let proxy = FaultyProxy::before(&secrets.url, move |call| {
        if is_write(&call.operation) {
            Fault::LostAnswer
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let through_proxy = |arguments: &[&str]| {
        let mut command = stack.command(arguments);
        command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &proxy.url);
        command
    };
    for arguments in [
        &["tokens", "issue", "another"][..],
        &["tokens", "rotate", id],
        &["tokens", "revoke", id, "--yes"],
    ] {
        let ran = ran(through_proxy(arguments)).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        let message = "the change may have been made; check `coursehook tokens list`: a new \
                    token there is not in use and should be revoked, and the old one may end sooner";
        assert!(ran.err.contains(message), "{ran:?}");
    }
    // Each change was made.
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["state"], "revoked");

    // The rotation was made and cannot be undone: the message names both tokens.
    let old = stack.run(&issue).await.json();
    let old = old["id"].as_str().unwrap();
    let reads = AtomicUsize::new(0);
    proxy.set(move |call| {
        let is_read = call.operation == "GetSecretValue";
        if is_read && reads.fetch_add(1, Ordering::Relaxed) > 0 {
            Fault::Refuse("AccessDeniedException")
        } else {
            Fault::Pass
        }
    });
    let mut rotate = through_proxy(&["tokens", "rotate", old]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    rotate.stdout(full);
    let ran = Ran::from(rotate.spawn().unwrap().wait_with_output().await.unwrap());
    assert_eq!(ran.code, 2, "{ran:?}");
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    let new = listed[4]["id"].as_str().unwrap();
    let end: Timestamp = listed[3]["expires_at"].as_str().unwrap().parse().unwrap();
    let message = format!(
        "(AccessDeniedException); these credentials are not allowed to do this; use others); \
         try: coursehook tokens revoke {new}\n{old} (lms) ends at {end:.0}: "
    );
    assert!(ran.err.contains(&message), "{ran:?}");
}
