//! An enrollment that changed after the page was requested is left as it is, whatever changed it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use harness::sweep::{email, id};
use harness::{FAST_RETRIES, RUN};
use local::Fault;
use serde_json::json;

use super::fixture::{Fixture, wired};

/// Returns a run with one learner for each difference from the LMS's list, in the order of the
/// sweep's effects: missing, to be deactivated, with another mode, inactive.
async fn differing() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.put_learner(0).await;
    for learner in 1..4 {
        fixture.enrolled(learner, "audit").await;
    }
    fixture.lists(3, "audit", false);
    fixture.clock.advance(Duration::from_secs(60));
    fixture.sweep().await;
    fixture.lists(0, "verified", true);
    fixture.lists(1, "audit", false);
    fixture.lists(2, "verified", true);
    fixture.lists(3, "audit", true);
    fixture.clock.advance(Duration::from_secs(60));
    fixture
}

/// The effects on the learners if nothing changes meanwhile.
const ALL: [&str; 4] = ["created", "deactivated", "mode_changed", "reactivated"];

/// A change in the same millisecond in which the page is requested may be newer than the page; one
/// of the millisecond before is not.
#[tokio::test]
async fn a_change_before_the_page_is_requested_is_overwritten() {
    let before = differing().await;
    for (milliseconds, left) in [(0, true), (1, false)] {
        let fixture = Fixture::on(before.copy().await);
        for learner in 0..4 {
            // A role changes nothing that the sweep depends on, except for the learner whom it
            // enrolls or makes active.
            fixture
                .announce(&email(learner), Some("staff"), Some("audit"))
                .await;
        }
        fixture.clock.advance(Duration::from_millis(milliseconds));
        let answer = fixture.sweep().await;
        let expected = if left {
            json!({"listed": 4, "left:changed_meanwhile": 3, "unchanged": 1})
        } else {
            json!({"listed": 4, "mode_changed": 2, "deactivated": 1, "unchanged": 1})
        };
        assert_eq!(answer["tally"], expected, "{milliseconds}");
    }
}

/// Another writer changes an enrollment between the sweep's request and its write: that change
/// stays, and all others are corrected.
#[tokio::test]
async fn a_change_between_request_and_write_stays() {
    let before = differing().await;
    // The first read is that of the usernames.
    for held in ["BatchGetItem", "UpdateItem"] {
        for changed in 0..4 {
            let case = format!("{changed} at {held}");
            let portal = before.copy().await;
            let (proxy, client) = portal.proxy(FAST_RETRIES).await;
            let fixture = wired(portal, client);
            let run_is_read = AtomicBool::new(held == "UpdateItem");
            proxy.set(move |call| {
                if call.operation == held && run_is_read.swap(true, SeqCst) {
                    Fault::Hold
                } else {
                    Fault::Pass
                }
            });
            let others = async {
                proxy.stuck(1).await;
                fixture.clock.advance(Duration::from_millis(1));
                fixture.announce(&email(changed), Some("staff"), None).await;
                proxy.set(|_| Fault::Pass);
            };
            let (answer, ()) = tokio::join!(fixture.sweep(), others);
            let mut expected = json!({"listed": 4});
            for (learner, effect) in (0..).zip(ALL) {
                let effect = match (learner == changed, effect, held) {
                    (false, ..) => effect,
                    // The sweep reads it as the LMS lists it.
                    (true, "reactivated", "BatchGetItem") => "unchanged",
                    (true, ..) => "left:changed_meanwhile",
                };
                expected[effect] = 1.into();
            }
            assert_eq!(answer["tally"], expected, "{case}");
            let enrollment = Fixture { function: fixture }.enrollment_of(changed).await;
            let enrollment = enrollment.unwrap();
            assert_eq!(enrollment.mode.as_str(), "audit", "{case}");
            assert!(enrollment.active && !enrollment.roles.is_empty(), "{case}");
        }
    }
}

/// A held-back learner who changes before their turn is left as they are: changed by a delivery, by
/// an operator, or removed.
#[tokio::test]
async fn a_change_to_a_held_back_learner_stays() {
    let fixture = Fixture::new().await;
    for learner in 0..4 {
        fixture.enrolled(learner, "audit").await;
        fixture.lists(learner, "audit", false);
    }
    fixture.clock.advance(Duration::from_secs(60));
    // The first two calls end when their time is over, and have read the whole list.
    fixture.lms.pages_of(2);
    let call = json!({"sweep": {"run": RUN}});
    for _ in 0..2 {
        let answer = fixture.call_for(call.clone(), 1).await.unwrap();
        assert_eq!(answer["status"], "suspended");
        assert_eq!(answer["tally"]["deactivated"], json!(null));
    }
    fixture.clock.advance(Duration::from_secs(1));
    fixture.announce(&email(0), Some("staff"), None).await;
    fixture.set_enrollment(&email(1), RUN, "audit", false).await;
    let enrollments = fixture.use_cases().enrollments().unwrap();
    enrollments.erase(id(2)).await.unwrap();
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({"listed": 4, "deactivated": 1, "left:changed_meanwhile": 1, "unchanged": 2})
    );
    assert!(fixture.enrollment_of(0).await.unwrap().active);
    assert!(fixture.enrollment_of(2).await.is_none());
    let history = fixture.enrollment_of(1).await.unwrap().history;
    assert_eq!(history.len(), 2);
}
