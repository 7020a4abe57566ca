//! A learner has a new address, and the LMS still sends the former one.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use common::clock::Clock;
use domain::{BlockedReason, Change, EventKey, EventKind, EventState, Setting};
use harness::{ADA, ADA_ID, ADA_USERNAME, Portal, RUN};
use store::pending_events::NewPendingEvent;

use super::fixture::Fixture;

const NEW: &str = "ada.lovelace@example.org";

/// Returns the key of an event in the run.
fn key(kind: EventKind, email: &str) -> EventKey {
    EventKey::of(kind, &email.parse().unwrap(), &RUN.parse().unwrap())
}

/// Adds a pending event as a webhook does that read the user before the address changed.
async fn add_pending(
    fixture: &Fixture,
    kind: EventKind,
    email: &str,
    role: Option<&str>,
    reason: BlockedReason,
) {
    let role = role.map(|role| role.parse().unwrap());
    let waiting = NewPendingEvent {
        kind,
        email: &email.parse().unwrap(),
        course_id: &RUN.parse().unwrap(),
        role: role.as_ref(),
        mode: None,
        blocked: &reason.into(),
        delivered_at: fixture.clock.now(),
    };
    let pending_events = fixture.use_cases().pending_events().unwrap();
    pending_events.add(&waiting).await.unwrap();
}

/// A pending event moves to the new address, and the change that it is blocked on finds it there.
#[tokio::test]
async fn an_event_pending_before_the_change_takes_effect_after_it() {
    let fixture = Fixture::new().await;
    fixture.enroll("audit").await;
    fixture.grade(0.9, true);
    fixture.add_pending_pass().await;
    let event = fixture.pending_event().await;
    assert_eq!(event.reason, BlockedReason::NotEligible);

    let renamed = fixture.rename(ADA, NEW).await;
    assert_eq!((renamed.changed, renamed.events_moved), (true, 1));
    let moved = fixture.pending_event().await;
    assert_eq!(moved.event_key, key(EventKind::Certificate, NEW));
    assert_eq!((moved.email.as_str(), moved.reason), (NEW, event.reason));
    assert_eq!(
        (moved.pending_since, moved.waited),
        (event.pending_since, event.waited)
    );
    // The same call again changes nothing.
    let again = fixture.rename(ADA, NEW).await;
    assert_eq!((again.changed, again.events_moved), (false, 0));

    // With either address the enrollment is the learner's, and its event is found.
    for email in [ADA, NEW] {
        fixture.enroll_user(email, "verified").await;
    }
    assert_eq!(fixture.run().await["done"], 1);
    assert!(fixture.certificate().await.is_some());
    assert_eq!(fixture.pending().await, []);
}

/// An event that the LMS sends with the former address is pending under the present one.
#[tokio::test]
async fn the_former_address_still_finds_the_learner() {
    let fixture = Fixture::new().await;
    fixture.rename(ADA, NEW).await;
    fixture.announce(ADA, Some("staff"), None).await;
    fixture.announce(NEW, Some("instructor"), None).await;
    assert_eq!(fixture.enrollment().await.roles.len(), 2);

    fixture.add_pending_pass_of(ADA).await;
    let event = fixture.pending_event().await;
    assert_eq!(event.event_key, key(EventKind::Certificate, NEW));
    fixture.enroll_user(NEW, "verified").await;
    fixture.grade(0.9, true);
    fixture.clock.advance(Duration::from_secs(90));
    assert_eq!(fixture.run().await["done"], 1);
    assert!(fixture.certificate().await.is_some());

    // Renamed back: both addresses lead to the present one.
    assert!(fixture.rename(NEW, ADA).await.changed);
    for email in [ADA, NEW] {
        fixture.announce(email, Some("finance_admin"), None).await;
    }
    let [enrollment] = fixture.enrollments(ADA_ID).await.try_into().unwrap();
    assert_eq!(enrollment.roles.len(), 3);
}

/// The event of a delivery that ran while the address changed is pending under the former one; its
/// next attempt moves it to the present one, where the change that it is blocked on finds it.
#[tokio::test]
async fn an_event_pending_under_a_former_address_moves_at_its_next_attempt() {
    for is_there_already in [false, true] {
        let fixture = Fixture::new().await;
        fixture.enroll("audit").await;
        fixture.grade(0.9, true);
        fixture.rename(ADA, NEW).await;
        add_pending(
            &fixture,
            EventKind::Certificate,
            ADA,
            None,
            BlockedReason::NotEligible,
        )
        .await;
        if is_there_already {
            add_pending(
                &fixture,
                EventKind::Certificate,
                NEW,
                None,
                BlockedReason::NotEligible,
            )
            .await;
        }
        fixture.clock.advance(Duration::from_secs(80));
        fixture.run().await;
        let event = fixture.pending_event().await;
        assert_eq!(
            event.event_key,
            key(EventKind::Certificate, NEW),
            "there already: {is_there_already}"
        );
        assert_eq!(
            (event.state, event.reason, event.last_error.as_deref()),
            (
                EventState::Waiting,
                BlockedReason::NotEligible,
                Some("unpaid_mode")
            ),
            "there already: {is_there_already}"
        );
        fixture.enroll_user(NEW, "verified").await;
        assert_eq!(
            fixture.run().await["done"],
            1,
            "there already: {is_there_already}"
        );
        assert!(
            fixture.certificate().await.is_some(),
            "there already: {is_there_already}"
        );
    }
}

