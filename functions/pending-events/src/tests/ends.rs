//! How long events wait, and what becomes of them in the end.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use harness::{ADA, ADA_ID, Portal, RUN};
use local::lms::{FaultRule, LmsFault};
use shared::clock::Clock;
use shared::domain::{BlockedReason, Change, CourseRole, EventState, Setting};
use shared::use_cases::enrolling::Set;

use super::stack::Stack;

/// Goes from look to look until nothing is due any more within a year; how
/// many days that took, and how many attempts.
async fn to_the_end(stack: &Stack) -> (i64, usize) {
    let began = stack.clock.now();
    let mut attempts = 0;
    while let Some(event) = stack.pending().await.pop()
        && event.state == EventState::Waiting
    {
        stack.clock.set(event.next_attempt_at);
        assert_eq!(stack.run().await["attempted"], 1);
        attempts += 1;
    }
    let took = stack.clock.now().duration_since(began);
    (took.as_hours() / 24, attempts)
}

/// LmsFault with the LMS for seven days: dead, and an error in the log.
#[tokio::test]
async fn an_lms_that_stays_unavailable_ends_dead() {
    let stack = Stack::new().await;
    stack.enroll("verified").await;
    stack
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 500 }));
    stack.add_pending_pass().await;
    let (days, attempts) = to_the_end(&stack).await;
    assert_eq!(days, 7);
    assert!((16..=22).contains(&attempts), "{attempts}");

    let event = stack.pending_event().await;
    assert_eq!(
        (event.state, event.reason),
        (EventState::Dead, BlockedReason::LmsUnavailable)
    );
    let line = stack.log.last("event retried");
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&"ERROR".into(), &"dead".into())
    );
    assert_eq!(line["event_key"], event.event_key.as_str());
    assert_eq!(line["error_code"], "500");
    // The alarm goes by this, as long as it lies there.
    stack.clock.advance(Duration::from_hours(24));
    assert_eq!(stack.run().await["dead"], 1);
    assert_eq!(stack.log.last("retry batch finished")["dead"], 1);
    // It can be looked up for ninety days more.
    let item = stack.item().await;
    let expires_at = item["expires_at"].as_n().unwrap().parse::<i64>().unwrap();
    let ended = event.next_attempt_at.as_second();
    assert_eq!(expires_at - ended, 90 * 24 * 3600);
    assert!(!item.contains_key("blocked_on"));

    // A redelivery begins again; the LMS is well by then.
    stack.lms.revoke();
    stack.grade(0.9, true);
    stack
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
    stack.add_pending_pass().await;
    let event = stack.pending_event().await;
    assert_eq!((event.state, event.attempts), (EventState::Waiting, 0));
    assert!(!stack.item().await.contains_key("expires_at"));
    stack.clock.advance(Duration::from_secs(90));
    assert_eq!(stack.run().await["done"], 1);
    assert!(stack.certificate().await.is_some());
}

/// Somebody who is never imported: after thirty days expired, and no error.
#[tokio::test]
async fn what_never_came_ends_expired() {
    let stack = Stack::on(Portal::empty().await);
    stack.add_pending_pass().await;
    stack.announce(ADA, None, None).await;
    let began = stack.clock.now();
    for _ in 0..40 {
        stack.clock.advance(Duration::from_hours(24));
        stack.run().await;
    }
    let events = stack.pending().await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(
            (event.state, event.reason),
            (EventState::Expired, BlockedReason::NoSuchUser)
        );
        let days = event.next_attempt_at.duration_since(began).as_hours() / 24;
        assert!((30..=31).contains(&days), "{days}");
        assert!(event.attempts < 40);
    }
    let summary = stack.run().await;
    assert_eq!(
        (&summary["dead"], &summary["expired"]),
        (&0.into(), &2.into())
    );
    assert!(!stack.log.text().contains("ERROR"));
    assert_eq!(stack.lms.calls().len(), 0);
}

