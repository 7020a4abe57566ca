//! Tests the imports of enrollments, grades and certificates, for those who migrate from
//! another receiver.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::clock::{Clock, SystemClock};
use domain::{Announced, BlockedReason, Change, EnrollmentChange, EventKind};
use local::{Fault, FaultyProxy};
use serde_json::{Value, json};
use store::enrollments::Enrollments;
use uuid::Uuid;

use crate::harness::{ADA, CliFixture, RUN, Ran, ran};

const ANTS: &str = "Org/Ants/1";
/// The ids of certificates, without their last digit.
const ID: &str = "bcd7d701-9352-4c1f-adac-65625965b5b";
const FLAG: &str = "must be true or false; yes, no, t, f, 1 and 0 are accepted too";
const NOT_A_UUID: &str = "is not a UUID such as 4d54f4a7-cee5-4684-9ad3-854bec65707e";
const NOT_A_RUN: &str = "course_id is not a course run id such as course-v1:Org+Course+Run";
const NOT_A_DATE: &str =
    "issued_at is not a date such as 2026-09-01 or a time such as 2026-09-01T08:00:00Z";
const NOT_A_MODE: &str = "Open edX is not known to have a mode verfied; use one of audit, honor, \
    verified, professional, no-id-professional, credit, masters, executive-education, \
    paid-executive-education, unpaid-executive-education, paid-bootcamp, unpaid-bootcamp, \
    or import the file with --force";

async fn import(stack: &CliFixture, what: &str, csv: &str, more: &[&str]) -> Ran {
    let arguments = [&[what, "import", "-"], more].concat();
    stack.run_with_input(&arguments, csv).await
}

/// Returns the records of [`ADA`].
async fn shown(stack: &CliFixture, what: &str) -> Vec<Value> {
    let shown = stack.run(&[what, "show", ADA, "--json"]).await.json();
    shown.as_array().unwrap().clone()
}

