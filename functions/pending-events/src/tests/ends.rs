//! The time for which events are pending, and their final states.

use std::time::Duration;

use app::enrolling::Set;
use aws_sdk_dynamodb::types::AttributeValue;
use common::clock::Clock;
use domain::{BlockedReason, Change, CourseRole, EventState, Setting};
use harness::{ADA, ADA_ID, Portal, RUN};
use local::lms::{FaultRule, LmsFault};

use super::fixture::Fixture;

/// Retries until no event is waiting; returns the number of days, and of attempts.
async fn retry_to_the_end(fixture: &Fixture) -> (i64, usize) {
    let began = fixture.clock.now();
    let mut attempts = 0;
    while let Some(event) = fixture.pending().await.pop()
        && event.state == EventState::Waiting
    {
        fixture.clock.set(event.next_attempt_at);
        assert_eq!(fixture.run().await["attempted"], 1, "{event:?}");
        attempts += 1;
    }
    let took = fixture.clock.now().duration_since(began);
    (took.as_hours() / 24, attempts)
}

/// After seven days of an unavailable LMS the event is dead, and an error is logged.
#[tokio::test]
async fn an_lms_that_stays_unavailable_ends_dead() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 500 }));
    fixture.add_pending_pass().await;
    let (days, attempts) = retry_to_the_end(&fixture).await;
    assert_eq!(days, 7);
    assert!((16..=22).contains(&attempts), "{attempts}");

    let event = fixture.pending_event().await;
    assert_eq!(
        (event.state, event.reason),
        (EventState::Dead, BlockedReason::LmsUnavailable)
    );
    let line = fixture.log.last("event retried");
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&"ERROR".into(), &"dead".into())
    );
    assert_eq!(line["event_key"], event.event_key.as_str());
    assert_eq!(line["error_code"], "500");
    // The alarm depends on this value, as long as the event is stored.
    fixture.clock.advance(Duration::from_hours(24));
    assert_eq!(fixture.run_and_count().await["dead"], 1);
    assert_eq!(fixture.log.last("retry batch finished")["dead"], 1);
    // The event stays readable for ninety days more.
    let item = fixture.item().await;
    let expires_at = item["expires_at"].as_n().unwrap().parse::<i64>().unwrap();
    let ended = event.next_attempt_at.as_second();
    assert_eq!(expires_at - ended, 90 * 24 * 3600);
    assert!(!item.contains_key("blocked_on"));

    // A redelivery makes it pending again; the LMS works by then.
    fixture.lms.revoke();
    fixture.grade(0.9, true);
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
    fixture.add_pending_pass().await;
    let event = fixture.pending_event().await;
    assert_eq!((event.state, event.attempts), (EventState::Waiting, 0));
    assert!(!fixture.item().await.contains_key("expires_at"));
    fixture.clock.advance(Duration::from_secs(90));
    assert_eq!(fixture.run().await["done"], 1);
    assert!(fixture.certificate().await.is_some());
}

/// An event of a user who is never imported is expired after thirty days, and no error.
#[tokio::test]
async fn an_event_of_a_user_never_imported_expires() {
    let fixture = Fixture::on(Portal::empty().await);
    fixture.add_pending_pass().await;
    fixture.announce(ADA, None, None).await;
    let began = fixture.clock.now();
    for _ in 0..40 {
        fixture.clock.advance(Duration::from_hours(24));
        fixture.run().await;
    }
    let events = fixture.pending().await;
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
    let summary = fixture.run_and_count().await;
    assert_eq!(
        (&summary["dead"], &summary["expired"]),
        (&0.into(), &2.into())
    );
    assert!(!fixture.log.text().contains("ERROR"));
    assert_eq!(fixture.lms.calls().len(), 0);
}

/// A pass that the LMS never confirms, and one that never becomes eligible, are removed after
/// thirty days, with one log line each.
#[tokio::test]
async fn a_pass_never_confirmed_or_never_eligible_is_dropped() {
    for (mode, is_pass, reason) in [
        ("verified", false, "not_passed"),
        ("audit", true, "not_eligible"),
    ] {
        let fixture = Fixture::new().await;
        fixture.enroll(mode).await;
        fixture.grade(0.5, is_pass);
        fixture.add_pending_pass().await;
        let (days, attempts) = retry_to_the_end(&fixture).await;
        assert_eq!(days, 30, "{reason}");
        let most = if is_pass { 3 } else { 45 };
        assert!(attempts <= most, "{reason}: {attempts} attempts");
        assert_eq!(fixture.pending().await, [], "{reason}");
        let dropped = fixture.log.lines().into_iter();
        let dropped: Vec<_> = dropped
            .filter(|line| line["outcome"] == "dropped")
            .collect();
        assert_eq!(dropped.len(), 1, "{reason}");
        assert_eq!(
            (&dropped[0]["level"], &dropped[0]["reason"]),
            (&"WARN".into(), &reason.into()),
            "{reason}"
        );
        assert_eq!(
            fixture.stored_grade().await.unwrap().history.len(),
            1,
            "{reason}"
        );
    }
}

/// A pending enrollment never undoes a change newer than its delivery; the parts that do not
/// contradict it are added.
#[tokio::test]
async fn a_newer_change_is_not_undone() {
    let fixture = Fixture::on(Portal::empty().await);
    fixture.put_run(RUN).await;
    fixture.announce(ADA, Some("staff"), None).await;
    fixture.put_user(ADA, ADA_ID, None).await;
    fixture.clock.advance(Duration::from_secs(30));
    let enrolling = fixture.use_cases().enrolling().unwrap();
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
        fixture.clock.now(),
    );
    assert!(matches!(set.await.unwrap(), Set::Stands(_)));

    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.run().await["done"], 1);
    let enrollment = fixture.enrollment().await;
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
        matches!(&added.by, Change::PendingEvent { request_id, .. } if request_id == "the-batch")
    );
    assert_eq!(fixture.pending().await, []);

    // A delivery after the change makes it active again.
    fixture.announce(ADA, None, None).await;
    assert!(fixture.enrollment().await.active);
}

impl Fixture {
    /// Returns the one pending event as the table stores it.
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

/// A redelivery merges roles with a pending enrollment, and its thirty days start again.
#[tokio::test]
async fn a_redelivered_role_has_thirty_days_more() {
    let fixture = Fixture::on(Portal::empty().await);
    fixture.put_run(RUN).await;
    fixture.announce(ADA, Some("staff"), None).await;
    for _ in 0..29 {
        fixture.clock.advance(Duration::from_hours(24));
        fixture.run().await;
    }
    fixture
        .announce(ADA, Some("instructor"), Some("verified"))
        .await;
    let now = fixture.clock.now();
    let event = fixture.pending_event().await;
    assert!(event.next_attempt_at.duration_since(now).as_secs() <= 72);
    for _ in 0..29 {
        fixture.clock.advance(Duration::from_hours(24));
        fixture.run().await;
    }
    assert_eq!(fixture.pending_event().await.state, EventState::Waiting);
    fixture.put_user(ADA, ADA_ID, None).await;
    fixture.clock.advance(Duration::from_hours(24));
    assert_eq!(fixture.run().await["done"], 1);
    let enrollment = fixture.enrollment().await;
    assert_eq!(
        (enrollment.roles.len(), enrollment.mode.as_str()),
        (2, "verified")
    );
    assert_eq!(enrollment.history.len(), 1);
}
