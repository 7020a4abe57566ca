//! The effects of a delivery on an enrollment and on the pending events.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::AttributeValue::{Bool, N, S};
use domain::{BlockedReason, Change, CourseRole, EventState};
use harness::{ADA, ADA_ID, RUN, now};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixture::Fixture;

fn body(role: Option<&str>, mode: Option<&str>) -> Value {
    json!({"email": ADA, "course_id": RUN, "role": role, "mode": mode})
}

/// The names of roles, sorted.
fn names(roles: &BTreeSet<CourseRole>) -> Vec<&str> {
    roles.iter().map(CourseRole::as_str).collect()
}

/// The contract's enrollment table, row by row, each row on an enrollment of its own.
#[tokio::test]
async fn every_row_of_the_enrollment_table() {
    type Attribute = fn() -> AttributeValue;
    struct EffectRow {
        before: Vec<(&'static str, Attribute)>,
        role: Option<&'static str>,
        mode: Option<&'static str>,
        outcome: &'static str,
        /// The mode after the delivery.
        then: &'static str,
    }
    let inactive: &[(&str, Attribute)] = &[
        ("active", || Bool(false)),
        ("change_status", || S("refunded".into())),
    ];
    let imported: &[(&str, Attribute)] = &[("mode_set_by", || S("import".into()))];
    let by_operator: &[(&str, Attribute)] = &[("mode_set_by", || S("operator".into()))];
    let of = |mode: &'static str, more: &[(&'static str, Attribute)]| {
        let mode: Attribute = match mode {
            "audit" => || S("audit".into()),
            "honor" => || S("honor".into()),
            _ => || S("verified".into()),
        };
        [&[("mode", mode)], more].concat()
    };
    let rows = [
        // Active, enrolled, role known or none given: nothing is written.
        EffectRow {
            before: of("verified", &[]),
            role: None,
            mode: None,
            outcome: "unchanged",
            then: "verified",
        },
        EffectRow {
            before: of("verified", &[]),
            role: Some("staff"),
            mode: Some("verified"),
            outcome: "unchanged",
            then: "verified",
        },
        // To an unpaid mode, or from one paid mode to another: left to the sweep.
        EffectRow {
            before: of("verified", &[]),
            role: None,
            mode: Some("audit"),
            outcome: "unchanged",
            then: "verified",
        },
        EffectRow {
            before: of("audit", &[]),
            role: None,
            mode: Some("honor"),
            outcome: "unchanged",
            then: "audit",
        },
        EffectRow {
            before: of("verified", by_operator),
            role: None,
            mode: Some("honor"),
            outcome: "unchanged",
            then: "verified",
        },
        // An upgrade to a paid mode overrides a mode that an import set, and not one that an
        // operator set.
        EffectRow {
            before: of("audit", &[]),
            role: None,
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("honor", &[]),
            role: Some("instructor"),
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("audit", imported),
            role: None,
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("audit", by_operator),
            role: None,
            mode: Some("verified"),
            outcome: "unchanged",
            then: "audit",
        },
        // A role in an active enrollment does not change the mode.
        EffectRow {
            before: of("verified", &[]),
            role: Some("instructor"),
            mode: None,
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("verified", imported),
            role: Some("instructor"),
            mode: None,
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("audit", by_operator),
            role: Some("instructor"),
            mode: Some("verified"),
            outcome: "updated",
            then: "audit",
        },
        // Inactive: active again, in the event's mode, regardless of what set the mode before.
        EffectRow {
            before: of("verified", inactive),
            role: None,
            mode: Some("audit"),
            outcome: "updated",
            then: "audit",
        },
        EffectRow {
            before: of("verified", inactive),
            role: None,
            mode: Some("honor"),
            outcome: "updated",
            then: "honor",
        },
        EffectRow {
            before: of("verified", inactive),
            role: None,
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("audit", inactive),
            role: None,
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
        EffectRow {
            before: of("verified", inactive),
            role: None,
            mode: None,
            outcome: "updated",
            then: "audit",
        },
        EffectRow {
            before: of("verified", inactive),
            role: Some("staff"),
            mode: None,
            outcome: "updated",
            then: "audit",
        },
        EffectRow {
            before: of("verified", inactive),
            role: Some("instructor"),
            mode: None,
            outcome: "updated",
            then: "audit",
        },
        EffectRow {
            before: of("verified", &[inactive, imported].concat()),
            role: None,
            mode: Some("audit"),
            outcome: "updated",
            then: "audit",
        },
        EffectRow {
            before: of("verified", &[inactive, by_operator].concat()),
            role: Some("staff"),
            mode: None,
            outcome: "updated",
            then: "audit",
        },
        // The LMS has not said before that the learner is enrolled.
        EffectRow {
            before: of("verified", &[("edx_enrolled", || Bool(false))]),
            role: None,
            mode: None,
            outcome: "updated",
            then: "verified",
        },
        // All changes together are one write and one history entry.
        EffectRow {
            before: of(
                "audit",
                &[inactive, by_operator, &[("edx_enrolled", || Bool(false))]].concat(),
            ),
            role: Some("instructor"),
            mode: Some("verified"),
            outcome: "updated",
            then: "verified",
        },
    ];
    for (n, row) in rows.iter().enumerate() {
        let fixture = Fixture::new().await;
        let first = fixture
            .deliver(&body(Some("staff"), Some("verified")))
            .await;
        assert_eq!(first.status, 201, "row {n}");
        for (attribute, value) in &row.before {
            fixture.set_enrollment(attribute, value()).await;
        }
        let before = fixture.enrollment().await;

        let answer = fixture.deliver(&body(row.role, row.mode)).await;
        assert_eq!(answer.status, 200, "row {n}");
        assert_eq!(fixture.log.done()["outcome"], row.outcome, "row {n}");
        let differs = row.mode.is_some_and(|mode| mode != row.then);
        assert_eq!(
            fixture.log.done()["mode_differs"]
                .as_bool()
                .unwrap_or(false),
            differs,
            "row {n}"
        );

        let after = fixture.enrollment().await;
        assert_eq!(
            answer.body,
            json!({
                "message": "Enrollment successful",
                "enrollment_id": before.enrollment_id,
                "active": true,
                "edx_enrolled": true,
            }),
            "row {n}"
        );
        assert_eq!(
            answer.body["enrollment_id"], first.body["enrollment_id"],
            "row {n}"
        );
        assert!(after.active && after.edx_enrolled, "row {n}");
        assert_eq!(after.change_status, None, "row {n}");
        assert_eq!(after.mode.as_str(), row.then, "row {n}");
        let is_the_lms_s = !before.active || after.mode != before.mode;
        let source = before.mode_set_by.filter(|_| !is_the_lms_s);
        assert_eq!(after.mode_set_by, source, "row {n}");
        let roles: &[&str] = match row.role {
            Some("instructor") => &["instructor", "staff"],
            _ => &["staff"],
        };
        assert_eq!(names(&after.roles), roles, "row {n}");
        let written = usize::from(row.outcome == "updated");
        assert_eq!(
            after.history.len(),
            before.history.len() + written,
            "row {n}"
        );
        if written == 0 {
            assert_eq!(after, before, "row {n}");
        }
    }
}

