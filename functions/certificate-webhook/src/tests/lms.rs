//! An LMS that fails in every possible way: the delivery is accepted, and one retry batch issues
//! the certificate once the LMS works again.

use std::time::Duration;

use app::certifying::CERTIFYING_TIME;
use common::clock::Clock;
use domain::{BlockedReason, EventState};
use harness::{ADA, ADA_ID, Portal, RUN};
use jiff::SignedDuration;
use local::lms::{At, FaultRule, LmsFault, TokenError};

use super::fixture::Fixture;

/// The faults of the LMS, each with the `reason` in the answer and the error code of the pending
/// event.
fn faults() -> Vec<(FaultRule, &'static str, &'static str)> {
    let grades = |fault| FaultRule::of(fault);
    let token = |fault| FaultRule::of(fault).at(At::Token);
    let fail = |status| LmsFault::Fail { status };
    let page = |status| LmsFault::Page {
        status,
        retry_after: None,
    };
    let deny = |error_code| LmsFault::Deny { error_code };
    let throttle = || LmsFault::Throttle { retry_after: None };
    vec![
        (grades(throttle()), "lms_throttled", "429"),
        (grades(fail(500)), "lms_failed", "500"),
        (grades(fail(503)), "lms_failed", "503"),
        (grades(LmsFault::Drop), "lms_unreachable", "Unreachable"),
        (grades(LmsFault::Half), "lms_unreachable", "Unreachable"),
        (grades(LmsFault::Refuse), "lms_refused", "403"),
        (
            grades(deny(TokenError::TokenExpired)),
            "lms_refused",
            "401 token_expired",
        ),
        (
            grades(LmsFault::Redirect {
                to: "http://elsewhere.example".to_owned(),
            }),
            "lms_failed",
            "302",
        ),
        (grades(LmsFault::Html), "lms_failed", "200"),
        (grades(page(400)), "lms_failed", "400"),
        (grades(page(401)), "lms_failed", "401 not_the_api"),
        (grades(page(403)), "lms_failed", "403 not_the_api"),
        (
            grades(LmsFault::Huge),
            "lms_invalid_response",
            "InvalidResponse:too_large",
        ),
        (
            grades(LmsFault::NoRow),
            "lms_invalid_response",
            "InvalidResponse:no_row",
        ),
        (
            grades(LmsFault::OtherLearner),
            "lms_invalid_response",
            "InvalidResponse:another_learner",
        ),
        (
            grades(LmsFault::OtherRun),
            "lms_invalid_response",
            "InvalidResponse:another_run",
        ),
        (
            grades(LmsFault::PercentNull),
            "lms_invalid_response",
            "InvalidResponse:percent",
        ),
        (
            grades(LmsFault::PercentText),
            "lms_invalid_response",
            "InvalidResponse:percent",
        ),
        (
            grades(LmsFault::PercentTooHigh),
            "lms_invalid_response",
            "InvalidResponse:percent",
        ),
        (
            grades(LmsFault::PassedText),
            "lms_invalid_response",
            "InvalidResponse:passed",
        ),
        (token(throttle()), "lms_throttled", "429"),
        (token(LmsFault::Refuse), "lms_throttled", "429"),
        (token(page(400)), "lms_failed", "400"),
        (token(page(401)), "lms_failed", "401 not_the_api"),
        (token(fail(500)), "lms_failed", "500"),
        (token(LmsFault::Drop), "lms_unreachable", "Unreachable"),
        (
            token(deny(TokenError::TokenExpired)),
            "lms_refused",
            "BadClient",
        ),
    ]
}

#[tokio::test]
async fn any_lms_fault_makes_the_event_pending_until_the_lms_works() {
    for (rule, reason, code) in faults() {
        let fixture = Fixture::new().await;
        fixture.enroll("verified").await;
        fixture.grade(0.9, true);
        let case = format!("{rule:?}");
        fixture.lms.add_fault(rule);

        let answer = fixture.pass().await;
        assert_eq!(answer.status, 202, "{case}: {answer:?}");
        assert_eq!(answer.body["certificate_status"], "pending", "{case}");
        assert_eq!(answer.body["reason"], reason, "{case}");
        let done = fixture.log.done();
        assert_eq!(
            (&done["error_code"], &done["level"]),
            (&code.into(), &"WARN".into()),
            "{case}"
        );
        let event = fixture.pending_event().await;
        assert_eq!(event.reason, BlockedReason::LmsUnavailable, "{case}");
        assert_eq!(event.last_error.as_deref(), Some(code), "{case}");
        assert_eq!(fixture.certificate().await, None, "{case}");
        assert_eq!(fixture.stored_grade().await, None, "{case}");

        fixture.lms.revoke();
        // Not due yet.
        assert_eq!(fixture.retry_due().await.attempted, 0, "{case}");
        fixture.clock.advance(Duration::from_secs(72));
        let summary = fixture.retry_due().await;
        assert_eq!((summary.attempted, summary.done), (1, 1), "{case}");
        assert_eq!(
            fixture.certificate().await.unwrap().history.len(),
            1,
            "{case}"
        );
        assert_eq!(
            fixture.stored_grade().await.unwrap().history.len(),
            1,
            "{case}"
        );
        assert_eq!(fixture.pending().await, [], "{case}");
        assert_eq!(
            fixture.pass().await.body["certificate_status"],
            "exists",
            "{case}"
        );
    }
}

