//! Two concurrent batches, as the schedule allows, and a batch that ends in time.

use std::time::Duration;

use local::lms::At;

use super::fixture::Fixture;
use super::lms::with_passes;

/// Each event is retried by one of the two batches.
#[tokio::test]
async fn two_batches_share_the_work() {
    let fixture = with_passes(30).await;
    let other = Fixture::on(fixture.beside());
    let asked = fixture.lms.count(At::Grades);
    let (one, another) = tokio::join!(fixture.run(), other.run());
    let attempted = |summary: &serde_json::Value| summary["attempted"].as_u64().unwrap();
    assert_eq!(attempted(&one) + attempted(&another), 30, "{one} {another}");
    assert!(
        attempted(&one) > 0 && attempted(&another) > 0,
        "{one} {another}"
    );
    assert_eq!(fixture.lms.count(At::Grades) - asked, 30);
    assert_eq!(fixture.pending().await, []);
    let certificates = fixture.dynamodb.scan().table_name("CertificatesTable");
    assert_eq!(certificates.send().await.unwrap().count, 30);
}

/// A batch that has hardly any time left claims nothing: a claimed event is always processed.
#[tokio::test]
async fn a_batch_ends_before_its_deadline() {
    let fixture = with_passes(3).await;
    let summary = fixture.run_for(40).await.unwrap();
    assert_eq!(summary["attempted"], 0);
    assert!(
        fixture
            .pending()
            .await
            .iter()
            .all(|event| event.attempts == 0)
    );
    assert_eq!(fixture.run_for(60).await.unwrap()["done"], 3);

    // A deadline in the past is ignored: `cargo lambda watch` gives such a one.
    let fixture = with_passes(3).await;
    assert_eq!(fixture.run_for(-60).await.unwrap()["done"], 3);
}

/// A batch with nothing due costs a query of each key of the index: of each lane to find events, and
/// in the first batch and every ten minutes of each lane and state to count them.
#[tokio::test]
async fn nothing_due_costs_a_query_of_each_key() {
    let fixture = with_passes(0).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    fixture.run().await;
    assert_eq!(proxy.calls(), ["Query"; 16 * (2 + 4)]);
    fixture.clock.advance(Duration::from_secs(60));
    let before = proxy.calls().len();
    for _ in 0..9 {
        fixture.run().await;
        fixture.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(proxy.calls()[before..], ["Query"; 9 * 16 * 2]);
    assert_eq!(fixture.lms.calls().len(), 0);
}
