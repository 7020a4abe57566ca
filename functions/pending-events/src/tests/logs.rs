//! The log lines of a batch, and the data that must never be in one.

use domain::Lane;
use local::Fault;
use local::lms::{CLIENT_SECRET, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::lms::with_passes;

/// A batch logs a line for each event, and one at the end.
#[tokio::test]
async fn a_batch_logs_a_line_for_each_event_and_one_at_its_end() {
    let fixture = with_passes(2).await;
    fixture.run_lane(Lane::Lms, 120).await.unwrap();
    let [first, second, last] = <[Value; 3]>::try_from(fixture.log.lines()).unwrap();
    for line in [first, second] {
        for (field, value) in [
            ("message", json!("event retried")),
            ("level", json!("INFO")),
            ("kind", json!("certificate")),
            ("request_id", json!("the-batch")),
            ("outcome", json!("created")),
            ("attempts", json!(1)),
        ] {
            assert_eq!(line[field], value, "{field}: {line}");
        }
        assert_eq!(line["event_key"].as_str().unwrap().len(), 64, "{line}");
        assert_eq!(line["user_id"].as_str().unwrap().len(), 36, "{line}");
    }
    for (field, value) in [
        ("message", json!("retry batch finished")),
        ("attempted", json!(2)),
        ("done", json!(2)),
        ("failed", json!(0)),
        ("certified", json!(2)),
        ("lane", json!("lms")),
        ("lms_paused", json!(false)),
        // A token and two grades.
        ("lms_calls", json!(3)),
    ] {
        assert_eq!(last[field], value, "{field}");
    }
    // Our own lane counts the events of both.
    fixture.run_lane(Lane::Own, 120).await.unwrap();
    let last = fixture.log.last("retry batch finished");
    for (field, value) in [
        ("lane", json!("own")),
        ("attempted", json!(0)),
        ("waiting", json!(0)),
        ("dead", json!(0)),
        ("expired", json!(0)),
    ] {
        assert_eq!(last[field], value, "{field}");
    }
}

/// The line of an event that stays pending names its blocked reason, the error, and the next
/// attempt.
#[tokio::test]
async fn an_event_that_stays_pending_logs_why() {
    let fixture = with_passes(1).await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 502 }));
    fixture.run().await;
    let line = fixture.log.last("event retried");
    let event = fixture.pending_event().await;
    for (field, value) in [
        ("outcome", "waiting".to_owned()),
        ("reason", "lms_unavailable".to_owned()),
        ("error_code", "502".to_owned()),
        ("next_attempt_at", event.next_attempt_at.to_string()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
}

/// A store that fails is logged as one error, and the call fails.
#[tokio::test]
async fn a_store_that_fails_is_an_error() {
    for failing in ["Query", "UpdateItem", "BatchGetItem", "TransactWriteItems"] {
        let fixture = with_passes(1).await;
        let (proxy, client) = fixture.proxy(harness::FAST_RETRIES).await;
        let fixture = Fixture::wired(fixture.beside(), client);
        proxy.set(move |call| match &call.operation {
            operation if operation == failing => Fault::Refuse("AccessDeniedException"),
            _ => Fault::Pass,
        });
        let run = fixture.run_lane(Lane::Lms, 120).await;
        let (message, fails) = match failing {
            "Query" | "UpdateItem" => ("retry batch failed", true),
            _ => ("event retried", false),
        };
        assert_eq!(run.is_err(), fails, "{failing}");
        let line = fixture.log.last(message);
        assert_eq!(line["level"], "ERROR", "{failing}");
        assert_eq!(line["error_code"], "AccessDeniedException", "{failing}");
        // The event is still there when the store works again.
        proxy.set(|_| Fault::Pass);
        fixture.clock.advance(std::time::Duration::from_secs(180));
        assert_eq!(fixture.run().await["done"], 1, "{failing}");
    }
}

#[tokio::test]
async fn no_address_username_or_secret_is_ever_logged() {
    let fixture = with_passes(3).await;
    for fault in [
        LmsFault::Html,
        LmsFault::OtherLearner,
        LmsFault::Drop,
        LmsFault::NoRow,
    ] {
        fixture.lms.revoke();
        fixture.lms.add_fault(FaultRule::of(fault));
        fixture.run().await;
        fixture.clock.advance(std::time::Duration::from_hours(15));
    }
    fixture.lms.revoke();
    fixture.run().await;
    assert!(!fixture.log.metrics().is_empty());
    let log = fixture.log.text();
    assert!(log.lines().count() > 10, "{log}");
    for word in ["@", "learner0", CLIENT_SECRET, "JWT"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
