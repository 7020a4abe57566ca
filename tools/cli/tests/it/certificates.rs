use domain::EventKind;
use local::lms::{At, FaultRule, GradeRow, LmsFault};
use local::{Fault, FaultyProxy};
use serde_json::{Value, json};

use crate::harness::{ADA, CliFixture, RUN, Ran, WithLms, lms_unavailable, ran};

/// Starts with a certificate for [`ADA`], and returns its id.
async fn with_a_certificate() -> (CliFixture, String) {
    let stack = CliFixture::with_ada_and_a_run().await;
    stack
        .run(&["enrollments", "set", ADA, RUN, "--mode", "verified"])
        .await
        .ok();
    let grade = ["--percent", "0.9", "--letter", "A", "--passed", "--json"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let set = stack.run(&arguments).await.json();
    let id = set["certificate"]["certificate_id"].as_str().unwrap();
    let id = id.to_owned();
    (stack, id)
}

async fn revoke(stack: &CliFixture, more: &[&str]) -> Ran {
    let arguments = [&["certificates", "revoke", ADA, RUN], more].concat();
    stack.run(&arguments).await
}

#[tokio::test]
async fn a_certificate_is_shown() {
    let (stack, id) = with_a_certificate().await;
    let show = ["certificates", "show", ADA];
    let shown = stack.run(&[&show[..], &["--json"]].concat()).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["certificate_id"], id.as_str());
    assert_eq!(shown[0]["course_id"], RUN);
    assert_eq!(shown[0]["state"], "in_force");
    assert_eq!(shown[0]["learner_name"], "Ada Lovelace");
    assert_eq!(shown[0]["run_title"], "Bees");
    assert_eq!(shown[0]["history"][0]["by"], "operator");

    let text = stack.run(&show).await.ok();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!(rows[1][..3], [RUN, &id, "in_force"]);
    assert_eq!(rows[1][4..], ["Ada", "Lovelace", "Bees"]);
    let text = stack.run(&[&show[..], &["--history"]].concat()).await.ok();
    assert!(text.contains("operator grace"), "{text}");

    let ran = stack
        .run(&["certificates", "show", "bob@example.org"])
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("no user bob@example.org"), "{ran:?}");
}