/// A run or a learner unknown to the LMS may be known to it later: the event is pending.
#[tokio::test]
async fn a_learner_or_run_unknown_to_the_lms_stays_pending() {
    let known: [(&str, Option<(&str, &str)>); 3] = [
        // No row at all, another learner in the run, the learner in another run.
        ("lms_no_such_run", None),
        ("lms_no_such_learner", Some(("somebody", RUN))),
        ("lms_not_enrolled", Some(("ada", "course-v1:A+B+C"))),
    ];
    for (reason, row) in known {
        let fixture = Fixture::new().await;
        fixture.enroll("verified").await;
        let grade = || local::lms::GradeRow {
            percent: 1.0,
            passed: true,
            letter_grade: None,
        };
        if let Some((username, course_id)) = row {
            fixture.lms.grade(username, course_id, grade());
            if course_id != RUN {
                fixture.lms.grade("somebody", RUN, grade());
            }
        }
        let answer = fixture.pass().await;
        assert_eq!(
            (answer.status, &answer.body["reason"]),
            (202, &reason.into()),
            "{reason}"
        );
        fixture.grade(1.0, true);
        fixture.clock.advance(Duration::from_secs(72));
        assert_eq!(fixture.retry_due().await.done, 1, "{reason}");
        assert!(fixture.certificate().await.is_some(), "{reason}");
    }
}

/// The LMS may answer with the username in another case than the portal's; it is asked with the
/// portal's spelling.
#[tokio::test]
async fn the_case_of_the_username_in_the_lms_is_ignored() {
    for (here, there) in [("Kepler", "kepler"), ("kepler", "KEPLER"), ("ada", "Ada")] {
        let fixture = Fixture::new().await;
        fixture.put_user(ADA, ADA_ID, Some(here)).await;
        fixture.enroll("verified").await;
        let passed = local::lms::GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: None,
        };
        fixture.lms.grade(there, RUN, passed);
        let answer = fixture.pass().await;
        let status = &answer.body["certificate_status"];
        assert_eq!(
            (answer.status, status),
            (200, &"created".into()),
            "{here} {there}"
        );
        let calls = fixture.lms.calls();
        let asked = calls.iter().find_map(|call| call.username.as_deref());
        assert_eq!(asked, Some(here), "{there}");
    }
}

/// A missing or unreadable credential makes the event pending, too.
#[tokio::test]
async fn a_missing_credential_makes_the_event_pending() {
    let portal = Portal::new().await;
    for value in ["", "{}"] {
        portal
            .secrets
            .put(portal.credential(), value)
            .await
            .unwrap();
    }
    let fixture = Fixture::on(portal);
    let answer = fixture.pass().await;
    assert_eq!(
        (answer.status, &answer.body["reason"]),
        (202, &"no_credential".into())
    );
    assert_eq!(fixture.lms.calls().len(), 0);
}

/// A pass that is announced before the LMS has the grade is retried.
#[tokio::test]
async fn a_grade_that_lags_behind_is_retried() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    fixture.lms.add_fault(FaultRule::of(LmsFault::Lag).times(2));
    assert_eq!(
        fixture.pass().await.body["certificate_status"],
        "not_passed"
    );
    for (seconds, done) in [(72, 0), (720, 1)] {
        fixture.clock.advance(Duration::from_secs(seconds));
        let summary = fixture.retry_due().await;
        assert_eq!((summary.attempted, summary.done), (1, done), "{seconds}");
    }
    assert!(fixture.certificate().await.is_some());
    let grade = fixture.stored_grade().await.unwrap();
    assert_eq!((grade.history.len(), grade.score.percent.get()), (2, 0.9));
}

