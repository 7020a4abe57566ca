//! Compares the event that a delivery leaves in the table with the domain's rule.

use bootstrap::aws;
use domain::{
    Blocked, BlockedReason, CourseRole, Email, EventKey, EventKind, EventState, Lane, Mode,
    NewPendingEvent, PendingEvent,
};
use jiff::Timestamp;
use local::{Dynamodb, FaultyProxy};
use store::CallLimits;
use store::pending_events::PendingEvents;

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// One update stores a delivery, two if it needs the stored event; either way the event becomes
/// what the domain makes of it.
#[tokio::test]
async fn a_delivery_becomes_what_the_domain_makes_of_it() {
    let email = "ada@example.org".parse().unwrap();
    let course_id = "course-v1:a+b+c".parse().unwrap();
    let (staff, instructor): (CourseRole, CourseRole) =
        ("staff".parse().unwrap(), "instructor".parse().unwrap());
    let (audit, verified) = (Mode::audit(), "verified".parse::<Mode>().unwrap());
    let unavailable = Blocked {
        error: Some("502".to_owned()),
        ..BlockedReason::LmsUnavailable.into()
    };
    let no_user = Blocked::from(BlockedReason::NoSuchUser);
    let delivery = |role, mode, blocked, second| NewPendingEvent {
        kind: EventKind::Enrollment,
        email: &email,
        course_id: &course_id,
        role,
        mode,
        blocked,
        delivered_at: moment(second),
    };
    let first = [
        delivery(None, None, &no_user, 1000),
        delivery(Some(&instructor), Some(&audit), &unavailable, 1000),
    ];
    // Changes the stored event, and how many calls a delivery at 1010 then takes.
    type Change = fn(PendingEvent) -> Option<PendingEvent>;
    let changes: [(&str, usize, Change); 5] = [
        ("waits", 1, |_| None),
        ("would be due later", 2, |event| {
            Some(PendingEvent {
                attempts: 4,
                next_attempt_at: moment(90_000),
                ..event
            })
        }),
        ("has ended", 2, |event| {
            Some(PendingEvent {
                attempts: 9,
                state: EventState::Dead,
                next_attempt_at: moment(1005),
                ..event
            })
        }),
        ("was delivered later", 2, |event| {
            Some(PendingEvent {
                delivered_at: moment(1020),
                ..event
            })
        }),
        ("was unenrolled", 1, |event| {
            let rest = event.after_unenrollment(moment(1005));
            Some(rest.unwrap_or(event))
        }),
    ];
    for first in &first {
        for (role, mode) in [(None, None), (Some(&staff), Some(&verified))] {
            for blocked in [&unavailable, &no_user] {
                for (name, calls, change) in &changes {
                    let delivery = delivery(role, mode, blocked, 1010);
                    let case = format!("{name}: {delivery:?} after {first:?}");
                    let engine = Dynamodb::in_memory().await.unwrap();
                    let proxy = FaultyProxy::before(&engine.url, |_| local::Fault::Pass);
                    let proxy = proxy.await.unwrap();
                    let client = local::sdk::configuration(&proxy.url);
                    let client = aws::dynamodb(&client, CallLimits::PRODUCTION);
                    let events = PendingEvents::new(client, "PendingEventsTable".to_owned());
                    let key = events.add(first).await.unwrap();
                    let stored = async || {
                        let keys = std::slice::from_ref(&key);
                        events.get_many(keys).await.unwrap().remove(0).unwrap()
                    };
                    assert_eq!(stored().await, first.event(), "{case}");
                    if let Some(event) = change(stored().await) {
                        assert!(events.save(&event).await.unwrap(), "{case}");
                    }
                    let before = stored().await;

                    let made = proxy.calls().len();
                    events.add(&delivery).await.unwrap();
                    assert_eq!(proxy.calls()[made..], vec!["UpdateItem"; *calls], "{case}");
                    let expected = PendingEvent {
                        version: before.version + 1,
                        ..before.redelivered(&delivery.event())
                    };
                    assert_eq!(stored().await, expected, "{case}");
                }
            }
        }
    }
}

/// Of each key of the index the longest due and the latest come in turn, and only those that are due;
/// what has ended is in neither lane.
#[tokio::test]
async fn old_and_new_events_come_in_turn() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let client = local::sdk::configuration(&engine.url);
    let client = aws::dynamodb(&client, CallLimits::PRODUCTION);
    let events = PendingEvents::new(client, "PendingEventsTable".to_owned());
    let course_id = "course-v1:a+b+c".parse().unwrap();
    let blocked = Blocked::from(BlockedReason::NoSuchUser);
    let emails = (0..).map(|n| format!("learner{n}@example.org").parse::<Email>().unwrap());
    let in_one_shard = emails
        .filter(|email| EventKey::of(EventKind::Enrollment, email, &course_id).shard() == "7");
    let mut stored = Vec::new();
    for (n, email) in in_one_shard.take(60).enumerate() {
        let new = NewPendingEvent {
            kind: EventKind::Enrollment,
            email: &email,
            course_id: &course_id,
            role: None,
            mode: None,
            blocked: &blocked,
            delivered_at: moment(1000),
        };
        let mut event = new.event();
        events.add(&new).await.unwrap();
        event.next_attempt_at = moment(2000 + i64::try_from(n).unwrap());
        if n == 0 {
            event.state = EventState::Expired;
        }
        assert!(events.save(&event).await.unwrap());
        stored.push(event.event_key);
    }
    let due = events.due(Lane::Own, moment(2058)).await.unwrap();
    // The first has ended, the last is not due.
    let stored = &stored[1..59];
    let old = stored.iter().take(25);
    let in_turn = old
        .zip(stored.iter().rev())
        .flat_map(|(old, new)| [old, new]);
    assert_eq!(due.keys, in_turn.cloned().collect::<Vec<_>>());
    assert!(due.has_more);
    // Of thirty, twenty are among both, and come once.
    let mut due = events.due(Lane::Own, moment(2030)).await.unwrap();
    assert!(due.has_more);
    due.keys
        .sort_by_key(|key| stored.iter().position(|stored| stored == key));
    assert_eq!(due.keys, stored[..30]);
    let due = events.due(Lane::Own, moment(2003)).await.unwrap();
    assert_eq!((due.keys.as_slice(), due.has_more), (&stored[..3], false));
    let of_lms = events.due(Lane::Lms, moment(2058)).await.unwrap();
    assert_eq!(of_lms.keys, []);
    for (state, count) in [
        (EventState::Waiting, 59),
        (EventState::Expired, 1),
        (EventState::Dead, 0),
    ] {
        assert_eq!(events.count(state).await.unwrap(), count, "{state:?}");
    }
}
