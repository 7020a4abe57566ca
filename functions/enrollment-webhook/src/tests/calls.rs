//! The number of calls to DynamoDB on each path.

use aws_sdk_dynamodb::types::AttributeValue::Bool;
use harness::{ADA, RUN};
use serde_json::json;
use store::CallLimits;
use web::start::HttpFunction;

use super::fixture::Fixture;

#[tokio::test]
async fn each_path_makes_the_documented_calls() {
    const READ: &str = "BatchGetItem";
    const WRITE: &str = "UpdateItem";
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    let bob = "bob@example.org";
    let cases: &[(&str, &str, &str, u16, &[&str])] = &[
        ("first", ADA, RUN, 201, &[READ, WRITE]),
        ("repeated", ADA, RUN, 200, &[READ, WRITE]),
        ("re-activated", ADA, RUN, 200, &[READ, WRITE, WRITE]),
        ("unknown user, pending", bob, RUN, 404, &[READ, WRITE]),
        ("unknown user, pending again", bob, RUN, 404, &[READ, WRITE]),
        (
            "known now, pending event removed",
            bob,
            RUN,
            201,
            &[READ, WRITE, "DeleteItem"],
        ),
        ("no pending event any more", bob, RUN, 200, &[READ, WRITE]),
        (
            "unknown run, pending",
            ADA,
            "course-v1:A+B+C",
            404,
            &[READ, WRITE],
        ),
        ("no course id, not pending", ADA, "None", 404, &[READ]),
        ("faulty", "ada", RUN, 400, &[]),
    ];
    for (name, email, course_id, status, calls) in cases {
        match *name {
            "re-activated" => fixture.set_enrollment("active", Bool(false)).await,
            "known now, pending event removed" => {
                fixture
                    .put_user(bob, "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11", None)
                    .await;
            }
            _ => {}
        }
        let before = proxy.calls().len();
        let answer = fixture
            .deliver(&json!({"email": email, "course_id": course_id}))
            .await;
        assert_eq!(answer.status, *status, "{name}");
        assert_eq!(proxy.calls()[before..], **calls, "{name}");
        assert_eq!(fixture.log.done()["dynamodb_calls"], calls.len(), "{name}");
    }
}

/// The warm-up reads a key that cannot exist, and only the first request is a cold start.
#[tokio::test]
async fn warm_up_costs_one_read() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    fixture.webhook.warm_up().await;
    assert_eq!(proxy.calls(), ["GetItem"]);
    for cold in [true, false] {
        fixture
            .deliver(&json!({"email": ADA, "course_id": RUN}))
            .await;
        assert_eq!(fixture.log.done()["cold_start"], cold, "cold: {cold}");
    }
}