/// The first row: the enrollment is created with these values and this history entry.
#[tokio::test]
async fn a_first_delivery_creates_the_enrollment() {
    for (role, mode, stored) in [
        (None, None, "audit"),
        (Some("staff"), Some("honor"), "honor"),
    ] {
        let fixture = Fixture::new().await;
        let answer = fixture.deliver(&body(role, mode)).await;
        assert_eq!(answer.status, 201, "{role:?} {mode:?}");
        let enrollment = fixture.enrollment().await;
        assert_eq!(
            answer.body["enrollment_id"],
            json!(enrollment.enrollment_id),
            "{role:?} {mode:?}"
        );
        assert!(
            enrollment.active && enrollment.edx_enrolled && enrollment.mode_set_by.is_none(),
            "{role:?} {mode:?}"
        );
        assert_eq!(enrollment.mode.as_str(), stored, "{role:?} {mode:?}");
        assert_eq!(enrollment.user_id.to_string(), ADA_ID, "{role:?} {mode:?}");
        let [entry] = &enrollment.history[..] else {
            panic!("{role:?} {mode:?}: {:?}", enrollment.history)
        };
        assert_eq!(entry.at, now(), "{role:?} {mode:?}");
        assert_eq!(
            names(&entry.announced_roles),
            Vec::from_iter(role),
            "{role:?} {mode:?}"
        );
        assert_eq!(
            entry.announced_mode.as_ref().map(|m| m.as_str()),
            mode,
            "{role:?} {mode:?}"
        );
        assert_eq!(
            entry.mode.as_ref().map(|m| m.as_str()),
            Some(stored),
            "{role:?} {mode:?}"
        );
        let done = fixture.log.done();
        assert_eq!(
            entry.by,
            Change::Delivery {
                request_id: done["request_id"].as_str().unwrap().to_owned(),
                token_id: "staff".to_owned(),
            },
            "{role:?} {mode:?}"
        );
        // An absent value has no attribute: DynamoDB stores no NULL and no empty set.
        let item = fixture
            .dynamodb
            .scan()
            .table_name("EnrollmentsTable")
            .send()
            .await
            .unwrap();
        let item = &item.items()[0];
        assert!(
            item.values().all(|value| !value.is_null()),
            "{role:?} {mode:?}: {item:?}"
        );
        assert_eq!(
            item.contains_key("roles"),
            role.is_some(),
            "{role:?} {mode:?}"
        );
    }
}

