//! Changes between the reads and the write of a delivery are detected, and never overwritten.

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use domain::{BlockedReason, CertificateState};
use harness::{ADA_ID, RUN};
use local::Fault;
use local::lms::At;
use store::CallLimits;

use super::fixture::Fixture;

/// Delivers, and runs `meanwhile` when everything is read, the LMS has answered, and the
/// transaction is on its way.
async fn while_it_is_written(
    case: &str,
    percent: f64,
    is_pass: bool,
    before: impl AsyncFn(&Fixture),
    meanwhile: impl AsyncFn(&Fixture),
) -> (Fixture, String) {
    let (fixture, proxy) = Fixture::behind_proxy(CallLimits {
        attempt: std::time::Duration::from_secs(60),
        ..CallLimits::PRODUCTION
    })
    .await;
    fixture.enroll("verified").await;
    before(&fixture).await;
    fixture.grade(percent, is_pass);
    proxy.set(|call| match call.operation.as_str() {
        "TransactWriteItems" | "PutItem" => Fault::Hold,
        _ => Fault::Pass,
    });
    let comes_between = async {
        proxy.stuck(1).await;
        meanwhile(&fixture).await;
        proxy.set(|_| Fault::Pass);
    };
    let (answer, ()) = tokio::join!(fixture.pass(), comes_between);
    assert_eq!(answer.status, 200, "{case}: {answer:?}");
    let status = answer.body["certificate_status"].as_str().unwrap();
    let status = status.to_owned();
    (fixture, status)
}

async fn nothing(_: &Fixture) {}

/// A stale answer of the LMS, 0 percent, arrives after a pass: it changes nothing.
#[tokio::test]
async fn a_stale_zero_changes_nothing() {
    let another_passes = async |fixture: &Fixture| {
        fixture.grade(0.9, true);
        let other = Fixture::on(fixture.beside());
        assert_eq!(other.pass().await.body["certificate_status"], "created");
    };
    let (fixture, status) =
        while_it_is_written("a stale zero", 0.0, false, nothing, another_passes).await;
    assert_eq!(status, "exists");
    let grade = fixture.stored_grade().await.unwrap();
    assert_eq!((grade.score.percent.get(), grade.history.len()), (0.9, 1));
    let certificate = fixture.certificate().await.unwrap();
    assert_eq!(certificate.state, CertificateState::InForce);
}

/// The grade has changed: the LMS is asked again, since it is unknown which answer is the later
/// one.
#[tokio::test]
async fn a_changed_grade_is_asked_for_again() {
    let regraded = async |fixture: &Fixture| {
        fixture.grade(0.6, true);
        fixture
            .set("EnrollmentsTable", "mode", S("audit".to_owned()))
            .await;
        let other = Fixture::on(fixture.beside());
        assert_eq!(
            other.pass().await.body["certificate_status"],
            "not_eligible"
        );
        fixture
            .set("EnrollmentsTable", "mode", S("verified".to_owned()))
            .await;
    };
    let (fixture, status) = while_it_is_written("regraded", 0.2, false, nothing, regraded).await;
    assert_eq!(status, "created");
    let grade = fixture.stored_grade().await.unwrap();
    assert_eq!((grade.score.percent.get(), grade.history.len()), (0.6, 1));
    assert_eq!(fixture.lms.count(At::Grades), 3);
}

/// An operator overrides the grade while the LMS is asked: the operator's grade stays, and decides.
#[tokio::test]
async fn an_override_made_meanwhile_stays() {
    for (lms_passes, operator_passes, expected) in [
        (true, false, "not_passed"),
        (false, true, "created"),
        (true, true, "created"),
    ] {
        let overridden = async |fixture: &Fixture| {
            let percent = if operator_passes { 0.77 } else { 0.11 };
            fixture.override_grade(percent, operator_passes).await;
        };
        let case = format!("LMS: {lms_passes}, operator: {operator_passes}");
        let asked = if lms_passes { 0.9 } else { 0.1 };
        let (fixture, status) =
            while_it_is_written(&case, asked, lms_passes, nothing, overridden).await;
        assert_eq!(status, expected, "{case}");
        let grade = fixture.stored_grade().await.unwrap();
        assert!(grade.set_by_admin, "{case}");
        assert_eq!(grade.history.len(), 1, "{case}");
        assert_eq!(fixture.lms.count(At::Grades), 1, "{case}");
    }
}

/// An override that was set by hand in the table, without a new version, is not overwritten.
#[tokio::test]
async fn an_override_set_by_hand_is_not_overwritten() {
    let graded = async |fixture: &Fixture| {
        fixture.grade(0.3, false);
        fixture.pass().await;
    };
    let by_hand = async |fixture: &Fixture| {
        fixture.set("GradesTable", "set_by_admin", Bool(true)).await;
    };
    // The held transaction of `graded` itself has passed: it comes before the fault plan.
    let (fixture, status) = while_it_is_written("by hand", 0.9, true, graded, by_hand).await;
    assert_eq!(status, "not_passed");
    assert_eq!(
        fixture.stored_grade().await.unwrap().score.percent.get(),
        0.3
    );
}

/// An enrollment that is no longer active or paid earns no certificate.
#[tokio::test]
async fn a_changed_enrollment_earns_no_certificate() {
    let cases = [
        ("active", Bool(false), "inactive"),
        ("mode", S("audit".to_owned()), "unpaid_mode"),
    ];
    for (attribute, value, why) in cases {
        let change = async |fixture: &Fixture| {
            fixture
                .set("EnrollmentsTable", attribute, value.clone())
                .await;
        };
        let (fixture, status) = while_it_is_written(attribute, 0.9, true, nothing, change).await;
        assert_eq!(status, "not_eligible", "{attribute}");
        assert_eq!(fixture.certificate().await, None, "{attribute}");
        let event = fixture.pending_event().await;
        assert_eq!(event.reason, BlockedReason::NotEligible, "{attribute}");
        assert_eq!(event.last_error.as_deref(), Some(why), "{attribute}");
        // The answer of the LMS is still valid: the grade did not change.
        assert_eq!(fixture.lms.count(At::Grades), 1, "{attribute}");
        assert_eq!(
            fixture.stored_grade().await.unwrap().history.len(),
            1,
            "{attribute}"
        );
    }
}

/// A certificate that was issued meanwhile stays as it is, also if an operator has revoked it.
#[tokio::test]
async fn a_certificate_issued_meanwhile_stays() {
    for state in ["in_force", "revoked", "withdrawn"] {
        let issued = async |fixture: &Fixture| {
            let other = Fixture::on(fixture.beside());
            assert_eq!(
                other.pass().await.body["certificate_status"],
                "created",
                "{state}"
            );
            fixture
                .set("CertificatesTable", "state", S(state.to_owned()))
                .await;
        };
        let (fixture, status) = while_it_is_written(state, 0.9, true, nothing, issued).await;
        let expected = match state {
            "in_force" => "exists",
            "revoked" => "revoked",
            _ => "created",
        };
        assert_eq!(status, expected, "{state}");
        let certificate = fixture.certificate().await.unwrap();
        let entries = if state == "withdrawn" { 2 } else { 1 };
        assert_eq!(certificate.history.len(), entries, "{state}");
        assert_eq!(certificate.user_id.to_string(), ADA_ID, "{state}");
        assert_eq!(certificate.course_id.as_str(), RUN, "{state}");
    }
}