/// Returns a file of each kind, each line with its error, if it has one.
fn lines(what: &str) -> (&'static str, Vec<(String, Option<String>)>) {
    let none = || None::<String>;
    let bad = |problem: &str| Some(problem.to_owned());
    let (too_long, too_long_name) = ("x".repeat(65), "x".repeat(256));
    // The columns that all three have: learner and run.
    let mut lines = vec![
        ("REST".to_owned(), none()),
        (format!(",{RUN},REST"), bad("email is missing")),
        (format!("ada,{RUN},REST"), bad("email has no @")),
        (
            format!("ada@example.org\u{200b},{RUN},REST"),
            bad("email has U+200B ZERO WIDTH SPACE at 16"),
        ),
        (
            format!("\"Lovelace, Ada <{ADA}>\",{RUN},REST"),
            bad("email has , at 9; give the address alone"),
        ),
        (
            format!("{ADA},\u{feff}{RUN},REST"),
            bad("course_id has U+FEFF ZERO WIDTH NO-BREAK SPACE at 1"),
        ),
        (format!("{ADA},,REST"), bad("course_id is missing")),
        (format!("{ADA},None,REST"), bad(NOT_A_RUN)),
        (
            format!(" ADA@example.org,{RUN},REST"),
            bad("the same learner and course run as line 2, which is imported and SAYS"),
        ),
        (
            format!("nobody@example.org,{RUN},REST"),
            bad("there is no user nobody@example.org; import users first"),
        ),
        (
            format!("{ADA},Org/None/1,REST"),
            bad("there is no course run Org/None/1; import runs first"),
        ),
        (
            format!("{ADA},{RUN}"),
            bad("has 2 columns, and the first line has HEADING"),
        ),
    ];
    lines[0].0 = format!("{ADA},{RUN},REST");
    let of = |rest: &str| format!("{ADA},{ANTS},{rest}");
    let (heading, rest, own): (_, _, Vec<(String, Option<String>)>) = match what {
        "enrollments" => (
            "email,course_id,mode,active,edx_enrolled,roles,change_status,enrollment_id",
            "verified,,,,,",
            vec![
                (of(",,,,,"), bad("mode is missing")),
                (of("verfied,,,,,"), bad(NOT_A_MODE)),
                (
                    of(&format!("{},,,,,", "x".repeat(101))),
                    bad("mode is longer than 100 characters"),
                ),
                (of("audit,perhaps,,,,"), bad(&format!("active {FLAG}"))),
                (of("audit,,2,,,"), bad(&format!("edx_enrolled {FLAG}"))),
                (
                    of(&format!("audit,,,staff;{too_long},,")),
                    bad("one of roles is longer than 64 characters"),
                ),
                (
                    of("audit,,,,\"re\u{7}funded\",").clone(),
                    bad("change_status has a line break or another control character"),
                ),
                (
                    of("audit,,,,,4d54f4a7"),
                    bad(&format!("enrollment_id {NOT_A_UUID}")),
                ),
                (
                    of(&format!("audit,no,1,staff; Group Moderator,,{ID}1")),
                    none(),
                ),
                (
                    of(&format!("audit,,,,,{ID}1")),
                    bad("the same enrollment_id as line 22"),
                ),
            ],
        ),
        "grades" => (
            "email,course_id,percent,passed,letter_grade,set_by_admin",
            "0.87,yes,B,",
            vec![
                (of(",yes,,"), bad("percent is missing")),
                (
                    of("-0.87,yes,,"),
                    bad("percent is not a number between 0 and 2, 1 being the whole course"),
                ),
                (
                    of("0,yes,,"),
                    bad("passed is true, but percent is 0, and a grade of 0 is not a pass"),
                ),
                (
                    of("0.00000000001,1,,"),
                    bad("passed is true, but percent is 0, and a grade of 0 is not a pass"),
                ),
                (of("0.5,,,"), bad("passed is missing")),
                (of("0.5,maybe,,"), bad(&format!("passed {FLAG}"))),
                (
                    of(&format!("0.5,no,{},", "é".repeat(256))),
                    bad("letter_grade is longer than 255 characters"),
                ),
                (of("0.5,no,F,x"), bad(&format!("set_by_admin {FLAG}"))),
                (of("0.5,no,,true"), none()),
            ],
        ),
        _ => (
            "email,course_id,certificate_id,issued_at,state,is_revoked,learner_name,run_title",
            "bcd7d701-9352-4c1f-adac-65625965b5b0,2024-05-01T10:00:00Z,,,,",
            vec![
                (of(",2024-05-01,,,,"), bad("certificate_id is missing")),
                (
                    of("7,2024-05-01,,,,"),
                    bad(&format!("certificate_id {NOT_A_UUID}")),
                ),
                (of(&format!("{ID}1,,,,,")), bad("issued_at is missing")),
                (of(&format!("{ID}1,May,,,,")), bad(NOT_A_DATE)),
                (
                    of(&format!("{ID}1,9000-01-01,,,,")),
                    bad("issued_at is in the future"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,valid,,,")),
                    bad("state is none of in_force, withdrawn and revoked"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,,x,,")),
                    bad(&format!("is_revoked {FLAG}")),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,withdrawn,1,,")),
                    bad("is_revoked contradicts state"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,revoked,no,,")),
                    bad("is_revoked contradicts state"),
                ),
                (
                    of(&format!("{ID}0,2024-05-01,,,,")),
                    bad("the same certificate_id as line 2"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,,,Ada\u{202d},")),
                    bad("learner_name has U+202D LEFT-TO-RIGHT OVERRIDE at 4"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,,,,\u{2066}Ants")),
                    bad("run_title has U+2066 LEFT-TO-RIGHT ISOLATE at 1"),
                ),
                (
                    of(&format!("{ID}1,2024-05-01,,,{too_long_name},")),
                    bad("learner_name is longer than 255 characters"),
                ),
                (of(&format!("{ID}1,2024-05-01,revoked,1,,")), none()),
            ],
        ),
    };
    let count = heading.split(',').count().to_string();
    for (line, problem) in &mut lines {
        // A line must not fail because its learner, run or values repeat another line's.
        let own_id = rest.replace("65625965b5b0", "65625965b5bf");
        let is_first = problem.is_none();
        *line = line.replace("REST", if is_first { rest } else { &own_id });
        // Certificates have ids of their own in this test, so that these differ.
        let says = match what {
            "certificates" => "differs in certificate_id",
            _ => "has the same values",
        };
        let message = |message: String| message.replace("HEADING", &count).replace("SAYS", says);
        *problem = problem.take().map(message);
    }
    // Certificates that only the table refuses have ids of their own.
    for (n, (line, _)) in lines.iter_mut().enumerate() {
        *line = line.replace("65625965b5bf", &format!("65625965b5b{:x}", n + 2));
    }
    lines.extend(own);
    (heading, lines)
}

#[tokio::test]
async fn bad_lines_are_named_and_the_rest_is_imported() {
    for what in ["enrollments", "grades", "certificates"] {
        let stack = CliFixture::with_ada_and_a_run().await;
        let (heading, lines) = lines(what);
        let rows: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
        let csv = format!("{heading}\n{}\n", rows.join("\n"));
        let bad: Vec<_> = (2..)
            .zip(&lines)
            .filter_map(|(line, (_, problem))| {
                let problem = problem.as_ref()?;
                Some(json!({"line": line, "problem": problem}))
            })
            .collect();
        for (created, unchanged) in [(2, 0), (0, 2)] {
            let ran = import(&stack, what, &csv, &["--json"]).await;
            assert_eq!(ran.code, 1, "{ran:?}");
            let expected = json!({
                "created": created, "updated": 0, "unchanged": unchanged, "differing": [],
                "bad_lines": bad, "warnings": [], "events_due": 0, "dry_run": false, "stopped": null,
            });
            assert_eq!(ran.json(), expected, "{what}");
        }
        let ran = import(&stack, what, &csv, &[]).await;
        let message = format!(
            "0 created, 2 unchanged, 0 differing, {} bad lines\n",
            bad.len()
        );
        assert_eq!(ran.out, message);
    }
}

/// Two rows about the same record, and the error of the second.
#[tokio::test]
async fn a_duplicate_row_is_reported_with_its_differences() {
    let of = |rest: &str| format!("{ADA},{RUN},{rest}");
    for (what, heading, first, second, message) in [
        (
            "enrollments",
            "email,course_id,mode,active,edx_enrolled,roles,change_status,enrollment_id",
            of("verified,t,1,staff;instructor,,"),
            format!("ADA@example.org,{RUN},verified,true,yes,instructor; staff,,"),
            "the same learner and course run as line 2, which is imported and has the same values",
        ),
        (
            "enrollments",
            "email,course_id,mode,active,edx_enrolled,roles,change_status,enrollment_id",
            of("verified,t,,,,"),
            of(&format!("audit,f,1,staff,refunded,{ID}1")),
            "the same learner and course run as line 2, which is imported and differs in mode, \
             active, edx_enrolled, roles, change_status and enrollment_id",
        ),
        (
            "grades",
            "email,course_id,percent,passed,letter_grade,set_by_admin",
            of("0.870,yes,B,"),
            of("0.87,true,B,"),
            "the same learner and course run as line 2, which is imported and has the same values",
        ),
        (
            "grades",
            "email,course_id,percent,passed,letter_grade,set_by_admin",
            of("0.87,yes,B,"),
            of("0.5,no,F,yes"),
            "the same learner and course run as line 2, which is imported and differs in percent, \
             passed, letter_grade and set_by_admin",
        ),
        (
            "certificates",
            "email,course_id,certificate_id,issued_at,state,learner_name,run_title",
            of(&format!("{ID}1,2024-05-01,,,")),
            of(&format!("{ID}2,2024-05-02,revoked,Ada King,")),
            "the same learner and course run as line 2, which is imported and differs in \
             certificate_id, issued_at, state and learner_name",
        ),
        (
            "runs",
            "course_id,title,live,is_self_paced,start_date,end_date,certificate_available_date",
            "Org/C/R,C,,,2026-09-01,,".to_owned(),
            "Org/C/R,C,no,0,2026-09-01T00:00:00Z,,".to_owned(),
            "the same course id as line 2, which is imported and has the same values",
        ),
        (
            "runs",
            "course_id,title,live,is_self_paced,start_date,end_date,certificate_available_date",
            "Org/C/R,C,,,,,".to_owned(),
            "Org/C/R,D,1,1,2026-09-01,2026-12-01,2027-01-01".to_owned(),
            "the same course id as line 2, which is imported and differs in title, live, \
             is_self_paced, start_date, end_date and certificate_available_date",
        ),
        (
            "users",
            "email,edx_username,name",
            "bob@example.org,bob,Bob".to_owned(),
            "Bob@Example.org,bob,Bob".to_owned(),
            "the same address as line 2, which is imported and has the same values",
        ),
        (
            "users",
            "email,edx_username,name",
            "bob@example.org,bob,Bob".to_owned(),
            "bob@example.org,bob2,".to_owned(),
            "the same address as line 2, which is imported and differs in edx_username and name",
        ),
        (
            "users",
            "email,edx_username,name",
            "bob@example.org,bob,Bob".to_owned(),
            "bob@example.org,bob,Robert".to_owned(),
            "the same address as line 2, which is imported and differs in name",
        ),
    ] {
        let stack = CliFixture::with_ada_and_a_run().await;
        let csv = format!("{heading}\n{first}\n{second}\n");
        let ran = import(&stack, what, &csv, &["--json"]).await;
        assert_eq!((ran.code, &ran.json()["created"]), (1, &json!(1)), "{csv}");
        let bad = json!([{"line": 3, "problem": message}]);
        assert_eq!(ran.json()["bad_lines"], bad, "{csv}");
    }
}

/// A certificate's name and title are checked as a user's name is.
#[tokio::test]
async fn text_that_is_probably_not_a_name_or_title_causes_a_warning() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let runs = "course_id,title\nOrg/C/1,Bees &amp; Ants\nOrg/C/2,#REF!\n";
    let certificates = format!(
        "email,course_id,certificate_id,issued_at,learner_name,run_title\n\
         {ADA},{RUN},{ID}1,2024-05-01,NULL,Bees &amp; Ants\n\
         {ADA},{ANTS},{ID}2,2024-05-01,{ADA},\n"
    );
    for (what, csv, message) in [
        (
            "runs",
            runs.to_owned(),
            "warning: title is a placeholder for no value, such as NULL or #N/A: line 3\n\
             warning: title has an HTML entity, such as &amp;: line 2\n",
        ),
        (
            "certificates",
            certificates,
            "warning: learner_name is a placeholder for no value, such as NULL or #N/A: line 2\n\
             warning: run_title has an HTML entity, such as &amp;: line 2\n\
             warning: learner_name has an address: line 3\n",
        ),
    ] {
        let ran = import(&stack, what, &csv, &[]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, message), "{what}");
        assert!(ran.out.starts_with("2 created"), "{ran:?}");
    }
}

#[tokio::test]
async fn json_lines_have_numbers_and_flags() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let grade = |percent: &str, passed: &str| {
        format!(
            "{{\"email\": \"{ADA}\", \"course_id\": \"{RUN}\", \
             \"percent\": {percent}, \"passed\": {passed}}}"
        )
    };
    for percent in ["-0.1", "[]", "true"] {
        let ran = import(&stack, "grades", &grade(percent, "true"), &[]).await;
        assert!(ran.err.starts_with("line 1: percent is not "), "{ran:?}");
    }
    let created = import(&stack, "grades", &grade("0.87", "true"), &[]).await;
    assert_eq!(
        created.ok(),
        "1 created, 0 unchanged, 0 differing, 0 bad lines\n"
    );
    let same = import(&stack, "grades", &grade("\"0.870\"", "1"), &[]).await;
    assert_eq!(
        same.ok(),
        "0 created, 1 unchanged, 0 differing, 0 bad lines\n"
    );
}

/// A 1 and a 2 would be valid on either scale, and each would certify a learner.
#[tokio::test]
async fn grades_out_of_100_are_not_written() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let runs: String = (0..200).map(|n| format!("Org/Run/{n},A run\n")).collect();
    let runs = format!("course_id,title\n{runs}");
    import(&stack, "runs", &runs, &[]).await.ok();
    let csv = |percents: &[&str]| {
        let row = |(n, percent): (usize, &&str)| format!("{ADA},Org/Run/{n},\"{percent}\",no\n");
        let rows: String = percents.iter().enumerate().map(row).collect();
        format!("email,course_id,percent,passed\n{rows}")
    };
    let json = |percent: &str| {
        let row = |percent: &str| {
            format!(
                "{{\"email\": \"{ADA}\", \"course_id\": \"{RUN}\", \"percent\": {percent}, \
                 \"passed\": false}}\n"
            )
        };
        format!("{}{}", row("1"), row(percent))
    };
    // The bad percent comes last, when the others would long have been written.
    let late: Vec<_> = [&["1"; 199][..], &["87"]].concat();
    for (file, line, percent, more) in [
        (csv(&["0", "1", "2", "87"]), 5, "87", ""),
        (
            csv(&["0", "1", "2", "87", "88", "2.5"]),
            5,
            "87",
            " (and so in 2 more rows)",
        ),
        (csv(&late), 201, "87", ""),
        (csv(&["2.01"]), 2, "2.01", ""),
        (csv(&["1", "1%", "2 %"]), 3, "1%", " (and so in 1 more row)"),
        (csv(&["1", "87,5"]), 3, "87,5", ""),
        (csv(&["1", "87.5 %"]), 3, "87.5 %", ""),
        // The check also covers rows with other errors.
        (csv(&["1", "87"]).replace(",no", ",perhaps"), 3, "87", ""),
        (json("87"), 2, "87", ""),
        (json("\"87\""), 2, "87", ""),
        (json("2.5"), 2, "2.5", ""),
    ] {
        let message = format!(
            "line {line}: percent is {percent}, but percent is 0 to 1, 1 being the whole \
             course{more}; nothing of the file is written, since all of it may be out of 100: \
             divide every percent by 100\n"
        );
        let path = stack.file("grades.csv", &file);
        for more in [&[][..], &["--dry-run"]] {
            let ran = import(&stack, "grades", &file, more).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{file}");
            assert_eq!(ran.err, format!("error: standard input: {message}"));
            let ran = stack
                .run(&[&["grades", "import", &path], more].concat())
                .await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{file}");
            assert_eq!(ran.err, format!("error: {path}: {message}"));
        }
        assert!(stack.scan("GradesTable").await.is_empty(), "{file}");
    }
    // A percent that is not a number is a bad line, as before.
    let ran = import(&stack, "grades", &csv(&["x", "0.5"]), &[]).await;
    assert_eq!((ran.code, stack.scan("GradesTable").await.len()), (1, 1));
}

#[tokio::test]
async fn grades_above_the_whole_course_cause_a_warning() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!("email,course_id,percent,passed\n{ADA},{RUN},1.05,yes\n{ADA},{ANTS},1,yes\n");
    let warning = "warning: percent is above 1, which is the whole course: line 2\n";
    for (more, created) in [
        (&["--dry-run"][..], "2 would be created"),
        (&[], "2 created"),
    ] {
        let ran = import(&stack, "grades", &csv, more).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, warning));
        assert!(ran.out.starts_with(created), "{ran:?}");
    }
    let ran = import(&stack, "grades", &csv, &["--json"]).await;
    let warnings = json!([{
        "kind": "percent_above_one", "problem": "percent is above 1, which is the whole course",
        "rows": 1, "lines": [2],
    }]);
    assert_eq!(ran.json()["warnings"], warnings);
}

