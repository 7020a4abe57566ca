use domain::{Blocked, BlockedReason, EventKey, EventKind, EventState, Score};
use serde_json::{Value, json};

use crate::harness::{ADA, CliFixture, RUN, lms_unavailable};

/// One event in [`ADA`]'s history in a run.
enum Step {
    /// An enrollment with this mode, and perhaps `--inactive`.
    Enroll(&'static [&'static str]),
    /// A grade from a delivery.
    Lms(f64, bool),
    /// A grade that an operator sets, with `--passed` or without.
    Operator(&'static str, bool),
    Keep(EventKind, Blocked),
    /// Ends the pending pass.
    End(EventState),
    /// Drops the pending pass.
    Drop,
    Withdraw,
    Revoke,
}

/// A learner's history in a run, and the expected diagnosis.
struct Case {
    /// The case's name, of which the run's id is made.
    name: &'static str,
    /// The run's columns from `is_self_paced`; `None` if the run is not imported.
    run: Option<&'static str>,
    steps: Vec<Step>,
    /// Parts of the sentence, in this order.
    why: &'static [&'static str],
    help: &'static str,
    /// The commands, in which EMAIL, RUN and KEY are placeholders.
    commands: &'static [&'static str],
}

const SELF_PACED: Option<&str> = Some("true,");
const PACED: Option<&str> = Some("false,");
const PACED_TO_COME: Option<&str> = Some("false,2999-01-01");
const PACED_PAST: Option<&str> = Some("false,2020-01-01");

const ENROLL: &str = "coursehook enrollments set EMAIL RUN --mode verified";
const OVERRIDE: &str = "coursehook grades override EMAIL RUN --percent P --letter L --passed";
const ISSUE: &str = "coursehook certificates issue EMAIL RUN";
const RETRY: &str = "coursehook events retry KEY";
const PAID: Step = Step::Enroll(&["verified"]);
const AT_ONCE: &str = "The LMS announces a pass at once only in a run that is self-paced";

