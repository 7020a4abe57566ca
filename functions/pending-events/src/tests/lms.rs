//! The LMS is spared: few at once, none while it is unavailable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::RUN;
use local::Fault;
use local::lms::{At, FaultRule, GradeRow, LmsFault};
use shared::clock::Clock;
use shared::domain::BlockedReason;
use uuid::Uuid;

use super::fixture::Fixture;

/// A portal where so many learners' passes are pending since the LMS failed, and due.
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

/// After three failures in a row the LMS is asked no more in this run, and what
/// was not asked has lost no try; once it is well one run issues all.
#[tokio::test]
async fn after_three_failures_the_lms_paused() {
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
        assert_eq!(summary["lms_paused"], true);
        // Those that are on their way when the third fails still come there.
        let asked = fixture.lms.count(At::Grades) - asked;
        assert!((3..=4).contains(&asked), "{fault:?}: asked {asked} times");
        // Each question is a try, and each try a question.
        let attempts: u32 = fixture
            .pending()
            .await
            .iter()
            .map(|event| event.attempts)
            .sum();
        let asked = fixture.lms.count(At::Grades) - before;
        assert_eq!(attempts as usize, asked, "{fault:?}");
        fixture.clock.advance(Duration::from_secs(20));
    }
    fixture.lms.revoke();
    // Those that failed wait a little longer than the others.
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

/// An error for one learner is no reason to spare the LMS.
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

/// While the circuit breaker is open, enrollments are processed.
#[tokio::test]
async fn enrollments_need_no_lms() {
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

/// Throttled with a time: nothing is asked until then, by this run or the
/// next ones, and nobody loses a try by it.
#[tokio::test]
async fn retry_after_silences_all() {
    let fixture = with_passes(12).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    let throttle = LmsFault::Throttle {
        retry_after: Some(900),
    };
    fixture.lms.add_fault(FaultRule::of(throttle));
    fixture.run().await;
    let asked = fixture.lms.count(At::Grades);
    // One says it, and those on their way may hear it too.
    let attempts: u32 = fixture
        .pending()
        .await
        .iter()
        .map(|event| event.attempts)
        .sum();
    assert!((1..=2).contains(&attempts), "{attempts} attempts");
    fixture.lms.revoke();
    for _ in 0..14 {
        fixture.clock.advance(Duration::from_secs(60));
        let before = proxy.calls().len();
        fixture.run().await;
        assert_eq!(fixture.lms.count(At::Grades), asked);
        // Nothing is even claimed.
        assert_eq!(proxy.calls()[before..], ["Query"; 4]);
    }
    for event in fixture.pending().await {
        assert!(event.attempts <= 1, "{event:?}");
        assert_eq!(event.reason, BlockedReason::LmsUnavailable);
    }
    fixture.clock.advance(Duration::from_secs(240));
    assert_eq!(fixture.run().await["done"], 12);
}

/// Never more at once than may be, however many are due: a quarter of what may
/// be at all, since two runs may go on at once, and the sweeps beside them.
#[tokio::test]
async fn no_more_at_once_than_may_be() {
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

/// An event that is in hand when the LMS begins to rest, and was not asked
/// for, gets its try back and is due at once.
#[tokio::test]
async fn a_try_is_given_back() {
    let fixture = with_passes(8).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }));
    // The first read of the first event is held, until three others have failed.
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
        // Four claims, and three that were written back.
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