/// A pipe cannot be read twice; the temporary copy is deleted.
#[tokio::test]
async fn grades_are_read_from_a_pipe() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!("email,course_id,percent,passed\n{ADA},{RUN},0.5,no\n");
    stack.file("grades.csv", csv);
    std::fs::create_dir(stack.path("temporary")).unwrap();
    let line = "mkfifo pipe && cat grades.csv > pipe & \
        while [ ! -p pipe ]; do :; done; TMPDIR=temporary coursehook grades import pipe";
    let line = format!("PATH=/usr/bin:/bin; {line}");
    let message = "1 created, 0 unchanged, 0 differing, 0 bad lines\n";
    assert_eq!(stack.shell(&line).await.ok(), message);
    let left = std::fs::read_dir(stack.path("temporary")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn an_enrollment_is_stored_as_in_the_file() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!(
        "email,course_id,mode,active,edx_enrolled,roles,change_status,enrollment_id\n\
         {ADA},{RUN},verified,,yes,Group Moderator; staff;,enrolled,{ID}1\n\
         {ADA},{ANTS},honor,no,,,refunded,\n"
    );
    import(&stack, "enrollments", &csv, &[]).await.ok();
    let [ants, bees] = shown(&stack, "enrollments").await.try_into().unwrap();
    assert_eq!(bees["enrollment_id"], format!("{ID}1"));
    assert_eq!(bees["mode"], "verified");
    assert_eq!(bees["mode_set_by"], "import");
    assert_eq!(bees["active"], true);
    assert_eq!(bees["edx_enrolled"], true);
    assert_eq!(bees["roles"], json!(["Group Moderator", "staff"]));
    assert_eq!(bees["change_status"], json!(null));
    assert_eq!(bees["history"].as_array().unwrap().len(), 1);
    assert_eq!(bees["history"][0]["by"], "import");
    assert_eq!(bees["history"][0]["name"], "grace");
    assert_eq!(ants["active"], false);
    assert_eq!(ants["edx_enrolled"], false);
    assert_eq!(ants["change_status"], "refunded");
    let history = stack.run(&["enrollments", "show", ADA, "--history"]).await;
    assert!(history.ok().contains("import of grace"));

    // A delivery and an operator can change the imported enrollment.
    let change = EnrollmentChange::new(
        stack.user_id(ADA).await,
        RUN.parse().unwrap(),
        Change::Operator {
            name: "a test".into(),
        },
        SystemClock.now(),
        Uuid::new_v4,
    );
    let enrollments = Enrollments::new(stack.dynamodb(), "EnrollmentsTable".to_owned());
    let paid_modes = "verified".parse().unwrap();
    for (role, entries) in [("staff", 1), ("instructor", 2)] {
        let announced = [Announced {
            active: true,
            mode: None,
            roles: [role.parse().unwrap()].into(),
            delivered_at: None,
        }];
        let changed = enrollments
            .change(&change, |before| {
                change.announce(before, &announced, &paid_modes)
            })
            .await;
        let enrollment = changed.unwrap().unwrap().enrollment;
        assert_eq!(enrollment.history.len(), entries, "{role}");
    }
    let set = ["enrollments", "set", ADA, RUN, "--mode", "verified"];
    // After an operator's change the mode is no longer the import's.
    for outcome in ["updated\n", "unchanged\n"] {
        let set = stack.run(&set).await.ok();
        assert!(set.starts_with(outcome), "{set}");
    }
    let csv = format!("email,course_id,mode,active\n{ADA},{ANTS},honor,0\n");
    import(&stack, "enrollments", &csv, &[]).await.ok();
}