fn cases() -> Vec<Case> {
    use EventKind::{Certificate, Enrollment};
    use Step::{Drop, End, Enroll, Keep, Lms, Operator, Revoke, Withdraw};
    let unpaid = || Blocked {
        error: Some("unpaid_mode".to_owned()),
        ..BlockedReason::NotEligible.into()
    };
    let case = |name, run, steps, why, help, commands| Case {
        name,
        run,
        steps,
        why,
        help,
        commands,
    };
    vec![
        case(
            "InForce",
            SELF_PACED,
            vec![PAID, Operator("0.87", true)],
            &[" is in force, since 20", ", by operator grace."],
            "To revoke it:",
            &["coursehook certificates revoke EMAIL RUN"],
        ),
        case(
            "Revoked",
            SELF_PACED,
            vec![PAID, Operator("0.87", true), Revoke],
            &[" is revoked, since 20", ", by operator grace, and no pass"],
            "To restore it:",
            &["coursehook certificates restore EMAIL RUN"],
        ),
        case(
            "RevokedWithdrawn",
            SELF_PACED,
            vec![PAID, Operator("0.87", true), Withdraw, Revoke],
            &[" is revoked, since 20"],
            "withdrawn, as it was before",
            &["coursehook certificates restore EMAIL RUN"],
        ),
        case(
            "Withdrawn",
            SELF_PACED,
            vec![PAID, Operator("0.87", true), Withdraw, Lms(0.0, false)],
            &[
                " is withdrawn, since 20",
                ", by operator a test, until a pass restores it: ",
                "the grade is not a pass (0, by the LMS), and no pass was announced since.",
            ],
            "Let the LMS announce the pass, once there is one",
            &[OVERRIDE],
        ),
        case(
            "WithdrawnPassed",
            SELF_PACED,
            vec![
                PAID,
                Operator("0.87", true),
                Withdraw,
                Keep(Certificate, lms_unavailable("503")),
            ],
            &[
                " is withdrawn, since 20",
                "a pass restores it; the pass that came at 20",
                " waits. The LMS failed (503).",
            ],
            "nothing else needs to be done",
            &[],
        ),
        case(
            "Dead",
            SELF_PACED,
            vec![
                PAID,
                Keep(Certificate, lms_unavailable("403")),
                End(EventState::Dead),
            ],
            &[
                "There is no certificate; the pass that came at 20",
                " was given up (last error: 403). The LMS does not let us read grades (403). ",
                "given up as dead",
            ],
            "and then retry the event:",
            &[RETRY],
        ),
        case(
            "Expired",
            SELF_PACED,
            vec![
                Keep(Certificate, BlockedReason::NoSuchRun.into()),
                End(EventState::Expired),
            ],
            &[" was given up. There is no course run ", " is expired"],
            "and then retry the event:",
            &[RETRY],
        ),
        case(
            "Unpaid",
            SELF_PACED,
            vec![
                Enroll(&["audit"]),
                Lms(0.87, true),
                Keep(Certificate, unpaid()),
            ],
            &[
                "There is no certificate; the pass that came at 20",
                " waits. The learner has passed, but is enrolled in a mode that is not paid for.",
                "next attempt",
            ],
            "If the learner has paid, set a paid mode; nothing else needs to be done:",
            &[ENROLL],
        ),
        case(
            "NoGrade",
            SELF_PACED,
            vec![PAID],
            &["There is no certificate: there is no grade, and no pass was announced."],
            "Let the LMS announce the pass, once there is one, or set the grade by hand:",
            &[OVERRIDE],
        ),
        case(
            "NoGradeUnpaid",
            SELF_PACED,
            vec![Enroll(&["audit"])],
            &[
                "there is no grade, and no pass was announced; ",
                "a pass would not be enough, since the learner is enrolled in a mode that",
            ],
            "If the learner has paid, set a paid mode; then let the LMS announce the pass",
            &[ENROLL, OVERRIDE],
        ),
        case(
            "Failing",
            SELF_PACED,
            vec![PAID, Lms(0.4, false)],
            &["the grade is not a pass (0.4, by the LMS), and no pass was announced since."],
            "Let the LMS announce the pass, once there is one",
            &[OVERRIDE],
        ),
        case(
            "FailingByHand",
            PACED,
            vec![PAID, Operator("0.4", false)],
            // Whatever the LMS announces, this grade decides.
            &["not a pass (0.4, by the operator), and the LMS's grade does not replace it."],
            "Set another grade, if it should be a pass:",
            &[OVERRIDE],
        ),
        case(
            "NotEnrolled",
            SELF_PACED,
            vec![Lms(0.87, true)],
            &["the grade is a pass, but the learner is not enrolled in the course run."],
            "If the learner has paid, set a paid mode; then ask the LMS again, and issue the certificate:",
            &[ENROLL, ISSUE],
        ),
        case(
            "Inactive",
            SELF_PACED,
            vec![Enroll(&["verified", "--inactive"]), Lms(0.87, true)],
            &["the grade is a pass, but the learner has an enrollment that is inactive."],
            "If the learner has paid",
            &[ENROLL, ISSUE],
        ),
        case(
            "UnpaidDropped",
            SELF_PACED,
            vec![Enroll(&["audit"]), Lms(0.87, true)],
            &["the learner is enrolled in a mode that is not paid for."],
            "If the learner has paid",
            &[ENROLL, ISSUE],
        ),
        case(
            "NotAnnounced",
            SELF_PACED,
            vec![PAID, Lms(0.87, true)],
            &["the enrollment earns a certificate, but the LMS has not announced it"],
            "Ask the LMS again, and issue the certificate:",
            &[ISSUE],
        ),
        case(
            "NotIssued",
            PACED,
            vec![Operator("0.87", true), Drop, PAID],
            &["the enrollment earns a certificate, but nothing is pending that would issue it."],
            "Issue the certificate:",
            &[ISSUE],
        ),
        case(
            "NoRun",
            None,
            vec![Lms(0.87, true)],
            &[
                "There is no certificate: there is no course run Org/NoRun/1, and no pass is pending.",
            ],
            "Import the run with `coursehook runs import`.",
            &[],
        ),
        case(
            "NoRunWaits",
            None,
            vec![Keep(Enrollment, BlockedReason::NoSuchRun.into())],
            &["there is no course run Org/NoRunWaits/1, and no pass is pending."],
            "Import the run with `coursehook runs import`; nothing else needs to be done.",
            &[],
        ),
        case(
            "PacedNoDate",
            PACED,
            vec![PAID],
            &[
                "there is no grade, and no pass was announced.",
                AT_ONCE,
                "not self-paced, and certificates of this run have no date yet.",
            ],
            "Let the LMS announce the pass",
            &[OVERRIDE],
        ),
        case(
            "PacedToCome",
            PACED_TO_COME,
            vec![PAID, Lms(0.87, true)],
            &[
                "the LMS has not announced it",
                AT_ONCE,
                "certificates of this run become available at 2999-01-01T00:00:00Z.",
            ],
            "Ask the LMS again, and issue the certificate:",
            &[ISSUE],
        ),
        case(
            "PacedPast",
            PACED_PAST,
            vec![PAID],
            &["no pass was announced."],
            "Let the LMS announce the pass",
            &[OVERRIDE],
        ),
    ]
}

