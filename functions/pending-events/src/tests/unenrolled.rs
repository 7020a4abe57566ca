//! The effect of a pending enrollment if the learner was un-enrolled or the enrollment changed
//! since.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::{ADA, ADA_ID, Portal, RUN};
use uuid::Uuid;

use super::fixture::Fixture;

/// Returns a fixture with the run, and without users.
async fn with_the_run() -> Fixture {
    let fixture = Fixture::on(Portal::empty().await);
    fixture.put_run(RUN).await;
    fixture
}

impl Fixture {
    /// Adds Ada as a user and retries the pending event once, a day later.
    async fn is_known_by_now(&self, case: &str) {
        self.put_user(ADA, ADA_ID, None).await;
        self.clock
            .advance(Duration::from_secs(24 * 3600 + 6 * 3600));
        assert_eq!(self.run().await["done"], 1, "{case}");
        assert_eq!(self.pending().await, [], "{case}");
    }
}

/// The event keeps its roles, and enrolls nobody; announced again, it does.
#[tokio::test]
async fn an_unenrolled_event_adds_its_roles_without_enrolling() {
    for again in [false, true] {
        let case = format!("again: {again}");
        let fixture = with_the_run().await;
        fixture.announce(ADA, Some("staff"), Some("verified")).await;
        fixture.clock.advance(Duration::from_secs(1));
        fixture.unenroll(ADA).await;
        if again {
            fixture.clock.advance(Duration::from_secs(1));
            fixture.announce(ADA, None, None).await;
        }
        fixture.is_known_by_now(&case).await;
        let enrollment = fixture.enrollment().await;
        let state = (
            enrollment.active,
            enrollment.edx_enrolled,
            enrollment.mode.as_str(),
        );
        assert_eq!(state, (again, again, "audit"), "{case}");
        assert_eq!(
            enrollment.roles,
            ["staff".parse().unwrap()].into(),
            "{case}"
        );
        let status = (!again).then_some("unenrolled");
        assert_eq!(enrollment.change_status.as_deref(), status, "{case}");
    }
}

/// An enrollment that was made after the un-enrollment stays active.
#[tokio::test]
async fn an_unenrolled_event_does_not_undo_a_newer_enrollment() {
    let fixture = with_the_run().await;
    fixture.announce(ADA, Some("staff"), Some("verified")).await;
    fixture.clock.advance(Duration::from_secs(1));
    fixture.unenroll(ADA).await;
    fixture.clock.advance(Duration::from_secs(1));
    fixture.put_user(ADA, ADA_ID, None).await;
    fixture.set_enrollment(ADA, RUN, "verified", true).await;
    fixture.is_known_by_now("newer").await;
    let enrollment = fixture.enrollment().await;
    assert!(enrollment.active);
    assert_eq!(
        (enrollment.mode.as_str(), enrollment.roles.len()),
        ("verified", 1)
    );
}

/// A pending upgrade is applied only if nothing has changed since it was delivered.
#[tokio::test]
async fn a_pending_upgrade_is_not_applied_to_a_newer_enrollment() {
    for (is_older, mode) in [(true, "audit"), (false, "verified")] {
        let case = format!("is older: {is_older}");
        let fixture = with_the_run().await;
        fixture.put_user(ADA, ADA_ID, None).await;
        let make = async || {
            fixture.announce(ADA, None, Some("audit")).await;
            fixture
                .set("EnrollmentsTable", "mode_set_by", S("import".to_owned()))
                .await;
        };
        if !is_older {
            make().await;
        }
        fixture.clock.advance(Duration::from_secs(1));
        fixture
            .dynamodb
            .delete_item()
            .table_name("UsersTable")
            .key("email", S(ADA.to_owned()))
            .send()
            .await
            .unwrap();
        fixture.announce(ADA, Some("staff"), Some("verified")).await;
        fixture.clock.advance(Duration::from_secs(1));
        fixture.put_user(ADA, ADA_ID, None).await;
        let pending = fixture.pending_event().await;
        if is_older {
            // As an import writes it, which makes no event due.
            make_imported(&fixture).await;
        }
        assert_eq!(fixture.pending().await, [pending], "{case}");
        fixture.is_known_by_now(&case).await;
        let enrollment = fixture.enrollment().await;
        assert_eq!(enrollment.mode.as_str(), mode, "{case}");
        assert_eq!(
            enrollment.roles,
            ["staff".parse().unwrap()].into(),
            "{case}"
        );
        assert_eq!(enrollment.mode_set_by.is_some(), is_older, "{case}");
    }
}

/// Adds an active enrollment in the mode `audit`, as an import does.
async fn make_imported(fixture: &Fixture) {
    use domain::{Change, EnrollmentChange, ModeSource, Setting};
    let by = Change::Import {
        name: "a test".to_owned(),
    };
    let now = common::clock::Clock::now(&*fixture.clock);
    let change = EnrollmentChange::new(
        ADA_ID.parse().unwrap(),
        RUN.parse().unwrap(),
        by,
        now,
        Uuid::new_v4,
    );
    let setting = Setting::mode("audit".parse().unwrap(), true);
    let mut made = change.set(None, &setting).unwrap();
    made.mode_set_by = Some(ModeSource::Import);
    let enrollments = fixture.use_cases().enrollments().unwrap();
    enrollments.add(&[made]).await.unwrap();
}