#[tokio::test]
async fn an_inactive_enrollment_without_a_status_is_unenrolled() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!("email,course_id,mode,active\n{ADA},{RUN},honor,0\n");
    import(&stack, "enrollments", &csv, &[]).await.ok();
    let [bees] = shown(&stack, "enrollments").await.try_into().unwrap();
    assert_eq!(bees["change_status"], "unenrolled");
    assert_ne!(bees["enrollment_id"], json!(null));
}

/// `active` and `change_status` of a row, and the result: whether the enrollment is
/// active and why not, or the error.
#[tokio::test]
async fn an_enrollment_is_active_by_both_columns_of_its_row() {
    let contradiction = |status: &str, active: bool| {
        Err(format!(
            "change_status {status} contradicts active, which is {active}"
        ))
    };
    let unclear = |status: &str| {
        Err(format!(
            "active is missing, and change_status {status} does not say whether the enrollment \
             is active"
        ))
    };
    let stack = CliFixture::with_ada_and_a_run().await;
    let mut cases = vec![
        ("", "", Ok((true, None))),
        ("t", "", Ok((true, None))),
        ("f", "", Ok((false, Some("unenrolled")))),
        ("", "enrolled", Ok((true, None))),
        ("t", "Enrolled", Ok((true, None))),
        ("f", "enrolled", contradiction("enrolled", false)),
        ("", "Refunded", Ok((false, Some("refunded")))),
        ("yes", "DEFERRED", contradiction("deferred", true)),
        // Unknown words.
        ("", "moved", unclear("moved")),
        ("", "NULL", unclear("NULL")),
        ("f", "moved", Ok((false, Some("moved")))),
        ("t", "moved", Ok((true, None))),
    ];
    for status in ["refunded", "deferred", "unenrolled", "transferred"] {
        cases.push(("", status, Ok((false, Some(status)))));
        cases.push(("f", status, Ok((false, Some(status)))));
        cases.push(("t", status, contradiction(status, true)));
        cases.push(("1", status, contradiction(status, true)));
    }
    // One file for all cases, a row each, so that a run is a case.
    let run = |case: usize| format!("Org/Case/{case}");
    let runs: String = (0..cases.len())
        .map(|case| format!("{},A case\n", run(case)))
        .collect();
    let runs = format!("course_id,title\n{runs}");
    import(&stack, "runs", &runs, &[]).await.ok();
    let row = |(case, (active, status, _)): (usize, &(_, _, _))| {
        format!("{ADA},{},verified,{active},{status}\n", run(case))
    };
    let rows: String = cases.iter().enumerate().map(row).collect();
    let csv = format!("email,course_id,mode,active,change_status\n{rows}");
    let ran = import(&stack, "enrollments", &csv, &["--json"]).await;
    let done = ran.json();
    let enrollments = shown(&stack, "enrollments").await;
    for (case, (active, status, expected)) in cases.iter().enumerate() {
        let found = enrollments.iter().find(|e| e["course_id"] == run(case));
        let bad = done["bad_lines"].as_array().unwrap().iter();
        let bad = bad.clone().find(|bad| bad["line"] == case + 2);
        let became = match (found, bad) {
            (Some(found), None) => Ok((found["active"].clone(), found["change_status"].clone())),
            (None, Some(bad)) => Err(bad["problem"].clone()),
            other => panic!("active {active:?}, change_status {status:?}: {other:?}"),
        };
        let expected = match expected {
            Ok((active, why)) => Ok((json!(active), json!(why))),
            Err(message) => Err(json!(message)),
        };
        assert_eq!(
            became, expected,
            "active {active:?}, change_status {status:?}"
        );
    }
    let warning = "warning: change_status of an active enrollment is ignored: line 13\n";
    assert!(ran.err.ends_with(warning), "{ran:?}");
}