impl Step {
    async fn apply(self, stack: &CliFixture, run: &str) {
        let of_run = async |start: [&str; 2], more: &[&str]| {
            let arguments = [&start, &[ADA, run], more].concat();
            stack.run(&arguments).await.ok();
        };
        match self {
            Self::Enroll(mode) => {
                let mode = [&["--mode"], mode].concat();
                of_run(["enrollments", "set"], &mode).await;
            }
            Self::Lms(percent, passed) => {
                let score = Score {
                    percent: percent.try_into().unwrap(),
                    passed,
                    letter_grade: Some("B".parse().unwrap()),
                };
                stack.put_grades_of_the_lms(ADA, run, [score]).await;
            }
            Self::Operator(percent, passed) => {
                let grade = ["--percent", percent, "--letter", "B", "--passed"];
                let grade = &grade[..if passed { 5 } else { 4 }];
                of_run(["grades", "override"], grade).await;
            }
            Self::Keep(kind, blocked) => drop(stack.add_pending(kind, ADA, run, blocked).await),
            Self::End(state) => {
                let event = stack.pending(&pass_in(run)).await.unwrap();
                stack.end(event, state).await;
            }
            Self::Drop => {
                let key = pass_in(run);
                let arguments = ["events", "drop", key.as_str(), "--yes"];
                stack.run(&arguments).await.ok();
            }
            Self::Withdraw => stack.withdraw(ADA, run).await,
            Self::Revoke => of_run(["certificates", "revoke"], &["--yes"]).await,
        }
    }
}

/// Returns the key of [`ADA`]'s pass in a run.
fn pass_in(run: &str) -> EventKey {
    let (email, run) = (ADA.parse().unwrap(), run.parse().unwrap());
    EventKey::of(EventKind::Certificate, &email, &run)
}

#[tokio::test]
async fn each_diagnosis_has_its_sentence_and_its_commands() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let mut csv = "course_id,title,is_self_paced,certificate_available_date\n".to_owned();
    for case in cases() {
        let name = case.name;
        let run = case.run.map(|run| format!("Org/{name}/1,{name},{run}\n"));
        csv.push_str(&run.unwrap_or_default());
    }
    let import = ["runs", "import", "-"];
    stack.run_with_input(&import, &csv).await.ok();
    let mut cases = cases();
    for case in &mut cases {
        for step in std::mem::take(&mut case.steps) {
            step.apply(&stack, &format!("Org/{}/1", case.name)).await;
        }
    }

    let status = stack.run(&["status", ADA, "--json"]).await.json();
    let text = stack.run(&["status", ADA]).await.ok();
    let shown = status["runs"].as_array().unwrap();
    assert_eq!(shown.len(), cases.len());
    for case in cases {
        let run = format!("Org/{}/1", case.name);
        let shown = shown.iter().find(|shown| shown["course_id"] == run);
        let shown = shown.unwrap();
        let why = shown["why"].as_str().unwrap();
        let mut rest = why;
        for part in case.why {
            let (_, after) = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("{run}: {part:?} is not in {why:?}"));
            rest = after;
        }
        if !case.why.contains(&AT_ONCE) {
            assert!(!why.contains(AT_ONCE), "{run}: {why}");
        }
        let help = shown["help"].as_str().unwrap();
        assert!(help.contains(case.help), "{run}: {help}");
        let key = &pass_in(&run).to_string()[..12];
        let commands = case.commands.iter().map(|command| {
            let command = command.replace("EMAIL", ADA).replace("RUN", &run);
            command.replace("KEY", key)
        });
        let commands: Vec<_> = commands.collect();
        assert_eq!(shown["commands"], json!(commands), "{run}: {why}");

        // The text has the same facts.
        let lines = [why, help].into_iter().map(str::to_owned);
        let commands = commands.iter().map(|command| format!("  {command}"));
        let message = Vec::from_iter(lines.chain(commands)).join("\n");
        let section = text.split(&format!("\n\n{run}\n")).nth(1).unwrap();
        let (section, _) = section.split_once("\n\nOrg/").unwrap_or((section, ""));
        assert!(section.trim_end().ends_with(&message), "{run}: {section}");
    }
}

