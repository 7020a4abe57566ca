use std::sync::atomic::{AtomicBool, Ordering};

use domain::{BlockedReason, EventKey, EventKind, Score};
use local::lms::GradeRow;
use local::{Fault, FaultyProxy};
use serde_json::{Value, json};

use crate::harness::{ADA, CliFixture, RUN, Ran, WithLms, ran};

/// Sets [`ADA`]'s grade in [`RUN`].
async fn set(stack: &CliFixture, more: &[&str]) -> Ran {
    let arguments = [&["grades", "override", ADA, RUN], more].concat();
    stack.run(&arguments).await
}

async fn enroll(stack: &CliFixture, more: &[&str]) {
    let arguments = [&["enrollments", "set", ADA, RUN, "--mode"], more].concat();
    stack.run(&arguments).await.ok();
}

const PASS: [&str; 5] = ["--percent", "0.87", "--letter", "B", "--passed"];
const FAIL: [&str; 4] = ["--percent", "0.4", "--letter", "F"];

#[tokio::test]
async fn an_overridden_pass_issues_the_certificate() {
    let stack = CliFixture::with_ada_and_a_run().await;
    enroll(&stack, &["verified"]).await;
    // The pass was pending for the LMS, which no longer decides.
    let certificate = EventKind::Certificate;
    let event = stack
        .add_pending(certificate, ADA, RUN, BlockedReason::NotPassed)
        .await;

    let done = set(&stack, &[&PASS[..], &["--json"]].concat()).await.json();
    assert_eq!(done["outcome"], "created");
    assert_eq!(done["grade"]["percent"], 0.87);
    assert_eq!(done["grade"]["passed"], true);
    assert_eq!(done["grade"]["letter_grade"], "B");
    assert_eq!(done["grade"]["set_by_admin"], true);
    assert_eq!(done["certificate"]["status"], "created");
    let id = done["certificate"]["certificate_id"].as_str().unwrap();
    assert!(stack.pending(&event.event_key).await.is_none());

    let again = set(&stack, &PASS).await.ok();
    assert!(again.starts_with("unchanged\n"), "{again}");
    let message = format!("\nThe certificate {id} was in force before.\n");
    assert!(again.ends_with(&message), "{again}");

    // No grade withdraws it.
    let failed = set(&stack, &FAIL).await.ok();
    assert!(failed.starts_with("updated\n"), "{failed}");
    let message = format!(
        "The certificate {id} stays in force, although the grade is not a pass. \
         To revoke it:\n  coursehook certificates revoke {ADA} {RUN}\n"
    );
    assert!(failed.ends_with(&message), "{failed}");
    let failed = set(&stack, &[&FAIL[..], &["--json"]].concat()).await.json();
    let expected = json!({"status": "exists", "certificate_id": id, "reason": null});
    assert_eq!(failed["certificate"], expected);
}

/// A letter grade is any text, and its control characters cannot move the terminal's
/// cursor.
#[tokio::test]
async fn a_letter_is_any_text() {
    let portal = WithLms::start().await;
    let stack = &portal.stack;
    enroll(stack, &["verified"]).await;
    let longest = "é".repeat(255);
    for letter in ["Distinction", "A (Very Good)", " 優 ", &longest] {
        let done = set(stack, &["--percent", "0.4", "--letter", letter, "--json"]).await;
        assert_eq!(
            done.json()["grade"]["letter_grade"],
            letter.trim(),
            "{letter}"
        );
    }

    stack.run(&["grades", "release", ADA, RUN]).await.ok();
    let grade = GradeRow {
        percent: 0.9,
        passed: true,
        letter_grade: Some("\u{1b}[2JB".to_owned()),
    };
    portal.lms.grade("ada", RUN, grade);
    let issue = ["certificates", "issue", ADA, RUN];
    for command in [&issue[..], &["status", ADA], &["grades", "show", ADA]] {
        let out = portal.run(command).await.ok();
        assert!(out.contains("\u{fffd}[2JB"), "{out}");
        assert!(!out.contains('\u{1b}'), "{out}");
    }
}