/// A cell, and its message: without --force a list is refused, with it any text is
/// imported unchanged.
#[tokio::test]
async fn unknown_roles_are_reported_with_the_separator() {
    let warning = "warning: Open edX is not known to have one of the roles, which are separated \
        by ;: line 2\n";
    for (cell, roles, message) in [
        ("staff;instructor", vec!["instructor", "staff"], None),
        (
            "Group Moderator; Community TA;",
            vec!["Community TA", "Group Moderator"],
            None,
        ),
        (
            "course_data_admin",
            vec!["course_data_admin"],
            Some(warning.to_owned()),
        ),
        (
            "staff instructor",
            vec!["staff instructor"],
            Some(warning.to_owned()),
        ),
        ("x;y", vec!["x", "y"], Some(warning.to_owned())),
    ] {
        let stack = CliFixture::with_ada_and_a_run().await;
        let csv = format!("email,course_id,mode,roles\n{ADA},{RUN},audit,{cell}\n");
        let ran = import(&stack, "enrollments", &csv, &[]).await;
        assert_eq!(
            (ran.code, &ran.err),
            (0, &message.unwrap_or_default()),
            "{cell}"
        );
        let [bees] = shown(&stack, "enrollments").await.try_into().unwrap();
        assert_eq!(bees["roles"], json!(roles), "{cell}");
    }
    let stack = CliFixture::with_ada_and_a_run().await;
    for role in [
        "staff,instructor",
        "staff, instructor",
        "[\"staff\"]",
        "['staff']",
        "{staff,instructor}",
        "(staff)",
        "staff|instructor",
        "\"staff\"",
    ] {
        let cell = format!("\"{}\"", role.replace('"', "\"\""));
        let csv = format!("email,course_id,mode,roles\n{ADA},{RUN},audit,{cell}\n");
        let ran = import(&stack, "enrollments", &csv, &[]).await;
        let message = format!(
            "line 2: roles has {role} as one role; put ; between roles and nothing around them, \
             or import the file with --force\n"
        );
        assert_eq!((ran.code, ran.err), (1, message), "{role}");
        assert!(shown(&stack, "enrollments").await.is_empty(), "{role}");
        let ran = import(&stack, "enrollments", &csv, &["--force", "--dry-run"]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, warning), "{role}");
    }
    let json = json!({"email": ADA, "course_id": RUN, "mode": "audit", "roles": ["staff"]});
    let ran = import(&stack, "enrollments", &json.to_string(), &[]).await;
    assert_eq!(ran.err, "line 1: roles is not text; put ; between roles\n");
}

#[tokio::test]
async fn an_unknown_mode_is_imported_with_force() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!("email,course_id,mode\n{ADA},{RUN},verfied\n");
    let refused = import(&stack, "enrollments", &csv, &[]).await;
    assert_eq!(refused.err, format!("line 2: {NOT_A_MODE}\n"));
    let forced = import(&stack, "enrollments", &csv, &["--force"]).await;
    let warning = "warning: Open edX is not known to have the mode: line 2\n";
    assert_eq!((forced.code, forced.err.as_str()), (0, warning));
    assert_eq!(shown(&stack, "enrollments").await[0]["mode"], "verfied");
}

#[tokio::test]
async fn a_grade_is_stored_as_in_the_file() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!(
        "email,course_id,percent,passed,letter_grade,set_by_admin\n\
         {ADA},{RUN},0.87,true, A (Very Good) ,true\n{ADA},{ANTS},0,false,,\n"
    );
    import(&stack, "grades", &csv, &[]).await.ok();
    let [ants, bees] = shown(&stack, "grades").await.try_into().unwrap();
    for (grade, percent, passed, letter, by_admin) in [
        (&bees, 0.87, true, json!("A (Very Good)"), true),
        (&ants, 0.0, false, json!(null), false),
    ] {
        assert_eq!(grade["percent"], percent, "{grade}");
        assert_eq!(grade["passed"], passed, "{grade}");
        assert_eq!(grade["letter_grade"], letter, "{grade}");
        assert_eq!(grade["set_by_admin"], by_admin, "{grade}");
        assert_eq!(grade["version"], 1, "{grade}");
        assert_eq!(grade["history_count"], 1, "{grade}");
        assert_eq!(grade["history"][0]["by"], "import", "{grade}");
    }
    assert!(shown(&stack, "certificates").await.is_empty());
}

