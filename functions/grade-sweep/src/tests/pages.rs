//! What can go wrong with the LMS's list: it is waited for, or the sweep has
//! failed; what came of it is done.

use std::time::Duration;

use harness::RUN;
use harness::sweep::username;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::Fixture;

/// A run of nine learners who have passed, in pages of three.
async fn nine() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(3);
    for learner in 0..9 {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    fixture
}

async fn certified(fixture: &Fixture) -> usize {
    let mut certified = 0;
    for learner in 0..9 {
        certified += usize::from(fixture.certificate_state(learner).await.is_some());
    }
    certified
}

fn page(status: u16, retry_after: Option<u32>) -> LmsFault {
    LmsFault::Page {
        status,
        retry_after,
    }
}

/// The second page fails three times, and is there when it is asked for again:
/// the whole run is done.
#[tokio::test]
async fn a_page_that_fails_three_times() {
    for fault in [
        LmsFault::Fail { status: 502 },
        LmsFault::Drop,
        LmsFault::Half,
        LmsFault::Html,
        // What stands before the LMS says nothing of our credential.
        page(401, None),
        page(403, None),
        page(400, None),
        page(503, Some(7)),
        LmsFault::Throttle { retry_after: None },
        LmsFault::Throttle {
            retry_after: Some(7),
        },
    ] {
        let fixture = nine().await;
        fixture
            .lms
            .add_fault(FaultRule::of(fault.clone()).after(1).times(3));
        let mut waits = Vec::new();
        let answer = loop {
            let answer = fixture.call(json!({"sweep": {"run": RUN}})).await.unwrap();
            if answer["status"] != "suspended" {
                break answer;
            }
            assert!(!answer["reason"].is_null(), "{answer}");
            let wait = answer["wait_seconds"].as_u64().unwrap();
            waits.push(wait);
            fixture.clock.advance(Duration::from_secs(wait));
        };
        assert_eq!(answer["status"], "done", "{fault:?}");
        assert_eq!(answer["tally"]["issued"], 9, "{fault:?}");
        assert_eq!(certified(&fixture).await, 9, "{fault:?}");
        // What is broken is asked for again three times in one call, and what
        // says how long to wait is left alone for so long.
        let asked = match fault {
            LmsFault::Throttle {
                retry_after: Some(_),
            }
            | LmsFault::Page {
                retry_after: Some(_),
                ..
            } => vec![7, 7, 7],
            // A throttle is of a minute, and then of more.
            LmsFault::Throttle { retry_after: None } => vec![60, 120, 240],
            // A connection that breaks is tried once more by the client itself.
            _ if waits.is_empty() => vec![],
            _ => vec![30],
        };
        assert_eq!(waits, asked, "{fault:?}");
    }
}

/// An LMS that stays away is given up, and alarmed; the next sweep goes through.
#[tokio::test]
async fn an_lms_that_stays_away() {
    let fixture = nine().await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }).after(1));
    let began = shared::clock::Clock::now(&*fixture.clock);
    let answer = fixture.sweep().await;
    assert_eq!(
        (&answer["status"], &answer["reason"]),
        (&json!("failed"), &json!("503"))
    );
    assert_eq!(answer["tally"]["issued"], 3);
    let line = fixture.log.last("sweep ended");
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&json!("ERROR"), &json!("failed"))
    );
    let took = shared::clock::Clock::now(&*fixture.clock).duration_since(began);
    assert!((15..20).contains(&took.as_mins()), "{took:?}");

    fixture.lms.revoke();
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({"listed": 9, "unchanged": 3, "grade_stored": 6, "issued": 6})
    );
}

/// Each: what is wrong with the list, how the sweep ends, why, and for how many
/// it has done what it was to do.
#[tokio::test]
async fn lists_that_lie() {
    for (fault, status, reason, done) in [
        // Only the cursor is believed, and the whole run is done.
        (
            LmsFault::Misdirect {
                to: "http://elsewhere.example".into(),
            },
            "done",
            Value::Null,
            9,
        ),
        // Every `next` leads to the first page, which the second one is by that: whoever
        // has an enrollment here is asked for by name.
        (LmsFault::Repeat, "done", Value::Null, 9),
        // Only people can fix that our credential is refused.
        (LmsFault::Refuse, "failed", json!("403"), 0),
        (LmsFault::Bare, "done", Value::Null, 9),
        (LmsFault::NoRow, "done", Value::Null, 0),
        (LmsFault::OtherRun, "done", Value::Null, 0),
        (LmsFault::OtherLearner, "done", Value::Null, 0),
        (LmsFault::PercentNull, "done", Value::Null, 0),
        (
            LmsFault::Huge,
            "failed",
            json!("InvalidResponse:too_large"),
            0,
        ),
        (
            LmsFault::Throttle {
                retry_after: Some(3601),
            },
            "failed",
            json!("429"),
            0,
        ),
        (
            LmsFault::Page {
                status: 503,
                retry_after: Some(3601),
            },
            "failed",
            json!("503"),
            0,
        ),
    ] {
        let fixture = nine().await;
        fixture.lms.add_fault(FaultRule::of(fault.clone()));
        let answer = fixture.sweep().await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!(status), &reason),
            "{fault:?}"
        );
        assert_eq!(certified(&fixture).await, done, "{fault:?}");
        // Nothing is asked for but a token and the list.
        let all = fixture.lms.calls().len();
        assert_eq!(all, fixture.lms.count(At::Grades) + 1, "{fault:?}");
    }
}

/// Who left the list keeps all they have; so does everybody where it is empty.
#[tokio::test]
async fn absence_proves_nothing() {
    let fixture = nine().await;
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    let before = fixture.everything().await;
    for gone in [1, 9] {
        for learner in 0..gone {
            fixture.lms.remove(&username(learner), RUN);
        }
        let answer = fixture.sweep().await;
        assert_eq!(answer["status"], "done");
        assert_eq!(fixture.everything().await, before);
    }
}

/// A run that the LMS, or the portal, does not have.
#[tokio::test]
async fn runs_that_are_not_there() {
    let fixture = Fixture::new().await;
    let unknown = "course-v1:No+Such+Run";
    for (run, reason) in [(RUN, "404 course_does_not_exist"), (unknown, "no_such_run")] {
        let answer = fixture.sweep_with(json!({"run": run})).await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!("failed"), &json!(reason))
        );
    }
    assert_eq!(fixture.lms.count(At::Grades), 1);
}

/// An old site's list is one page, and longer than what is worked on at once.
#[tokio::test]
async fn a_long_list_without_pages() {
    let fixture = nine().await;
    for stranger in 9..210 {
        fixture.says(stranger, 0.9);
    }
    fixture.lms.add_fault(FaultRule::of(LmsFault::Bare));
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({"listed": 210, "grade_stored": 9, "issued": 9, "no_user": 201})
    );
}
