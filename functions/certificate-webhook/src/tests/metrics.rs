//! The metrics of passes: certificates and requests to the LMS.

use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};
use web::Metric;

use super::fixture::{Fixture, passed};

/// Delivers a pass; returns the metrics document that it wrote.
async fn counted(fixture: &Fixture) -> Value {
    fixture.pass().await;
    fixture.log.metrics().pop().unwrap()
}

#[tokio::test]
async fn certificates_and_lms_requests_are_counted() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    let assert_counted = |document: &Value, expected: [u64; 4], outcome: &str| {
        assert_eq!(document["kind"], "certificate");
        assert_eq!(document["outcome"], outcome);
        let names = [
            Metric::CertificatesIssued,
            Metric::DeliveriesPending,
            Metric::LmsRequests,
            Metric::LmsFailures,
        ];
        let found = names.map(|metric| document[metric.name()].clone());
        assert_eq!(found, expected.map(Value::from), "{outcome}");
        let times = document["LmsTime"].as_array();
        let times = times.map(|times| times.len() as u64);
        let requests = Some(expected[2]).filter(|requests| *requests > 0);
        assert_eq!(times, requests, "{outcome}");
    };
    // A request for a token, and one for a grade, which fails.
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }).at(At::Grades));
    assert_counted(&counted(&fixture).await, [0, 1, 2, 1], "pending");
    // The attempt on a new connection fails, too.
    fixture.lms.revoke();
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Drop).at(At::Grades));
    assert_counted(&counted(&fixture).await, [0, 1, 2, 2], "pending");
    // "Nobody is enrolled there" is an answer and no error.
    fixture.lms.revoke();
    assert_counted(&counted(&fixture).await, [0, 1, 1, 0], "pending");
    fixture.grade(0.9, true);
    assert_counted(&counted(&fixture).await, [1, 0, 1, 0], "created");
    assert_counted(&counted(&fixture).await, [0, 0, 0, 0], "exists");
}

/// A delivery that does not reach the LMS has samples, too, so that an absent sample means an
/// error.
#[tokio::test]
async fn every_answer_has_a_sample() {
    let fixture = Fixture::new().await;
    fixture.deliver(&passed("bob@example.org")).await;
    fixture.deliver(&json!({})).await;
    for metric in [
        Metric::CertificatesIssued,
        Metric::LmsRequests,
        Metric::LmsFailures,
        Metric::KnownTokensRefused,
    ] {
        assert_eq!(
            fixture.log.metric(metric),
            [json!(0), json!(0)],
            "{metric:?}"
        );
    }
    assert_eq!(fixture.log.metric(Metric::LmsTime), Vec::<Value>::new());
}