#[tokio::test]
async fn a_certificate_keeps_its_id_its_date_and_its_state() {
    let stack = CliFixture::with_ada_and_a_run().await;
    import(&stack, "runs", "course_id,title\nOrg/Cats/1,Cats\n", &[])
        .await
        .ok();
    let csv = format!(
        "email,course_id,certificate_id,issued_at,state,is_revoked,learner_name,run_title\n\
         {ADA},{RUN},{ID}1,2024-05-01 10:00:00.25+02:00,,True,,\n\
         {ADA},{ANTS},{ID}2,2024-05-01,in_force,False,Ada King,All about ants\n\
         {ADA},Org/Cats/1,{ID}3,2024-05-01,withdrawn,,,\n"
    );
    import(&stack, "certificates", &csv, &[]).await.ok();
    let [ants, cats, bees] = shown(&stack, "certificates").await.try_into().unwrap();
    for (certificate, id, state, issued_at, name, title) in [
        (
            &bees,
            1,
            "revoked",
            "2024-05-01T08:00:00.25Z",
            "Ada Lovelace",
            "Bees",
        ),
        (
            &ants,
            2,
            "in_force",
            "2024-05-01T00:00:00Z",
            "Ada King",
            "All about ants",
        ),
        (
            &cats,
            3,
            "withdrawn",
            "2024-05-01T00:00:00Z",
            "Ada Lovelace",
            "Cats",
        ),
    ] {
        assert_eq!(
            certificate["certificate_id"],
            format!("{ID}{id}"),
            "{certificate}"
        );
        assert_eq!(certificate["state"], state, "{certificate}");
        assert_eq!(certificate["issued_at"], issued_at, "{certificate}");
        assert_eq!(certificate["learner_name"], name, "{certificate}");
        assert_eq!(certificate["run_title"], title, "{certificate}");
        assert_eq!(
            certificate["history"].as_array().unwrap().len(),
            1,
            "{certificate}"
        );
        assert_eq!(certificate["history"][0]["by"], "import", "{certificate}");
    }
    let restored = stack.run(&["certificates", "restore", ADA, RUN]).await.ok();
    assert_eq!(restored, format!("restored {ID}1; it is in force\n"));
    // A difference from the current record is reported.
    let again = import(&stack, "certificates", &csv, &[]).await;
    assert_eq!(
        (again.code, again.out.as_str()),
        (1, "0 created, 2 unchanged, 1 differing, 0 bad lines\n")
    );
}

/// After the import, no second certificate is issued, whatever happens.
#[tokio::test]
async fn a_pass_finds_the_imported_certificate() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let certificates = format!(
        "email,course_id,certificate_id,issued_at,is_revoked\n\
         {ADA},{RUN},{ID}1,2024-05-01,\n{ADA},{ANTS},{ID}2,2024-05-01,1\n"
    );
    let enrollments =
        format!("email,course_id,mode\n{ADA},{RUN},verified\n{ADA},{ANTS},verified\n");
    import(&stack, "certificates", &certificates, &[])
        .await
        .ok();
    import(&stack, "enrollments", &enrollments, &[]).await.ok();
    for (run, expected) in [
        (
            RUN,
            json!({"status": "exists", "certificate_id": format!("{ID}1"), "reason": null}),
        ),
        (
            ANTS,
            json!({"status": "revoked", "certificate_id": null, "reason": null}),
        ),
    ] {
        let grade = ["--percent", "1", "--letter", "A", "--passed", "--json"];
        let set = [&["grades", "override", ADA, run], &grade[..]].concat();
        assert_eq!(
            stack.run(&set).await.json()["certificate"],
            expected,
            "{run}"
        );
    }
    let states: Vec<_> = shown(&stack, "certificates").await;
    let states: Vec<_> = states.iter().map(|c| c["state"].clone()).collect();
    assert_eq!(states, ["revoked", "in_force"]);
}

#[tokio::test]
async fn a_certificate_id_belongs_to_one_learner_and_run() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = |run: &str| {
        format!("email,course_id,certificate_id,issued_at\n{ADA},{run},{ID}1,2024-05-01\n")
    };
    import(&stack, "certificates", &csv(RUN), &[]).await.ok();
    let message = "line 2: the certificate_id belongs to another learner or course run, or to \
        somebody who was erased; look up in the old receiver whose certificate it is\n";
    for more in [&[][..], &["--dry-run"]] {
        let ran = import(&stack, "certificates", &csv(ANTS), more).await;
        assert_eq!((ran.code, ran.err.as_str()), (1, message));
    }
    assert_eq!(shown(&stack, "certificates").await.len(), 1);
}

/// Two addresses of one user have one record, also in a dry run.
#[tokio::test]
async fn two_addresses_of_one_user_are_one_learner() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let new = "ada.l@example.org";
    stack.run(&["users", "rename-email", ADA, new]).await.ok();
    let csv = format!("email,course_id,mode\n{ADA},{RUN},verified\n{new},{RUN},audit\n");
    let differs = "line 3: there is an enrollment already, and it differs (mode: verified here";
    for (more, counts) in [
        (
            &["--dry-run"][..],
            "1 would be created, 0 unchanged, 1 differing",
        ),
        (&[], "1 created, 0 unchanged, 1 differing"),
        (&[], "0 created, 1 unchanged, 1 differing"),
    ] {
        let ran = import(&stack, "enrollments", &csv, more).await;
        assert!(ran.out.starts_with(counts), "{ran:?}");
        assert!(ran.err.starts_with(differs), "{ran:?}");
    }
}

/// Only an eligible enrollment makes the pass due, and only when it is really imported.
#[tokio::test]
async fn an_enrollment_makes_the_pass_due_that_is_blocked_on_it() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let mut keys = Vec::new();
    for (run, reason) in [
        (RUN, BlockedReason::NotEligible),
        (ANTS, BlockedReason::NotPassed),
    ] {
        let event = stack.add_pending(EventKind::Certificate, ADA, run, reason);
        keys.push(event.await.event_key);
    }
    let csv = |active: &str| {
        format!(
            "email,course_id,mode,active\n{ADA},{RUN},verified,{active}\n\
             {ADA},{ANTS},verified,{active}\n"
        )
    };
    let planned = import(&stack, "enrollments", &csv(""), &["--dry-run"]).await;
    let message = "2 would be created, 0 unchanged, 0 differing, 0 bad lines \
        (a dry run: nothing was written)\n";
    assert_eq!(planned.ok(), message);
    assert_eq!(stack.due().await, []);

    let message = "2 created, 0 unchanged, 0 differing, 0 bad lines; \
        1 pending event waited for this and is retried within a minute\n";
    assert_eq!(
        import(&stack, "enrollments", &csv(""), &[]).await.ok(),
        message
    );
    assert_eq!(stack.due().await, keys[..1]);
    let again = import(&stack, "enrollments", &csv(""), &[]).await.ok();
    assert_eq!(again, "0 created, 2 unchanged, 0 differing, 0 bad lines\n");

    let stack = CliFixture::with_ada_and_a_run().await;
    stack
        .add_pending(EventKind::Certificate, ADA, RUN, BlockedReason::NotEligible)
        .await;
    let inactive = import(&stack, "enrollments", &csv("no"), &[]).await;
    assert_eq!(
        inactive.ok(),
        "2 created, 0 unchanged, 0 differing, 0 bad lines\n"
    );
    assert_eq!(stack.due().await, []);
}