/// Redeliveries of a pending event merge with it.
#[tokio::test]
async fn pending_events_merge() {
    let fixture = Fixture::new().await;
    let bob = |role: Option<&str>, mode: Option<&str>| json!({"email": "Bob@Example.org", "course_id": RUN, "role": role, "mode": mode});
    for (role, mode) in [
        (Some("staff"), Some("verified")),
        (Some("instructor"), None),
        (None, None),
    ] {
        assert_eq!(
            fixture.deliver(&bob(role, mode)).await.status,
            404,
            "{role:?} {mode:?}"
        );
    }
    let [event] = fixture.pending().await.try_into().unwrap();
    assert_eq!(event.email.as_str(), "bob@example.org");
    assert_eq!(names(&event.roles), ["instructor", "staff"]);
    assert_eq!(event.mode.as_ref().map(|m| m.as_str()), Some("verified"));
    assert_eq!(
        (event.reason, event.state),
        (BlockedReason::NoSuchUser, EventState::Waiting)
    );
    assert_eq!((event.version, event.attempts), (3, 0));
    let wait = event.next_attempt_at.duration_since(now());
    assert!((SignedDuration::from_secs(48)..=SignedDuration::from_secs(72)).contains(&wait));

    // Bob becomes known: the next delivery takes effect, and with it the pending event, which is
    // removed.
    fixture
        .put_user(
            "bob@example.org",
            "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11",
            None,
        )
        .await;
    assert_eq!(fixture.deliver(&bob(None, None)).await.status, 201);
    assert!(fixture.pending().await.is_empty());
    let [enrollment] = fixture
        .enrollments("9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11")
        .await
        .try_into()
        .unwrap();
    assert_eq!(names(&enrollment.roles), ["instructor", "staff"]);
    assert_eq!(enrollment.mode.as_str(), "verified");
    assert_eq!(enrollment.history.len(), 1);
}

/// A pending event takes effect on an enrollment that exists by now: its roles are added, its mode
/// is not used. A delivery's own mode has precedence over a pending one.
#[tokio::test]
async fn a_pending_event_takes_effect_with_the_next_delivery() {
    for (next_mode, stored) in [(None, "honor"), (Some("verified"), "verified")] {
        let fixture = Fixture::new().await;
        let run = "course-v1:Demo+Later+2026";
        let body = |role: Option<&str>, mode: Option<&str>| json!({"email": ADA, "course_id": run, "role": role, "mode": mode});
        assert_eq!(
            fixture
                .deliver(&body(Some("instructor"), Some("honor")))
                .await
                .status,
            404,
            "{next_mode:?}"
        );
        fixture.put_run(run).await;
        assert_eq!(
            fixture
                .deliver(&body(Some("staff"), next_mode))
                .await
                .status,
            201,
            "{next_mode:?}"
        );
        let enrollment = fixture.enrollment().await;
        assert_eq!(
            names(&enrollment.roles),
            ["instructor", "staff"],
            "{next_mode:?}"
        );
        assert_eq!(enrollment.mode.as_str(), stored, "{next_mode:?}");
    }
}

