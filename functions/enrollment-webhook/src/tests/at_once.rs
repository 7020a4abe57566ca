//! Many deliveries at once: each change takes effect once and has one history entry.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::Bool;
use futures::future::join_all;
use harness::{ADA, RUN};
use local::Fault;
use serde_json::{Value, json};
use store::CallLimits;

use super::fixture::Fixture;

const ROLES: [&str; 5] = [
    "beta_testers",
    "data_researcher",
    "instructor",
    "limited_staff",
    "staff",
];

/// Delivers all bodies at once, to these processes in turn; counts the answers.
async fn deliver_all(fixtures: &[Fixture], bodies: &[Value], case: &str) -> (usize, usize) {
    let processes = fixtures.iter().cycle();
    let deliveries = processes
        .zip(bodies)
        .map(|(fixture, body)| fixture.deliver(body));
    let answers = join_all(deliveries).await;
    let odd = answers.iter().find(|a| ![200, 201].contains(&a.status));
    assert!(odd.is_none(), "{case}: {odd:?}");
    let count = |status: u16| answers.iter().filter(|a| a.status == status).count();
    (count(201), count(200))
}

/// Runs three storms: fifty first deliveries, fifty re-activations, fifty with five roles.
async fn storms(fixtures: &[Fixture], case: &str) {
    let fixture = &fixtures[0];
    let equal = vec![json!({"email": ADA, "course_id": RUN}); 50];
    assert_eq!(deliver_all(fixtures, &equal, case).await, (1, 49), "{case}");
    let enrollment = fixture.enrollment().await;
    assert_eq!(enrollment.history.len(), 1, "{case}");

    fixture.set_enrollment("active", Bool(false)).await;
    assert_eq!(deliver_all(fixtures, &equal, case).await, (0, 50), "{case}");
    let enrollment = fixture.enrollment().await;
    assert!(enrollment.active, "{case}");
    assert_eq!(enrollment.history.len(), 2, "{case}");

    let with_roles: Vec<_> = (0..50)
        .map(|n| json!({"email": ADA, "course_id": RUN, "role": ROLES[n % 5]}))
        .collect();
    assert_eq!(
        deliver_all(fixtures, &with_roles, case).await,
        (0, 50),
        "{case}"
    );
    let enrollment = fixture.enrollment().await;
    let roles: BTreeSet<_> = enrollment.roles.iter().map(|role| role.as_str()).collect();
    assert_eq!(roles, BTreeSet::from(ROLES), "{case}");
    assert_eq!(enrollment.history.len(), 7, "{case}");
}

#[tokio::test]
async fn fifty_deliveries_at_once_change_the_enrollment_once() {
    storms(&[Fixture::new().await], "no fault").await;
}

/// The same holds with a store that, at every fourth write, reports a conflict, throttles, fails,
/// or takes the write and loses the answer.
#[tokio::test]
async fn fifty_deliveries_at_once_through_failures_change_the_enrollment_once() {
    const FAULTS: [Fault; 4] = [
        Fault::LostAnswer,
        Fault::Conflict,
        Fault::Throttle,
        Fault::InternalError,
    ];
    let each = FAULTS.iter().map(|fault| vec![*fault]);
    for faults in each.chain([FAULTS.to_vec()]) {
        let case = format!("{faults:?}");
        let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
        let writes = Mutex::new(HashSet::new());
        proxy.set(move |call| {
            // A write bears an id of its own; a second attempt bears it again, and passes.
            let mut writes = writes.lock().unwrap();
            if call.operation != "UpdateItem" || !writes.insert(call.body.clone()) {
                return Fault::Pass;
            }
            match writes.len() % 4 {
                0 => faults[writes.len() / 4 % faults.len()],
                _ => Fault::Pass,
            }
        });
        // The SDK limits the retries of each process.
        let beside = || {
            let client = harness::client(&proxy.url, CallLimits::PRODUCTION);
            Fixture::wired(fixture.beside(), client, Duration::from_secs(9))
        };
        let mut fixtures: Vec<_> = (0..9).map(|_| beside()).collect();
        fixtures.push(fixture);
        storms(&fixtures, &case).await;
        let calls = proxy.calls();
        let writes = calls.iter().filter(|call| *call == "UpdateItem").count();
        assert!(
            writes >= 150 + 150 / 4,
            "{case}, {writes}: no fault was injected"
        );
    }
}

/// Fifty deliveries for an unknown user are one pending event with all their roles.
#[tokio::test]
async fn fifty_blocked_deliveries_at_once_are_one_pending_event() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    let pending = Mutex::new(HashSet::new());
    proxy.set(move |call| {
        // The first answer to each write is lost after its effect.
        let is_first = pending.lock().unwrap().insert(call.body.clone());
        match call.operation.as_str() {
            "UpdateItem" if is_first => Fault::LostAnswer,
            _ => Fault::Pass,
        }
    });
    let bodies: Vec<_> = (0..50)
        .map(|n| json!({"email": "bob@example.org", "course_id": RUN, "role": ROLES[n % 5]}))
        .collect();
    let statuses = join_all(bodies.iter().map(|body| fixture.deliver(body))).await;
    assert!(statuses.iter().all(|answer| answer.status == 404));
    let [event] = fixture.pending().await.try_into().unwrap();
    // Each write was made twice, without harm.
    assert_eq!((event.roles.len(), event.version), (5, 100));
}
