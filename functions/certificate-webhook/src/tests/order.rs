//! The order of announcements, imports and an operator's changes does not matter.

use std::time::Duration;

use app::importing::{
    Imported, UserRow, import_runs, import_users, wake_waiting_of_runs, wake_waiting_of_users,
};
use common::clock::Clock;
use domain::CourseRun;
use harness::{ADA, ADA_ID, ADA_USERNAME, RUN};
use serde_json::json;

use super::fixture::Fixture;

/// A step; steps come in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Ada is imported.
    User,
    /// The run is imported.
    Run,
    /// The LMS announces that Ada is instructor there, as Studio does as soon as a run is created.
    Role,
    /// The LMS announces that Ada is enrolled as verified.
    Enrolled,
    /// The LMS announces that Ada has passed.
    Passed,
    /// 90 seconds pass, and due events are retried.
    Time,
}

use Step::{Enrolled, Passed, Role, Run, Time, User};

async fn take(fixture: &Fixture, step: Step, case: &str) {
    let tables = fixture.use_cases();
    let now = fixture.clock.now();
    let pending_events = tables.pending_events().unwrap();
    match step {
        User => {
            let users = tables.users().unwrap();
            let row = UserRow {
                email: ADA.parse().unwrap(),
                email_as_given: ADA.to_owned(),
                edx_username: Some(ADA_USERNAME.parse().unwrap()),
                name: Some("Ada Lovelace".to_owned()),
            };
            let imported = import_users(&users, &[row]).await.unwrap();
            assert_eq!(imported, [Ok(Imported::Created)], "{case}");
            wake_waiting_of_users(&pending_events, &users, now)
                .await
                .unwrap();
        }
        Run => {
            let runs = tables.course_runs().unwrap();
            let run = CourseRun {
                course_id: RUN.parse().unwrap(),
                title: "Rust on Lambda".to_owned(),
                live: true,
                is_self_paced: true,
                start_date: None,
                end_date: None,
                certificate_available_date: None,
            };
            let imported = import_runs(&runs, &[run.into()]).await.unwrap();
            assert_eq!(imported, [Ok(Imported::Created)], "{case}");
            wake_waiting_of_runs(&pending_events, &runs, now)
                .await
                .unwrap();
        }
        Role => fixture.announce(ADA, Some("instructor"), None).await,
        Enrolled => fixture.announce(ADA, None, Some("verified")).await,
        Passed => drop(fixture.pass().await),
        Time => {
            fixture.clock.advance(Duration::from_secs(90));
            fixture.retry_due().await;
        }
    }
}

/// Returns all orders of these steps.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    let Some((first, rest)) = steps.split_first() else {
        return vec![Vec::new()];
    };
    let insert = |order: &Vec<Step>| -> Vec<Vec<Step>> {
        let places = 0..=order.len();
        places
            .map(|place| {
                let mut order = order.clone();
                order.insert(place, *first);
                order
            })
            .collect()
    };
    orders(rest).iter().flat_map(insert).collect()
}

/// Each order of user, run, enrollment and pass, at once and with time for an attempt between any
/// two, ends with the same enrollment, grade and certificate.
#[tokio::test]
async fn every_order_ends_the_same() {
    let mut orders = orders(&[User, Run, Enrolled, Passed]);
    // With time for an attempt after each step.
    let slow: Vec<Vec<Step>> = orders
        .iter()
        .map(|order| order.iter().flat_map(|step| [*step, Time]).collect())
        .collect();
    orders.extend(slow);
    assert_eq!(orders.len(), 48);
    for order in orders {
        ends_with_a_certificate(&order, &[]).await;
    }
}

/// The creator's role takes effect though it is announced before the portal knows the run.
#[tokio::test]
async fn a_role_announced_before_its_run_takes_effect() {
    for order in [
        vec![Role, User, Run, Enrolled, Passed],
        vec![User, Role, Enrolled, Run, Passed],
        vec![User, Enrolled, Role, Time, Run, Passed],
        vec![Role, Enrolled, Passed, Time, Run, Time, User],
    ] {
        ends_with_a_certificate(&order, &["instructor"]).await;
    }
}

