//! The template's state machine, executed on an emulator with the function itself.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use harness::{FAST_RETRIES, Portal, RUN};
use local::lms::GradeRow;
use local::{Fault, StepFunctions};
use serde_json::json;

/// A time shorter than a page is given, so that each call processes a page and is suspended.
const SHORT: Duration = Duration::from_secs(60);

/// Runs of several pages are swept call after call; one that cannot be swept is skipped, one that
/// the LMS lacks fails alone, and all others are swept.
#[tokio::test]
async fn every_run_is_swept_and_a_failed_one_skipped() {
    let portal = Portal::new().await;
    portal.lms.pages_of(2);
    let second = "course-v1:Org+Course+second";
    let broken = "course-v1:Org+Course+broken";
    let unknown = "course-v1:Org+Course+unknown-to-the-lms";
    for run in [second, broken, unknown] {
        portal.put_run(run).await;
    }
    for run in [RUN, second, broken] {
        let update = portal.dynamodb.update_item().table_name("CourseRunsTable");
        let update = update.key("course_id", S(run.to_owned()));
        let update = update.update_expression("SET is_self_paced = :yes");
        let update = update.expression_attribute_values(":yes", Bool(true));
        update.send().await.unwrap();
        for learner in 0..5 {
            let passed = GradeRow {
                percent: 0.9,
                passed: true,
                letter_grade: None,
            };
            portal.lms.grade(&format!("learner{learner}"), run, passed);
        }
    }
    for learner in 0..5 {
        let (email, id) = (format!("learner{learner}@example.org"), uuid(learner));
        let username = format!("learner{learner}");
        portal.put_user(&email, &id, Some(&username)).await;
        for run in [RUN, second, broken] {
            portal.set_enrollment(&email, run, "verified", true).await;
        }
    }
    // The store refuses to read the state of this run's sweep.
    let (proxy, _) = portal.proxy(FAST_RETRIES).await;
    proxy.set(|call| {
        let is_broken = call.body.windows(6).any(|part| part == b"broken");
        match call.operation.as_str() {
            "GetItem" if is_broken => Fault::Refuse("AccessDeniedException"),
            _ => Fault::Pass,
        }
    });
    let mut variables = portal.variables();
    let tables = ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), proxy.url.clone());
    variables.push(tables);

    let emulator = StepFunctions::start().await.unwrap();
    let program = env!("CARGO_BIN_EXE_grade-sweep").as_ref();
    let function = emulator.function("grade-sweep", program, SHORT, variables);
    let function = function.await.unwrap();
    let machine = emulator
        .sweep_machine("grade-sweep", &function, 2)
        .await
        .unwrap();
    let execution = emulator
        .execute(&machine, "first", &json!({}))
        .await
        .unwrap();
    let ended = emulator.ended(&execution).await.unwrap();
    assert_eq!((&*ended.status, &*ended.last_state), ("SUCCEEDED", "Done"));

    let mut mapped: Vec<_> = ended
        .mapped
        .iter()
        .map(|run| (run.input["sweep"]["run"].as_str().unwrap(), &*run.status))
        .collect();
    mapped.sort_unstable();
    let mut expected = [
        (RUN, "SUCCEEDED"),
        (second, "SUCCEEDED"),
        (broken, "FAILED"),
        (unknown, "SUCCEEDED"),
    ];
    expected.sort_unstable();
    assert_eq!(mapped, expected);
    for learner in 0..5 {
        let certificates = portal.use_cases().certificates().unwrap();
        let all = certificates
            .of_user(uuid(learner).parse().unwrap())
            .await
            .unwrap();
        let mut runs: Vec<_> = all.iter().map(|c| c.course_id.as_str()).collect();
        runs.sort_unstable();
        assert_eq!(runs, [RUN, second]);
    }
    // Three pages of each of two runs, one request for the run that the LMS lacks, and none for the
    // broken one.
    assert_eq!(portal.lms.count(local::lms::At::Grades), 3 + 3 + 1);

    // Completed work stays: the next execution only reads.
    let before = portal.everything().await;
    let execution = emulator
        .execute(&machine, "second", &json!({"run": second}))
        .await;
    let ended = emulator.ended(&execution.unwrap()).await.unwrap();
    assert_eq!((&*ended.status, ended.mapped.len()), ("SUCCEEDED", 1));
    assert_eq!(portal.everything().await, before);
}

fn uuid(learner: u8) -> String {
    format!("6f0d3a52-6b0c-4f5e-9d0a-00000000000{learner}")
}
