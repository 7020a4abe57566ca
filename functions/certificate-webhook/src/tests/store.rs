//! An unavailable store: an accepted event is pending, and one that cannot be stored is answered
//! 503.

use std::time::Duration;

use app::certifying::CERTIFYING_TIME;
use aws_sdk_dynamodb::types::AttributeValue::S;
use domain::{BlockedReason, EventKey, EventKind};
use harness::{ADA, FAST_RETRIES, Portal, RUN};
use local::Fault;
use local::lms::{FaultRule, LmsFault};
use serde_json::json;

use super::fixture::{Fixture, passed};

/// An event that cannot be stored as pending is not accepted, for any blocked reason; any other
/// failure of the store is answered 503, too.
#[tokio::test]
async fn an_event_that_cannot_be_stored_is_503() {
    for (failing, pending_for) in [
        ("UpdateItem", Some(BlockedReason::LmsUnavailable)),
        ("UpdateItem", Some(BlockedReason::NotPassed)),
        ("UpdateItem", Some(BlockedReason::NotEligible)),
        ("UpdateItem", Some(BlockedReason::NoSuchUser)),
        ("BatchGetItem", None),
        ("TransactWriteItems", None),
    ] {
        let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
        let is_paid = pending_for != Some(BlockedReason::NotEligible);
        fixture
            .enroll(if is_paid { "verified" } else { "audit" })
            .await;
        fixture.grade(0.9, pending_for != Some(BlockedReason::NotPassed));
        if pending_for == Some(BlockedReason::LmsUnavailable) {
            fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse));
        }
        let email = match pending_for {
            Some(BlockedReason::NoSuchUser) => "bob@example.org",
            _ => ADA,
        };
        proxy.set(move |call| {
            if call.operation == failing {
                Fault::InternalError
            } else {
                Fault::Pass
            }
        });
        let answer = fixture.deliver(&passed(email)).await;
        let case = format!("{failing}, {pending_for:?}: {answer:?}");
        assert_eq!(
            (answer.status, &answer.headers["retry-after"]),
            (503, &"5".parse().unwrap()),
            "{case}"
        );
        assert_eq!(answer.body["certificate_status"], json!(null), "{case}");
        assert!(answer.body["error"].is_string(), "{case}");
        let done = fixture.log.done();
        assert_eq!(
            (&done["reason"], &done["level"]),
            (&json!("store"), &json!("ERROR")),
            "{case}"
        );
        assert_eq!(fixture.pending().await, [], "{case}");
        // The sender's next attempt meets a store that works.
        proxy.set(|_| Fault::Pass);
        fixture.lms.revoke();
        let answer = fixture.deliver(&passed(email)).await;
        assert!([200, 404].contains(&answer.status), "{case}");
    }
}

/// A request that the store rejects is no outage: the answer is 500, the pass is pending, and its
/// certificate is issued once the cause is gone.
#[tokio::test]
async fn a_write_the_store_rejects_makes_the_event_pending() {
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    proxy.set(|call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Refuse("ValidationException"),
        _ => Fault::Pass,
    });
    let answer = fixture.pass().await;
    assert_eq!(answer.status, 500, "{answer:?}");
    let done = fixture.log.done();
    assert_eq!(
        (&done["outcome"], &done["error_code"]),
        (&json!("failed"), &json!("ValidationException"))
    );
    let pending = fixture.pending_event().await;
    assert_eq!(done["event_key"], pending.event_key.to_string());
    assert_eq!(pending.reason, BlockedReason::Failed);
    proxy.set(|_| Fault::Pass);
    fixture.clock.advance(Duration::from_secs(120));
    assert_eq!(fixture.retry_due().await.certified, 1);
    assert_eq!(fixture.pending().await, []);
}

