//! A delivery with `is_active: false`: the learner was un-enrolled.

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use harness::{ADA, RUN, now};
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::CallLimits;

use super::fixture::Fixture;

const BOB: &str = "bob@example.org";
const UNENROLLED: &str = "Unenrollment successful";

fn unenroll(email: &str, course_id: &str) -> Value {
    json!({"email": email, "course_id": course_id, "mode": "verified", "is_active": false})
}

/// `true` and `null` are treated as absent; a value that is no boolean is named as invalid.
#[tokio::test]
async fn only_false_unenrolls() {
    for (value, status) in [
        ("true", 201),
        ("null", 201),
        ("false", 200),
        (r#""false""#, 400),
        ("0", 400),
        ("1", 400),
        ("[]", 400),
        ("{}", 400),
        (r#""""#, 400),
    ] {
        let fixture = Fixture::new().await;
        let body = format!(r#"{{"email":"{ADA}","course_id":"{RUN}","is_active":{value}}}"#);
        let answer = fixture.send(super::fixture::delivery(&body)).await;
        assert_eq!(answer.status, status, "{value}: {answer:?}");
        if status == 400 {
            assert_eq!(
                answer.body["error"], "is_active is not a boolean.",
                "{value}"
            );
            assert_eq!(fixture.log.done()["reason"], "is_active", "{value}");
        }
        assert_eq!(
            fixture.enrollments(harness::ADA_ID).await.len(),
            usize::from(status == 201),
            "{value}"
        );
    }
}

/// Each row: the enrollment's attribute before, and what the un-enrollment changes.
#[tokio::test]
async fn an_active_enrollment_is_deactivated_once() {
    for (attribute, value, edx_enrolled, is_written) in [
        ("edx_enrolled", Bool(true), true, true),
        ("edx_enrolled", Bool(false), false, true),
        ("mode_set_by", S("operator".to_owned()), true, true),
        ("mode_set_by", S("import".to_owned()), true, true),
        ("active", Bool(false), true, false),
    ] {
        let fixture = Fixture::new().await;
        let first = json!({"email": ADA, "course_id": RUN, "role": "staff", "mode": "verified"});
        let first = fixture.deliver(&first).await;
        fixture.set_enrollment(attribute, value.clone()).await;
        let before = fixture.enrollment().await;

        // A role in the same delivery is ignored.
        let mut body = unenroll(ADA, RUN);
        body["role"] = json!("instructor");
        for repeat in [false, true] {
            let case = format!("{attribute} {value:?} {repeat}");
            let answer = fixture.deliver(&body).await;
            let expected = json!({
                "message": UNENROLLED,
                "enrollment_id": first.body["enrollment_id"],
                "active": false,
                "edx_enrolled": edx_enrolled,
            });
            assert_eq!((answer.status, &answer.body), (200, &expected), "{case}");
            let outcome = if is_written && !repeat {
                "updated"
            } else {
                "unchanged"
            };
            assert_eq!(fixture.log.done()["outcome"], outcome, "{case}");
            let after = fixture.enrollment().await;
            assert!(!after.active, "{case}");
            assert_eq!(after.roles, before.roles, "{case}");
            assert_eq!(after.mode, before.mode, "{case}");
            let entries = before.history.len() + usize::from(is_written);
            assert_eq!(after.history.len(), entries, "{case}");
            if is_written {
                assert_eq!(after.change_status.as_deref(), Some("unenrolled"), "{case}");
            } else {
                assert_eq!(after, before, "{case}");
            }
        }
    }
}

/// A user who was never enrolled: nothing changes, and no record is created.
#[tokio::test]
async fn a_learner_who_was_never_enrolled_gets_no_record() {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits::PRODUCTION).await;
    let answer = fixture.deliver(&unenroll(ADA, RUN)).await;
    let expected = json!({"message": UNENROLLED, "active": false, "edx_enrolled": false});
    assert_eq!((answer.status, &answer.body), (200, &expected));
    assert_eq!(fixture.log.done()["outcome"], "unchanged");
    assert_eq!(fixture.enrollments(harness::ADA_ID).await, []);
    assert_eq!(proxy.calls(), ["BatchGetItem", "BatchGetItem"]);
}

/// User or run are unknown: the answer is 404, and no event is stored. A pending event of before
/// enrolls no longer, and keeps its roles.
#[tokio::test]
async fn an_unenrollment_cancels_a_pending_enrollment() {
    let later = "course-v1:Demo+Later+2026";
    for (email, course_id, message) in [
        (BOB, RUN, "User not found".to_owned()),
        (ADA, later, format!("Course run with id {later} not found")),
    ] {
        for role in [None, Some("staff")] {
            let case = format!("{email} {course_id} {role:?}");
            let fixture = Fixture::new().await;
            let unenrollment = unenroll(email, course_id);
            let answer = fixture.deliver(&unenrollment).await;
            assert_eq!(
                (answer.status, &answer.body["error"]),
                (404, &json!(message)),
                "{case}"
            );
            assert_eq!(fixture.log.done()["outcome"], "dropped", "{case}");
            assert_eq!(fixture.pending().await, [], "{case}");

            let enrollment =
                json!({"email": email, "course_id": course_id, "role": role, "mode": "verified"});
            assert_eq!(fixture.deliver(&enrollment).await.status, 404, "{case}");
            fixture.clock.set(now() + SignedDuration::from_secs(10));
            assert_eq!(fixture.deliver(&unenrollment).await.status, 404, "{case}");
            let pending = fixture.pending().await;
            if role.is_none() {
                assert_eq!(pending, [], "{case}");
                continue;
            }
            let [event] = pending.try_into().unwrap();
            let roles: Vec<_> = event.roles.iter().map(|role| role.as_str()).collect();
            assert_eq!((roles, &event.mode), (vec!["staff"], &None), "{case}");
            assert!(event.unenrolled, "{case}");

            // Enrolled again: the outcome is as if the un-enrollment had not been.
            fixture.clock.set(now() + SignedDuration::from_secs(20));
            let again = json!({"email": email, "course_id": course_id});
            assert_eq!(fixture.deliver(&again).await.status, 404, "{case}");
            let event = fixture.pending_event().await;
            assert_eq!((event.unenrolled, &event.mode), (false, &None), "{case}");
        }
    }
}

/// User and run are known by now, and an enrollment is still pending: the un-enrollment, which
/// comes after it, completes it.
#[tokio::test]
async fn an_unenrollment_completes_a_pending_enrollment() {
    for (role, roles) in [(None, 0), (Some("staff"), 1)] {
        let fixture = Fixture::new().await;
        let later = "course-v1:Demo+Later+2026";
        let body = json!({"email": ADA, "course_id": later, "role": role, "mode": "verified"});
        assert_eq!(fixture.deliver(&body).await.status, 404, "{role:?}");
        fixture.put_run(later).await;
        let answer = fixture.deliver(&unenroll(ADA, later)).await;
        assert_eq!(
            (answer.status, &answer.body["active"]),
            (200, &json!(false)),
            "{role:?}"
        );
        assert_eq!(fixture.pending().await, [], "{role:?}");
        let enrollments = fixture.enrollments(harness::ADA_ID).await;
        assert_eq!(enrollments.len(), roles, "{role:?}");
        for enrollment in enrollments {
            assert!(
                !enrollment.active && !enrollment.edx_enrolled,
                "{role:?}: {enrollment:?}"
            );
            assert_eq!(
                enrollment.change_status.as_deref(),
                Some("unenrolled"),
                "{role:?}"
            );
            assert_eq!(
                (enrollment.mode.as_str(), enrollment.roles.len()),
                ("audit", 1),
                "{role:?}"
            );
        }
    }
}