/// Pending events under both addresses take effect together.
#[tokio::test]
async fn events_pending_under_both_addresses_are_merged() {
    let fixture = Fixture::on(Portal::empty().await);
    let enrollment = EventKind::Enrollment;
    add_pending(
        &fixture,
        enrollment,
        ADA,
        Some("staff"),
        BlockedReason::NoSuchRun,
    )
    .await;
    add_pending(
        &fixture,
        enrollment,
        NEW,
        Some("instructor"),
        BlockedReason::NoSuchUser,
    )
    .await;
    fixture.put_user(ADA, ADA_ID, Some(ADA_USERNAME)).await;
    let renamed = fixture.rename(ADA, NEW).await;
    assert_eq!((renamed.events_moved, renamed.events_due), (1, 1));
    let event = fixture.pending_event().await;
    assert_eq!(event.roles.len(), 2);

    // A delivery to the former address before the run is known joins it, also one that had read the
    // user before the address changed.
    fixture.announce(ADA, Some("data_researcher"), None).await;
    assert_eq!(fixture.pending_event().await.roles.len(), 3);
    add_pending(
        &fixture,
        enrollment,
        ADA,
        Some("finance_admin"),
        BlockedReason::NoSuchRun,
    )
    .await;
    fixture.put_run(RUN).await;
    fixture.announce(ADA, Some("sales_admin"), None).await;
    assert_eq!(fixture.enrollment().await.roles.len(), 5);
    assert_eq!(fixture.pending().await, []);
}

/// The later of two pending events decides which changes are newer: the learner was unenrolled
/// after the older one was delivered, and before the newer one.
#[tokio::test]
async fn the_newer_event_of_two_addresses_decides() {
    let fixture = Fixture::new().await;
    let enrollment = EventKind::Enrollment;
    fixture.rename(ADA, NEW).await;
    fixture.announce(NEW, None, None).await;
    add_pending(
        &fixture,
        enrollment,
        ADA,
        Some("staff"),
        BlockedReason::NoSuchRun,
    )
    .await;
    fixture.clock.advance(Duration::from_secs(5));
    let enrolling = fixture.use_cases().enrolling().unwrap();
    let (email, run) = (NEW.parse().unwrap(), RUN.parse().unwrap());
    let by = Change::Operator {
        name: "a test".to_owned(),
    };
    let mode = "audit".parse().unwrap();
    let unenrolled = enrolling.set(
        &email,
        &run,
        Setting::mode(mode, false),
        by,
        fixture.clock.now(),
    );
    unenrolled.await.unwrap();
    assert!(!fixture.enrollment().await.active);
    fixture.clock.advance(Duration::from_secs(5));
    add_pending(
        &fixture,
        enrollment,
        NEW,
        Some("instructor"),
        BlockedReason::NoSuchRun,
    )
    .await;

    // Only the older one is retried, and the other one takes effect with it.
    let events = fixture.pending().await;
    let older = events.iter().find(|event| event.email.as_str() == ADA);
    let pending_events = fixture.use_cases().pending_events().unwrap();
    let now = fixture.clock.now();
    assert!(pending_events.make_due(older.unwrap(), now).await.unwrap());
    assert_eq!(fixture.run().await["attempted"], 1);
    let after = fixture.enrollment().await;
    assert_eq!((after.active, after.roles.len()), (true, 2));
    assert_eq!(fixture.pending().await, []);
}

/// Announcements for both addresses come in while the address changes back and forth: none is lost,
/// and only one enrollment is made.
#[tokio::test]
async fn no_announcement_is_lost_while_the_address_changes() {
    const ROLES: usize = 30;
    let fixture = Fixture::new().await;
    let announce = async |n: usize| {
        let email = if n.is_multiple_of(2) { ADA } else { NEW };
        fixture
            .announce(email, Some(&format!("role-{n}")), None)
            .await;
    };
    let to_and_fro = async {
        for (old, new) in [(ADA, NEW), (NEW, ADA), (ADA, NEW)] {
            assert!(fixture.rename(old, new).await.changed, "{old} to {new}");
        }
    };
    let announcements = (0..ROLES).map(announce);
    tokio::join!(to_and_fro, futures::future::join_all(announcements));
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_hours(1));
        fixture.run().await;
    }
    assert_eq!(fixture.enrollment().await.roles.len(), ROLES);
    assert_eq!(fixture.pending().await, []);
}

/// A former address without a target belongs to no user; a cycle of former addresses is an error
/// and no endless loop.
#[tokio::test]
async fn dangling_and_circular_former_addresses_find_no_user() {
    let fixture = Fixture::new().await;
    let alias = async |from: &str, to: &str| {
        let put = fixture.dynamodb.put_item().table_name("UsersTable");
        let put = put.item("email", S(from.to_owned()));
        put.item("alias_of", S(to.to_owned())).send().await.unwrap();
    };
    let users = fixture.use_cases().users().unwrap();
    let email = "a@example.org".parse().unwrap();
    alias("a@example.org", "b@example.org").await;
    assert_eq!(users.get(&email).await, Ok(None));
    fixture.announce("a@example.org", None, None).await;
    assert_eq!(
        fixture.pending_event().await.reason,
        BlockedReason::NoSuchUser
    );

    alias("b@example.org", "a@example.org").await;
    assert!(
        users
            .get(&email)
            .await
            .is_err_and(|error| error.is_outage())
    );
    fixture.clock.advance(Duration::from_secs(80));
    assert_eq!(fixture.run().await["failed"], 1);
}
