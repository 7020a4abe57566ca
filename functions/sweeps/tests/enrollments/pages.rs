//! Errors of the LMS's list: the sweep waits and retries, or fails; effects up to then stay.

use std::time::Duration;

use harness::RUN;
use harness::sweep::username;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::Fixture;

/// Returns a run of nine learners whom the portal lacks, in pages of three.
async fn nine_learners() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(3);
    for learner in 0..9 {
        fixture.put_learner(learner).await;
        fixture.lists(learner, "verified", true);
    }
    fixture
}

async fn enrolled(fixture: &Fixture) -> usize {
    let mut enrolled = 0;
    for learner in 0..9 {
        enrolled += usize::from(fixture.enrollment_of(learner).await.is_some());
    }
    enrolled
}

/// The second page fails three times, and succeeds when it is requested again: the whole run is
/// swept.
#[tokio::test]
async fn a_page_that_fails_three_times_is_retried() {
    let fixture = nine_learners().await;
    let failing = FaultRule::of(LmsFault::Fail { status: 502 }).at(At::Enrollments);
    fixture.lms.add_fault(failing.after(1).times(3));
    let answer = fixture.call(json!({"sweep": {"run": RUN}})).await.unwrap();
    let checkpoint = (
        &answer["status"],
        &answer["reason"],
        &answer["wait_seconds"],
    );
    assert_eq!(checkpoint, (&json!("suspended"), &json!("502"), &json!(30)));
    assert_eq!(enrolled(&fixture).await, 3);
    fixture.clock.advance(Duration::from_secs(30));
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    assert_eq!(answer["tally"], json!({"listed": 9, "created": 9}));
    assert_eq!(enrolled(&fixture).await, 9);
}

/// Only failures in a row count: a list whose every page fails at first is read to its end.
#[tokio::test]
async fn a_list_whose_every_page_fails_once_is_read_to_its_end() {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(1);
    let call = json!({"sweep": {"run": RUN}});
    for learner in 0..7 {
        fixture.lists(learner, "verified", true);
    }
    for page in 1..=7 {
        let failing = FaultRule::of(LmsFault::Fail { status: 502 }).at(At::Enrollments);
        fixture.lms.add_fault(failing.times(3));
        let answer = fixture.call_for(call.clone(), 1).await.unwrap();
        assert_eq!(answer["wait_seconds"], 30, "{page}: {answer}");
        fixture.clock.advance(Duration::from_secs(30));
        let answer = fixture.call_for(call.clone(), 1).await.unwrap();
        assert_eq!(answer["tally"], json!({"listed": page, "no_user": page}));
        let status = if page == 7 { "done" } else { "suspended" };
        assert_eq!(answer["status"], status, "{page}");
    }
}

/// Each row: the fault of the list, the status of the sweep, its reason, and its tally.
#[tokio::test]
async fn invalid_lists_are_detected() {
    for (fault, status, reason, tally) in [
        // Only the cursor of the URL is used, and the whole run is swept.
        (
            LmsFault::Misdirect {
                to: "http://elsewhere.example".into(),
            },
            "done",
            Value::Null,
            json!({"listed": 9, "created": 9}),
        ),
        // Every `next` leads to the first page, so the second page is the first one again. Learners
        // with an enrollment in the portal are then requested by username, which fails in the same
        // way.
        (
            LmsFault::Repeat,
            "done",
            Value::Null,
            json!({
                "listed": 6, "created": 3, "unchanged": 3, "failed:InvalidResponse:cycle": 3,
            }),
        ),
        (LmsFault::NoRow, "done", Value::Null, json!({})),
        (
            LmsFault::OtherRun,
            "done",
            Value::Null,
            json!({"listed": 9, "failed:InvalidResponse:another_run": 9}),
        ),
        (
            LmsFault::OtherLearner,
            "done",
            Value::Null,
            json!({"listed": 9, "no_user": 3, "failed:InvalidResponse:twice": 6}),
        ),
        (
            LmsFault::ModeNumber,
            "done",
            Value::Null,
            json!({"listed": 9, "failed:InvalidResponse:mode": 9}),
        ),
        (
            LmsFault::ActiveText,
            "done",
            Value::Null,
            json!({"listed": 9, "failed:InvalidResponse:is_active": 9}),
        ),
    ] {
        let fixture = nine_learners().await;
        fixture
            .lms
            .add_fault(FaultRule::of(fault.clone()).at(At::Enrollments));
        let answer = fixture.sweep().await;
        assert_eq!(
            (&answer["status"], &answer["reason"], &answer["tally"]),
            (&json!(status), &reason, &tally),
            "{fault:?}"
        );
        let created = tally["created"].as_u64().unwrap_or_default();
        assert_eq!(enrolled(&fixture).await as u64, created, "{fault:?}");
        // The only requests are those for a token, for the list, and once for the list of grades.
        let all = fixture.lms.calls().len();
        let grades = usize::from(fault == LmsFault::Repeat);
        let expected = fixture.lms.count(At::Enrollments) + 1 + grades;
        assert_eq!(all, expected, "{fault:?}");
    }
}

