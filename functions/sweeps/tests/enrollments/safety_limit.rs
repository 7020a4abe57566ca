//! A sweep that would deactivate too many enrollments deactivates none.

use std::time::Duration;

use serde_json::json;

use super::fixture::Fixture;

/// Returns a run with `losing` learners whom the LMS lists as inactive, and `others` who stay
/// enrolled.
async fn losing(losing: u32, others: u32) -> Fixture {
    let fixture = Fixture::new().await;
    for learner in 0..losing {
        fixture.enrolled(learner, "verified").await;
        fixture.lists(learner, "verified", false);
    }
    fixture.put_others(losing..losing + others).await;
    fixture.clock.advance(Duration::from_secs(60));
    fixture
}

/// Returns how many of the first `learners` learners are inactive.
async fn inactive(fixture: &Fixture, learners: u32) -> u32 {
    let mut count = 0;
    for learner in 0..learners {
        let enrollment = fixture.enrollment_of(learner).await.unwrap();
        count += u32::from(!enrollment.active);
    }
    count
}

/// Ten deactivations are within the limit in any run. Eleven are above it if they are all active
/// enrollments, however many other learners there are.
#[tokio::test]
async fn more_than_ten_and_more_than_two_percent_halt_the_sweep() {
    let fixture = losing(10, 0).await;
    let answer = fixture.sweep().await;
    assert_eq!(answer["tally"], json!({"listed": 10, "deactivated": 10}));
    assert_eq!(inactive(&fixture, 10).await, 10);

    let fixture = losing(11, 600).await;
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "halted");
    assert_eq!(
        answer["tally"],
        json!({"listed": 11, "left:safety_limit": 11})
    );
    assert_eq!(inactive(&fixture, 11).await, 0);
}

/// A list that says inactive for all, on several pages: everything else is done, the alarm is
/// raised, and the sweeps stay halted until an operator confirms.
#[tokio::test]
async fn a_list_that_says_inactive_for_all_halts_the_sweep() {
    let fixture = losing(15, 0).await;
    fixture.lms.pages_of(4);
    fixture.put_learner(15).await;
    fixture.lists(15, "verified", true);
    let before = fixture.everything().await;
    let dry_run = fixture.sweep_with(json!({"dry_run": true})).await;
    let found = json!({"listed": 16, "created": 1, "deactivated": 15});
    assert_eq!(
        (&dry_run["status"], &dry_run["tally"]),
        (&json!("halted"), &found)
    );
    assert_eq!(fixture.everything().await, before);

    for done in ["created", "unchanged"] {
        let answer = fixture.sweep().await;
        assert_eq!(answer["status"], "halted", "{done}");
        assert_eq!(
            answer["tally"],
            json!({"listed": 16, done: 1, "left:safety_limit": 15}),
            "{done}"
        );
        assert_eq!(inactive(&fixture, 16).await, 0, "{done}");
        let line = fixture.log.last("sweep ended");
        assert_eq!(
            (&line["level"], &line["outcome"], &line["left"]),
            (&json!("ERROR"), &json!("halted"), &json!(15)),
            "{done}"
        );
        fixture.clock.advance(Duration::from_secs(60));
    }

    // An operator confirms that the list is right.
    let answer = fixture.sweep_with(json!({"confirm": true})).await;
    assert_eq!(answer["status"], "done");
    assert_eq!(
        answer["tally"],
        json!({"listed": 16, "unchanged": 1, "deactivated": 15})
    );
    assert_eq!(inactive(&fixture, 16).await, 15);
}

/// The held-back learners are counted on any number of pages.
#[tokio::test]
async fn held_back_learners_are_counted_on_all_pages() {
    let fixture = losing(51, 0).await;
    fixture.lms.pages_of(1);
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "halted");
    assert_eq!(
        answer["tally"],
        json!({"listed": 51, "left:safety_limit": 51})
    );
}