/// An import that stops between the two writes causes one attempt too many: the event is
/// due some time after the announced write, and not at its former time.
#[tokio::test]
async fn a_waiting_pass_is_retried_even_if_the_import_stops_short() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let event = stack.add_pending(EventKind::Certificate, ADA, RUN, BlockedReason::NotEligible);
    let event = event.await;
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let csv = format!("email,course_id,mode\n{ADA},{RUN},verified\n");
    let mut command = stack.command(&["enrollments", "import", &stack.file("e.csv", csv)]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    assert_eq!(ran(command).await.code, 2);
    let pending = stack.pending(&event.event_key).await.unwrap();
    let wait = pending
        .next_attempt_at
        .duration_since(event.delivered_at)
        .as_secs();
    assert!((89..=600).contains(&wait), "{wait}");
}

/// The stored record, the row of the file, and the message.
#[tokio::test]
async fn a_differing_record_is_reported_and_not_changed() {
    let enrollments = "email,course_id,mode,active,edx_enrolled,roles,change_status,enrollment_id";
    let grades = "email,course_id,percent,passed,letter_grade,set_by_admin";
    let certificates = "email,course_id,certificate_id,issued_at,state,learner_name,run_title";
    let set = format!("To set mode and active: coursehook enrollments set {ADA} {RUN} --mode");
    let grade = format!("To set it: coursehook grades override {ADA} {RUN} --percent");
    let [revoke, restore] = ["revoke", "restore"]
        .map(|word| format!("To {word} it: coursehook certificates {word} {ADA} {RUN}"));
    let pass = format!(
        "A pass restores it: \
         coursehook grades override {ADA} {RUN} --percent P --letter L --passed"
    );
    let nothing = ", and no command changes that";
    let (first, second) = (format!("{ID}1"), format!("{ID}2"));
    for (what, heading, here, file, differences, fix) in [
        (
            "enrollments",
            enrollments,
            "audit,,,,,".to_owned(),
            "verified,,,,,".to_owned(),
            "mode: audit here, verified in the file".to_owned(),
            format!(". {set} verified"),
        ),
        (
            "enrollments",
            enrollments,
            format!("audit,,1,staff,,{first}"),
            format!("honor,no,0,staff;instructor,refunded,{second}"),
            format!(
                "mode: audit here, honor in the file; active: true here, false in the file; \
                 edx_enrolled: true here, false in the file; \
                 roles: staff here, instructor;staff in the file; \
                 change_status: none here, refunded in the file; \
                 enrollment_id: {first} here, {second} in the file"
            ),
            format!(". {set} honor --inactive"),
        ),
        (
            "enrollments",
            enrollments,
            "audit,,,,,".to_owned(),
            "audit,,1,staff,,".to_owned(),
            "edx_enrolled: false here, true in the file; roles: none here, staff in the file"
                .to_owned(),
            nothing.to_owned(),
        ),
        (
            "grades",
            grades,
            "0.5,no,F,".to_owned(),
            "0.87,yes,B,yes".to_owned(),
            "percent: 0.5 here, 0.87 in the file; passed: false here, true in the file; \
             letter_grade: F here, B in the file; set_by_admin: false here, true in the file"
                .to_owned(),
            format!(". {grade} 0.87 --letter B --passed"),
        ),
        (
            "grades",
            grades,
            "0.5,no,,yes".to_owned(),
            "0.4,no,,no".to_owned(),
            "percent: 0.5 here, 0.4 in the file; set_by_admin: true here, false in the file"
                .to_owned(),
            format!(". {grade} 0.4 --letter L"),
        ),
        (
            "grades",
            grades,
            "0.5,no,,yes".to_owned(),
            "0.5,no,,no".to_owned(),
            "set_by_admin: true here, false in the file".to_owned(),
            format!(". To hand it back to the LMS: coursehook grades release {ADA} {RUN}"),
        ),
        (
            "certificates",
            certificates,
            format!("{first},2024-05-01,,,"),
            format!("{first},2024-05-01,revoked,,"),
            "state: in_force here, revoked in the file".to_owned(),
            format!(". {revoke}"),
        ),
        (
            "certificates",
            certificates,
            format!("{first},2024-05-01,revoked,,"),
            format!("{first},2024-05-01,,,"),
            "state: revoked here, in_force in the file".to_owned(),
            format!(". {restore}"),
        ),
        (
            "certificates",
            certificates,
            format!("{first},2024-05-01,withdrawn,,"),
            format!("{first},2024-05-01,,,"),
            "state: withdrawn here, in_force in the file".to_owned(),
            format!(". {pass}"),
        ),
        (
            "certificates",
            certificates,
            format!("{first},2024-05-01,,,"),
            format!("{first},2024-05-02,withdrawn,Ada King,Ants"),
            "issued_at: 2024-05-01T00:00:00Z here, 2024-05-02T00:00:00Z in the file; \
             state: in_force here, withdrawn in the file; \
             learner_name: Ada Lovelace here, Ada King in the file; \
             run_title: Bees here, Ants in the file"
                .to_owned(),
            nothing.to_owned(),
        ),
        (
            "certificates",
            certificates,
            format!("{first},2024-05-01,,,"),
            format!("{second},2024-05-01,revoked,,"),
            format!(
                "certificate_id: {first} here, {second} in the file; \
                 state: in_force here, revoked in the file"
            ),
            ". It was issued here before this import, and keeps its id".to_owned(),
        ),
    ] {
        let stack = CliFixture::with_ada_and_a_run().await;
        let csv = |row: &str| format!("{heading}\n{ADA},{RUN},{row}\n");
        import(&stack, what, &csv(&here), &[]).await.ok();
        let before = shown(&stack, what).await;
        let article = if what == "enrollments" { "an" } else { "a" };
        let one = what.trim_end_matches('s');
        let message = format!(
            "there is {article} {one} already, and it differs ({differences}); \
             it is left as it is{fix}"
        );
        for dry_run in [true, false] {
            let more = if dry_run {
                &["--json", "--dry-run"][..]
            } else {
                &["--json"]
            };
            let ran = import(&stack, what, &csv(&file), more).await;
            assert_eq!(ran.code, 1, "{ran:?}");
            assert_eq!(ran.err, format!("line 2: {message}\n"), "{file}");
            let expected = json!({
                "created": 0, "updated": 0, "unchanged": 0,
                "differing": [{"line": 2, "problem": message}],
                "bad_lines": [], "warnings": [], "events_due": 0, "dry_run": dry_run, "stopped": null,
            });
            assert_eq!(ran.json(), expected, "{file}");
        }
        assert_eq!(shown(&stack, what).await, before, "{file}");
    }
}

