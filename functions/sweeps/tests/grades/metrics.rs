//! The metrics of a sweep: each of its calls counts its own part.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::RUN;
use harness::sweep::username;
use local::lms::{FaultRule, LmsFault};
use serde_json::{Value, json};
use web::Metric;

use super::fixture::Fixture;

/// The metrics of a sweep's outcome: done, halted or failed.
const ENDS: [Metric; 3] = [
    Metric::SweepsDone,
    Metric::SweepsHalted,
    Metric::SweepsFailed,
];

/// Returns a run of this many learners who have passed, in pages of three.
async fn with_learners(learners: u32) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(3);
    for learner in 0..learners {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    fixture
}

/// Returns the sum of all values of a metric.
fn sum(fixture: &Fixture, metric: Metric) -> u64 {
    let values = fixture.log.metric(metric);
    values.iter().map(|value| value.as_u64().unwrap()).sum()
}

fn of(document: &Value, metrics: [Metric; 3]) -> [Value; 3] {
    metrics.map(|metric| document[metric.name()].clone())
}

/// Three calls each count their own part, and the sweep counts one outcome.
#[tokio::test]
async fn each_call_counts_its_own_part() {
    let fixture = with_learners(9).await;
    fixture.sweep_for(json!({}), 1).await;
    let documents = fixture.log.metrics();
    assert!(documents.len() > 2, "{documents:?}");
    assert_eq!(sum(&fixture, Metric::CertificatesIssued), 9);
    assert_eq!(sum(&fixture, Metric::SweptLearners), 9);
    assert!(
        documents
            .iter()
            .all(|document| document["sweep"] == "grades")
    );
    // A token and three pages.
    assert_eq!(sum(&fixture, Metric::LmsRequests), 4);
    let ends: u64 = ENDS.map(|metric| sum(&fixture, metric)).iter().sum();
    assert_eq!(ends, 1);
    assert_eq!(
        of(documents.last().unwrap(), ENDS),
        [1, 0, 0].map(Value::from)
    );

    // One learner loses the certificate, and has it back.
    for (percent, withdrawn) in [(0.0, 1), (0.9, 0)] {
        fixture.clock.advance(Duration::from_secs(60));
        fixture.says(0, percent);
        if withdrawn > 0 {
            fixture.a_day_passes().await;
        }
        fixture.sweep().await;
        let last = fixture.log.metrics().pop().unwrap();
        assert_eq!(last["CertificatesWithdrawn"], withdrawn, "{percent}");
        assert_eq!(last["CertificatesIssued"], 1 - withdrawn, "{percent}");
    }
}

/// A dry run counts its requests to the LMS, and no effects.
#[tokio::test]
async fn a_dry_run_counts_only_its_requests() {
    let fixture = with_learners(3).await;
    fixture.sweep_with(json!({"dry_run": true})).await;
    let [document] = fixture.log.metrics().try_into().unwrap();
    let members = document.as_object().unwrap().keys();
    let members: Vec<_> = members.filter(|member| *member != "_aws").collect();
    assert_eq!(members, ["LmsFailures", "LmsRequests", "LmsTime"]);
}

/// The safety limit, and a list that cannot be read, have their outcomes.
#[tokio::test]
async fn each_outcome_of_a_sweep_is_counted() {
    let fixture = with_learners(12).await;
    fixture.sweep().await;
    for learner in 0..12 {
        fixture.clock.advance(Duration::from_secs(60));
        fixture.says(learner, 0.0);
    }
    fixture.a_day_passes().await;
    assert_eq!(fixture.sweep().await["status"], "halted");
    let halted = fixture.log.metrics().pop().unwrap();
    assert_eq!(of(&halted, ENDS), [0, 1, 0].map(Value::from));
    assert_eq!(halted["CertificatesWithdrawn"], 0);

    fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse));
    assert_eq!(fixture.sweep().await["status"], "failed");
    let failed = fixture.log.metrics().pop().unwrap();
    assert_eq!(of(&failed, ENDS), [0, 0, 1].map(Value::from));
    assert!(failed["LmsFailures"].as_u64().unwrap() > 0);
}

/// Runs of an unexpected shape are counted; a list without any has a sample of 0.
#[tokio::test]
async fn unreadable_runs_are_counted() {
    let fixture = Fixture::new().await;
    let unreadable = async || {
        fixture.call(json!({"list": {}})).await.unwrap();
        fixture.log.metric(Metric::UnreadableRuns)
    };
    assert_eq!(unreadable().await, [json!(0)]);
    fixture.set_run(RUN, "live", S("perhaps".to_owned())).await;
    assert_eq!(unreadable().await, [json!(0), json!(1)]);
    assert!(!fixture.log.text().contains(&username(0)));
}