/// A pass that the LMS never confirms, and one that never becomes eligible:
/// gone after thirty days, with one line each.
#[tokio::test]
async fn what_others_see_to_is_dropped() {
    for (mode, is_pass, reason) in [
        ("verified", false, "not_passed"),
        ("audit", true, "not_eligible"),
    ] {
        let stack = Stack::new().await;
        stack.enroll(mode).await;
        stack.grade(0.5, is_pass);
        stack.add_pending_pass().await;
        let (days, attempts) = to_the_end(&stack).await;
        assert_eq!(days, 30, "{reason}");
        let most = if is_pass { 3 } else { 45 };
        assert!(attempts <= most, "{reason}: {attempts} attempts");
        assert_eq!(stack.pending().await, []);
        let dropped = stack.log.lines().into_iter();
        let dropped: Vec<_> = dropped
            .filter(|line| line["outcome"] == "dropped")
            .collect();
        assert_eq!(dropped.len(), 1);
        assert_eq!(
            (&dropped[0]["level"], &dropped[0]["reason"]),
            (&"WARN".into(), &reason.into())
        );
        assert_eq!(stack.stored_grade().await.unwrap().history.len(), 1);
    }
}

/// A pending enrollment never undoes a change newer than its delivery; what does
/// not contradict it is added.
#[tokio::test]
async fn a_newer_change_stands() {
    let stack = Stack::on(Portal::empty().await);
    stack.put_run(RUN).await;
    stack.announce(ADA, Some("staff"), None).await;
    stack.put_user(ADA, ADA_ID, None).await;
    stack.clock.advance(Duration::from_secs(30));
    let enrolling = stack.use_cases().enrolling().unwrap();
    let by = Change::Operator {
        name: "grace".to_owned(),
    };
    let (email, run, mode) = (
        ADA.parse().unwrap(),
        RUN.parse().unwrap(),
        "verified".parse().unwrap(),
    );
    let set = enrolling.set(
        &email,
        &run,
        Setting::mode(mode, false),
        by,
        stack.clock.now(),
    );
    assert!(matches!(set.await.unwrap(), Set::Stands(_)));

    stack.clock.advance(Duration::from_secs(60));
    assert_eq!(stack.run().await["done"], 1);
    let enrollment = stack.enrollment().await;
    assert!(!enrollment.active);
    assert_eq!(enrollment.change_status.as_deref(), Some("unenrolled"));
    assert_eq!(enrollment.mode.as_str(), "verified");
    assert!(enrollment.edx_enrolled);
    let roles: Vec<_> = enrollment.roles.iter().map(CourseRole::as_str).collect();
    assert_eq!(roles, ["staff"]);
    assert_eq!(enrollment.history.len(), 2);
    let added = &enrollment.history[1];
    assert!(!added.active);
    assert!(
        matches!(&added.by, Change::PendingEvent { request_id, .. } if request_id == "the-run")
    );
    assert_eq!(stack.pending().await, []);

    // One that is delivered after the change makes it active again.
    stack.announce(ADA, None, None).await;
    assert!(stack.enrollment().await.active);
}

impl Stack {
    /// The one pending event as the table has it.
    async fn item(&self) -> std::collections::HashMap<String, AttributeValue> {
        let scan = self.dynamodb.scan().table_name("PendingEventsTable");
        let [item] = scan
            .send()
            .await
            .unwrap()
            .items
            .unwrap()
            .try_into()
            .unwrap();
        item
    }
}

/// The same with an enrollment that waits for its user: roles unite, and the
/// thirty days begin again.
#[tokio::test]
async fn a_redelivered_role_has_thirty_days_more() {
    let stack = Stack::on(Portal::empty().await);
    stack.put_run(RUN).await;
    stack.announce(ADA, Some("staff"), None).await;
    for _ in 0..29 {
        stack.clock.advance(Duration::from_hours(24));
        stack.run().await;
    }
    stack
        .announce(ADA, Some("instructor"), Some("verified"))
        .await;
    let now = stack.clock.now();
    let event = stack.pending_event().await;
    assert!(event.next_attempt_at.duration_since(now).as_secs() <= 72);
    for _ in 0..29 {
        stack.clock.advance(Duration::from_hours(24));
        stack.run().await;
    }
    assert_eq!(stack.pending_event().await.state, EventState::Waiting);
    stack.put_user(ADA, ADA_ID, None).await;
    stack.clock.advance(Duration::from_hours(24));
    assert_eq!(stack.run().await["done"], 1);
    let enrollment = stack.enrollment().await;
    assert_eq!(
        (enrollment.roles.len(), enrollment.mode.as_str()),
        (2, "verified")
    );
    assert_eq!(enrollment.history.len(), 1);
}