/// A delivery that reaches the table after a newer one adds what that one lacks, and overwrites
/// neither the blocked reason nor the time of delivery.
#[tokio::test]
async fn an_older_delivery_overwrites_nothing() {
    let fixture = Fixture::new().await;
    let run = "course-v1:Demo+Later+2026";
    let body = |role: &str, mode: &str| json!({"email": "bob@example.org", "course_id": run, "role": role, "mode": mode});
    assert_eq!(
        fixture.deliver(&body("staff", "verified")).await.status,
        404
    );
    let [newer] = fixture.pending().await.try_into().unwrap();
    fixture.clock.set(now() - SignedDuration::from_secs(1));
    fixture
        .put_user(
            "bob@example.org",
            "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11",
            None,
        )
        .await;
    assert_eq!(
        fixture.deliver(&body("instructor", "audit")).await.status,
        404
    );
    let [merged] = fixture.pending().await.try_into().unwrap();
    assert_eq!(merged.roles.len(), 2);
    assert_eq!(merged.mode.as_ref().map(|m| m.as_str()), Some("verified"));
    assert_eq!(
        (merged.reason, merged.delivered_at),
        (newer.reason, newer.delivered_at)
    );
    assert_eq!(merged.version, 2);
}

/// Any number of pending roles takes effect.
#[tokio::test]
async fn any_number_of_pending_roles_takes_effect() {
    let fixture = Fixture::new().await;
    let run = "course-v1:Demo+Later+2026";
    let body = |role: usize| {
        let role = format!("{role:>064}");
        json!({"email": ADA, "course_id": run, "role": role})
    };
    for role in 0..130 {
        assert_eq!(fixture.deliver(&body(role)).await.status, 404);
    }
    fixture.put_run(run).await;
    assert_eq!(fixture.deliver(&body(130)).await.status, 201);
    let enrollment = fixture.enrollment().await;
    assert_eq!((enrollment.roles.len(), enrollment.history.len()), (131, 1));
    assert!(fixture.pending().await.is_empty());
}

/// A redelivery of an event that had ended makes it pending again.
#[tokio::test]
async fn a_redelivery_makes_an_ended_event_pending_again() {
    for ended in ["dead", "expired"] {
        let fixture = Fixture::new().await;
        let body = json!({"email": ADA, "course_id": "course-v1:A+B+C", "role": "staff"});
        fixture.deliver(&body).await;
        let [first] = fixture.pending().await.try_into().unwrap();
        fixture
            .dynamodb
            .update_item()
            .table_name("PendingEventsTable")
            .key("event_key", S(first.event_key.to_string()))
            .update_expression(
                "SET #state = :ended, attempts = :attempts, expires_at = :end, last_error = :error, \
                 next_attempt_at = :old, due_order = :old, pending_since = :old",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":ended", S(ended.to_owned()))
            .expression_attribute_values(":attempts", N("9".to_owned()))
            .expression_attribute_values(":end", N("1795338000".to_owned()))
            .expression_attribute_values(":error", S("x".to_owned()))
            .expression_attribute_values(":old", S("2026-01-01T00:00:00.000Z".to_owned()))
            .send()
            .await
            .unwrap();
        assert_eq!(fixture.deliver(&body).await.status, 404, "{ended}");
        let [renewed] = fixture.pending().await.try_into().unwrap();
        assert_eq!(
            (renewed.state, renewed.attempts),
            (EventState::Waiting, 0),
            "{ended}"
        );
        assert_eq!(
            (renewed.next_attempt_at, renewed.pending_since),
            (first.next_attempt_at, now()),
            "{ended}"
        );
        assert_eq!(renewed.roles, first.roles, "{ended}");
        let items = fixture
            .dynamodb
            .scan()
            .table_name("PendingEventsTable")
            .send()
            .await
            .unwrap();
        let item = &items.items()[0];
        assert!(
            !item.contains_key("expires_at") && !item.contains_key("last_error"),
            "{ended}: {item:?}"
        );
    }
}
