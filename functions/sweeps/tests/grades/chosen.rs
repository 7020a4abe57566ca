//! The runs that are swept.

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use common::clock::Clock;
use harness::{ADA, ADA_ID, RUN};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// Returns the runs of a list, page after page, each as the `Run` part of its id.
async fn listed(fixture: &Fixture, fields: Value) -> Vec<String> {
    let (mut runs, mut call) = (Vec::new(), json!({"list": fields}));
    while !call.is_null() {
        let answer = fixture.call(call).await.unwrap();
        let sweeps = answer["sweeps"].as_array().unwrap().iter();
        assert!(sweeps.len() <= 100);
        let ids = sweeps.map(|sweep| sweep["sweep"]["run"].as_str().unwrap());
        runs.extend(ids.map(|id| id.rsplit('+').next().unwrap().to_owned()));
        call = answer["next"].clone();
    }
    runs.sort();
    runs
}

/// Returns a portal with runs of every kind, each named after its kind.
async fn with_runs() -> Fixture {
    let fixture = Fixture::new().await;
    for (name, live, days) in [
        ("no-date", true, None),
        ("not-live", false, None),
        ("to-come", true, Some(100)),
        ("past", true, Some(-31)),
        ("long-past", true, Some(-32)),
        ("not-live-past", false, Some(-1)),
    ] {
        let id = format!("course-v1:Org+Course+{name}");
        fixture.put_run(&id).await;
        fixture.set_run(&id, "live", Bool(live)).await;
        if let Some(days) = days {
            let date = fixture.clock.now() + SignedDuration::from_hours(24 * days);
            let date = S(date.to_string());
            fixture
                .set_run(&id, "certificate_available_date", date)
                .await;
        }
    }
    fixture
}

#[tokio::test]
async fn live_runs_that_are_not_long_past_are_swept() {
    let fixture = with_runs().await;
    let due = ["2026_T3", "no-date", "past", "to-come"];
    assert_eq!(listed(&fixture, json!({})).await, due);
    let all = listed(&fixture, json!({"force": true})).await;
    assert_eq!(all.len(), 7);
    // A run that is named is swept in any state.
    let run = "course-v1:Org+Course+long-past";
    assert_eq!(listed(&fixture, json!({"run": run})).await, ["long-past"]);
}

/// A single learner is swept in all of their runs; each request repeats the options of the sweep.
#[tokio::test]
async fn a_single_learner_is_swept_in_all_of_their_runs() {
    let fixture = with_runs().await;
    fixture.enroll("verified").await;
    let other = "course-v1:Org+Course+not-live";
    fixture.set_enrollment(ADA, other, "audit", false).await;
    for learner in [ADA, ADA_ID] {
        let call = json!({"list": {"learner": learner, "dry_run": true, "force": true}});
        let answer = fixture.call(call).await.unwrap();
        let sweep = |run| json!({"sweep": {"run": run, "learner": learner, "dry_run": true, "force": true}});
        assert_eq!(
            answer["sweeps"],
            json!([sweep(RUN), sweep(other)]),
            "{learner}"
        );
        assert_eq!(answer["next"], Value::Null, "{learner}");
    }
}

/// Many runs are listed in pages, each once; a run of an unexpected shape is logged and skipped.
#[tokio::test]
async fn many_runs_are_listed_in_pages() {
    let fixture = Fixture::new().await;
    let mut expected = vec!["2026_T3".to_owned()];
    for n in 0..250 {
        let name = format!("run{n:03}");
        fixture
            .put_run(&format!("course-v1:Org+Course+{name}"))
            .await;
        expected.push(name);
    }
    let broken = "course-v1:Org+Course+broken";
    fixture.put_run(broken).await;
    fixture
        .set_run(broken, "live", S("perhaps".to_owned()))
        .await;
    assert_eq!(listed(&fixture, json!({})).await, expected);
    let lines = fixture.log.lines();
    let mut text = lines.iter().filter(|line| line["level"] == "ERROR");
    let line = text.next().unwrap();
    assert_eq!(
        (&line["message"], &line["unreadable"]),
        (&json!("runs listed"), &json!(1))
    );
    assert!(text.next().is_none());
}