#[tokio::test]
async fn a_grade_without_a_certificate_is_explained_with_the_fix() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let failed = set(&stack, &FAIL).await.ok();
    let message =
        "There is no certificate, since the grade is not a pass; --passed makes it one.\n";
    assert!(failed.ends_with(message), "{failed}");

    let enroll_first = format!("coursehook enrollments set {ADA} {RUN} --mode verified\n");
    for (enrolled, reason, message) in [
        (None, "not_enrolled", "the learner is not enrolled"),
        (
            Some(&["audit"][..]),
            "unpaid_mode",
            "a mode that is not paid for",
        ),
        (
            Some(&["verified", "--inactive"]),
            "inactive",
            "an enrollment that is inactive",
        ),
    ] {
        if let Some(mode) = enrolled {
            enroll(&stack, mode).await;
        }
        let text = set(&stack, &PASS).await.ok();
        assert!(text.contains(message), "{text}");
        assert!(text.contains(&enroll_first), "{text}");
        let done = set(&stack, &[&PASS[..], &["--json"]].concat()).await;
        let expected = json!({"status": "not_eligible", "certificate_id": null, "reason": reason});
        assert_eq!(done.json()["certificate"], expected, "{reason}");
    }
    // The pass is pending, and due once the learner is enrolled by that command: the
    // certificate is then issued automatically.
    let (email, run) = (ADA.parse().unwrap(), RUN.parse().unwrap());
    let key = EventKey::of(EventKind::Certificate, &email, &run);
    let pending = stack.pending(&key).await.unwrap();
    assert_eq!(pending.reason, BlockedReason::NotEligible);
    enroll(&stack, &["verified"]).await;
    assert_eq!(stack.due().await, [key]);
    // The operator may also run the command again instead of waiting.
    let done = set(&stack, &PASS).await.ok();
    assert!(done.ends_with(" is in force now.\n"), "{done}");
    assert!(stack.due().await.is_empty());
}

#[tokio::test]
async fn a_grade_and_its_history_are_shown() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let show = ["grades", "show", ADA];
    let shown = async |more: &str| stack.run(&[show[0], show[1], show[2], more]).await;
    assert_eq!(shown("--json").await.json(), json!([]));
    let score = |n: u32| Score {
        percent: (f64::from(n) / 100.0).try_into().unwrap(),
        passed: false,
        letter_grade: Some("Pass".parse().unwrap()),
    };
    let scores = (0..60).map(score);
    stack.put_grades_of_the_lms(ADA, RUN, scores).await;

    let rows = |text: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().map(words).collect()
    };
    let text = stack.run(&show).await.ok();
    assert_eq!(
        rows(&text)[1][..6],
        [RUN, "0.59", "no", "Pass", "LMS", "60"],
        "{text}"
    );
    set(&stack, &PASS).await.ok();
    let text = shown("--history").await.ok();
    assert_eq!(
        rows(&text)[1][..6],
        [RUN, "0.87", "yes", "B", "operator", "61"],
        "{text}"
    );
    let heading = format!("\n{RUN} (the first and the last 50 of 61 changes)\n");
    assert!(text.contains(&heading), "{text}");
    assert!(text.contains("delivery with token t0"), "{text}");
    assert!(text.contains("operator grace"), "{text}");

    let shown: Value = shown("--json").await.json();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["version"], 61);
    assert_eq!(shown[0]["history_count"], 61);
    assert_eq!(shown[0]["changed_at"], shown[0]["history"][50]["at"]);
    assert_eq!(shown[0]["history"][0]["percent"], 0.0);

    let ran = stack.run(&["grades", "show", "bob@example.org"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("no user bob@example.org"), "{ran:?}");
}

