//! The runs that are swept.

use harness::{ADA, ADA_ID, RUN};
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::Fixture;

const OTHER: &str = "course-v1:Demo+Another+2026_T3";

/// A single learner is swept in all runs in which the LMS lists them and which the portal knows:
/// the portal may lack the enrollment that is to be created.
#[tokio::test]
async fn a_single_learner_is_swept_in_all_runs_of_the_lms() {
    let fixture = Fixture::new().await;
    fixture.put_run(OTHER).await;
    fixture.put_run("course-v1:Demo+OfOthers+2026_T3").await;
    // This run is known to the portal and not to the LMS.
    fixture.put_run("course-v1:Demo+OnlyHere+2026_T3").await;
    fixture
        .set_enrollment(ADA, "course-v1:Demo+OnlyHere+2026_T3", "audit", true)
        .await;
    fixture.enroll("verified").await;
    for (run, is_active) in [
        (RUN, true),
        (OTHER, false),
        ("course-v1:Not+Known+Here", true),
    ] {
        fixture.lms.enroll("ada", run, "verified", is_active);
    }
    fixture
        .lms
        .enroll("bob", "course-v1:Demo+OfOthers+2026_T3", "verified", true);
    // The LMS's list of a learner's runs comes in pages as well.
    fixture.lms.pages_of(1);
    for learner in [ADA, ADA_ID] {
        let answer = list(&fixture, json!({"learner": learner, "dry_run": true})).await;
        let sweep = |run| json!({"sweep": {"run": run, "learner": learner, "dry_run": true}});
        assert_eq!(
            answer["sweeps"],
            json!([sweep(OTHER), sweep(RUN)]),
            "{learner}"
        );
        assert_eq!(answer["next"], Value::Null, "{learner}");
    }
    // A run that is named is the only one swept.
    let answer = list(&fixture, json!({"learner": ADA, "run": OTHER})).await;
    let sweep = json!({"sweep": {"run": OTHER, "learner": ADA}});
    assert_eq!(answer["sweeps"], json!([sweep]));
}

async fn list(fixture: &Fixture, fields: Value) -> Value {
    fixture.call(json!({"list": fields})).await.unwrap()
}

/// A learner is not swept by an incomplete list of their runs.
#[tokio::test]
async fn an_lms_that_fails_to_list_a_learners_runs_fails_the_call() {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(1);
    fixture.put_run(OTHER).await;
    for run in [RUN, OTHER] {
        fixture.lms.enroll("ada", run, "verified", true);
    }
    for (fault, after, code) in [
        (LmsFault::Fail { status: 502 }, 1, "502"),
        (LmsFault::Repeat, 0, "InvalidResponse:cycle"),
    ] {
        let order = FaultRule::of(fault).at(At::Enrollments).after(after);
        fixture.lms.add_fault(order);
        let call = json!({"list": {"learner": ADA}});
        assert!(fixture.call(call).await.is_err(), "{code}");
        let line = fixture.log.last("sweep call failed");
        assert_eq!(
            (&line["level"], &line["reason"], &line["error_code"]),
            (&json!("ERROR"), &json!("lms"), &json!(code)),
            "{code}"
        );
        fixture.lms.revoke();
    }
}
