//! The order of a batch, two concurrent batches, as the schedule allows, and a batch that ends in
//! time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::operator::retry_event;
use common::clock::Clock;
use domain::Lane;
use jiff::SignedDuration;
use local::Fault;
use local::lms::At;
use serde_json::Value;
use uuid::Uuid;

use super::fixture::Fixture;
use super::lms::with_passes;

/// Each event is retried by one of two batches.
#[tokio::test]
async fn two_batches_retry_each_event_once() {
    let fixture = with_passes(30).await;
    let other = Fixture::on(fixture.beside());
    let asked = fixture.lms.count(At::Grades);
    let (one, another) = tokio::join!(fixture.run(), other.run());
    let attempted = |summary: &Value| summary["attempted"].as_u64().unwrap();
    assert_eq!(attempted(&one) + attempted(&another), 30, "{one} {another}");
    assert_eq!(fixture.lms.count(At::Grades) - asked, 30);
    assert_eq!(fixture.pending().await, []);
    let certificates = fixture.dynamodb.scan().table_name("CertificatesTable");
    assert_eq!(certificates.send().await.unwrap().count, 30);
}

/// A batch that has hardly any time left claims nothing: a claimed event is always processed.
#[tokio::test]
async fn a_batch_ends_before_its_deadline() {
    let fixture = with_passes(3).await;
    let summary = fixture.run_lane(Lane::Lms, 40).await.unwrap();
    assert_eq!(summary["attempted"], 0);
    assert!(
        fixture
            .pending()
            .await
            .iter()
            .all(|event| event.attempts == 0)
    );
    assert_eq!(fixture.run_lane(Lane::Lms, 60).await.unwrap()["done"], 3);

    // A deadline in the past is ignored: `cargo lambda watch` gives such a one.
    let fixture = with_passes(3).await;
    assert_eq!(fixture.run_lane(Lane::Lms, -60).await.unwrap()["done"], 3);
}

/// A batch with nothing due costs a query of each key of its lane in the index; in the first batch
/// and every ten minutes our own lane makes one of each key of both lanes and states to count them.
#[tokio::test]
async fn nothing_due_costs_a_query_of_each_key() {
    let fixture = with_passes(0).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    for (lane, counting) in [(Lane::Own, 4 * 16), (Lane::Lms, 0)] {
        let mut before = proxy.calls().len();
        for batch in 0..=10 {
            fixture.run_lane(lane, 120).await.unwrap();
            let counts = batch == 0 || batch == 10;
            let queries = 16 + if counts { counting } else { 0 };
            assert_eq!(
                proxy.calls()[before..],
                vec!["Query"; queries],
                "{lane:?}, {batch}"
            );
            before += queries;
            fixture.clock.advance(Duration::from_secs(60));
        }
    }
    assert_eq!(fixture.lms.calls().len(), 0);
}

/// What an operator made due comes before all that is due by its backoff, also before what a first
/// page of the index has of other keys.
#[tokio::test]
async fn what_was_made_due_comes_first() {
    let fixture = with_passes(60).await;
    let pending_events = fixture.use_cases().pending_events().unwrap();
    let now = fixture.clock.now();
    let mut made_due = BTreeSet::new();
    for event in fixture.pending().await.into_iter().step_by(20) {
        made_due.insert(event.event_key.to_string());
        retry_event(&pending_events, event, now).await.unwrap();
    }
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    let claimed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&claimed);
    proxy.set(move |call| {
        let body: Value = serde_json::from_slice(call.body.as_ref()).unwrap_or_default();
        let update = body["UpdateExpression"].as_str().unwrap_or_default();
        if let (true, Some(key)) = (
            update.contains("#claim_id"),
            body["Key"]["event_key"]["S"].as_str(),
        ) {
            seen.lock().unwrap().push(key.to_owned());
        }
        Fault::Pass
    });
    assert_eq!(fixture.run_lane(Lane::Lms, 120).await.unwrap()["done"], 60);
    let claimed = claimed.lock().unwrap();
    // Two are retried at once, so the last of them may begin after its neighbour.
    let first = claimed.iter().take(made_due.len() + 1).cloned();
    assert!(
        BTreeSet::from_iter(first).is_superset(&made_due),
        "{made_due:?}, {claimed:?}"
    );
}

/// An event that a delivery applies while it is retried needs nothing more: its enrollment is not even
/// read, which the function's role would not allow.
#[tokio::test]
async fn an_event_that_a_delivery_applies_meanwhile_is_done() {
    let fixture = Fixture::new().await;
    let later = "later@example.org";
    fixture.announce(later, Some("staff"), None).await;
    let user_id = Uuid::new_v4().to_string();
    fixture.put_user(later, &user_id, None).await;
    fixture.clock.advance(Duration::from_secs(90));
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    proxy.set(|call| match call.operation.as_str() {
        "BatchGetItem" => Fault::Hold,
        _ => Fault::Pass,
    });
    let delivery = async {
        proxy.stuck(1).await;
        fixture.announce(later, None, Some("audit")).await;
        proxy.set(|call| {
            let is_enrollment = call
                .body
                .windows(16)
                .any(|part| part == b"EnrollmentsTable");
            match is_enrollment {
                true => Fault::Refuse("AccessDeniedException"),
                false => Fault::Pass,
            }
        });
    };
    let (summary, ()) = tokio::join!(fixture.run_lane(Lane::Own, 120), delivery);
    assert_eq!(summary.unwrap()["done"], 1);
    assert_eq!(fixture.log.last("event retried")["outcome"], "unchanged");
    assert_eq!(fixture.pending().await, []);
}

/// A batch of passes whose process died holds the lease of the lane for 45 seconds; the next one
/// waits for it.
#[tokio::test]
async fn a_lease_of_a_batch_that_died_ends() {
    let fixture = with_passes(1).await;
    let pending_events = fixture.use_cases().pending_events().unwrap();
    let now = fixture.clock.now();
    let until = now + SignedDuration::from_secs(45);
    let died = Uuid::new_v4();
    assert!(
        pending_events
            .acquire(Lane::Lms, died, (now, until))
            .await
            .unwrap()
    );
    let other = Uuid::new_v4();
    assert!(
        !pending_events
            .acquire(Lane::Lms, other, (now, until))
            .await
            .unwrap()
    );
    // The item of the lease is no event.
    assert_eq!(fixture.pending().await.len(), 1);
    assert_eq!(fixture.run_lane(Lane::Lms, 120).await.unwrap()["done"], 1);
    assert!(fixture.clock.now() >= until);
    // It released the lease, and the first holder takes nothing from another one.
    pending_events.release(Lane::Lms, died).await.unwrap();
    let now = fixture.clock.now();
    let until = now + SignedDuration::from_secs(45);
    assert!(
        pending_events
            .acquire(Lane::Lms, other, (now, until))
            .await
            .unwrap()
    );
    pending_events.release(Lane::Lms, died).await.unwrap();
    assert!(
        !pending_events
            .acquire(Lane::Lms, died, (now, until))
            .await
            .unwrap()
    );
}
