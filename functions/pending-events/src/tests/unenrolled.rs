//! What an enrollment that waited does, where it was un-enrolled or changed since.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::{ADA, ADA_ID, Portal, RUN};

use super::stack::Stack;

/// A stack with the run, and nobody.
async fn with_the_run() -> Stack {
    let stack = Stack::on(Portal::empty().await);
    stack.put_run(RUN).await;
    stack
}

impl Stack {
    /// Ada becomes known, and what is pending is tried again once, a day later.
    async fn is_known_by_now(&self) {
        self.put_user(ADA, ADA_ID, None).await;
        self.clock
            .advance(Duration::from_secs(24 * 3600 + 6 * 3600));
        assert_eq!(self.run().await["done"], 1);
        assert_eq!(self.pending().await, []);
    }
}

/// Its roles stay, and it enrolls nobody; announced again, it does.
#[tokio::test]
async fn an_unenrolled_event_leaves_its_roles() {
    for again in [false, true] {
        let stack = with_the_run().await;
        stack.announce(ADA, Some("staff"), Some("verified")).await;
        stack.clock.advance(Duration::from_secs(1));
        stack.unenroll(ADA).await;
        if again {
            stack.clock.advance(Duration::from_secs(1));
            stack.announce(ADA, None, None).await;
        }
        stack.is_known_by_now().await;
        let enrollment = stack.enrollment().await;
        let state = (
            enrollment.active,
            enrollment.edx_enrolled,
            enrollment.mode.as_str(),
        );
        assert_eq!(state, (again, again, "audit"));
        assert_eq!(enrollment.roles, ["staff".parse().unwrap()].into());
        let status = (!again).then_some("unenrolled");
        assert_eq!(enrollment.change_status.as_deref(), status);
    }
}

/// An enrollment that was made after the un-enrollment stays active.
#[tokio::test]
async fn an_unenrolled_event_takes_nothing_that_is_newer() {
    let stack = with_the_run().await;
    stack.announce(ADA, Some("staff"), Some("verified")).await;
    stack.clock.advance(Duration::from_secs(1));
    stack.unenroll(ADA).await;
    stack.clock.advance(Duration::from_secs(1));
    stack.put_user(ADA, ADA_ID, None).await;
    stack.set_enrollment(ADA, RUN, "verified", true).await;
    stack.is_known_by_now().await;
    let enrollment = stack.enrollment().await;
    assert!(enrollment.active);
    assert_eq!(
        (enrollment.mode.as_str(), enrollment.roles.len()),
        ("verified", 1)
    );
}

/// An upgrade that waited counts where nothing has changed since it was delivered.
#[tokio::test]
async fn an_upgrade_that_waited_is_not_applied_to_what_is_newer() {
    for (is_older, mode) in [(true, "audit"), (false, "verified")] {
        let stack = with_the_run().await;
        stack.put_user(ADA, ADA_ID, None).await;
        let make = async || {
            stack.announce(ADA, None, Some("audit")).await;
            stack
                .set("EnrollmentsTable", "mode_set_by", S("import".to_owned()))
                .await;
        };
        if !is_older {
            make().await;
        }
        stack.clock.advance(Duration::from_secs(1));
        stack
            .dynamodb
            .delete_item()
            .table_name("UsersTable")
            .key("email", S(ADA.to_owned()))
            .send()
            .await
            .unwrap();
        stack.announce(ADA, Some("staff"), Some("verified")).await;
        stack.clock.advance(Duration::from_secs(1));
        stack.put_user(ADA, ADA_ID, None).await;
        let pending = stack.pending_event().await;
        if is_older {
            // As an import writes it, which tries nothing again.
            make_imported(&stack).await;
        }
        assert_eq!(stack.pending().await, [pending]);
        stack.is_known_by_now().await;
        let enrollment = stack.enrollment().await;
        assert_eq!(enrollment.mode.as_str(), mode, "{is_older}");
        assert_eq!(enrollment.roles, ["staff".parse().unwrap()].into());
        assert_eq!(enrollment.mode_set_by.is_some(), is_older);
    }
}

/// Adds an active enrollment in the mode `audit`, as an import does.
async fn make_imported(stack: &Stack) {
    use shared::domain::{Change, EnrollmentChange, ModeSource, Setting};
    let by = Change::Import {
        name: "a test".to_owned(),
    };
    let now = shared::clock::Clock::now(&*stack.clock);
    let change = EnrollmentChange::new(ADA_ID.parse().unwrap(), RUN.parse().unwrap(), by, now);
    let setting = Setting::mode("audit".parse().unwrap(), true);
    let mut made = change.set(None, &setting).unwrap();
    made.mode_set_by = Some(ModeSource::Import);
    let enrollments = stack.use_cases().enrollments().unwrap();
    enrollments.add(&[made]).await.unwrap();
}
