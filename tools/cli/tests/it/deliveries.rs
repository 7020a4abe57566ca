use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::harness::{CliFixture, RUN, interrupted, ran};

/// Returns a log line written in this second, with these additional fields.
fn line(second: u32, message: &str, more: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-22T10:00:{second:02}.25Z","level":"INFO","message":"{message}","kind":"certificate","course_id":"{RUN}",{more}}}"#
    )
}

fn done(second: u32, outcome: &str, status: u16) -> String {
    let more = format!(r#""outcome":"{outcome}","status":{status},"duration_ms":12"#);
    line(second, "delivery processed", &more)
}

/// Returns lines of all kinds, including those that are skipped.
fn lines() -> String {
    let pending = r#""outcome":"pending","reason":"lms_failed","status":202,"duration_ms":9"#;
    let waits = r#""outcome":"waits","reason":"not_passed","attempts":1"#;
    [
        line(1, "delivery received", r#""path":"other""#),
        done(2, "created", 201),
        line(3, "delivery processed", pending),
        line(4, "event retried", waits),
        "START RequestId: 1 {} Version: $LATEST".to_owned(),
        r#"{"message":"delivery processed""#.to_owned(),
        r#"{"Deliveries":1,"_aws":{},"kind":"certificate","outcome":"created"}"#.to_owned(),
        done(5, "pending", 404),
        done(6, "un\\u001bknown", 503),
    ]
    .join("\n")
}

const ROWS: [&str; 6] = [
    "time                  kind         outcome                            status      ms  course",
    "2026-11-22T10:00:02Z  certificate  created                               201      12  course-v1:Org+Bees+2026",
    "2026-11-22T10:00:03Z  certificate  pending (lms_failed)                  202       9  course-v1:Org+Bees+2026",
    "2026-11-22T10:00:04Z  certificate  waits (not_passed)                                 course-v1:Org+Bees+2026",
    "2026-11-22T10:00:05Z  certificate  pending                               404      12  course-v1:Org+Bees+2026",
    "2026-11-22T10:00:06Z  certificate  un\u{fffd}known                              503      12  course-v1:Org+Bees+2026",
];

#[tokio::test]
async fn deliveries_are_shown_as_a_table() {
    let stack = CliFixture::start().await;
    let file = stack.file("functions.log", lines());
    let table = ROWS.join("\n") + "\n";
    let shown = async |arguments: &[&str], variable: (&str, &str)| {
        let mut command = stack.command(&[&["deliveries"], arguments].concat());
        command.env(variable.0, variable.1);
        ran(command).await.ok()
    };
    let by_variable = ("COURSEHOOK_LOG", file.as_str());
    assert_eq!(shown(&[], by_variable).await, table);
    let never = shown(&["--log", &file, "--color", "never"], by_variable).await;
    assert_eq!(never, table);
    // Standard output is not a terminal, whatever NO_COLOR says.
    assert_eq!(shown(&["--log", &file], ("NO_COLOR", "")).await, table);

    let last = shown(&["-n", "2"], by_variable).await;
    assert_eq!(last, [ROWS[0], ROWS[4], ROWS[5], ""].join("\n"));
    let json = shown(&["-n", "3", "--json"], by_variable).await;
    let json: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.len(), 3);
    assert_eq!(json[0]["attempts"], 1);
    assert_eq!(json[1]["level"], "INFO");

    let missing = stack.run(&["deliveries"]).await;
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
    let text = "error: the environment variable COURSEHOOK_LOG is not set; name a log file with \
                --log FILE, or let the AWS CLI read the log: aws logs tail GROUP --format short | \
                coursehook deliveries --log -\n";
    assert_eq!(missing.err, text);
    let absent = stack.run(&["deliveries", "--log", "absent.log"]).await;
    assert_eq!(absent.code, 2);
    assert!(absent.err.starts_with("error: absent.log: cannot be read"));
}

#[tokio::test]
async fn a_prefix_of_a_line_is_ignored() {
    let stack = CliFixture::start().await;
    let input: String = lines()
        .lines()
        .map(|line| format!("2026-11-22T10:00:00 {line}\n"))
        .collect();
    let piped = stack
        .run_with_input(&["deliveries", "--log", "-"], &input)
        .await;
    assert_eq!(piped.ok(), ROWS.join("\n") + "\n");
    let json = ["deliveries", "--log", "-", "--json", "-n", "1"];
    let json = stack.run_with_input(&json, &input).await.ok();
    assert_eq!(json.trim_end(), done(6, "un\\u001bknown", 503));
}

#[tokio::test]
async fn the_colour_shows_the_outcome() {
    let stack = CliFixture::start().await;
    let file = stack.file("functions.log", lines());
    let always = ["deliveries", "--log", &file, "--color", "always"];
    let shown = stack.run(&always).await.ok();
    for (row, code) in ROWS[1..].iter().zip(["32", "33", "2", "33", "31"]) {
        let coloured = format!("\n\u{1b}[{code}m{row}\u{1b}[0m\n");
        assert!(shown.contains(&coloured), "{shown}");
    }
}

/// A log is followed as by `tail -f`, also when the file is emptied or replaced.
#[tokio::test]
async fn a_log_is_followed() {
    let stack = CliFixture::start().await;
    let path = stack.file("functions.log", lines() + "\n");
    let mut command = stack.command(&["deliveries", "--follow", "-n", "1", "--log", &path]);
    let mut child = command.spawn().unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let row = timeout(Duration::from_secs(60), rows.next_line());
        let row = row.await.unwrap().unwrap().unwrap();
        row.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(next().await, "outcome");
    assert_eq!(next().await, "un\u{fffd}known");

    let mut log = File::options().append(true).open(&path).unwrap();
    let added = done(7, "added", 200);
    let (begin, end) = added.split_at(40);
    write!(log, "{}\n{begin}", done(6, "first", 200)).unwrap();
    assert_eq!(next().await, "first");
    fs::write(&path, done(8, "emptied", 200) + "\n").unwrap();
    assert_eq!(next().await, "emptied");
    // An unfinished line is shown once it is complete.
    write!(log, "{begin}").unwrap();
    writeln!(log, "{end}").unwrap();
    assert_eq!(next().await, "added");

    let other = stack.file("other.log", done(9, "replaced", 200) + "\n");
    fs::rename(other, &path).unwrap();
    assert_eq!(next().await, "replaced");
    let ran = interrupted(child).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

/// The command needs neither credentials nor a stack's description.
#[tokio::test]
async fn a_log_is_read_without_aws() {
    let stack = CliFixture::start().await;
    let file = stack.file("functions.log", lines());
    let deliveries = async |more: &[&str]| {
        let mut command = stack.command(&[&["deliveries"], more].concat());
        command
            .env("AWS_PROFILE", "absent")
            .env("COURSEHOOK_STACK", "absent")
            .env("COURSEHOOK_LOG", &file)
            .env_remove("AWS_ACCESS_KEY_ID");
        ran(command).await
    };
    let shown = deliveries(&["--log", &file]).await;
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{shown:?}");
    assert_eq!(shown.out, ROWS.join("\n") + "\n");
    // The local log need not be that of the stack.
    let missing = deliveries(&[]).await;
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
    let text =
        "error: there is no local log of the stack absent; name a log file with --log FILE, ";
    assert!(missing.err.starts_with(text), "{missing:?}");
}
