//! What is counted of passes: certificates, and what the LMS was asked.

use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};
use shared::web::Metric;

use super::fixture::{Fixture, passed};

/// What one more pass has counted.
async fn counted(fixture: &Fixture) -> Value {
    fixture.pass().await;
    fixture.log.metrics().pop().unwrap()
}

#[tokio::test]
async fn certificates_and_what_the_lms_was_asked() {
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
    // A token, and a grade that is not given.
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }).at(At::Grades));
    assert_counted(&counted(&fixture).await, [0, 1, 2, 1], "pending");
    // Not even a new connection helps.
    fixture.lms.revoke();
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Drop).at(At::Grades));
    assert_counted(&counted(&fixture).await, [0, 1, 2, 2], "pending");
    // That nobody is enrolled there is an answer.
    fixture.lms.revoke();
    assert_counted(&counted(&fixture).await, [0, 1, 1, 0], "pending");
    fixture.grade(0.9, true);
    assert_counted(&counted(&fixture).await, [1, 0, 1, 0], "created");
    assert_counted(&counted(&fixture).await, [0, 0, 0, 0], "exists");
}

/// Where nobody is asked there is a sample all the same, so that what is missing
/// is told from what is well.
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