async fn ends_with_a_certificate(order: &[Step], roles: &[&str]) {
    let case = format!("{order:?}");
    let fixture = Fixture::on(harness::Portal::empty().await);
    fixture.grade(0.9, true);
    for step in order {
        take(&fixture, *step, &case).await;
    }
    // The schedule continues.
    for _ in 0..2 {
        take(&fixture, Time, &case).await;
    }
    let users = fixture.use_cases().users().unwrap();
    let user = users.get(&ADA.parse().unwrap()).await.unwrap().unwrap();
    let id = user.user_id.to_string();
    let enrollments = fixture.enrollments(&id).await;
    let [enrollment] = &enrollments[..] else {
        panic!("{case}: {enrollments:?}");
    };
    let message: Vec<_> = enrollment.roles.iter().map(|role| role.as_str()).collect();
    assert_eq!(message, roles, "{case}");
    assert!(enrollment.active && enrollment.edx_enrolled, "{case}");
    assert_eq!(enrollment.mode.as_str(), "verified", "{case}");
    let certificates = fixture.use_cases().certificates().unwrap();
    let certificates = certificates.of_user(user.user_id).await.unwrap();
    assert_eq!(certificates.len(), 1, "{case}");
    assert_eq!(certificates[0].history.len(), 1, "{case}");
    let grades = fixture.use_cases().grades().unwrap();
    let grades = grades.of_user(user.user_id).await.unwrap();
    assert_eq!(grades[0].history.len(), 1, "{case}");
    assert_eq!(fixture.pending().await, [], "{case}");
}

/// An operator sets the paid mode after the learner has passed, or makes the enrollment active
/// again: even days later, one attempt issues the certificate.
#[tokio::test]
async fn an_enrollment_made_paid_later_issues_the_certificate() {
    for inactive_first in [false, true] {
        let case = format!("inactive first: {inactive_first}");
        let fixture = Fixture::new().await;
        fixture
            .enroll(if inactive_first { "verified" } else { "audit" })
            .await;
        if inactive_first {
            let off = aws_sdk_dynamodb::types::AttributeValue::Bool(false);
            fixture.set("EnrollmentsTable", "active", off).await;
        }
        fixture.grade(0.9, true);
        assert_eq!(
            fixture.pass().await.body["certificate_status"],
            "not_eligible",
            "{case}"
        );
        // The attempt after a minute changes nothing, and the next one comes much later.
        take(&fixture, Time, &case).await;
        let version = fixture.pending_event().await.version;
        fixture.clock.advance(Duration::from_hours(24 * 10));
        assert_eq!(fixture.retry_due().await.attempted, 0, "{case}");
        assert_eq!(fixture.pending_event().await.version, version, "{case}");

        fixture.enroll("verified").await;
        let summary = fixture.retry_due().await;
        assert_eq!((summary.attempted, summary.done), (1, 1), "{case}");
        assert!(fixture.certificate().await.is_some(), "{case}");
        assert_eq!(fixture.pending().await, [], "{case}");
    }
}

/// A user gets a username by a later import: the pending pass takes effect.
#[tokio::test]
async fn a_username_imported_later_issues_the_certificate() {
    let fixture = Fixture::new().await;
    fixture.put_user(ADA, ADA_ID, None).await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    assert_eq!(fixture.pass().await.body["reason"], "no_username");
    fixture.clock.advance(Duration::from_secs(1));
    let users = fixture.use_cases().users().unwrap();
    let row = UserRow {
        email: ADA.parse().unwrap(),
        email_as_given: ADA.to_owned(),
        edx_username: Some(ADA_USERNAME.parse().unwrap()),
        name: None,
    };
    import_users(&users, &[row]).await.unwrap();
    let pending_events = fixture.use_cases().pending_events().unwrap();
    let now = fixture.clock.now();
    let due = wake_waiting_of_users(&pending_events, &users, now)
        .await
        .unwrap();
    assert_eq!(due, 1);
    assert_eq!(fixture.retry_due().await.done, 1);
    assert!(fixture.certificate().await.is_some());
}

/// An import makes due only the events that are blocked on what it imported; all others stay as
/// they are.
#[tokio::test]
async fn an_import_makes_due_only_events_blocked_on_it() {
    let fixture = Fixture::new().await;
    for email in ["bob@example.org", "eve@example.org"] {
        fixture
            .deliver(&json!({"email": email, "course_id": RUN}))
            .await;
    }
    let id = "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
    fixture.put_user("bob@example.org", id, Some("bob")).await;
    fixture.clock.advance(Duration::from_secs(1));
    let users = fixture.use_cases().users().unwrap();
    let pending_events = fixture.use_cases().pending_events().unwrap();
    let now = fixture.clock.now();
    assert_eq!(
        wake_waiting_of_users(&pending_events, &users, now)
            .await
            .unwrap(),
        1
    );
    // The event is due already: nothing is written a second time.
    assert_eq!(
        wake_waiting_of_users(&pending_events, &users, now)
            .await
            .unwrap(),
        0
    );
    for event in fixture.pending().await {
        let is_bobs = event.email.as_str() == "bob@example.org";
        assert_eq!(event.next_attempt_at == now, is_bobs);
    }
    let runs = fixture.use_cases().course_runs().unwrap();
    assert_eq!(
        wake_waiting_of_runs(&pending_events, &runs, now)
            .await
            .unwrap(),
        0
    );
}
