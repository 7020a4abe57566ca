//! A sweep that would deactivate too many enrollments deactivates none.

use std::time::Duration;

use serde_json::json;

use super::stack::Stack;

/// A run with so many learners whom the LMS lists as inactive; so many others are
/// enrolled as well.
async fn losing(losing: u32, others: u32) -> Stack {
    let stack = Stack::new().await;
    for learner in 0..losing {
        stack.enrolled(learner, "verified").await;
        stack.lists(learner, "verified", false);
    }
    stack.put_others(losing..losing + others).await;
    stack.clock.advance(Duration::from_secs(60));
    stack
}

/// How many of the first so many learners are inactive.
async fn inactive(stack: &Stack, learners: u32) -> u32 {
    let mut count = 0;
    for learner in 0..learners {
        let enrollment = stack.enrollment_of(learner).await.unwrap();
        count += u32::from(!enrollment.active);
    }
    count
}

/// Ten are few in any run. Eleven are too many where they are all whose enrollment
/// is active, however many others there are.
#[tokio::test]
async fn more_than_ten_and_more_than_two_percent() {
    let stack = losing(10, 0).await;
    let answer = stack.sweep().await;
    assert_eq!(answer["tally"], json!({"listed": 10, "deactivated": 10}));
    assert_eq!(inactive(&stack, 10).await, 10);

    let stack = losing(11, 600).await;
    let answer = stack.sweep().await;
    assert_eq!(answer["status"], "halted");
    assert_eq!(
        answer["tally"],
        json!({"listed": 11, "left:safety_limit": 11})
    );
    assert_eq!(inactive(&stack, 11).await, 0);
}

/// A list that says inactive for all, on several pages: everything else is done,
/// the alarm is raised, and it waits until an operator has looked.
#[tokio::test]
async fn a_list_that_says_inactive_for_all() {
    let stack = losing(15, 0).await;
    stack.lms.pages_of(4);
    stack.put_learner(15).await;
    stack.lists(15, "verified", true);
    let before = stack.everything().await;
    let dry_run = stack.sweep_with(json!({"dry_run": true})).await;
    let found = json!({"listed": 16, "created": 1, "deactivated": 15});
    assert_eq!(
        (&dry_run["status"], &dry_run["tally"]),
        (&json!("halted"), &found)
    );
    assert_eq!(stack.everything().await, before);

    for done in ["created", "unchanged"] {
        let answer = stack.sweep().await;
        assert_eq!(answer["status"], "halted");
        assert_eq!(
            answer["tally"],
            json!({"listed": 16, done: 1, "left:safety_limit": 15})
        );
        assert_eq!(inactive(&stack, 16).await, 0);
        let line = stack.log.last("sweep ended");
        assert_eq!(
            (&line["level"], &line["outcome"], &line["left"]),
            (&json!("ERROR"), &json!("halted"), &json!(15))
        );
        stack.clock.advance(Duration::from_secs(60));
    }

    // It really is so, says an operator.
    let answer = stack.sweep_with(json!({"confirm": true})).await;
    assert_eq!(answer["status"], "done");
    assert_eq!(
        answer["tally"],
        json!({"listed": 16, "unchanged": 1, "deactivated": 15})
    );
    assert_eq!(inactive(&stack, 16).await, 15);
}

/// They are counted on however many pages they are.
#[tokio::test]
async fn held_back_on_more_pages_than_are_read_at_once() {
    let stack = losing(51, 0).await;
    stack.lms.pages_of(1);
    let answer = stack.sweep().await;
    assert_eq!(answer["status"], "halted");
    assert_eq!(
        answer["tally"],
        json!({"listed": 51, "left:safety_limit": 51})
    );
}
