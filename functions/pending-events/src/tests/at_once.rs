//! Two concurrent batches, as the schedule allows, and a batch that ends in time.

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

/// A batch with nothing due costs one query, and three for the counts.
#[tokio::test]
async fn nothing_due_costs_four_queries() {
    let fixture = with_passes(0).await;
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    fixture.run().await;
    assert_eq!(proxy.calls(), ["Query"; 4]);
    assert_eq!(fixture.lms.calls().len(), 0);
}

/// The event that has been due longest comes first.
#[tokio::test]
async fn the_longest_due_comes_first() {
    let fixture = with_passes(6).await;
    let mut due: Vec<_> = fixture.pending().await;
    due.sort_by_key(|event| event.next_attempt_at);
    let expected: Vec<_> = due
        .iter()
        .map(|event| event.event_key.to_string())
        .collect();
    let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    fixture.run().await;
    assert!(proxy.calls().len() > 6);
    // Events are claimed in this order, whatever the order in which they end.
    let mut claimed = fixture.log.lines();
    claimed.retain(|line| line["message"] == "event retried");
    let mut text: Vec<_> = claimed
        .iter()
        .map(|l| l["event_key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text.len(), 6);
    // Two concurrent attempts may end in either order, and not more than two run.
    for (place, key) in expected.iter().enumerate() {
        let found = text.iter().position(|text| text == key).unwrap();
        assert!(found.abs_diff(place) <= 1, "{expected:?} {text:?}");
    }
    text.sort();
    let mut all = expected;
    all.sort();
    assert_eq!(text, all);
}