/// An LMS that hangs is abandoned with enough time left to store the pending event: an answer comes
/// 25 seconds after the request at the latest.
#[tokio::test]
async fn a_hanging_lms_is_abandoned_in_time() {
    assert!(CERTIFYING_TIME < Duration::from_secs(25));
    // The time to act is shortened by as much as the time for the LMS.
    let portal = Portal::new().await;
    let client = portal.client();
    let fixture = Fixture::wired(portal, client, Duration::from_secs(9));
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    for at in [At::Token, At::Grades] {
        fixture.lms.revoke();
        fixture.lms.add_fault(FaultRule::of(LmsFault::Hang).at(at));
        let answer = tokio::time::timeout(Duration::from_secs(25), fixture.pass()).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, &answer.body["reason"]),
            (202, &"lms_timeout".into()),
            "{at:?}"
        );
        assert_eq!(fixture.log.done()["error_code"], "Timeout", "{at:?}");
    }
    fixture.lms.revoke();
    fixture.clock.advance(Duration::from_secs(72));
    assert_eq!(fixture.retry_due().await.done, 1);
}

/// After a `Retry-After` the LMS is not asked until that time is over, neither for the same learner
/// nor for another.
#[tokio::test]
async fn retry_after_is_honoured() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    fixture.lms.add_fault(
        FaultRule::of(LmsFault::Throttle {
            retry_after: Some(3600),
        })
        .times(1),
    );
    let now = fixture.clock.now();
    assert_eq!(fixture.pass().await.body["reason"], "lms_throttled");
    let due = fixture.pending_event().await.next_attempt_at;
    assert!(due.duration_since(now).as_secs() >= 3600, "{due}");
    let asked = fixture.lms.calls().len();
    assert_eq!(fixture.pass().await.body["reason"], "lms_throttled");
    assert_eq!(fixture.lms.calls().len(), asked);

    fixture.clock.advance(Duration::from_secs(3599));
    assert_eq!(fixture.retry_due().await.attempted, 0);
    fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(fixture.pass().await.body["certificate_status"], "created");
}

/// The LMS is down from Friday evening to Monday morning: the event stays pending, and the LMS is
/// asked a few times a day.
#[tokio::test]
async fn a_weekend_without_the_lms_costs_a_few_attempts_a_day() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Drop).at(At::All));
    assert_eq!(fixture.pass().await.status, 202);
    let monday = fixture.clock.now() + SignedDuration::from_hours(62);
    let mut attempts = 0;
    loop {
        let due = fixture.pending_event().await.next_attempt_at;
        if due > monday {
            break;
        }
        fixture.clock.set(due);
        assert_eq!(fixture.retry_due().await.attempted, 1);
        attempts += 1;
    }
    // Attempts come after 1, 5 and 30 minutes, 2 and 6 hours, and then every 12 hours.
    assert!(
        (8..=10).contains(&attempts),
        "{attempts} attempts in 62 hours"
    );
    // The delivery and each attempt meet two dead connections.
    assert_eq!(fixture.lms.calls().len(), 2 * (attempts + 1));
    assert_eq!(fixture.pending_event().await.state, EventState::Waiting);
    fixture.lms.revoke();
    fixture.clock.advance(Duration::from_hours(15));
    assert_eq!(fixture.retry_due().await.done, 1);
    assert!(fixture.certificate().await.is_some());
}

/// An event that is retried daily by now, and is delivered again while the LMS is unavailable, is
/// retried as soon as a new event would be.
#[tokio::test]
async fn a_redelivery_is_retried_as_soon_as_a_new_event() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(0.2, false);
    assert_eq!(
        fixture.pass().await.body["certificate_status"],
        "not_passed"
    );
    for _ in 0..3 {
        fixture
            .clock
            .set(fixture.pending_event().await.next_attempt_at);
        assert_eq!(fixture.retry_due().await.attempted, 1);
    }
    let (before, now) = (fixture.pending_event().await, fixture.clock.now());
    assert!(before.next_attempt_at.duration_since(now).as_hours() >= 19);

    fixture.grade(0.9, true);
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
    assert_eq!(fixture.pass().await.status, 202);
    let after = fixture.pending_event().await;
    assert_eq!(
        (after.reason, after.attempts),
        (BlockedReason::LmsUnavailable, 3)
    );
    assert_eq!(after.last_error.as_deref(), Some("403"));
    assert!(after.next_attempt_at.duration_since(now).as_secs() <= 72);
    assert_eq!(after.pending_since, before.pending_since);
    fixture.clock.advance(Duration::from_secs(72));
    assert_eq!(fixture.retry_due().await.done, 1);
    assert!(fixture.certificate().await.is_some());
}