#[tokio::test]
async fn all_records_of_a_learner_are_in_one_view() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let bare = stack.run(&["status", ADA]).await.ok();
    let nothing = "\n\nThe learner has nothing in any course run.\n";
    assert!(bare.ends_with(nothing), "{bare}");

    PAID.apply(&stack, RUN).await;
    Step::Operator("0.87", true).apply(&stack, RUN).await;
    let blocked = BlockedReason::NoSuchUser;
    let event = stack
        .add_pending(EventKind::Enrollment, ADA, RUN, blocked)
        .await;
    Step::Lms(0.4, false).apply(&stack, "Org/Ants/1").await;
    // Records of other learners are not shown.
    let bob = "bob@example.org";
    let users = format!("email,name\n{bob},Bob\n");
    let import = ["users", "import", "-"];
    stack.run_with_input(&import, &users).await.ok();
    let set = ["enrollments", "set", bob, RUN, "--mode", "audit"];
    stack.run(&set).await.ok();
    stack
        .add_pending(EventKind::Certificate, bob, RUN, blocked)
        .await;

    let status = stack.run(&["status", ADA, "--json"]).await;
    assert!(!status.out.to_lowercase().contains("bob"), "{status:?}");
    let status = status.json();
    // Each part equals the answer of its own command.
    let shown = async |what: &[&str]| -> Value {
        let arguments = [what, &["--json"]].concat();
        stack.run(&arguments).await.json()
    };
    let user = shown(&["users", "show", ADA]).await;
    assert_eq!(status["email"], ADA);
    assert_eq!(status["user"], user);
    let run = &status["runs"][1];
    assert_eq!(run["course_id"], RUN);
    assert_eq!(run["run"], shown(&["runs", "show", RUN]).await);
    for (part, command) in [
        ("enrollment", "enrollments"),
        ("grade", "grades"),
        ("certificate", "certificates"),
    ] {
        let all = shown(&[command, "show", ADA]).await;
        let of_run = all.as_array().unwrap().iter();
        let of_run = of_run.filter(|one| one["course_id"] == RUN);
        assert_eq!([&run[part]], *Vec::from_iter(of_run), "{part}");
    }
    assert_eq!(run["events"].as_array().unwrap().len(), 1);
    assert_eq!(run["events"][0]["event_key"], event.event_key.as_str());

    let text = stack.run(&["status", ADA]).await.ok();
    let id = run["certificate"]["certificate_id"].as_str().unwrap();
    for part in [
        "name          Ada Lovelace\n".to_owned(),
        format!("\n\n{RUN}\nrun          Bees, not self-paced\n"),
        "\nenrollment   verified, active\n".to_owned(),
        "\ngrade        0.87, a pass, B, by the operator\n".to_owned(),
        format!("\ncertificate  {id}, in force, issued 20"),
        format!(
            "\n{}  enrollment  no_such_user ",
            &event.event_key.as_str()[..12]
        ),
        "\n\nOrg/Ants/1\nrun          Ants, not self-paced\nenrollment   none\n".to_owned(),
        "\ngrade        0.4, not a pass, B, by the LMS\ncertificate  none\n".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is not in {text}");
    }

    // Only one run is shown, whether or not there are records in it.
    for (run, is_known) in [(RUN, true), ("Org/Ants/1", true), ("Org/No/1", false)] {
        let status = shown(&["status", ADA, run]).await;
        let runs = status["runs"].as_array().unwrap();
        assert_eq!(
            (runs.len(), &runs[0]["course_id"]),
            (1, &json!(run)),
            "{run}"
        );
        assert_eq!(runs[0]["run"].is_object(), is_known, "{run}");
        assert_eq!(status["user"], user, "{run}");
    }
}

