//! A sweep that is stopped before or after any outside call, and started again, ends as if nothing
//! had happened.

use std::time::Duration;

use harness::sweep::{ends_the_same, id, settled};
use harness::{Portal, RUN};
use local::lms::At;
use serde_json::json;

use super::fixture::{Fixture, wired};

/// Returns a run whose next sweep has an effect of each kind, in pages of three.
async fn prepare() -> Portal {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(3);
    for learner in 0..7 {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    // Withdrawn, and to be restored.
    fixture.says(0, 0.0);
    fixture.a_day_passes().await;
    // To be withdrawn, on two pages.
    fixture.says(1, 0.0);
    fixture.says(6, 0.0);
    fixture.a_day_passes().await;
    fixture.says(0, 0.9);
    // A grade that changes, and one that does not.
    fixture.says(2, 0.8);
    // To be issued.
    fixture.learner(7).await;
    fixture.says(7, 0.9);
    fixture.function.portal
}

#[tokio::test]
async fn a_stopped_sweep_ends_the_same() {
    let before = prepare().await;
    let end = ends_the_same(&before, At::Grades, 900, wired).await;
    for (learner, state) in [(0, "in_force"), (1, "withdrawn"), (6, "withdrawn")] {
        let certificate = &end[&format!("CertificatesTable {} {RUN}", id(learner))];
        assert_eq!(certificate["state"], state, "{learner}");
    }
}

/// Calls that are short of time process a page each, with the same result.
#[tokio::test]
async fn calls_of_a_page_each_end_the_same() {
    let before = prepare().await;
    let fixture = Fixture::on(before.copy().await);
    assert_eq!(fixture.sweep().await["status"], "done");
    let expected = settled(fixture.everything().await);

    let fixture = Fixture::on(before);
    let mut answers = Vec::new();
    loop {
        let call = json!({"sweep": {"run": RUN}});
        let answer = fixture.call_for(call, 1).await.unwrap();
        answers.push(answer["status"].clone());
        if answer["status"] != "suspended" {
            assert_eq!(answer["tally"]["listed"], 8);
            break;
        }
        fixture.clock.advance(Duration::from_secs(1));
    }
    // Three pages, and the held-back learners of two of them.
    assert!(answers.len() >= 4, "{answers:?}");
    assert_eq!(settled(fixture.everything().await), expected);
}
