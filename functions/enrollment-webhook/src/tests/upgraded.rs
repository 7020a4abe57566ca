//! An upgrade to a paid mode, and the pending pass that it unblocks; long histories, and items that
//! are too large.

use aws_sdk_dynamodb::types::AttributeValue::{L, M, N, S};
use domain::BlockedReason;
use harness::{ADA, FAST_RETRIES, RUN, now};
use jiff::SignedDuration;
use local::Fault;
use serde_json::json;

use super::fixture::Fixture;

/// The LMS announces the new mode of an active enrollment: it is paid at once, and a pass that is
/// blocked on it is retried at once.
#[tokio::test]
async fn an_upgrade_makes_the_pending_pass_due() {
    let fixture = Fixture::new().await;
    fixture.announce(ADA, None, Some("audit")).await;
    fixture.grade(0.9, true);
    fixture.add_pending_pass().await;
    let waiting = fixture.pending_event().await;
    assert_eq!(
        (waiting.reason, waiting.last_error.as_deref()),
        (BlockedReason::NotEligible, Some("unpaid_mode"))
    );

    fixture.clock.set(now() + SignedDuration::from_secs(5));
    let upgrade = json!({"email": ADA, "course_id": RUN, "mode": "verified"});
    assert_eq!(fixture.deliver(&upgrade).await.status, 200);
    assert_eq!(fixture.enrollment().await.mode.as_str(), "verified");
    assert!(fixture.pending_event().await.next_attempt_at <= now() + SignedDuration::from_secs(5));
    assert_eq!(fixture.retry_due().await.certified, 1);
    assert!(fixture.certificate().await.is_some());
}

/// A refunded enrollment that is active again in an unpaid mode earns no certificate by its former
/// paid mode.
#[tokio::test]
async fn a_refunded_enrollment_earns_no_certificate() {
    for (role, mode) in [
        (None, Some("audit")),
        (None, Some("honor")),
        (Some("staff"), None),
    ] {
        let fixture = Fixture::new().await;
        fixture.announce(ADA, None, Some("verified")).await;
        fixture
            .set_enrollment(
                "active",
                aws_sdk_dynamodb::types::AttributeValue::Bool(false),
            )
            .await;
        fixture
            .set_enrollment("change_status", S("refunded".to_owned()))
            .await;
        fixture
            .set_enrollment("mode_set_by", S("import".to_owned()))
            .await;
        let body = json!({"email": ADA, "course_id": RUN, "role": role, "mode": mode});
        assert_eq!(
            fixture.deliver(&body).await.status,
            200,
            "{role:?} {mode:?}"
        );
        let enrollment = fixture.enrollment().await;
        let expected = (true, mode.unwrap_or("audit"), None);
        let found = (
            enrollment.active,
            enrollment.mode.as_str(),
            enrollment.mode_set_by,
        );
        assert_eq!(found, expected, "{role:?} {mode:?}");
        fixture.grade(0.9, true);
        fixture.add_pending_pass().await;
        assert_eq!(
            fixture.certificate().await.map(|c| c.certificate_id),
            None,
            "{role:?} {mode:?}"
        );
    }
}

/// A history that another program let grow is cut, and its entries are counted.
#[tokio::test]
async fn a_history_of_thousands_of_entries_takes_one_more() {
    let fixture = Fixture::new().await;
    fixture.announce(ADA, None, Some("audit")).await;
    let scan = fixture
        .dynamodb
        .scan()
        .table_name("EnrollmentsTable")
        .send()
        .await
        .unwrap();
    let L(history) = &scan.items()[0]["history"] else {
        panic!("{scan:?}")
    };
    let M(mut entry) = history[0].clone() else {
        panic!("{history:?}")
    };
    let entries = (0..2000).map(|n| {
        let id = format!("{n:08x}-0000-4000-8000-000000000000");
        entry.insert("change_id".to_owned(), S(id));
        M(entry.clone())
    });
    let entries = L(entries.collect());
    fixture.set_enrollment("history", entries).await;
    for (role, count) in [("staff", 2001), ("instructor", 2002)] {
        let body = json!({"email": ADA, "course_id": RUN, "role": role});
        assert_eq!(fixture.deliver(&body).await.status, 200, "{role}");
        let history = fixture.enrollment().await.history;
        assert_eq!((history.len(), history.count()), (51, count), "{role}");
        let first = history[0].change_id.to_string();
        assert_eq!(first, "00000000-0000-4000-8000-000000000000", "{role}");
        let last = history.last().unwrap();
        assert!(
            last.announced_roles.contains(&role.parse().unwrap()),
            "{role}"
        );
    }
    // A change by a program that does not count versions is detected by its time.
    fixture.set_enrollment("version", N("0".to_owned())).await;
    let body = json!({"email": ADA, "course_id": RUN, "role": "finance_admin"});
    assert_eq!(fixture.deliver(&body).await.status, 200);
}

/// A write that the store rejects is no outage: the answer is 500, the event is pending, and takes
/// effect once the cause is gone.
#[tokio::test]
async fn a_write_the_store_rejects_makes_the_event_pending() {
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    fixture.announce(ADA, None, Some("audit")).await;
    proxy.set(|call| {
        let body = String::from_utf8_lossy(&call.body);
        if body.contains("EnrollmentsTable") && call.operation == "UpdateItem" {
            Fault::Refuse("ValidationException")
        } else {
            Fault::Pass
        }
    });
    let body = json!({"email": ADA, "course_id": RUN, "role": "staff"});
    let answer = fixture.deliver(&body).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (500, &json!("Something went wrong."))
    );
    assert!(!answer.headers.contains_key("retry-after"));
    let done = fixture.log.done();
    assert_eq!(
        (&done["outcome"], &done["error_code"], &done["level"]),
        (
            &json!("failed"),
            &json!("ValidationException"),
            &json!("ERROR")
        )
    );
    let pending = fixture.pending_event().await;
    assert_eq!(done["event_key"], pending.event_key.to_string());
    assert_eq!(
        (pending.reason, pending.last_error.as_deref()),
        (BlockedReason::Failed, Some("ValidationException"))
    );
    fixture.clock.set(now() + SignedDuration::from_mins(2));
    assert_eq!(fixture.retry_due().await.done, 1);
    assert_eq!(fixture.enrollment().await.roles.len(), 1);
    assert_eq!(fixture.pending().await, []);
}