#[tokio::test]
async fn events_of_an_unknown_user_are_shown() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let bob = "bob@example.org";
    let none = stack.run(&["status", bob]).await;
    assert_eq!((none.code, none.out.as_str()), (2, ""), "{none:?}");
    assert!(none.err.contains("no user bob@example.org"), "{none:?}");

    let no_user = BlockedReason::NoSuchUser;
    stack
        .add_pending(EventKind::Certificate, bob, RUN, no_user)
        .await;
    let event = stack
        .add_pending(EventKind::Enrollment, bob, "Org/Ants/1", no_user)
        .await;
    let status = stack.run(&["status", "Bob@Example.org", "--json"]).await;
    let status = status.json();
    assert_eq!(status["email"], bob);
    assert_eq!(status["user"], json!(null));
    assert_eq!(status["runs"].as_array().unwrap().len(), 2);
    for (at, kind, why) in [
        (0, "enrollment", "and no pass of theirs is pending."),
        (1, "certificate", "the pass that came at "),
    ] {
        let run = &status["runs"][at];
        assert_eq!(run["events"][0]["kind"], kind, "{run}");
        for part in ["enrollment", "grade", "certificate"] {
            assert_eq!(run[part], json!(null), "{part}: {run}");
        }
        let message = run["why"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert!(
            message.contains("here is no user bob@example.org"),
            "{message}"
        );
        let help = "Import the user with `coursehook users import`; nothing else needs to be done.";
        assert_eq!(run["help"], help, "{run}");
    }
    let text = stack.run(&["status", bob, RUN]).await.ok();
    let message = "There is no user bob@example.org. These events are pending for the address.\n\n";
    assert!(text.starts_with(message), "{text}");
    assert!(!text.contains("Org/Ants/1"), "{text}");

    // If the run is missing as well, that is reported at once.
    stack
        .add_pending(EventKind::Certificate, bob, "Org/No/1", no_user)
        .await;
    let status = stack.run(&["status", bob, "Org/No/1", "--json"]).await;
    let run = &status.json()["runs"][0];
    let why = run["why"].as_str().unwrap();
    assert!(
        why.ends_with(" There is no course run Org/No/1 either."),
        "{why}"
    );
    let help = "Import the user with `coursehook users import` and the run with \
                `coursehook runs import`.";
    assert_eq!(run["help"], help);

    // An expired event needs more than the import.
    stack.end(event, EventState::Expired).await;
    let status = stack.run(&["status", bob, "Org/Ants/1", "--json"]).await;
    let commands = &status.json()["runs"][0]["commands"];
    let retry = commands[0].as_str().unwrap();
    assert!(retry.starts_with("coursehook events retry "), "{retry}");
}

/// The beginning of an address or of a legacy course id may be special in a shell, or
/// look like an option.
#[tokio::test]
async fn printed_commands_can_be_run_unchanged() {
    let (email, run) = ("-o'hara@b.org", "-O/C/1");
    let stack = CliFixture::start().await;
    for (what, csv) in [
        ("users", format!("email\n{email}\n")),
        ("runs", format!("course_id,title\n{run},C\n")),
    ] {
        let import = [what, "import", "-"];
        stack.run_with_input(&import, &csv).await.ok();
    }
    let status = ["status", "--json", "--", email, run];
    let status = stack.run(&status).await.json();
    let enroll = status["runs"][0]["commands"][0].as_str().unwrap();
    stack.shell(enroll).await.ok();
    let show = ["enrollments", "show", "--json", "--", email];
    let shown = stack.run(&show).await.json();
    assert_eq!(shown[0]["course_id"], run, "{enroll}");
}
