//! The load on the LMS: few requests at once, and none while it is unavailable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::clock::Clock;
use domain::{BlockedReason, Lane};
use harness::RUN;
use local::Fault;
use local::lms::{At, FaultRule, GradeRow, LmsFault};
use uuid::Uuid;

use super::fixture::Fixture;

/// Returns a portal where the passes of this many learners are pending since the LMS failed, and
/// due.
pub async fn with_passes(learners: usize) -> Fixture {
    let fixture = Fixture::new().await;
    for learner in 0..learners {
        let username = format!("learner{learner:02}");
        let email = format!("{username}@example.org");
        let id = Uuid::new_v4().to_string();
        fixture.put_user(&email, &id, Some(&username)).await;
        fixture.enroll_user(&email, "verified").await;
        let row = GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: None,
        };
        fixture.lms.grade(&username, RUN, row);
        fixture
            .lms
            .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
        fixture.add_pending_pass_of(&email).await;
    }
    fixture.clock.advance(Duration::from_secs(90));
    fixture
}

/// After three failures in a row the LMS is not asked again in this batch, and events that did not
/// reach it have lost no attempt; once it works, one batch issues all certificates.
#[tokio::test]
async fn three_failures_pause_the_lms() {
    let fixture = with_passes(20).await;
    let before = fixture.lms.count(At::Grades);
    for fault in [
        LmsFault::Fail { status: 503 },
        LmsFault::Refuse,
        LmsFault::Throttle { retry_after: None },
    ] {
        fixture.lms.revoke();
        fixture.lms.add_fault(FaultRule::of(fault.clone()));
        let asked = fixture.lms.count(At::Grades);
        let summary = fixture.run().await;
        assert_eq!(summary["lms_paused"], true, "{fault:?}");
        // Requests that are on their way when the third one fails are still sent.
        let asked = fixture.lms.count(At::Grades) - asked;
        assert!((3..=4).contains(&asked), "{fault:?}: asked {asked} times");
        // Each request is an attempt, and each attempt a request.
        let attempts = fixture.attempts().await;
        let asked = fixture.lms.count(At::Grades) - before;
        assert_eq!(attempts as usize, asked, "{fault:?}");
        fixture.clock.advance(Duration::from_secs(20));
    }
    fixture.lms.revoke();
    // Events that failed wait a little longer than the others.
    fixture.clock.advance(Duration::from_hours(1));
    let asked = fixture.lms.count(At::Grades);
    let summary = fixture.run().await;
    assert_eq!(
        (&summary["attempted"], &summary["done"]),
        (&20.into(), &20.into())
    );
    assert_eq!(summary["lms_paused"], false);
    assert_eq!(fixture.lms.count(At::Grades) - asked, 20);
    assert_eq!(fixture.pending().await, []);
}

/// An error for one learner does not open the circuit breaker.
#[tokio::test]
async fn an_error_for_one_learner_does_not_open_the_circuit_breaker() {
    let fixture = with_passes(10).await;
    for learner in 0..5 {
        fixture.lms.remove(&format!("learner{learner:02}"), RUN);
    }
    let summary = fixture.run().await;
    assert_eq!(
        (&summary["attempted"], &summary["done"]),
        (&10.into(), &5.into())
    );
    assert_eq!(summary["lms_paused"], false);
    let pending = fixture.pending().await;
    assert_eq!(pending.len(), 5);
    for event in pending {
        assert_eq!(event.last_error.as_deref(), Some("404 user_does_not_exist"));
    }
}

/// Enrollments are processed while the circuit breaker is open.
#[tokio::test]
async fn enrollments_are_processed_without_the_lms() {
    let fixture = with_passes(8).await;
    fixture
        .announce("later@example.org", Some("instructor"), None)
        .await;
    let id = Uuid::new_v4().to_string();
    fixture.put_user("later@example.org", &id, None).await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 500 }));
    fixture.clock.advance(Duration::from_secs(90));
    let summary = fixture.run().await;
    assert_eq!(
        (&summary["lms_paused"], &summary["done"]),
        (&true.into(), &1.into())
    );
    assert_eq!(fixture.enrollments(&id).await.len(), 1);
}

