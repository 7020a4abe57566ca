//! The metrics of a sweep.

use std::time::Duration;

use serde_json::{Value, json};
use web::Metric;

use super::fixture::Fixture;

/// One learner is enrolled, one no longer is, and one stays unchanged. A first sweep is a dry run,
/// and counts nobody.
#[tokio::test]
async fn learners_and_outcomes_are_counted() {
    let fixture = Fixture::never_swept().await;
    fixture.put_learner(0).await;
    fixture.lists(0, "verified", true);
    for (learner, active) in [(1, false), (2, true)] {
        fixture.enrolled(learner, "audit").await;
        fixture.lists(learner, "audit", active);
    }
    fixture.clock.advance(Duration::from_secs(60));
    fixture.sweep().await;
    for metric in [Metric::SweptLearners, Metric::SweepsDone] {
        assert_eq!(
            fixture.log.metric(metric),
            Vec::<Value>::new(),
            "{metric:?}"
        );
    }
    assert_eq!(fixture.log.metric(Metric::LmsRequests), [json!(2)]);

    fixture.sweep().await;
    let last = fixture.log.metrics().pop().unwrap();
    for (member, value) in [
        ("sweep", json!("enrollments")),
        ("SweptLearners", json!(2)),
        ("SweepsDone", json!(1)),
        ("SweepsHalted", json!(0)),
        ("SweepsFailed", json!(0)),
        // The list, and the held-back learner.
        ("LmsRequests", json!(2)),
        ("LmsFailures", json!(0)),
        // An enrollment sweep has no metrics of certificates.
        ("CertificatesIssued", Value::Null),
        ("CertificatesWithdrawn", Value::Null),
    ] {
        assert_eq!(last[member], value, "{member}");
    }
}
