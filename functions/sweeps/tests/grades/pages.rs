//! Errors of the LMS's list: the sweep waits and retries, or fails; effects up to then stay.

use std::time::Duration;

use harness::sweep::username;
use harness::{FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::{Fixture, wired};

/// Returns a run of nine learners who have passed, in pages of three.
async fn nine_learners() -> Fixture {
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

/// The second page fails three times, and succeeds when it is requested again: the whole run is
/// swept.
#[tokio::test]
async fn a_page_that_fails_three_times_is_retried() {
    for fault in [
        LmsFault::Fail { status: 502 },
        LmsFault::Drop,
        LmsFault::Half,
        LmsFault::Html,
        // An answer of a proxy in front of the LMS says nothing about the credential.
        page(401, None),
        page(403, None),
        page(400, None),
        page(503, Some(7)),
        LmsFault::Throttle { retry_after: None },
        LmsFault::Throttle {
            retry_after: Some(7),
        },
    ] {
        let fixture = nine_learners().await;
        fixture
            .lms
            .add_fault(FaultRule::of(fault.clone()).after(1).times(3));
        let mut waits = Vec::new();
        let answer = loop {
            let answer = fixture.call(json!({"sweep": {"run": RUN}})).await.unwrap();
            if answer["status"] != "suspended" {
                break answer;
            }
            assert!(!answer["reason"].is_null(), "{fault:?}: {answer}");
            let wait = answer["wait_seconds"].as_u64().unwrap();
            waits.push(wait);
            fixture.clock.advance(Duration::from_secs(wait));
        };
        assert_eq!(answer["status"], "done", "{fault:?}");
        assert_eq!(answer["tally"]["issued"], 9, "{fault:?}");
        assert_eq!(certified(&fixture).await, 9, "{fault:?}");
        // A broken answer is requested again three times in one call; after a throttle with a time
        // the LMS is not asked until that time is over.
        let asked = match fault {
            LmsFault::Throttle {
                retry_after: Some(_),
            }
            | LmsFault::Page {
                retry_after: Some(_),
                ..
            } => vec![7, 7, 7],
            // A throttle without a time pauses for a minute, then for longer.
            LmsFault::Throttle { retry_after: None } => vec![60, 120, 240],
            // A broken connection is retried once by the client itself.
            _ if waits.is_empty() => vec![],
            _ => vec![30],
        };
        assert_eq!(waits, asked, "{fault:?}");
    }
}

/// A sweep of an LMS that stays unavailable fails, and raises an alarm; the next sweep succeeds.
#[tokio::test]
async fn an_lms_that_stays_unavailable_fails_the_sweep() {
    let fixture = nine_learners().await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }).after(1));
    let began = common::clock::Clock::now(&*fixture.clock);
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
    let took = common::clock::Clock::now(&*fixture.clock).duration_since(began);
    assert!((15..20).contains(&took.as_mins()), "{took:?}");

    fixture.lms.revoke();
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({"listed": 9, "unchanged": 3, "grade_stored": 6, "issued": 6})
    );
}

/// Each row: the fault of the list, the status of the sweep, its reason, and the number of learners
/// it certified.
#[tokio::test]
async fn invalid_lists_are_detected() {
    for (fault, status, reason, done) in [
        // Only the cursor of the URL is used, and the whole run is swept.
        (
            LmsFault::Misdirect {
                to: "http://elsewhere.example".into(),
            },
            "done",
            Value::Null,
            9,
        ),
        // Every `next` leads to the first page, so the second page is the first one again: learners
        // with an enrollment in the portal are then requested by username.
        (LmsFault::Repeat, "done", Value::Null, 9),
        // A rejected credential can only be fixed by people.
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
        let fixture = nine_learners().await;
        fixture.lms.add_fault(FaultRule::of(fault.clone()));
        let answer = fixture.sweep().await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!(status), &reason),
            "{fault:?}"
        );
        assert_eq!(certified(&fixture).await, done, "{fault:?}");
        // The only requests are those for a token and for grades.
        let all = fixture.lms.calls().len();
        assert_eq!(all, fixture.lms.count(At::Grades) + 1, "{fault:?}");
    }
}

/// A learner who left the list keeps all records; so does everybody if it is empty.
#[tokio::test]
async fn absence_proves_nothing() {
    let fixture = nine_learners().await;
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    let before = fixture.everything().await;
    for gone in [1, 9] {
        for learner in 0..gone {
            fixture.lms.remove(&username(learner), RUN);
        }
        let answer = fixture.sweep().await;
        assert_eq!(answer["status"], "done", "{gone} gone");
        assert_eq!(fixture.everything().await, before, "{gone} gone");
    }
}

/// A run that the LMS or the portal lacks fails.
#[tokio::test]
async fn unknown_runs_fail() {
    let fixture = Fixture::new().await;
    let unknown = "course-v1:No+Such+Run";
    for (run, reason) in [(RUN, "404 course_does_not_exist"), (unknown, "no_such_run")] {
        let answer = fixture.sweep_with(json!({"run": run})).await;
        assert_eq!(
            (&answer["status"], &answer["reason"]),
            (&json!("failed"), &json!(reason)),
            "{run}"
        );
    }
    assert_eq!(fixture.lms.count(At::Grades), 1);
}

/// The list of an old site is one page, which is longer than a batch.
#[tokio::test]
async fn a_long_list_without_pages_is_swept() {
    let fixture = nine_learners().await;
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

/// The next page is requested while one is processed.
#[tokio::test]
async fn a_page_is_processed_while_the_next_one_is_requested() {
    let fixture = nine_learners().await;
    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let fixture = wired(fixture.beside(), client);
    proxy.set(|call| match call.operation.as_str() {
        "BatchGetItem" if call.body.windows(13).any(|part| part == b"learner000000") => Fault::Hold,
        _ => Fault::Pass,
    });
    let others = async {
        proxy.stuck(1).await;
        while fixture.lms.count(At::Grades) < 2 {
            tokio::task::yield_now().await;
        }
        proxy.set(|_| Fault::Pass);
    };
    let (answer, ()) = tokio::join!(fixture.sweep(), others);
    assert_eq!(answer["tally"]["listed"], 9, "{answer}");
}