/// A learner who left the list stays enrolled; so does everybody if it is empty.
#[tokio::test]
async fn absence_proves_nothing() {
    let fixture = nine_learners().await;
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    let before = fixture.everything().await;
    for gone in [1, 9] {
        for learner in 0..gone {
            fixture.lms.unlist(&username(learner), RUN);
        }
        for options in [json!({}), json!({"confirm": true, "force": true})] {
            let case = format!("{gone} gone, {options}");
            let answer = fixture.sweep_with(options).await;
            assert_eq!(answer["status"], "done", "{case}");
            assert_eq!(fixture.everything().await, before, "{case}");
        }
    }
}

/// A run that the portal lacks is not requested; one that the LMS lacks is an empty list to it.
#[tokio::test]
async fn unknown_runs_are_not_swept() {
    let fixture = Fixture::never_swept().await;
    let unknown = "course-v1:No+Such+Run";
    for (run, status, reason) in [
        (unknown, "failed", json!("no_such_run")),
        (RUN, "done", Value::Null),
    ] {
        let answer = fixture.sweep_with(json!({"run": run})).await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!(status), &reason),
            "{run}"
        );
    }
    assert_eq!(fixture.lms.count(At::Enrollments), 1);
}

/// A first sweep that did not read the whole list has reported only a part: the next one is a dry
/// run, too.
#[tokio::test]
async fn a_failed_first_sweep_is_followed_by_a_dry_run() {
    let fixture = Fixture::never_swept().await;
    fixture.lms.pages_of(1);
    for learner in 0..2 {
        fixture.put_learner(learner).await;
        fixture.lists(learner, "verified", true);
    }
    let before = fixture.everything().await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).at(At::Enrollments).after(1));
    assert_eq!(fixture.sweep().await["status"], "failed");
    fixture.lms.revoke();
    fixture.dry_run().await;
    assert_eq!(fixture.everything().await, before);
    // A later sweep that failed does not undo the first dry run.
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).at(At::Enrollments).after(1));
    assert_eq!(fixture.sweep().await["status"], "failed");
    fixture.lms.revoke();
    assert_eq!(
        fixture.sweep().await["tally"],
        json!({"listed": 2, "created": 1, "unchanged": 1})
    );
}

/// If the list cannot be read to its end, the learners with an enrollment in the portal are
/// requested by username, then the others in the list of grades. A learner in neither, or with a
/// username that the LMS rejects, is left as they are. The result is the same in one call and in
/// many.
#[tokio::test]
async fn learners_are_requested_by_username_if_the_list_fails() {
    for seconds in [1, 900] {
        let fixture = nine_learners().await;
        // The list has the first three learners.
        for learner in [3, 4] {
            fixture.enrolled(learner, "verified").await;
        }
        fixture.lists(4, "verified", false);
        for learner in [5, 6] {
            let grade = local::lms::GradeRow {
                percent: 0.5,
                passed: false,
                letter_grade: None,
            };
            fixture.lms.grade(&username(learner), RUN, grade);
        }
        let (odd, odd_id) = ("odd@example.org", "7d2f6f0e-52a1-4a1b-9c53-7b8e0a9d3f11");
        fixture.put_user(odd, odd_id, Some("a.b")).await;
        fixture.enroll_user(odd, "verified").await;
        fixture.clock.advance(Duration::from_secs(60));
        let repeat = FaultRule::of(LmsFault::Repeat).at(At::Enrollments);
        fixture.lms.add_fault(repeat.times(2));
        let call = json!({"sweep": {"run": RUN}});
        let answer = loop {
            let answer = fixture.call_for(call.clone(), seconds).await.unwrap();
            if answer["status"] != "suspended" {
                break answer;
            }
        };
        assert_eq!(answer["status"], "done", "{seconds}: {answer}");
        let tally = &answer["tally"];
        assert_eq!(tally["failed:400 username"], 1, "{seconds}: {answer}");
        assert_eq!(tally["created"], 5, "{seconds}: {answer}");
        assert_eq!(tally["deactivated"], 1, "{seconds}: {answer}");
        assert_eq!(enrolled(&fixture).await, 7, "{seconds}");
        assert!(!fixture.enrollment_of(4).await.unwrap().active, "{seconds}");
        let line = fixture.log.last("sweeping by username");
        assert_eq!(line["level"], "WARN", "{seconds}");
    }
}
