//! Which runs are swept.

use harness::{ADA, ADA_ID, RUN};
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::stack::Stack;

const OTHER: &str = "course-v1:Demo+Another+2026_T3";

/// Alone, a learner is swept in all runs that the LMS lists them in and the portal
/// knows: the portal may lack the enrollment that is to be created.
#[tokio::test]
async fn a_learner_in_all_runs_of_the_lms() {
    let stack = Stack::new().await;
    stack.put_run(OTHER).await;
    stack.put_run("course-v1:Demo+OfOthers+2026_T3").await;
    // Here it is one of the portal's and not of the LMS's.
    stack.put_run("course-v1:Demo+OnlyHere+2026_T3").await;
    stack
        .set_enrollment(ADA, "course-v1:Demo+OnlyHere+2026_T3", "audit", true)
        .await;
    stack.enroll("verified").await;
    for (run, is_active) in [
        (RUN, true),
        (OTHER, false),
        ("course-v1:Not+Known+Here", true),
    ] {
        stack.lms.enroll("ada", run, "verified", is_active);
    }
    stack
        .lms
        .enroll("bob", "course-v1:Demo+OfOthers+2026_T3", "verified", true);
    // The LMS's list comes in pages as well.
    stack.lms.pages_of(1);
    for learner in [ADA, ADA_ID] {
        let answer = list(&stack, json!({"learner": learner, "dry_run": true})).await;
        let sweep = |run| json!({"sweep": {"run": run, "learner": learner, "dry_run": true}});
        assert_eq!(answer["sweeps"], json!([sweep(OTHER), sweep(RUN)]));
        assert_eq!(answer["next"], Value::Null);
    }
    // A run that is named is the only one.
    let answer = list(&stack, json!({"learner": ADA, "run": OTHER})).await;
    let sweep = json!({"sweep": {"run": OTHER, "learner": ADA}});
    assert_eq!(answer["sweeps"], json!([sweep]));
}

async fn list(stack: &Stack, fields: Value) -> Value {
    stack.call(json!({"list": fields})).await.unwrap()
}

/// Nobody is swept by half a list of their runs.
#[tokio::test]
async fn an_lms_that_does_not_tell_a_learners_runs() {
    let stack = Stack::new().await;
    stack.lms.pages_of(1);
    stack.put_run(OTHER).await;
    for run in [RUN, OTHER] {
        stack.lms.enroll("ada", run, "verified", true);
    }
    for (fault, after, code) in [
        (LmsFault::Fail { status: 502 }, 1, "502"),
        (LmsFault::Repeat, 0, "InvalidResponse:circle"),
    ] {
        let order = FaultRule::of(fault).at(At::Enrollments).after(after);
        stack.lms.add_fault(order);
        let call = json!({"list": {"learner": ADA}});
        assert!(stack.call(call).await.is_err());
        let line = stack.log.last("sweep call failed");
        assert_eq!(
            (&line["level"], &line["reason"], &line["error_code"]),
            (&json!("ERROR"), &json!("lms"), &json!(code))
        );
        stack.lms.revoke();
    }
}
