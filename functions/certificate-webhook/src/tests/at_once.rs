//! Many equal deliveries at once: one certificate, one history entry.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use futures::future::join_all;
use local::Fault;
use store::CallLimits;

use super::fixture::Fixture;

/// Delivers the pass fifty times at once; returns how often each status was answered.
async fn storm(fixture: &Fixture, case: &str) -> BTreeMap<String, usize> {
    let answers = join_all((0..50).map(|_| fixture.pass())).await;
    let mut counts = BTreeMap::new();
    for answer in answers {
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        let status = answer.body["certificate_status"].as_str().unwrap();
        *counts.entry(status.to_owned()).or_default() += 1;
    }
    counts
}

async fn storms(fixture: &Fixture, case: &str) {
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    let first = BTreeMap::from([("created".to_owned(), 1), ("exists".to_owned(), 49)]);
    assert_eq!(storm(fixture, case).await, first, "{case}");
    let certificate = fixture.certificate().await.unwrap();
    assert_eq!(certificate.history.len(), 1, "{case}");
    assert_eq!(
        fixture.stored_grade().await.unwrap().history.len(),
        1,
        "{case}"
    );

    let withdrawn = aws_sdk_dynamodb::types::AttributeValue::S("withdrawn".to_owned());
    fixture.set("CertificatesTable", "state", withdrawn).await;
    assert_eq!(storm(fixture, case).await, first, "{case}, restored");
    let restored = fixture.certificate().await.unwrap();
    assert_eq!(
        restored.certificate_id, certificate.certificate_id,
        "{case}"
    );
    assert_eq!(restored.history.len(), 2, "{case}");
    assert_eq!(
        fixture.stored_grade().await.unwrap().history.len(),
        1,
        "{case}"
    );
    assert_eq!(fixture.pending().await, [], "{case}");
}

#[tokio::test]
async fn fifty_deliveries_at_once_issue_one_certificate() {
    storms(&Fixture::new().await, "no fault").await;
}

/// The same holds where every third transaction conflicts with another, is throttled, fails, or
/// takes effect while its answer is lost.
#[tokio::test]
async fn fifty_deliveries_at_once_through_failures_issue_one_certificate() {
    const FAULTS: [Fault; 5] = [
        Fault::LostAnswer,
        Fault::Cancel("TransactionConflict"),
        Fault::Cancel("ThrottlingError"),
        Fault::InternalError,
        Fault::Throttle,
    ];
    let each = FAULTS.iter().map(|fault| vec![*fault]);
    for faults in each.chain([FAULTS.to_vec()]) {
        let case = format!("{faults:?}");
        let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
        let seen = Mutex::new((HashSet::new(), 0));
        proxy.set(move |call| {
            let (bodies, met) = &mut *seen.lock().unwrap();
            // The same transaction passes when it is sent again.
            if call.operation != "TransactWriteItems" || !bodies.insert(call.body.clone()) {
                return Fault::Pass;
            }
            *met += 1;
            match *met % 3 {
                1 => faults[*met / 3 % faults.len()],
                _ => Fault::Pass,
            }
        });
        storms(&fixture, &case).await;
        let calls = proxy.calls();
        let writes = calls.iter().filter(|call| *call == "TransactWriteItems");
        assert!(writes.count() > 2, "{case}: no fault was injected");
    }
}

/// Fifty blocked deliveries are one pending event, also where each answer to the first write is
/// lost.
#[tokio::test]
async fn fifty_blocked_deliveries_at_once_are_one_pending_event() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    fixture.grade(0.9, true);
    let pending = Mutex::new(HashSet::new());
    proxy.set(move |call| {
        let is_first = pending.lock().unwrap().insert(call.body.clone());
        match call.operation.as_str() {
            "UpdateItem" if is_first => Fault::LostAnswer,
            _ => Fault::Pass,
        }
    });
    let all = storm(&fixture, "lost answers").await;
    assert_eq!(all, BTreeMap::from([("not_eligible".to_owned(), 50)]));
    assert_eq!(fixture.pending().await.len(), 1);
    assert_eq!(fixture.stored_grade().await.unwrap().history.len(), 1);
}

/// A transaction whose answer is lost at every attempt may have taken effect: the state is read
/// again, and the answer reports what it is.
#[tokio::test]
async fn a_transaction_whose_answer_is_always_lost_is_read_again() {
    for (fault, status, expected) in [
        (Fault::LostAnswer, 200, "created"),
        (Fault::InternalError, 503, ""),
    ] {
        let (fixture, proxy) = Fixture::behind_proxy(harness::FAST_RETRIES).await;
        fixture.enroll("verified").await;
        fixture.grade(0.9, true);
        proxy.set(move |call| match call.operation.as_str() {
            "TransactWriteItems" => fault,
            _ => Fault::Pass,
        });
        let answer = fixture.pass().await;
        assert_eq!(answer.status, status, "{fault:?}: {answer:?}");
        let message = answer.body["certificate_status"].as_str();
        assert_eq!(message.unwrap_or_default(), expected, "{fault:?}");
        proxy.set(|_| Fault::Pass);
        let answer = fixture.pass().await;
        assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
        assert_eq!(
            fixture.certificate().await.unwrap().history.len(),
            1,
            "{fault:?}"
        );
        assert_eq!(
            fixture.stored_grade().await.unwrap().history.len(),
            1,
            "{fault:?}"
        );
    }
}
