//! A learner is erased while a delivery is being processed.

use std::sync::Arc;

use app::erasing::IN_FLIGHT;
use bootstrap::wiring::Wiring;
use common::clock::FakeClock;
use domain::LearnerRef;
use harness::{ADA, ADA_ID, FAST_RETRIES, now};
use local::Fault;
use serde_json::json;
use tokio::sync::Notify;

use super::fixture::Fixture;

/// The record of a delivery that had read the user before they were erased is erased, too, without
/// any manual search.
#[tokio::test]
async fn the_record_of_a_concurrent_delivery_is_erased() {
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    proxy.set(|call| match call.operation.as_str() {
        "UpdateItem" => Fault::Hold,
        _ => Fault::Pass,
    });
    let clock = Arc::new(FakeClock::at(now()));
    let wiring = Wiring::new(fixture.environment(), fixture.client(), clock.clone());
    let erasing = wiring.erasing().unwrap();
    let (is_gone, is_delivered) = (Notify::new(), Notify::new());

    let delivery = async {
        let body = json!({"email": ADA, "course_id": harness::RUN});
        assert_eq!(fixture.deliver(&body).await.status, 201);
        is_delivered.notify_one();
    };
    let erasure = async {
        proxy.stuck(1).await;
        let learner = LearnerRef::Address(ADA.parse().unwrap());
        erasing
            .erase(&learner, false, |_| is_gone.notify_one())
            .await
    };
    let meanwhile = async {
        is_gone.notified().await;
        proxy.set(|_| Fault::Pass);
        is_delivered.notified().await;
        assert_eq!(fixture.enrollments(ADA_ID).await.len(), 1);
        clock.advance(IN_FLIGHT);
    };
    let ((), erased, ()) = tokio::join!(delivery, erasure, meanwhile);
    let erased = erased.unwrap();
    assert_eq!((erased.user, erased.enrollments), (ADA_ID.parse().ok(), 1));
    assert_eq!(fixture.enrollments(ADA_ID).await, []);
}