/// An issued certificate is reported as such, also where the pending event cannot be removed, or
/// the removal hangs.
#[tokio::test]
async fn an_event_that_cannot_be_removed_is_no_failure() {
    for fault in [Fault::Refuse("AccessDeniedException"), Fault::Hang] {
        let portal = Portal::new().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let fixture = Fixture::wired(portal, client, CERTIFYING_TIME);
        fixture.enroll("verified").await;
        fixture.grade(0.9, true);
        fixture
            .lms
            .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
        assert_eq!(fixture.pass().await.status, 202, "{fault:?}");
        proxy.set(move |call| match call.operation.as_str() {
            "DeleteItem" => fault,
            _ => Fault::Pass,
        });
        let answer = if fault == Fault::Hang {
            // Once the removal hangs, its time limit passes as nothing else is left to do.
            let delete = async {
                proxy.stuck(1).await;
                tokio::time::pause();
                std::future::pending::<()>().await
            };
            let answer = tokio::select! {
                answer = fixture.pass() => answer,
                () = delete => unreachable!(),
            };
            tokio::time::resume();
            answer
        } else {
            fixture.pass().await
        };
        assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
        assert_eq!(answer.body["certificate_status"], "created", "{fault:?}");
        assert!(fixture.log.done()["error_code"].is_string(), "{fault:?}");
        assert_eq!(fixture.pending().await.len(), 1, "{fault:?}");
        // The next attempt finds the event done.
        proxy.set(|_| Fault::Pass);
        fixture.clock.advance(Duration::from_secs(90));
        assert_eq!(fixture.retry_due().await.done, 1, "{fault:?}");
        assert_eq!(fixture.pending().await, [], "{fault:?}");
        assert_eq!(
            fixture.certificate().await.unwrap().history.len(),
            1,
            "{fault:?}"
        );
    }
}

/// Time that the store has used up is not blamed on the LMS.
#[tokio::test]
async fn a_slow_store_does_not_count_as_lms_unavailable() {
    let portal = Portal::new().await;
    let client = portal.client();
    // The time that must be left once the LMS was asked, and less than the LMS is given at least.
    let fixture = Fixture::wired(portal, client, Duration::from_millis(8300));
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    let answer = fixture.pass().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(fixture.log.done()["error_code"], "Timeout");
    assert_eq!(fixture.lms.calls().len(), 0);
    assert_eq!(fixture.pending().await, []);
}

/// An enrollment's pending event of an unexpected shape does not concern this delivery; an
/// unreadable event of its own does.
#[tokio::test]
async fn only_the_deliverys_own_pending_event_must_be_readable() {
    for (kind, status) in [(EventKind::Certificate, 500), (EventKind::Enrollment, 201)] {
        let portal = Portal::new().await;
        let (email, run) = (ADA.parse().unwrap(), RUN.parse().unwrap());
        let key = EventKey::of(EventKind::Certificate, &email, &run);
        let put = portal.dynamodb.put_item().table_name("PendingEventsTable");
        let put = put.item("event_key", S(key.to_string()));
        put.item("reason", S("?".to_owned())).send().await.unwrap();
        match kind {
            EventKind::Certificate => {
                let answer = Fixture::on(portal).pass().await;
                assert_eq!(answer.status, status, "{kind:?}: {answer:?}");
            }
            // The enrollment webhook reads both, and continues.
            EventKind::Enrollment => {
                portal.announce(ADA, None, None).await;
                assert_eq!(portal.enrollment().await.history.len(), 1, "{kind:?}");
            }
        }
    }
}

/// Redeliveries of an event that is not due for long, or that is dead, are all answered as pending,
/// also where each first answer is lost.
#[tokio::test]
async fn redeliveries_at_once_are_all_pending() {
    for state in ["waiting", "dead"] {
        let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
        fixture.enroll("verified").await;
        fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse));
        assert_eq!(fixture.pass().await.status, 202, "{state}");
        let key = fixture.pending_event().await.event_key;
        fixture
            .dynamodb
            .update_item()
            .table_name("PendingEventsTable")
            .key("event_key", S(key.to_string()))
            .update_expression("SET #s = :s, #n = :n, due_order = :n")
            .expression_attribute_names("#s", "state")
            .expression_attribute_names("#n", "next_attempt_at")
            .expression_attribute_values(":s", S(state.to_owned()))
            .expression_attribute_values(":n", S("2026-11-25T00:00:00.000Z".to_owned()))
            .send()
            .await
            .unwrap();
        let pending = std::sync::Mutex::new(std::collections::HashSet::new());
        proxy.set(move |call| {
            let is_first = pending.lock().unwrap().insert(call.body.clone());
            match call.operation.as_str() {
                "UpdateItem" if is_first => Fault::LostAnswer,
                _ => Fault::Pass,
            }
        });
        // The SDK limits the retries of each process.
        let beside = || {
            let client = harness::client(&proxy.url, FAST_RETRIES);
            Fixture::wired(fixture.beside(), client, CERTIFYING_TIME)
        };
        let processes: Vec<_> = (0..10).map(|_| beside()).collect();
        let passes = processes.iter().cycle().take(20).map(Fixture::pass);
        let answers = futures::future::join_all(passes).await;
        for answer in answers {
            assert_eq!(answer.status, 202, "{state}: {answer:?}");
        }
        let event = fixture.pending_event().await;
        let wait = event.next_attempt_at.duration_since(event.delivered_at);
        assert!(wait.as_secs() <= 72, "{state}: {wait}");
    }
}
