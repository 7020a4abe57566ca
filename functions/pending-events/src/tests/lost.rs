//! Answers of the store that are lost, items that cannot be parsed, calls that always fail, and
//! panics.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use common::clock::Clock;
use domain::{BlockedReason, EventState};
use harness::{ADA, FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{FaultRule, LmsFault};

use super::fixture::Fixture;
use super::lms::with_passes;

/// The first answer to each write is lost after its effect: each event is nevertheless retried
/// once, and its outcome is logged.
#[tokio::test]
async fn an_event_whose_answers_are_lost_is_retried_once() {
    for lms_works in [true, false] {
        let fixture = with_passes(3).await;
        if !lms_works {
            fixture.lms.add_fault(FaultRule::of(LmsFault::NoRow));
        }
        let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
        let fixture = Fixture::wired(fixture.beside(), client);
        let seen = Mutex::new(HashSet::new());
        proxy.set(move |call| {
            let is_write = matches!(call.operation.as_str(), "UpdateItem" | "DeleteItem");
            if is_write && seen.lock().unwrap().insert(call.body.clone()) {
                Fault::LostAnswer
            } else {
                Fault::Pass
            }
        });
        let summary = fixture.run().await;
        assert_eq!(summary["attempted"], 3, "LMS works: {lms_works}: {summary}");
        let lines = fixture.log.lines();
        let outcomes: Vec<_> = lines.iter().filter_map(|l| l["outcome"].as_str()).collect();
        let expected = if lms_works { "created" } else { "waiting" };
        assert_eq!(outcomes, [expected; 3], "LMS works: {lms_works}");
        for event in fixture.pending().await {
            assert_eq!(event.attempts, 1, "LMS works: {lms_works}");
        }
    }
}

/// An event of an unexpected shape is one error each time, and the others are processed.
#[tokio::test]
async fn an_unreadable_event_is_an_error_and_the_others_are_processed() {
    let fixture = with_passes(3).await;
    let key = fixture.pending().await[0].event_key.clone();
    fixture
        .dynamodb
        .update_item()
        .table_name("PendingEventsTable")
        .key("event_key", S(key.to_string()))
        .update_expression("SET #r = :r, #k = :r")
        .expression_attribute_names("#r", "reason")
        .expression_attribute_names("#k", "kind")
        .expression_attribute_values(":r", S("of_a_later_version".to_owned()))
        .send()
        .await
        .unwrap();
    let summary = fixture.run().await;
    assert_eq!(
        (&summary["done"], &summary["failed"]),
        (&2.into(), &1.into()),
        "{summary}"
    );
    let lines = fixture.log.lines();
    let failed = lines
        .iter()
        .find(|line| line["outcome"] == "failed")
        .unwrap();
    assert_eq!(failed["reason"], "corrupt_item:PendingEventsTable");
    assert_eq!(failed["event_key"], key.as_str());
    // The event is left for half a day, and the others are listed.
    fixture.clock.advance(Duration::from_hours(11));
    assert_eq!(fixture.run().await["failed"], 0);
    fixture.clock.advance(Duration::from_hours(2));
    assert_eq!(fixture.run().await["failed"], 1);
    // An import is processed, too.
    let tables = fixture.use_cases();
    let (pending_events, users) = (tables.pending_events().unwrap(), tables.users().unwrap());
    let now = fixture.clock.now();
    app::importing::wake_waiting_of_users(&pending_events, &users, now)
        .await
        .unwrap();
}

/// An event that always fails is retried less and less often, and is dead in the end.
#[tokio::test]
async fn an_event_that_always_fails_ends_dead() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
    fixture.add_pending_pass().await;
    fixture.grade(0.9, true);
    fixture
        .set("EnrollmentsTable", "mode", S(String::new()))
        .await;
    let began = fixture.clock.now();
    let mut attempts = 0;
    loop {
        let event = fixture.pending_event().await;
        if event.state != EventState::Waiting {
            break;
        }
        fixture.clock.set(event.next_attempt_at);
        fixture.run().await;
        attempts += 1;
    }
    assert!((16..=22).contains(&attempts), "{attempts}");
    let event = fixture.pending_event().await;
    assert_eq!(
        (event.state, event.reason),
        (EventState::Dead, BlockedReason::Failed)
    );
    assert_eq!(event.last_error.as_deref(), Some("CorruptItem"));
    assert_eq!(fixture.clock.now().duration_since(began).as_hours() / 24, 7);
    assert_eq!(fixture.log.last("event retried")["outcome"], "dead");
    // The LMS was asked no more than needed.
    assert_eq!(fixture.lms.calls().len(), 2);
}

/// A panic in the call after the claim is a failure of that attempt, and the batch continues.
#[tokio::test]
async fn a_panicking_attempt_is_a_failed_attempt() {
    let fixture = with_passes(2).await;
    let panics = harness::panicking_client(fixture.engine_url(), "BatchGetItem");
    let fixture = Fixture::wired(fixture.beside(), panics);
    let summary = fixture.run().await;
    assert_eq!(
        (&summary["attempted"], &summary["failed"]),
        (&2.into(), &2.into())
    );
    let line = fixture.log.last("event retried");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("panic:") && reason.contains("panics.rs:"),
        "{reason}"
    );
    assert!(!fixture.log.text().contains(ADA));
    for event in fixture.pending().await {
        assert_eq!(
            (event.reason, event.state),
            (BlockedReason::Failed, EventState::Waiting)
        );
    }
    // The next attempt is as if nothing had happened.
    let next = Fixture::on(fixture.beside());
    next.clock.advance(Duration::from_secs(90));
    assert_eq!(next.run().await["done"], 2);
}

/// An enrollment and a pass blocked on the same import are due at the same time; they are retried
/// side by side, in any order.
#[tokio::test]
async fn enrollment_and_pass_can_be_retried_side_by_side() {
    for name in ["ada", "bob", "eve", "grace", "alan"] {
        let fixture = Fixture::on(harness::Portal::empty().await);
        let email = format!("{name}@example.org");
        fixture.put_run(RUN).await;
        fixture.announce(&email, None, Some("verified")).await;
        fixture.add_pending_pass_of(&email).await;
        let id = uuid::Uuid::new_v4().to_string();
        fixture.put_user(&email, &id, Some(name)).await;
        let row = local::lms::GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: None,
        };
        fixture.lms.grade(name, RUN, row);
        // The LMS answers long after the enrollment has been written.
        fixture
            .lms
            .add_fault(FaultRule::of(LmsFault::Slow { delay_ms: 200 }));
        fixture.clock.advance(Duration::from_secs(90));
        fixture.run().await;
        fixture.clock.advance(Duration::from_secs(90));
        fixture.run().await;
        let certificates = fixture.use_cases().certificates().unwrap();
        let certificates = certificates.of_user(id.parse().unwrap()).await.unwrap();
        assert_eq!(certificates.len(), 1, "{name}");
        assert_eq!(fixture.pending().await, [], "{name}");
    }
}
