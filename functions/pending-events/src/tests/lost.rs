//! Answers of the tables that are lost, items that cannot be read, calls that
//! fail for good, and panics.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::{ADA, FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{FaultRule, LmsFault};
use shared::clock::Clock;
use shared::domain::{BlockedReason, EventState};

use super::lms::with_passes;
use super::stack::Stack;

/// The first answer to each write is lost after its effect: each event is
/// retried once all the same, and its end told.
#[tokio::test]
async fn every_answer_is_lost_once() {
    for lms_is_well in [true, false] {
        let stack = with_passes(3).await;
        if !lms_is_well {
            stack.lms.add_fault(FaultRule::of(LmsFault::NoRow));
        }
        let (proxy, client) = stack.proxy(FAST_RETRIES).await;
        let stack = Stack::wired(stack.beside(), client);
        let seen = Mutex::new(HashSet::new());
        proxy.set(move |call| {
            let is_write = matches!(call.operation.as_str(), "UpdateItem" | "DeleteItem");
            if is_write && seen.lock().unwrap().insert(call.body.clone()) {
                Fault::LostAnswer
            } else {
                Fault::Pass
            }
        });
        let summary = stack.run().await;
        assert_eq!(summary["attempted"], 3, "{summary}");
        let lines = stack.log.lines();
        let outcomes: Vec<_> = lines.iter().filter_map(|l| l["outcome"].as_str()).collect();
        let expected = if lms_is_well { "created" } else { "waits" };
        assert_eq!(outcomes, [expected; 3]);
        for event in stack.pending().await {
            assert_eq!(event.attempts, 1);
        }
    }
}

/// An event that is not of the expected shape is one error each time, and the
/// others go on.
#[tokio::test]
async fn an_event_that_cannot_be_read() {
    let stack = with_passes(3).await;
    let key = stack.pending().await[0].event_key.clone();
    stack
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
    let summary = stack.run().await;
    assert_eq!(
        (&summary["done"], &summary["failed"]),
        (&2.into(), &1.into()),
        "{summary}"
    );
    let lines = stack.log.lines();
    let failed = lines
        .iter()
        .find(|line| line["outcome"] == "failed")
        .unwrap();
    assert_eq!(failed["reason"], "corrupt_item:PendingEventsTable");
    assert_eq!(failed["event_key"], key.as_str());
    // It is left alone for half a day, and the others are listed.
    stack.clock.advance(Duration::from_hours(11));
    assert_eq!(stack.run().await["failed"], 0);
    stack.clock.advance(Duration::from_hours(2));
    assert_eq!(stack.run().await["failed"], 1);
    // An import goes on, too.
    let tables = stack.use_cases();
    let (pending_events, users) = (tables.pending_events().unwrap(), tables.users().unwrap());
    let now = stack.clock.now();
    shared::use_cases::importing::wake_waiting_of_users(&pending_events, &users, now)
        .await
        .unwrap();
}

/// What fails for good is tried less and less often, and dead in the end.
#[tokio::test]
async fn what_fails_for_good_ends_dead() {
    let stack = Stack::new().await;
    stack.enroll("verified").await;
    stack
        .lms
        .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
    stack.add_pending_pass().await;
    stack.grade(0.9, true);
    stack
        .set("EnrollmentsTable", "mode", S(String::new()))
        .await;
    let began = stack.clock.now();
    let mut attempts = 0;
    loop {
        let event = stack.pending_event().await;
        if event.state != EventState::Waiting {
            break;
        }
        stack.clock.set(event.next_attempt_at);
        stack.run().await;
        attempts += 1;
    }
    assert!((16..=22).contains(&attempts), "{attempts}");
    let event = stack.pending_event().await;
    assert_eq!(
        (event.state, event.reason),
        (EventState::Dead, BlockedReason::Failed)
    );
    assert_eq!(event.last_error.as_deref(), Some("CorruptItem"));
    assert_eq!(stack.clock.now().duration_since(began).as_hours() / 24, 7);
    assert_eq!(stack.log.last("event retried")["outcome"], "dead");
    // The LMS was not asked in vain.
    assert_eq!(stack.lms.calls().len(), 2);
}

/// The call after the claim panics.
#[tokio::test]
async fn a_panic_is_one_events_failure() {
    let stack = with_passes(2).await;
    let panics = harness::panicking_client(stack.engine_url(), "BatchGetItem");
    let stack = Stack::wired(stack.beside(), panics);
    let summary = stack.run().await;
    assert_eq!(
        (&summary["attempted"], &summary["failed"]),
        (&2.into(), &2.into())
    );
    let line = stack.log.last("event retried");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("panic:") && reason.contains("panics.rs:"),
        "{reason}"
    );
    assert!(!stack.log.text().contains(ADA));
    for event in stack.pending().await {
        assert_eq!(
            (event.reason, event.state),
            (BlockedReason::Failed, EventState::Waiting)
        );
    }
    // The next attempt is as if nothing had happened.
    let next = Stack::on(stack.beside());
    next.clock.advance(Duration::from_secs(90));
    assert_eq!(next.run().await["done"], 2);
}

/// Enrollment and pass have waited for the same import, are due at the same
/// moment and retried side by side, in whatever order.
#[tokio::test]
async fn enrollment_and_pass_side_by_side() {
    for name in ["ada", "bob", "eve", "grace", "alan"] {
        let stack = Stack::on(harness::Portal::empty().await);
        let email = format!("{name}@example.org");
        stack.put_run(RUN).await;
        stack.announce(&email, None, Some("verified")).await;
        stack.add_pending_pass_of(&email).await;
        let id = uuid::Uuid::new_v4().to_string();
        stack.put_user(&email, &id, Some(name)).await;
        let row = local::lms::GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: None,
        };
        stack.lms.grade(name, RUN, row);
        // The LMS answers when the enrollment has long been written.
        stack
            .lms
            .add_fault(FaultRule::of(LmsFault::Slow { delay_ms: 200 }));
        stack.clock.advance(Duration::from_secs(90));
        stack.run().await;
        stack.clock.advance(Duration::from_secs(90));
        stack.run().await;
        let certificates = stack.use_cases().certificates().unwrap();
        let certificates = certificates.of_user(id.parse().unwrap()).await.unwrap();
        assert_eq!(certificates.len(), 1, "{name}");
        assert_eq!(stack.pending().await, [], "{name}");
    }
}
