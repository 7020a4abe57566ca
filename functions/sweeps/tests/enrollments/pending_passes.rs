//! A pass that is pending until its learner is enrolled and has paid.

use std::time::Duration;

use domain::BlockedReason;
use harness::stop::{Stop, stopped};
use harness::{ADA, FAST_RETRIES, Portal, RUN};
use local::lms::At;

use super::fixture::{Fixture, wired};

/// Ada's enrollment before the sweep.
#[derive(Debug, Clone, Copy)]
enum Before {
    Missing,
    Unpaid,
    Unenrolled,
}

/// Returns a portal where Ada has passed and her pass has been retried without success; the LMS
/// lists her as paid by now.
async fn passed(before: Before) -> Fixture {
    let fixture = Fixture::new().await;
    match before {
        Before::Missing => {}
        Before::Unpaid => fixture.announce(ADA, None, Some("audit")).await,
        Before::Unenrolled => {
            fixture.announce(ADA, None, Some("verified")).await;
            fixture.clock.advance(Duration::from_secs(1));
            fixture.lms.enroll("ada", RUN, "verified", false);
            assert_eq!(
                fixture.sweep().await["tally"]["deactivated"],
                1,
                "{before:?}"
            );
        }
    }
    fixture.grade(0.9, true);
    fixture.add_pending_pass().await;
    assert_eq!(
        fixture.pending_event().await.reason,
        BlockedReason::NotEligible,
        "{before:?}"
    );
    // One attempt without success: from now on only the enrollment makes the event due.
    fixture.clock.advance(Duration::from_secs(90));
    assert_eq!(fixture.retry_due().await.attempted, 1, "{before:?}");
    fixture.clock.advance(Duration::from_hours(24));
    assert_eq!(fixture.retry_due().await.attempted, 0, "{before:?}");
    fixture.lms.enroll("ada", RUN, "verified", true);
    fixture
}

/// The event is due at once, and the next attempt issues the certificate, also where the sweep is
/// stopped before or after any of its calls, and resumed.
#[tokio::test]
async fn the_next_attempt_issues_the_certificate() {
    for before in [Before::Missing, Before::Unpaid, Before::Unenrolled] {
        let prepared = passed(before).await;
        let portal = prepared.copy().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let fixture = wired(portal, client);
        assert_eq!(fixture.sweep().await["status"], "done", "{before:?}");
        let calls = proxy.calls();
        let written = ["UpdateItem", "UpdateItem", "UpdateItem"];
        let updates = calls.iter().filter(|call| *call == "UpdateItem");
        assert!(updates.eq(&written), "{before:?}: {calls:?}");
        assert_takes_effect(&fixture, &format!("{before:?}")).await;

        // The kind of the write makes no difference to the stops.
        let calls = match before {
            Before::Missing => calls.len(),
            Before::Unpaid | Before::Unenrolled => continue,
        };
        for stop in Stop::all(calls, At::Enrollments) {
            let case = format!("{before:?}, {stop:?}");
            let portal = prepared.copy().await;
            let (proxy, client) = portal.proxy(FAST_RETRIES).await;
            let fixture = wired(portal, client);
            assert!(
                stopped(stop, &proxy, &fixture.lms, fixture.sweep()).await,
                "{case}"
            );
            let is_paid = async || {
                let enrollments = fixture.enrollments(harness::ADA_ID).await;
                let mut paid = enrollments.iter().filter(|e| e.active);
                paid.any(|e| e.mode.as_str() == "verified")
            };
            // If the enrollment is paid, no other sweep follows, and the certificate is issued
            // nevertheless.
            if !is_paid().await {
                fixture.clock.advance(Duration::from_secs(1));
                let next = Fixture::on(fixture.beside());
                assert_eq!(next.sweep().await["status"], "done", "{case}");
            }
            fixture.clock.advance(Duration::from_secs(100));
            assert!(is_paid().await, "{case}");
            assert_takes_effect(&fixture, &case).await;
        }
    }
}

async fn assert_takes_effect(portal: &Portal, case: &str) {
    assert_eq!(portal.retry_due().await.done, 1, "{case}");
    assert!(portal.certificate().await.is_some(), "{case}");
    assert_eq!(portal.pending().await, [], "{case}");
}

/// A sweep that leaves the enrollment unpaid, or deactivates it, does not make the event due.
#[tokio::test]
async fn a_pass_in_an_unpaid_enrollment_is_not_retried() {
    for (before, mode, is_active) in [
        (Before::Missing, "verified", false),
        (Before::Unpaid, "audit", true),
        (Before::Unpaid, "audit", false),
    ] {
        let case = format!("{before:?} {mode} {is_active}");
        let fixture = passed(before).await;
        fixture.lms.enroll("ada", RUN, mode, is_active);
        let pending = fixture.pending_event().await;
        assert_eq!(fixture.sweep().await["status"], "done", "{case}");
        assert_eq!(fixture.pending_event().await, pending, "{case}");
    }
}
