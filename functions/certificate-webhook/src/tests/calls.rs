//! The number of calls to DynamoDB and to the LMS on each path.

use std::time::Duration;

use harness::{ADA, RUN};
use local::lms::{FaultRule, LmsFault};
use serde_json::json;
use store::CallLimits;
use web::start::HttpFunction;

use super::fixture::Fixture;

#[tokio::test]
async fn each_path_makes_the_documented_calls() {
    const READ: &str = "BatchGetItem";
    const WRITE: &str = "TransactWriteItems";
    const WRITE_GRADE: &str = "PutItem";
    const KEEP: &str = "UpdateItem";
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    fixture.enroll("audit").await;
    fixture.grade(0.2, false);
    let cases: &[(&str, &str, &[&str], u32)] = &[
        (
            "the LMS fails, with its token",
            "pending",
            &[READ, READ, KEEP],
            2,
        ),
        (
            "not passed",
            "not_passed",
            &[READ, READ, WRITE_GRADE, KEEP],
            1,
        ),
        (
            "not passed, the same grade",
            "not_passed",
            &[READ, READ, KEEP],
            1,
        ),
        (
            "not eligible",
            "not_eligible",
            &[READ, READ, WRITE_GRADE, KEEP],
            1,
        ),
        (
            "issued, and the pending event removed",
            "created",
            &[READ, READ, WRITE, "DeleteItem"],
            1,
        ),
        ("in force", "exists", &[READ, READ], 0),
    ];
    for (name, status, calls, lms_calls) in cases {
        match *name {
            "the LMS fails, with its token" => {
                fixture
                    .lms
                    .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
            }
            "not eligible" => fixture.grade(0.9, true),
            "issued, and the pending event removed" => fixture.enroll("verified").await,
            _ => {}
        }
        let before = proxy.calls().len();
        let answer = fixture.pass().await;
        assert_eq!(answer.body["certificate_status"], *status, "{name}");
        assert_eq!(proxy.calls()[before..], **calls, "{name}");
        let done = fixture.log.done();
        assert_eq!(done["dynamodb_calls"], calls.len(), "{name}");
        assert_eq!(done["lms_calls"], *lms_calls, "{name}");
    }

    // The first delivery of a learner, which nothing blocks.
    let bob = "bob@example.org";
    let id = "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
    fixture.put_user(bob, id, Some("bob")).await;
    let before = proxy.calls().len();
    let answer = fixture
        .deliver(&json!({"email": bob, "course_id": RUN}))
        .await;
    assert_eq!(answer.status, 202);
    assert_eq!(proxy.calls()[before..], [READ, READ, KEEP]);
    let unknown = json!({"email": ADA, "course_id": "course-v1:A+B+C"});
    let before = proxy.calls().len();
    assert_eq!(fixture.deliver(&unknown).await.status, 404);
    assert_eq!(proxy.calls()[before..], [READ, KEEP]);
}

/// The warm-up opens the connections and fetches the token before the first request.
#[tokio::test]
async fn warm_up_reads_once_and_fetches_the_token() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    fixture.webhook.warm_up().await;
    assert_eq!(proxy.calls(), ["GetItem"]);
    let calls = fixture.lms.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    fixture.grade(0.9, true);
    fixture.pass().await;
    assert_eq!(fixture.log.done()["lms_calls"], 1);
    // A token that is about to expire is renewed first.
    fixture.clock.advance(Duration::from_secs(3590));
    fixture.pass().await;
    assert_eq!(fixture.log.done()["lms_calls"], 2);
}
