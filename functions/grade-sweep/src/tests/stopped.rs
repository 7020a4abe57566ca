//! Stopped before and after each call to the outside, and started again: it ends
//! as if nothing had happened.

use std::time::Duration;

use harness::sweep::{ends_the_same, id, settled};
use harness::{Portal, RUN};
use local::lms::At;
use serde_json::json;

use super::stack::{Stack, wired};

/// A run of which the next sweep has something of everything to do, in pages of three.
async fn prepare() -> Portal {
    let stack = Stack::new().await;
    stack.lms.pages_of(3);
    for learner in 0..7 {
        stack.learner(learner).await;
        stack.says(learner, 0.9);
    }
    stack.sweep().await;
    stack.clock.advance(Duration::from_secs(60));
    // Withdrawn, to be restored.
    stack.says(0, 0.0);
    stack.a_day_passes().await;
    // To be withdrawn, on two pages.
    stack.says(1, 0.0);
    stack.says(6, 0.0);
    stack.a_day_passes().await;
    stack.says(0, 0.9);
    // A grade that changes, and one that does not.
    stack.says(2, 0.8);
    // To be issued.
    stack.learner(7).await;
    stack.says(7, 0.9);
    stack.function.portal
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
    let stack = Stack::on(before.copy().await);
    assert_eq!(stack.sweep().await["status"], "done");
    let expected = settled(stack.everything().await);

    let stack = Stack::on(before);
    let mut answers = Vec::new();
    loop {
        let call = json!({"sweep": {"run": RUN}});
        let answer = stack.call_for(call, 1).await.unwrap();
        answers.push(answer["status"].clone());
        if answer["status"] != "suspended" {
            assert_eq!(answer["tally"]["listed"], 8);
            break;
        }
        stack.clock.advance(Duration::from_secs(1));
    }
    // Three pages, and those who were held back of two of them.
    assert!(answers.len() >= 4, "{answers:?}");
    assert_eq!(settled(stack.everything().await), expected);
}
