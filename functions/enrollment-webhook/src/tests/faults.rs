//! An unavailable store: the sender is asked to retry, and nothing is half-written.

use std::time::Duration;

use harness::{ADA, ADA_ID, FAST_RETRIES, Portal, RUN, SHORT_TIMEOUTS};
use local::Fault;
use serde_json::json;
use store::CallLimits;

use super::fixture::Fixture;
use crate::STORE_TIME;

const ATTEMPTS: usize = CallLimits::PRODUCTION.attempts as usize;

/// Row 13, for the read and for the write: the answer is 503 with `Retry-After`, the code is in the
/// log, there are no more attempts than allowed, and the sender's next attempt succeeds.
#[tokio::test]
async fn an_unavailable_store_is_answered_503() {
    let faults = [
        (
            Fault::Throttle,
            "ProvisionedThroughputExceededException",
            ATTEMPTS,
        ),
        (Fault::InternalError, "InternalServerError", ATTEMPTS),
        (Fault::Conflict, "TransactionConflictException", ATTEMPTS),
        (Fault::Hang, "Timeout", ATTEMPTS),
        (Fault::LostAnswer, "", ATTEMPTS),
        (Fault::Garbage, "UnreadableAnswer", 1),
        (
            Fault::Refuse("AccessDeniedException"),
            "AccessDeniedException",
            1,
        ),
        (
            Fault::Refuse("ResourceNotFoundException"),
            "ResourceNotFoundException",
            1,
        ),
    ];
    for (fault, code, attempts) in faults {
        for failing in ["BatchGetItem", "UpdateItem"] {
            let limits = if fault == Fault::Hang {
                SHORT_TIMEOUTS
            } else {
                FAST_RETRIES
            };
            let (fixture, proxy) = Fixture::behind_proxy(limits).await;
            proxy.set(move |call| {
                if call.operation == failing {
                    fault
                } else {
                    Fault::Pass
                }
            });
            let answer = fixture
                .deliver(&json!({"email": ADA, "course_id": RUN}))
                .await;
            let case = format!("{fault:?} at {failing}: {answer:?}");
            assert_eq!(answer.status, 503, "{case}");
            assert_eq!(answer.headers["retry-after"], "5", "{case}");
            let tried = proxy.calls().iter().filter(|call| *call == failing).count();
            // An error that is not temporary leads to one more write, that of the pending event, which
            // fails, too.
            let more =
                usize::from(attempts == 1 && failing == "UpdateItem" && code != "UnreadableAnswer");
            assert_eq!(tried, attempts + more, "{case}");

            let done = fixture.log.done();
            assert_eq!(
                (&done["level"], &done["reason"]),
                (&json!("ERROR"), &json!("store")),
                "{case}"
            );
            if !code.is_empty() {
                assert_eq!(done["error_code"], code, "{case}");
            }
            assert_eq!(
                fixture.log.lines().len(),
                2,
                "received and done, no more: {case}"
            );

            // Either nothing is stored, or all of it: the write took effect and its answer was
            // lost.
            let found = fixture.enrollments(ADA_ID).await;
            let lost = fault == Fault::LostAnswer && failing == "UpdateItem";
            assert_eq!(found.len(), usize::from(lost), "{case}");

            proxy.set(|_| Fault::Pass);
            let answer = fixture
                .deliver(&json!({"email": ADA, "course_id": RUN}))
                .await;
            assert_eq!(answer.status, if lost { 200 } else { 201 }, "{case}");
            assert_eq!(fixture.enrollment().await.history.len(), 1, "{case}");
        }
    }
}

/// A delivery that cannot be stored as pending is not accepted.
#[tokio::test]
async fn a_delivery_that_cannot_be_stored_is_503() {
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    let body = json!({"email": "bob@example.org", "course_id": RUN});
    proxy.set(|call| {
        if call.operation == "UpdateItem" {
            Fault::InternalError
        } else {
            Fault::Pass
        }
    });
    let answer = fixture.deliver(&body).await;
    assert_eq!((answer.status, fixture.pending().await.len()), (503, 0));
    proxy.set(|_| Fault::Pass);
    assert_eq!(
        (
            fixture.deliver(&body).await.status,
            fixture.pending().await.len()
        ),
        (404, 1)
    );
}

