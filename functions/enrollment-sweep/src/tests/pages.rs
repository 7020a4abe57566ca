//! What can go wrong with the LMS's list: it is waited for, or the sweep has
//! failed; what came of it is done.

use std::time::Duration;

use harness::RUN;
use harness::sweep::username;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::Fixture;

/// A run of nine learners whom the portal lacks, in pages of three.
async fn nine() -> Fixture {
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

/// The second page fails three times, and is there when it is asked for again:
/// the whole run is done.
#[tokio::test]
async fn a_page_that_fails_three_times() {
    let fixture = nine().await;
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

/// Only failures in a row count: a list whose every page fails at first is read to
/// its end.
#[tokio::test]
async fn a_list_that_fails_at_each_page() {
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

/// Each: what is wrong with the list, how the sweep ends, why, and what came of it.
#[tokio::test]
async fn lists_that_lie() {
    for (fault, status, reason, tally) in [
        // Only the cursor is believed, and the whole run is done.
        (
            LmsFault::Misdirect {
                to: "http://elsewhere.example".into(),
            },
            "done",
            Value::Null,
            json!({"listed": 9, "created": 9}),
        ),
        // Every `next` leads to the first page, which the second one is by that. Whoever
        // has an enrollment here is asked for by name, and cannot be told so either.
        (
            LmsFault::Repeat,
            "done",
            Value::Null,
            json!({
                "listed": 6, "created": 3, "unchanged": 3, "failed:InvalidResponse:circle": 3,
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
        let fixture = nine().await;
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
        // Nothing is asked for but a token, the list, and once the list of grades.
        let all = fixture.lms.calls().len();
        let grades = usize::from(fault == LmsFault::Repeat);
        let expected = fixture.lms.count(At::Enrollments) + 1 + grades;
        assert_eq!(all, expected, "{fault:?}");
    }
}

/// Who left the list stays enrolled; so does everybody where it is empty.
#[tokio::test]
async fn absence_proves_nothing() {
    let fixture = nine().await;
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    let before = fixture.everything().await;
    for gone in [1, 9] {
        for learner in 0..gone {
            fixture.lms.unlist(&username(learner), RUN);
        }
        for options in [json!({}), json!({"confirm": true, "force": true})] {
            let answer = fixture.sweep_with(options).await;
            assert_eq!(answer["status"], "done");
            assert_eq!(fixture.everything().await, before);
        }
    }
}

/// A run that the portal does not have is not asked for; one that the LMS does not
/// have is an empty list to it.
#[tokio::test]
async fn runs_that_are_not_there() {
    let fixture = Fixture::never_swept().await;
    let unknown = "course-v1:No+Such+Run";
    for (run, status, reason) in [
        (unknown, "failed", json!("no_such_run")),
        (RUN, "done", Value::Null),
    ] {
        let answer = fixture.sweep_with(json!({"run": run})).await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!(status), &reason)
        );
    }
    assert_eq!(fixture.lms.count(At::Enrollments), 1);
}

/// A first sweep that did not see the whole list has shown what it saw and no
/// more: the next one still writes nothing.
#[tokio::test]
async fn a_first_sweep_that_failed_was_none() {
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
    // One that failed later makes nothing unseen.
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

/// Where the list cannot be read to its end, those who have an enrollment here are asked for by
/// name, then those whom the list of grades has beside them; whoever is in neither, or
/// has a name that the LMS does not accept, is left alone. It goes the same way in one
/// call and in many.
#[tokio::test]
async fn learners_are_asked_for_by_name() {
    for seconds in [1, 900] {
        let fixture = nine().await;
        // The list has the first three.
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
        assert_eq!(answer["status"], "done", "{answer}");
        let tally = &answer["tally"];
        assert_eq!(tally["failed:400 username"], 1, "{answer}");
        assert_eq!(tally["created"], 5, "{answer}");
        assert_eq!(tally["deactivated"], 1, "{answer}");
        assert_eq!(enrolled(&fixture).await, 7);
        assert!(!fixture.enrollment_of(4).await.unwrap().active);
        let line = fixture.log.last("sweeping by username");
        assert_eq!(line["level"], "WARN");
    }
}