#[tokio::test]
async fn an_invalid_grade_is_refused() {
    let too_long = "é".repeat(256);
    let stack = CliFixture::with_ada_and_a_run().await;
    for (percent, letter, message) in [
        (
            "87",
            "B",
            "between 0 and 2, 1 being the whole course; write 0.87",
        ),
        ("87%", "B", "; write 0.87"),
        ("99.5 %", "B", "; write 0.995"),
        ("-1", "B", "1 being the whole course\n"),
        ("201", "B", "1 being the whole course\n"),
        ("good", "B", "is not a number between 0 and 2"),
        ("0.87", too_long.as_str(), "is longer than 255 characters"),
        ("0.87", "", "is empty"),
        ("0.87", " \t", "is empty"),
        ("0.87", "B\u{7}", "has a control character"),
    ] {
        let ran = set(&stack, &["--percent", percent, "--letter", letter]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{percent} {letter}");
        assert!(ran.err.contains(message), "{percent} {letter}: {ran:?}");
    }
    for (email, run, message) in [
        ("bob@example.org", RUN, "no user bob@example.org"),
        (ADA, "Org/No/1", "no course run Org/No/1"),
    ] {
        let arguments = [&["grades", "override", email, run], &PASS[..]].concat();
        let ran = stack.run(&arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(message), "{ran:?}");
    }
    let show = ["grades", "show", ADA, "--json"];
    assert_eq!(stack.run(&show).await.json(), json!([]));
}

#[tokio::test]
async fn an_override_needs_the_paid_modes() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let arguments = [&["grades", "override", ADA, RUN], &PASS[..]].concat();
    for (value, message) in [
        (
            "",
            "error: the environment variable PAID_MODES is not set; for the local stack: ",
        ),
        (
            "verified,,audit",
            "error: the environment variable PAID_MODES cannot be used: \
             it names a mode that is empty\n",
        ),
    ] {
        for arguments in [&arguments[..], &["status", ADA]] {
            let mut command = stack.command(arguments);
            command.env("PAID_MODES", value);
            let ran = ran(command).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""));
            assert!(ran.err.starts_with(message), "{ran:?}");
        }
    }
    let show = ["grades", "show", ADA, "--json"];
    assert_eq!(stack.run(&show).await.json(), json!([]));

    enroll(&stack, &["audit"]).await;
    let mut command = stack.command(&arguments);
    command.env("PAID_MODES", "professional, audit");
    let done = ran(command).await.ok();
    assert!(done.ends_with(" is in force now.\n"), "{done}");
}

#[tokio::test]
async fn a_grade_is_set_even_if_its_certificate_could_not_be_decided() {
    let stack = CliFixture::with_ada_and_a_run().await;
    enroll(&stack, &["verified"]).await;
    let is_set = AtomicBool::new(false);
    let proxy = FaultyProxy::before(stack.url(), move |call| {
        if is_set.load(Ordering::Relaxed) {
            return Fault::Refuse("AccessDeniedException");
        }
        is_set.store(call.operation == "PutItem", Ordering::Relaxed);
        Fault::Pass
    });
    let proxy = proxy.await.unwrap();
    let arguments = [&["grades", "override", ADA, RUN], &PASS[..]].concat();
    let mut command = stack.command(&arguments);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let ran = ran(command).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for message in [
        "the grade is set",
        "AccessDeniedException",
        "the same command again",
    ] {
        assert!(ran.err.contains(message), "{ran:?}");
    }
    let done = set(&stack, &PASS).await.ok();
    assert!(done.starts_with("unchanged\n"), "{done}");
    assert!(done.ends_with(" is in force now.\n"), "{done}");
}

#[tokio::test]
async fn a_grade_is_handed_back_to_the_lms() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let release = async |more: &[&str]| {
        let arguments = [&["grades", "release", ADA, RUN], more].concat();
        stack.run(&arguments).await
    };
    let none = release(&[]).await;
    assert_eq!((none.code, none.out.as_str()), (2, ""));
    let message = format!("{ADA} has no grade in {RUN}; `coursehook grades override`");
    assert!(none.err.contains(&message), "{none:?}");

    set(&stack, &PASS).await.ok();
    let message = release(&[]).await.ok();
    assert!(message.starts_with("released\n"), "{message}");
    assert!(message.contains("  operator, released  "), "{message}");
    let asks = format!(
        "\nThe grade stays until the LMS gives another one. To ask the LMS at once:\n  \
         coursehook certificates issue {ADA} {RUN}\n"
    );
    assert!(message.ends_with(&asks), "{message}");

    let again = release(&["--json"]).await.json();
    assert_eq!(again["outcome"], "unchanged");
    let grade = &again["grade"];
    assert_eq!(
        (&grade["percent"], &grade["passed"]),
        (&json!(0.87), &json!(true))
    );
    assert_eq!(grade["set_by_admin"], false);
    assert_eq!(grade["version"], 2);
    let entry = &grade["history"][1];
    assert_eq!(
        (&entry["by"], &entry["name"]),
        (&json!("operator"), &json!("grace"))
    );
    assert_eq!(entry["set_by_admin"], false);

    // If a certificate is in force, the LMS is not asked.
    enroll(&stack, &["verified"]).await;
    set(&stack, &PASS).await.ok();
    let message = release(&[]).await.ok();
    assert!(message.ends_with(" stays in force.\n"), "{message}");
}