#[tokio::test]
async fn a_certificate_is_revoked_and_restored() {
    let (stack, id) = with_a_certificate().await;
    let restore = ["certificates", "restore", ADA, RUN];
    let nothing = stack.run(&restore).await.ok();
    let message = format!("nothing to change: {id} is in force, since ");
    assert!(nothing.starts_with(&message), "{nothing}");

    let ran = revoke(&stack, &[]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for message in ["not a terminal", "--yes", &id] {
        assert!(ran.err.contains(message), "{ran:?}");
    }
    let message =
        format!("revoked {id}; no pass restores it, `coursehook certificates restore` does\n");
    assert_eq!(revoke(&stack, &["--yes"]).await.ok(), message);
    let nothing = revoke(&stack, &[]).await.ok();
    let message = format!("nothing to change: {id} is revoked, since ");
    assert!(nothing.starts_with(&message), "{nothing}");
    assert!(nothing.ends_with(", by operator grace\n"), "{nothing}");

    // No pass restores it.
    let grade = ["--percent", "1", "--letter", "A", "--passed"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let message = stack.run(&arguments).await.ok();
    let command = format!("coursehook certificates restore {ADA} {RUN}\n");
    assert!(message.ends_with(&command), "{message}");

    let message = format!("restored {id}; it is in force\n");
    assert_eq!(stack.run(&restore).await.ok(), message);
    let again = revoke(&stack, &["--yes", "--json"]).await.json();
    assert_eq!(again["changed"], true);
    assert_eq!(again["certificate"]["state"], "revoked");
    let states: Vec<_> = again["certificate"]["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["in_force", "revoked", "in_force", "revoked"]);
    let again = revoke(&stack, &["--json"]).await.json();
    assert_eq!(again["changed"], false);
}

#[tokio::test]
async fn an_impossible_correction_says_how_to_proceed() {
    let (stack, id) = with_a_certificate().await;
    let refused = async |word: &str, email: &str, run: &str| {
        let ran = stack.run(&["certificates", word, email, run]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        ran.err
    };
    for word in ["revoke", "restore"] {
        let message = refused(word, "bob@example.org", RUN).await;
        assert!(message.contains("no user bob@example.org"), "{message}");
        let message = refused(word, ADA, "Org/Ants/1").await;
        assert!(
            message.contains("no certificate for Org/Ants/1"),
            "{message}"
        );
        assert!(message.contains("coursehook grades override"), "{message}");
    }

    // This is the state after a grade of 0.
    stack.set_certificate_state(ADA, RUN, "withdrawn").await;
    let message = refused("restore", ADA, RUN).await;
    assert!(message.contains("a pass restores it"), "{message}");
    let command = format!("coursehook grades override {ADA} {RUN} --percent");
    assert!(message.contains(&command), "{message}");
    // It can be revoked, or restored by a pass.
    let grade = ["--percent", "1", "--letter", "A", "--passed", "--json"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let set = stack.run(&arguments).await.json();
    let expected = json!({"status": "created", "certificate_id": id, "reason": null});
    assert_eq!(set["certificate"], expected);
    stack.withdraw(ADA, RUN).await;
    revoke(&stack, &["--yes"]).await.ok();
    // Restoring returns it to its earlier state, and cannot put it in force.
    let restored = stack.run(&["certificates", "restore", ADA, RUN]).await.ok();
    assert!(restored.contains("withdrawn"), "{restored}");
    let message = refused("restore", ADA, RUN).await;
    assert!(message.contains("a pass restores it"), "{message}");
}

/// The name is corrected in every state, and nothing else changes.
#[tokio::test]
async fn a_name_is_corrected_in_any_state() {
    for (state, stands) in [
        ("in_force", "is in force, since"),
        ("withdrawn", "is withdrawn, since"),
        ("revoked", "is revoked, since"),
    ] {
        let (stack, id) = with_a_certificate().await;
        match state {
            "withdrawn" => stack.withdraw(ADA, RUN).await,
            "revoked" => drop(revoke(&stack, &["--yes"]).await.ok()),
            _ => {}
        }
        let show = ["certificates", "show", ADA, "--json"];
        let before = stack.run(&show).await.json()[0].clone();
        let since = async || {
            let status = stack.run(&["status", ADA, "--json"]).await.json();
            let why = status["runs"][0]["why"].as_str().unwrap().to_owned();
            let since = why.split(stands).nth(1).unwrap_or_else(|| panic!("{why}"));
            since.split(',').next().unwrap().to_owned()
        };
        let stood_since = since().await;

        let rename = ["certificates", "rename", ADA, RUN, "--name"];
        let message = stack.run(&[&rename[..], &[" Ada King\t"]].concat()).await;
        let expected = format!("the name on {id} is Ada King; it was Ada Lovelace\n");
        assert_eq!(message.ok(), expected, "{state}");
        let after = stack.run(&show).await.json()[0].clone();
        assert_eq!(after["learner_name"], "Ada King", "{state}");
        for same in ["certificate_id", "state", "issued_at", "run_title"] {
            assert_eq!(after[same], before[same], "{state}: {same}");
        }
        let entries = after["history"].as_array().unwrap();
        let [all @ .., entry] = entries.as_slice() else {
            panic!("{after}")
        };
        assert_eq!(json!(all), before["history"], "{state}");
        let by = ["by", "name", "state"].map(|field| &entry[field]);
        assert_eq!(by, ["operator", "grace", state], "{state}");
        let renamed = json!({"from": "Ada Lovelace", "to": "Ada King"});
        assert_eq!(entry["renamed"], renamed, "{state}");
        // The time of the state is when the state was set, and not when the name was corrected.
        assert_eq!(since().await, stood_since, "{state}");

        // The same name again writes nothing.
        for name in ["Ada King", "Ada King "] {
            let again = [&rename[..], &[name, "--json"]].concat();
            let again = stack.run(&again).await.json();
            assert_eq!(again["changed"], false, "{state}");
            assert_eq!(again["certificate"], after, "{state}");
        }
        let message = stack.run(&[&rename[..], &["Ada King"]].concat()).await;
        let expected = format!("nothing to change: the name on {id} is Ada King\n");
        assert_eq!(message.ok(), expected, "{state}");
        let history = ["certificates", "show", ADA, "--history"];
        let history = stack.run(&history).await.ok();
        assert!(
            history.contains("from Ada Lovelace to Ada King"),
            "{history}"
        );

        // A later restoration keeps the corrected name.
        if state == "revoked" {
            let restore = ["certificates", "restore", ADA, RUN];
            let message = format!("restored {id}; it is in force\n");
            assert_eq!(stack.run(&restore).await.ok(), message);
        }
        let shown = stack.run(&show).await.json();
        assert_eq!(shown[0]["learner_name"], "Ada King", "{state}");
    }
}

/// A certificate without a name says so, with the command that sets one.
#[tokio::test]
async fn a_certificate_without_a_name_shows_how_to_set_one() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let bob = "bob@example.org";
    let csv = format!("email\n{bob}\n");
    let import = ["users", "import", "-"];
    stack.run_with_input(&import, &csv).await.ok();
    let enroll = ["enrollments", "set", bob, RUN, "--mode", "verified"];
    stack.run(&enroll).await.ok();
    let grade = ["--percent", "0.9", "--letter", "A", "--passed", "--json"];
    let grade = [&["grades", "override", bob, RUN], &grade[..]].concat();
    let set = stack.run(&grade).await.json();
    let id = set["certificate"]["certificate_id"].as_str().unwrap();

    let rename = format!("coursehook certificates rename {bob} {RUN} --name NAME");
    let revoke = format!("coursehook certificates revoke {bob} {RUN}");
    let restore = format!("coursehook certificates restore {bob} {RUN}");
    let message = format!("The certificate {id} has no name. To give it one:\n  {rename}\n");
    let assert_status = async |word: &str, other: &str, help: &str| {
        let shown = stack.run(&["certificates", "show", bob]).await.ok();
        assert!(shown.ends_with(&format!("\n\n{message}")), "{shown}");
        let status = stack.run(&["status", bob, "--json"]).await.json();
        let run = &status["runs"][0];
        let why = run["why"].as_str().unwrap();
        assert!(why.contains(word) && why.ends_with(" The certificate has no name."));
        assert_eq!(run["commands"], json!([rename, other]), "{run}");
        let first = "The first command gives the certificate a name. ";
        assert_eq!(run["help"], format!("{first}{help}"));
    };
    assert_status("is in force", &revoke, "To revoke it:").await;
    let take = ["certificates", "revoke", bob, RUN, "--yes"];
    stack.run(&take).await.ok();
    assert_status("is revoked", &restore, "To restore it:").await;

    // The command works with a name that is special in a shell.
    let command = rename.replace("NAME", "'Robert \"Bob\" O'\\''Hara'");
    let message = stack.shell(&command).await.ok();
    let name = "Robert \"Bob\" O'Hara";
    assert_eq!(
        message,
        format!("the name on {id} is {name}; there was none\n")
    );
    let shown = stack.run(&["certificates", "show", bob, "--json"]).await;
    let shown = shown.json();
    assert_eq!(shown[0]["learner_name"], name);
    assert_eq!(shown[0]["history"][2]["renamed"], json!({"to": name}));
    for command in [&["certificates", "show", bob][..], &["status", bob]] {
        let text = stack.run(command).await.ok();
        assert!(!text.contains("no name"), "{text}");
    }
}

#[tokio::test]
async fn an_invalid_name_is_refused() {
    let (stack, _) = with_a_certificate().await;
    let long = "é".repeat(255);
    let too_long = "é".repeat(256);
    for (email, run, name, message) in [
        (ADA, RUN, long.as_str(), None),
        (ADA, RUN, "", Some("is blank")),
        (ADA, RUN, " \u{a0}", Some("is blank")),
        (ADA, RUN, &too_long, Some("is longer than 255 characters")),
        (ADA, RUN, "Ada\u{7}", Some("has a control character")),
        (ADA, RUN, "Ada\u{202e}adA", Some("U+202E")),
        (ADA, RUN, "Zo\u{fffd}", Some("U+FFFD")),
        (
            "bob@example.org",
            RUN,
            "Bob",
            Some("no user bob@example.org"),
        ),
        (
            ADA,
            "Org/Ants/1",
            "Ada",
            Some("no certificate for Org/Ants/1"),
        ),
    ] {
        let rename = ["certificates", "rename", email, run, "--name", name];
        let ran = stack.run(&rename).await;
        match message {
            None => assert_eq!(ran.code, 0, "{ran:?}"),
            Some(message) => {
                assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{name:?}: {ran:?}");
                assert!(ran.err.contains(message), "{name:?}: {ran:?}");
            }
        }
    }
    let shown = stack.run(&["certificates", "show", ADA, "--json"]).await;
    assert_eq!(shown.json()[0]["learner_name"], long);
}

/// A write whose answer was lost is recognised, and one that a concurrent write preceded
/// is made again on top of it.
#[tokio::test]
async fn a_correction_of_the_name_is_written_once() {
    let (stack, id) = with_a_certificate().await;
    let rename = ["certificates", "rename", ADA, RUN, "--name", "Ada King"];
    let proxy = FaultyProxy::before(stack.url(), |call| match call.number {
        // The user, the record, the write.
        3 => Fault::LostAnswer,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&rename);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let message = ran(command).await.ok();
    assert!(message.ends_with("it was Ada Lovelace\n"), "{message}");

    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "PutItem" => Fault::Hold,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let rename = ["certificates", "rename", ADA, RUN, "--name", "Ada Byron"];
    let mut command = stack.command(&rename);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(1).await;
        revoke(&stack, &["--yes"]).await.ok();
        proxy.set(|_| Fault::Pass);
    };
    let (message, ()) = tokio::join!(ran(command), meanwhile);
    let expected = format!("the name on {id} is Ada Byron; it was Ada King\n");
    assert_eq!(message.ok(), expected);

    let shown = stack.run(&["certificates", "show", ADA, "--json"]).await;
    let shown = shown.json()[0].clone();
    let entries = shown["history"].as_array().unwrap().iter();
    let entries = entries.map(|entry| [&entry["state"], &entry["renamed"]["to"]]);
    let none = &Value::Null;
    assert_eq!(
        Vec::from_iter(entries),
        [
            [&json!("in_force"), none],
            [&json!("in_force"), &json!("Ada King")],
            [&json!("revoked"), none],
            [&json!("revoked"), &json!("Ada Byron")],
        ]
    );
    assert_eq!(shown["state"], "revoked");
}

/// The fields that every answer to an attempt to issue a certificate has.
const FIELDS: &str = "certificate_id commands error grade grade_changed help outcome why";

fn fields(answer: &Value) -> String {
    let fields = answer.as_object().unwrap().keys();
    fields.cloned().collect::<Vec<_>>().join(" ")
}

impl WithLms {
    fn grade(&self, percent: f64, passed: bool) {
        let letter_grade = Some("B".to_owned());
        let row = GradeRow {
            percent,
            passed,
            letter_grade,
        };
        self.lms.grade("ada", RUN, row);
    }

    async fn issue(&self, more: &[&str]) -> Ran {
        let issue = [&["certificates", "issue", ADA, RUN], more].concat();
        self.run(&issue).await
    }

    /// Returns the answer if there is no certificate.
    async fn refused(&self) -> Value {
        let json = self.issue(&["--json"]).await;
        assert_eq!((json.code, json.err.as_str()), (1, ""), "{json:?}");
        let json = json.json();
        assert_eq!(fields(&json), FIELDS);
        assert_eq!(json["certificate_id"], json!(null));
        json
    }
}

#[tokio::test]
async fn a_certificate_is_issued_as_by_a_delivery() {
    let portal = WithLms::start().await;
    let stack = &portal.stack;
    let enroll = ["enrollments", "set", ADA, RUN, "--mode", "verified"];
    stack.run(&enroll).await.ok();
    portal.grade(0.87, true);
    // The event that was pending for the LMS is done.
    let waits = stack.add_pending(EventKind::Certificate, ADA, RUN, lms_unavailable("503"));
    let waits = waits.await.event_key;

    let message = portal.issue(&[]).await.ok();
    assert!(message.starts_with("created "), "{message}");
    let grade = "The grade is now 0.87, a pass, B, by the LMS; there was none.";
    let end = format!("; it is in force\n{grade}\n");
    assert!(message.ends_with(&end), "{message}");
    assert!(stack.pending(&waits).await.is_none());
    let grade = stack.run(&["grades", "show", ADA, "--json"]).await.json();
    assert_eq!(grade[0]["percent"], 0.87);
    assert_eq!(grade[0]["history"][0]["name"], "grace");

    // If the certificate is in force, the LMS is not asked, and its settings are not
    // needed.
    let issue = ["certificates", "issue", ADA, RUN];
    let again = stack.run(&issue).await.ok();
    assert!(again.starts_with("nothing to change: "), "{again}");
    assert!(
        again.ends_with("by the LMS, and was not changed.\n"),
        "{again}"
    );
    assert_eq!(portal.lms.count(At::Grades), 1);

    stack.withdraw(ADA, RUN).await;
    let restored = portal.issue(&["--json"]).await.json();
    assert_eq!(restored["outcome"], "restored");
    assert_eq!(fields(&restored), FIELDS);
    assert_eq!(restored["grade"]["percent"], 0.87);
    assert_eq!(restored["grade_changed"], false);
    let id = restored["certificate_id"].as_str().unwrap();
    assert!(message.contains(id), "{message}");

    let revoke = ["certificates", "revoke", ADA, RUN, "--yes"];
    stack.run(&revoke).await.ok();
    let refused = portal.refused().await;
    assert_eq!(refused["outcome"], "revoked");
    let restore = format!("coursehook certificates restore {ADA} {RUN}");
    assert_eq!(refused["commands"], json!([restore]));
    // The LMS is not asked in this case.
    let mut bare = stack.command(&[&issue[..], &["--json"]].concat());
    bare.env_remove("PAID_MODES");
    let bare = ran(bare).await;
    assert_eq!((bare.code, bare.json()), (1, refused));
    assert_eq!(portal.lms.count(At::Grades), 2);
}

/// A released grade is replaced by the LMS's, and the answer says so.
#[tokio::test]
async fn a_replaced_grade_is_reported() {
    let portal = WithLms::start().await;
    let stack = &portal.stack;
    let grade = ["--percent", "0.9", "--letter", "A", "--passed"];
    let grade = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    stack.run(&grade).await.ok();
    stack.run(&["grades", "release", ADA, RUN]).await.ok();
    portal.grade(0.4, false);
    let ran = portal.issue(&[]).await;
    let message = "\nThe grade is now 0.4, not a pass, B, by the LMS; \
                it was 0.9, a pass, A, by the operator, released.\n";
    assert!(ran.out.contains(message), "{ran:?}");
    portal.grade(0.5, false);
    let refused = portal.refused().await;
    let replaced = (&refused["grade"]["percent"], &refused["grade_changed"]);
    assert_eq!(replaced, (&json!(0.5), &json!(true)));
    let refused = portal.refused().await;
    assert_eq!(refused["grade_changed"], false);
}

#[tokio::test]
async fn an_unearned_certificate_is_explained() {
    let portal = WithLms::start().await;
    let stack = &portal.stack;
    let issue = format!("coursehook certificates issue {ADA} {RUN}");
    let describe = async |outcome: &str, error: Value, why: &str, commands: &[&str]| {
        let refused = portal.refused().await;
        assert_eq!(
            (&refused["outcome"], &refused["error"]),
            (&json!(outcome), &error)
        );
        let explanation = refused["why"].as_str().unwrap();
        assert!(
            explanation.starts_with("No certificate was issued. "),
            "{explanation}"
        );
        assert!(explanation.contains(why), "{explanation}");
        let commands = commands.iter().map(|command| {
            let command = command.replace("EMAIL", ADA);
            command.replace("RUN", RUN)
        });
        let commands: Vec<_> = commands.chain([issue.clone()]).collect();
        assert_eq!(refused["commands"], json!(commands));
        // The text has the same facts.
        let text = portal.issue(&[]).await;
        assert_eq!(text.code, 1);
        assert!(
            text.out.starts_with(&format!("{explanation}\n")),
            "{text:?}"
        );
        assert!(
            text.out
                .ends_with(&format!("try again:\n  {}\n", commands.join("\n  ")))
        );
        assert_eq!(
            stack.run(&["events", "list", "--json"]).await.json(),
            json!([])
        );
    };

    portal
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }).times(2));
    describe(
        "lms_unavailable",
        json!("503"),
        "The LMS failed (503).",
        &[],
    )
    .await;
    portal.grade(0.4, false);
    let pass = "coursehook grades override EMAIL RUN --percent P --letter L --passed";
    describe(
        "not_passed",
        json!(null),
        "The grade is not a pass",
        &[pass],
    )
    .await;
    portal.grade(0.9, true);
    let enroll = "coursehook enrollments set EMAIL RUN --mode verified";
    let lacking = "but is not enrolled in the course run.";
    describe("not_eligible", json!("not_enrolled"), lacking, &[enroll]).await;

    let grade = ["--percent", "0.4", "--letter", "F"];
    let grade = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    stack.run(&grade).await.ok();
    let asked = portal.lms.count(At::Grades);
    let release = "coursehook grades release EMAIL RUN";
    let why = "since an operator has set it, the LMS was not asked.";
    describe("not_passed", json!(null), why, &[release]).await;
    assert_eq!(portal.lms.count(At::Grades), asked);

    for (email, run, message) in [
        ("bob@example.org", RUN, "no user bob@example.org"),
        (ADA, "Org/No/1", "no course run Org/No/1"),
    ] {
        let ran = stack.run(&["certificates", "issue", email, run]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(message), "{ran:?}");
    }
}

/// The settings of the LMS are needed only if the LMS is asked.
#[tokio::test]
async fn the_grade_of_an_operator_decides_without_the_lms() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let issue = async || {
        let mut command = stack.command(&["certificates", "issue", ADA, RUN]);
        command
            .env_remove("LMS_URL")
            .env_remove("OPENEDX_API_SECRET");
        ran(command).await
    };
    let missing = issue().await;
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
    assert!(missing.err.contains("is not set"), "{missing:?}");

    let grade = ["--percent", "0.9", "--letter", "A", "--passed"];
    let grade = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    stack.run(&grade).await.ok();
    let enroll = ["enrollments", "set", ADA, RUN, "--mode", "verified"];
    stack.run(&enroll).await.ok();
    let message = issue().await.ok();
    assert!(message.starts_with("created "), "{message}");
}
