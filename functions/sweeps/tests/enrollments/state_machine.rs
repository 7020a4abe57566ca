//! The template's state machine, executed on an emulator with the function itself.

use std::time::Duration;

use harness::{Portal, RUN};
use local::StepFunctions;
use local::lms::At;
use serde_json::json;

/// A time shorter than a page is given, so that each call processes a page and is suspended.
const SHORT: Duration = Duration::from_secs(60);

/// The first execution is a dry run, and the second one enrolls; both read a list of three pages,
/// call after call.
#[tokio::test]
async fn the_first_execution_reports_and_the_next_one_enrolls() {
    let portal = Portal::new().await;
    portal.lms.pages_of(2);
    for learner in 0..5 {
        let (email, username) = (
            format!("learner{learner}@example.org"),
            format!("learner{learner}"),
        );
        portal
            .put_user(&email, &uuid(learner), Some(&username))
            .await;
        portal.lms.enroll(&username, RUN, "verified", true);
    }
    let emulator = StepFunctions::start().await.unwrap();
    let program = env!("CARGO_BIN_EXE_enrollment-sweep").as_ref();
    let function = emulator.function("enrollment-sweep", program, SHORT, portal.variables());
    let function = function.await.unwrap();
    let machine = emulator.sweep_machine("enrollment-sweep", &function, 1);
    let machine = machine.await.unwrap();
    for (name, enrolled) in [("first", 0), ("second", 5), ("third", 5)] {
        let execution = emulator.execute(&machine, name, &json!({})).await;
        let ended = emulator.ended(&execution.unwrap()).await.unwrap();
        assert_eq!(
            (&*ended.status, &*ended.last_state),
            ("SUCCEEDED", "Done"),
            "{name}"
        );
        assert_eq!(ended.mapped.len(), 1, "{name}");
        assert_eq!(ended.mapped[0].status, "SUCCEEDED", "{name}");
        let mut all = 0;
        for learner in 0..5 {
            let enrollments = portal.enrollments(&uuid(learner)).await;
            all += enrollments.len();
            for enrollment in enrollments {
                assert_eq!(enrollment.mode.as_str(), "verified", "{name}");
                assert_eq!(enrollment.history.len(), 1, "{name}");
            }
        }
        assert_eq!(all, enrolled, "{name}");
    }
    assert_eq!(portal.lms.count(At::Enrollments), 9);
}

fn uuid(learner: u8) -> String {
    format!("6f0d3a52-6b0c-4f5e-9d0a-00000000000{learner}")
}
