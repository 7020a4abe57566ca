//! Stopped before and after each call to the outside, and started again: it ends
//! as if nothing had happened.

use std::time::Duration;

use harness::sweep::{ends_the_same, id, settled};
use harness::{Portal, RUN};
use local::lms::At;
use serde_json::json;

use super::fixture::{Fixture, wired};

/// A run of which the next sweep has something of everything to do, in pages of three.
async fn prepare() -> Portal {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(3);
    for learner in 0..7 {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    // Withdrawn, to be restored.
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
async fn the_end_is_the_same() {
    let before = prepare().await;
    let end = ends_the_same(&before, At::Grades, 900, wired).await;
    for (learner, state) in [(0, "in_force"), (1, "withdrawn"), (6, "withdrawn")] {
        let certificate = &end[&format!("CertificatesTable {} {RUN}", id(learner))];
        assert_eq!(certificate["state"], state, "{learner}");
    }
}

/// Calls that are short of time do a page each, and what they come to is the same.
#[tokio::test]
async fn a_page_a_call() {
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
    // Three pages, and those who were held back of two of them.
    assert!(answers.len() >= 4, "{answers:?}");
    assert_eq!(settled(fixture.everything().await), expected);
}
