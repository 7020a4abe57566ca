//! A learner has another address, and the LMS goes on sending the former one.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::{ADA, ADA_ID, ADA_USERNAME, Portal, RUN};
use shared::adapters::store::pending_events::NewPendingEvent;
use shared::clock::Clock;
use shared::domain::{BlockedReason, Change, EventKey, EventKind, EventState, Setting};

use super::fixture::Fixture;

const NEW: &str = "ada.lovelace@example.org";

/// The key of an event in the run.
fn key(kind: EventKind, email: &str) -> EventKey {
    EventKey::of(kind, &email.parse().unwrap(), &RUN.parse().unwrap())
}

/// Keeps an event as a webhook does that has read the user before the address changed.
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

/// What is pending comes along, and what it waits for finds it there.
#[tokio::test]
async fn what_was_pending_before_takes_effect_after() {
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
    // The same again changes nothing.
    let again = fixture.rename(ADA, NEW).await;
    assert_eq!((again.changed, again.events_moved), (false, 0));

    // By either address the enrollment is theirs, and its event is found.
    for email in [ADA, NEW] {
        fixture.enroll_user(email, "verified").await;
    }
    assert_eq!(fixture.run().await["done"], 1);
    assert!(fixture.certificate().await.is_some());
    assert_eq!(fixture.pending().await, []);
}

/// Whatever the LMS sends to the former address is pending under the one that the
/// learner has.
#[tokio::test]
async fn the_former_address_goes_on_finding_them() {
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

    // There and back again: both addresses lead to the one that they have.
    assert!(fixture.rename(NEW, ADA).await.changed);
    for email in [ADA, NEW] {
        fixture.announce(email, Some("finance_admin"), None).await;
    }
    let [enrollment] = fixture.enrollments(ADA_ID).await.try_into().unwrap();
    assert_eq!(enrollment.roles.len(), 3);
}

/// An announcement that was under way while the address changed is pending under
/// the former one; at its attempt it goes where what it waits for finds it.
#[tokio::test]
async fn what_is_pending_under_a_former_address_moves_at_its_next_attempt() {
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
        assert_eq!(event.event_key, key(EventKind::Certificate, NEW));
        assert_eq!(
            (event.state, event.reason, event.last_error.as_deref()),
            (
                EventState::Waiting,
                BlockedReason::NotEligible,
                Some("unpaid_mode")
            )
        );
        fixture.enroll_user(NEW, "verified").await;
        assert_eq!(fixture.run().await["done"], 1);
        assert!(fixture.certificate().await.is_some());
    }
}

/// What has waited under both addresses takes effect together.
#[tokio::test]
async fn what_waits_under_both_addresses_is_one() {
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

    // What comes to the former address before the run is known joins it, also
    // what had read the user before the address changed.
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

/// Of two that wait, the newer one says what it yields to: somebody was
/// unenrolled after the older one was delivered, and before the newer one.
#[tokio::test]
async fn the_newer_of_two_addresses_events_counts() {
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

    // The older one alone is retried, and takes the other one along.
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

/// While the address goes to and fro, announcements to both come in: none is
/// lost, and no more than one enrollment is made.
#[tokio::test]
async fn announcements_and_changes_of_the_address_at_once() {
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
            assert!(fixture.rename(old, new).await.changed);
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

/// A former address that leads nowhere belongs to no user; one that leads in a circle
/// is no reason to go round for ever.
#[tokio::test]
async fn former_addresses_that_lead_nowhere() {
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