/// A file of each kind for many learners, and their users.
struct Many {
    users: String,
    files: [(&'static str, &'static str, String); 3],
}

const LEARNERS: usize = 250;

fn many() -> Many {
    let rows = |row: &dyn Fn(usize) -> String| -> String { (0..LEARNERS).map(row).collect() };
    let enrollment = |n| format!("learner{n}@example.org,{RUN},verified,staff\n");
    let grade = |n| format!("learner{n}@example.org,{RUN},0.5{n},yes\n");
    let certificate = |n| {
        let id = format!("bcd7d701-9352-4c1f-adac-{n:012}");
        format!("learner{n}@example.org,{RUN},{id},2024-05-01\n")
    };
    let file = |heading: &str, row: &dyn Fn(usize) -> String| format!("{heading}\n{}", rows(row));
    Many {
        users: file("email", &|n| format!("learner{n}@example.org\n")),
        files: [
            (
                "certificates",
                "CertificatesTable",
                file("email,course_id,certificate_id,issued_at", &certificate),
            ),
            (
                "grades",
                "GradesTable",
                file("email,course_id,percent,passed", &grade),
            ),
            (
                "enrollments",
                "EnrollmentsTable",
                file("email,course_id,mode,roles", &enrollment),
            ),
        ],
    }
}

async fn with_many() -> (CliFixture, Many) {
    let (stack, many) = (CliFixture::with_ada_and_a_run().await, many());
    import(&stack, "users", &many.users, &[]).await.ok();
    (stack, many)
}

#[tokio::test]
async fn an_import_that_was_cut_short_and_is_repeated_has_the_same_result() {
    let (stack, many) = with_many().await;
    for (what, table, csv) in many.files {
        let file = stack.file("many.csv", csv);
        let writes = AtomicUsize::new(0);
        let proxy = FaultyProxy::before(stack.url(), move |call| {
            let is_write = call.operation == "TransactWriteItems";
            if is_write && writes.fetch_add(1, Ordering::Relaxed) == 1 {
                Fault::Refuse("AccessDeniedException")
            } else {
                Fault::Pass
            }
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&[what, "import", &file]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let cut_short = ran(command).await;
        assert_eq!(cut_short.code, 2, "{cut_short:?}");
        assert!(
            cut_short.err.contains("import the file again"),
            "{cut_short:?}"
        );
        let written = stack.scan(table).await.len();
        assert!(written < LEARNERS, "{written}");

        let rest = format!(
            "{} created, {written} unchanged, 0 differing, 0 bad lines\n",
            LEARNERS - written
        );
        assert_eq!(stack.run(&[what, "import", &file]).await.ok(), rest);
        // All records match the file.
        let all = format!("0 created, {LEARNERS} unchanged, 0 differing, 0 bad lines\n");
        assert_eq!(stack.run(&[what, "import", &file]).await.ok(), all);
        assert_eq!(stack.scan(table).await.len(), LEARNERS);
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (stack, many) = with_many().await;
    for (what, table, csv) in many.files {
        let file = stack.file("many.csv", csv);
        let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
            "BatchGetItem" | "Query" => Fault::Pass,
            _ => Fault::Refuse("AccessDeniedException"),
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&[what, "import", &file, "--dry-run"]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let message = format!(
            "{LEARNERS} would be created, 0 unchanged, 0 differing, 0 bad lines \
             (a dry run: nothing was written)\n"
        );
        assert_eq!(ran(command).await.ok(), message);
        assert!(stack.scan(table).await.is_empty());
    }
}

/// The import recognises by its own ids that the first attempt has written the record.
#[tokio::test]
async fn a_write_whose_answer_was_lost_counts_as_created() {
    let (stack, many) = with_many().await;
    for (what, table, csv) in many.files {
        let file = stack.file("many.csv", csv);
        let lost = OnceLock::new();
        let proxy = FaultyProxy::before(stack.url(), move |call| {
            if call.operation != "TransactWriteItems" {
                Fault::Pass
            } else if lost.set(call.body.clone()).is_ok() {
                Fault::LostAnswer
            } else if lost.get() == Some(&call.body) {
                // The engine recognises it by its token, as AWS does for a while.
                Fault::Cancel("ConditionalCheckFailed")
            } else {
                Fault::Pass
            }
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&[what, "import", &file]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let message = format!("{LEARNERS} created, 0 unchanged, 0 differing, 0 bad lines\n");
        assert_eq!(ran(command).await.ok(), message);
        assert_eq!(stack.scan(table).await.len(), LEARNERS);
    }
}

/// One of many records exists by the time that they are written.
#[tokio::test]
async fn a_concurrent_record_is_not_changed_and_the_others_are_added() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Hold,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let csv = format!("email,course_id,mode\n{ADA},{RUN},verified\n{ADA},{ANTS},verified\n");
    let mut command = stack.command(&["enrollments", "import", &stack.file("e.csv", csv)]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let child = command.spawn().unwrap();
    proxy.stuck(1).await;
    let set = ["enrollments", "set", ADA, RUN, "--mode", "audit"];
    stack.run(&set).await.ok();
    proxy.set(|_| Fault::Pass);
    let ran = Ran::from(child.wait_with_output().await.unwrap());
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (1, "1 created, 0 unchanged, 1 differing, 0 bad lines\n")
    );
    let message = "(mode: audit here, verified in the file); it is left as it is";
    assert!(ran.err.contains(message), "{ran:?}");
    let modes = shown(&stack, "enrollments").await;
    let modes: Vec<_> = modes.iter().map(|e| e["mode"].clone()).collect();
    assert_eq!(modes, ["verified", "audit"]);
}