/// After a throttle with a time the LMS is not asked until then, by this batch or the next ones,
/// and no event loses an attempt.
#[tokio::test]
async fn retry_after_pauses_all_requests() {
    let fixture = with_passes(12).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    let throttle = LmsFault::Throttle {
        retry_after: Some(900),
    };
    fixture.lms.add_fault(FaultRule::of(throttle));
    fixture.run().await;
    let asked = fixture.lms.count(At::Grades);
    // One request gets this answer, and those on their way may get it too.
    let attempts = fixture.attempts().await;
    assert!((1..=2).contains(&attempts), "{attempts} attempts");
    fixture.lms.revoke();
    for _ in 0..14 {
        fixture.clock.advance(Duration::from_secs(60));
        let before = proxy.calls().len();
        fixture.run_lane(Lane::Lms, 120).await.unwrap();
        assert_eq!(fixture.lms.count(At::Grades), asked);
        // No event is even claimed.
        assert_eq!(proxy.calls()[before..], ["Query"; 16]);
        // Those that are due are known to wait.
        let due_for = &fixture.log.last("retry batch finished")["due_for_ms"];
        assert!(due_for.as_u64() > Some(0), "{due_for}");
    }
    for event in fixture.pending().await {
        assert!(event.attempts <= 1, "{event:?}");
        assert_eq!(event.reason, BlockedReason::LmsUnavailable);
    }
    fixture.clock.advance(Duration::from_secs(240));
    assert_eq!(fixture.run().await["done"], 12);
}

/// The number of concurrent requests stays at its limit, however many events are due: half of the
/// total limit, beside the sweeps.
#[tokio::test]
async fn concurrent_requests_stay_within_the_limit() {
    let fixture = with_passes(12).await;
    let answers_slowly = LmsFault::Slow { delay_ms: 30 };
    fixture.lms.add_fault(FaultRule::of(answers_slowly));
    assert_eq!(fixture.run().await["done"], 12);
    assert!(
        fixture.lms.most_at_once() <= 2,
        "{}",
        fixture.lms.most_at_once()
    );
}

/// A claimed event whose request is withheld since the LMS was paused meanwhile gets its attempt
/// back, and is due at once.
#[tokio::test]
async fn a_released_attempt_is_not_counted() {
    let fixture = with_passes(8).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }));
    // The first read of the first event is held until three others have failed.
    let is_first = AtomicBool::new(true);
    proxy.set(move |call| {
        let is_read = call.operation == "BatchGetItem";
        if is_read && is_first.swap(false, Ordering::Relaxed) {
            Fault::Hold
        } else {
            Fault::Pass
        }
    });
    let others_fail = async {
        // Four claims, and three events that were written back.
        let is_update = |call: &&String| *call == "UpdateItem";
        while proxy.calls().iter().filter(is_update).count() < 7 {
            tokio::task::yield_now().await;
        }
        proxy.set(|_| Fault::Pass);
    };
    let (summary, ()) = tokio::join!(fixture.run(), others_fail);
    assert_eq!(
        (&summary["attempted"], &summary["lms_paused"]),
        (&4.into(), &true.into())
    );
    let lines = fixture.log.lines();
    let release: Vec<_> = lines
        .iter()
        .filter(|l| l["outcome"] == "released")
        .collect();
    let [line] = &release[..] else {
        panic!("{lines:?}");
    };
    let events = fixture.pending().await;
    let event = events
        .iter()
        .find(|event| line["event_key"] == event.event_key.as_str());
    let event = event.unwrap();
    assert_eq!(
        (event.attempts, event.last_error.as_deref()),
        (0, Some("403"))
    );
    assert_eq!(event.next_attempt_at, fixture.clock.now());
    let attempts: u32 = events.iter().map(|event| event.attempts).sum();
    assert_eq!(attempts, 3);
}