/// An enrollment that took effect is reported as such, also where its pending event cannot be
/// removed; the next attempt finds the event done.
#[tokio::test]
async fn an_event_that_cannot_be_removed_is_no_failure() {
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    let body = json!({"email": "bob@example.org", "course_id": RUN, "role": "staff"});
    assert_eq!(fixture.deliver(&body).await.status, 404);
    fixture
        .put_user(
            "bob@example.org",
            "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11",
            None,
        )
        .await;
    proxy.set(|call| match call.operation.as_str() {
        "DeleteItem" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    assert_eq!(fixture.deliver(&body).await.status, 201);
    let done = fixture.log.done();
    assert_eq!(
        (&done["outcome"], &done["error_code"]),
        (&json!("created"), &json!("AccessDeniedException"))
    );
    assert_eq!(fixture.pending().await.len(), 1);
}

/// A change whose answer was lost is reported as what it did.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_reported() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    // The second call is the write: it takes effect, and its answer is lost.
    proxy.set(|call| {
        if call.number == 2 {
            Fault::LostAnswer
        } else {
            Fault::Pass
        }
    });
    let answer = fixture
        .deliver(&json!({"email": ADA, "course_id": RUN}))
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(proxy.calls(), ["BatchGetItem", "UpdateItem", "UpdateItem"]);
    let done = fixture.log.done();
    assert_eq!(
        (&done["outcome"], &done["dynamodb_calls"]),
        (&json!("created"), &json!(3))
    );
    assert_eq!(fixture.enrollment().await.history.len(), 1);
}

/// The store as a whole is abandoned before ten seconds are over, however long each call may take.
#[tokio::test]
async fn a_slow_store_is_abandoned_in_time() {
    assert!(STORE_TIME < Duration::from_secs(10));
    assert!(CallLimits::PRODUCTION.longest() < STORE_TIME);

    let portal = Portal::new().await;
    let (proxy, through) = portal.proxy(FAST_RETRIES).await;
    proxy.set(|_| Fault::Hang);
    let fixture = Fixture::wired(portal, through, Duration::from_millis(100));
    let body = json!({"email": ADA, "course_id": RUN});
    // Far above the store's time here, and far below that of an answer as a whole.
    let answer = tokio::time::timeout(Duration::from_secs(15), fixture.deliver(&body)).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    assert_eq!(fixture.log.done()["reason"], "out_of_time");
}

/// Keys that DynamoDB leaves unprocessed are requested again, and not treated as absent.
#[tokio::test]
async fn unprocessed_keys_are_requested_again() {
    const UNPROCESSED: &str = r#"{"Responses": {}, "UnprocessedKeys": {
        "UsersTable": {"ConsistentRead": true, "Keys": [{"email": {"S": "ada@example.org"}}]},
        "CourseRunsTable": {"ConsistentRead": true, "Keys": [
            {"course_id": {"S": "course-v1:Demo+RustOnLambda+2026_T3"}}]}}}"#;
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    proxy.set(|call| {
        if call.number == 1 {
            Fault::Reply(UNPROCESSED)
        } else {
            Fault::Pass
        }
    });
    let body = json!({"email": ADA, "course_id": RUN});
    assert_eq!(fixture.deliver(&body).await.status, 201);
    assert_eq!(
        proxy.calls(),
        ["BatchGetItem", "BatchGetItem", "UpdateItem"]
    );

    proxy.set(|call| match call.operation.as_str() {
        "BatchGetItem" => Fault::Reply(UNPROCESSED),
        _ => Fault::Pass,
    });
    assert_eq!(fixture.deliver(&body).await.status, 503);
    assert_eq!(fixture.log.done()["error_code"], "UnprocessedKeys");
}

/// Items of the tables are validated as strictly as requests.
#[tokio::test]
async fn an_item_of_another_shape_is_500() {
    let fixture = Fixture::new().await;
    fixture.put_user(ADA, "no uuid at all", None).await;
    let answer = fixture
        .deliver(&json!({"email": ADA, "course_id": RUN}))
        .await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body, json!({"error": "Something went wrong."}));
    let done = fixture.log.done();
    assert_eq!(
        (&done["reason"], &done["level"]),
        (&json!("corrupt_item:UsersTable"), &json!("ERROR"))
    );
    assert!(!fixture.log.text().contains("no uuid"));
}

/// Row 14: a dependency that panics is answered 500 and logs one error, with the place and without
/// the message; the next request is answered normally.
#[tokio::test]
async fn a_panic_is_500() {
    let portal = Portal::new().await;
    let through = harness::panicking_client(portal.engine_url(), "BatchGetItem");
    let fixture = Fixture::wired(portal, through, STORE_TIME);
    for _ in 0..2 {
        let before = fixture.log.lines().len();
        let answer = fixture
            .deliver(&json!({"email": ADA, "course_id": RUN}))
            .await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.body, json!({"error": "Something went wrong."}));
        let lines = fixture.log.lines();
        let errors: Vec<_> = lines[before..]
            .iter()
            .filter(|l| l["level"] == "ERROR")
            .collect();
        assert_eq!((lines.len() - before, errors.len()), (2, 1), "{lines:?}");
        let reason = errors[0]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("panic:") && reason.contains("panics.rs:"),
            "{reason}"
        );
    }
    assert!(!fixture.log.text().contains(ADA));
}
