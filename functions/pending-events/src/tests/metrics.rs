//! The metrics of a batch, and the numbers of events at its end.

use std::time::Duration;

use domain::Lane;
use harness::{ADA, FAST_RETRIES};
use local::Fault;
use local::lms::{FaultRule, LmsFault};
use serde_json::Value;
use web::Metric;

use super::fixture::Fixture;
use super::lms::with_passes;

/// Returns the values of these metrics in the documents of the last two batches, one of each lane.
fn counted<const N: usize>(fixture: &Fixture, metrics: [Metric; N]) -> [u64; N] {
    let documents = fixture.log.metrics();
    let last = &documents[documents.len() - 2..];
    metrics.map(|metric| {
        let values = last
            .iter()
            .filter_map(|document| document[metric.name()].as_u64());
        values.sum()
    })
}

/// Three attempts: a pass that is certified, one that stays pending, and an enrollment, which
/// issues no certificate.
#[tokio::test]
async fn attempts_and_certificates_are_counted() {
    const ATTEMPTS: [Metric; 6] = [
        Metric::EventsRetried,
        Metric::EventsDone,
        Metric::RetriesFailed,
        Metric::CertificatesIssued,
        Metric::LmsRequests,
        Metric::LmsFailures,
    ];
    let fixture = with_passes(2).await;
    fixture.announce("bob@example.org", None, None).await;
    fixture.clock.advance(Duration::from_secs(90));
    let id = "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
    fixture.put_user("bob@example.org", id, None).await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 502 }).times(1));
    // A token and two grades.
    fixture.run().await;
    let found = counted(&fixture, ATTEMPTS);
    assert_eq!(found, [3, 2, 0, 1, 3, 1]);
    let [times] = fixture.log.metric(Metric::LmsTime).try_into().unwrap();
    assert_eq!(times.as_array().map(Vec::len), Some(3));
    // Nothing is due, and there are samples nevertheless.
    fixture.run().await;
    let found = counted(&fixture, ATTEMPTS);
    assert_eq!(found, [0, 0, 0, 0, 0, 0]);
    // A batch that fails has no samples: the alarm is raised by their absence.
    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    proxy.set(|_| Fault::Refuse("AccessDeniedException"));
    fixture.run_lane(Lane::Lms, 120).await.unwrap_err();
    assert_eq!(fixture.log.metrics(), Vec::<Value>::new());
}

/// The store fails for a claimed event.
#[tokio::test]
async fn a_failed_attempt_is_counted() {
    let fixture = with_passes(1).await;
    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let fixture = Fixture::wired(fixture.beside(), client);
    proxy.set(|call| match call.operation.as_str() {
        "BatchGetItem" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    fixture.run().await;
    let failed = counted(&fixture, [Metric::RetriesFailed, Metric::EventsDone]);
    assert_eq!(failed, [1, 0]);
}

/// Ended events are counted by state: the LMS is unavailable for a week, and a user is not imported
/// for a month.
#[tokio::test]
async fn dead_and_expired_events_are_counted() {
    const STATES: [Metric; 3] = [
        Metric::WaitingEvents,
        Metric::DeadEvents,
        Metric::ExpiredEvents,
    ];
    let fixture = Fixture::new().await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 500 }));
    fixture.add_pending_pass_of(ADA).await;
    fixture.announce("bob@example.org", None, None).await;
    let mut seen = Vec::new();
    for _ in 0..32 {
        fixture.run_and_count().await;
        let found = counted(&fixture, STATES);
        if seen.last() != Some(&found) {
            seen.push(found);
        }
        fixture.clock.advance(Duration::from_hours(24));
    }
    let expected = [[2, 0, 0], [1, 1, 0], [0, 1, 1]];
    assert_eq!(seen, expected);
}

/// For how long the first event of each lane had been due when the batch began.
#[tokio::test]
async fn the_first_due_event_of_each_lane_is_timed() {
    const DUE_FOR: [Metric; 2] = [Metric::OwnEventsDueFor, Metric::LmsEventsDueFor];
    let fixture = Fixture::new().await;
    fixture.run().await;
    assert_eq!(counted(&fixture, DUE_FOR), [0, 0]);
    fixture.announce("bob@example.org", None, None).await;
    let due = fixture.pending_event().await.next_attempt_at;
    fixture.clock.set(due);
    fixture.clock.advance(Duration::from_secs(7));
    fixture.run().await;
    assert_eq!(counted(&fixture, DUE_FOR), [7000, 0]);
    let later = fixture.pending_event().await.next_attempt_at;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 500 }));
    fixture.add_pending_pass_of(ADA).await;
    fixture.clock.set(later);
    let pass = fixture.pending().await.into_iter();
    let pass = pass
        .filter(|event| event.kind.asks_lms())
        .map(|event| event.next_attempt_at);
    let due_for = later.duration_since(pass.min().unwrap()).as_millis();
    fixture.run().await;
    assert!(due_for > 0);
    assert_eq!(counted(&fixture, DUE_FOR), [0, due_for as u64]);
}
