//! A store unavailable: what is accepted is pending, and what cannot be is 503.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::{ADA, FAST_RETRIES, Portal, RUN};
use local::Fault;
use local::lms::{FaultRule, LmsFault};
use serde_json::json;
use shared::domain::{BlockedReason, EventKey, EventKind};

use super::fixture::{Fixture, passed};

/// An event that could not even be pending is not accepted, whatever it is pending
/// for; nor is anything else that the store fails at.
#[tokio::test]
async fn what_cannot_be_pending_is_503() {
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
        // The sender's next try meets a store that is well.
        proxy.set(|_| Fault::Pass);
        fixture.lms.revoke();
        let answer = fixture.deliver(&passed(email)).await;
        assert!([200, 404].contains(&answer.status), "{case}");
    }
}

/// What the store refuses is no outage: 500, and the pass is pending, and issues
/// its certificate once the cause is gone.
#[tokio::test]
async fn what_the_store_refuses_is_pending_as_failed() {
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

/// A certificate that stands is told as that, also where the event that had
/// waited for it cannot be removed, or the removal hangs.
#[tokio::test]
async fn an_event_that_stays_is_no_failure() {
    for fault in [Fault::Refuse("AccessDeniedException"), Fault::Hang] {
        let portal = Portal::new().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        // Half a second for the LMS and what must be left after it, and one more.
        let fixture = Fixture::wired(portal, client, Duration::from_millis(9500));
        fixture.enroll("verified").await;
        fixture.grade(0.9, true);
        fixture
            .lms
            .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
        assert_eq!(fixture.pass().await.status, 202);
        proxy.set(move |call| match call.operation.as_str() {
            "DeleteItem" => fault,
            _ => Fault::Pass,
        });
        let answer = if fault == Fault::Hang {
            // By the time of this machine it would take as long as it may.
            let delete = async {
                proxy.stuck(1).await;
                proxy.set(|_| Fault::Pass);
                std::future::pending::<()>().await
            };
            tokio::select! {
                answer = fixture.pass() => answer,
                () = delete => unreachable!(),
            }
        } else {
            fixture.pass().await
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["certificate_status"], "created");
        assert!(fixture.log.done()["error_code"].is_string());
        assert_eq!(fixture.pending().await.len(), 1);
        // It finds itself done at its next attempt.
        proxy.set(|_| Fault::Pass);
        fixture.clock.advance(Duration::from_secs(90));
        assert_eq!(fixture.retry_due().await.done, 1);
        assert_eq!(fixture.pending().await, []);
        assert_eq!(fixture.certificate().await.unwrap().history.len(), 1);
    }
}

/// Time that the store has used up is not laid to the LMS.
#[tokio::test]
async fn a_slow_store_does_not_count_as_lms_unavailable() {
    let portal = Portal::new().await;
    let client = portal.client();
    // What must be left once the LMS was asked, and hardly more.
    let fixture = Fixture::wired(portal, client, Duration::from_millis(8300));
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    let answer = fixture.pass().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(fixture.log.done()["error_code"], "Timeout");
    assert_eq!(fixture.lms.calls().len(), 0);
    assert_eq!(fixture.pending().await, []);
}

/// An enrollment's pending event that is not of the expected shape is not this
/// delivery's affair; its own is.
#[tokio::test]
async fn only_the_own_pending_event_must_be_readable() {
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
                assert_eq!(answer.status, status, "{answer:?}");
            }
            // The enrollment attempts for both, and goes on.
            EventKind::Enrollment => {
                portal.announce(ADA, None, None).await;
                assert_eq!(portal.enrollment().await.history.len(), 1);
            }
        }
    }
}

/// Redeliveries meet an event that is not due for long, or that has ended,
/// while each first answer is lost: they are pending all the same.
#[tokio::test]
async fn redeliveries_at_once_are_all_pending() {
    for state in ["waiting", "dead"] {
        let (fixture, proxy) =
            Fixture::behind_proxy(shared::adapters::store::CallLimits::PRODUCTION).await;
        fixture.enroll("verified").await;
        fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse));
        assert_eq!(fixture.pass().await.status, 202);
        let key = fixture.pending_event().await.event_key;
        fixture
            .dynamodb
            .update_item()
            .table_name("PendingEventsTable")
            .key("event_key", S(key.to_string()))
            .update_expression("SET #s = :s, #n = :n")
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
        let answers = futures::future::join_all((0..20).map(|_| fixture.pass())).await;
        for answer in answers {
            assert_eq!(answer.status, 202, "{state}: {answer:?}");
        }
        let event = fixture.pending_event().await;
        let wait = event.next_attempt_at.duration_since(event.delivered_at);
        assert!(wait.as_secs() <= 72, "{state}: {wait}");
    }
}
