//! Tests of the storm itself, and sequences that once made a difference.

use storm::check::Judge;
use storm::run::{Difference, as_test, case, run, shrink};
use storm::steps::Action::*;
use storm::steps::Fault::*;
use storm::steps::Mode::*;
use storm::steps::Role::*;
use storm::steps::Service::*;
use storm::steps::Sweep::*;
use storm::steps::{Of, Op, Score, Step};
use storm::world::World;

/// Checks that the steps make no difference.
fn holds(seed: u64, steps: &[Step]) {
    let difference = run(seed, steps).difference;
    let text = difference.map_or_else(String::new, |difference| difference.to_string());
    assert!(text.is_empty(), "{text}");
}

#[test]
fn a_case_is_the_same_each_time() {
    for seed in [1, 2] {
        let steps = case(seed);
        assert_eq!(run(seed, &steps).digest, run(seed, &steps).digest, "{seed}");
    }
    let steps = case(1);
    assert_ne!(run(1, &steps).digest, run(2, &steps).digest);
}

/// A user in a run with an enrollment, a role, a grade, a certificate, and one event that waits.
fn portal() -> Vec<Step> {
    let of = Of(0, 0);
    [
        ImportUser(0, true),
        ImportRun(0),
        LmsGrade(of, Score(90, true)),
        Enroll(of, Some(Staff), Some(Verified)),
        Pass(of),
        Enroll(Of(1, 0), Some(Instructor), None),
    ]
    .map(|action| vec![Op::from(action)])
    .into()
}

/// Each change of a table behind the portal's back is a difference.
#[tokio::test(start_paused = true)]
async fn a_change_behind_its_back_is_noticed() {
    let key = |id: &str| {
        format!(
            r#"{{"user_id": {{"S": "{id}"}}, "course_id": {{"S": "course-v1:Storm+Run0+2026"}}}}"#
        )
    };
    let delete = |table: &str, key: &str| {
        (
            "DeleteItem",
            format!(r#"{{"TableName": "{table}", "Key": {key}}}"#),
        )
    };
    let set = |table: &str, key: &str, name: &str, value: &str| {
        let update = format!(
            r##"{{"TableName": "{table}", "Key": {key}, "UpdateExpression": "SET #n = :v",
            "ExpressionAttributeNames": {{"#n": "{name}"}}, "ExpressionAttributeValues": {{":v": {value}}}}}"##
        );
        ("UpdateItem", update)
    };
    for (case, expected) in [
        ("nothing", None),
        ("enrollment gone", Some("enrollment")),
        ("mode", Some("mode: Audit")),
        ("role gone", Some("roles")),
        ("version", Some("fewer versions")),
        ("id", Some("an id or an old entry of the Enrollment")),
        ("count", Some("entries of 7")),
        ("certificate gone", Some("is gone")),
        ("grade", Some("grade")),
        ("event gone", Some("Of(1, 0)")),
        ("user gone", Some("user 0")),
    ] {
        let mut world = World::new(1).unwrap();
        let mut judge = Judge::new();
        for (number, step) in portal().iter().enumerate() {
            let began = world.clock.ms();
            let ran = world.run(step, number as u64).await;
            assert_eq!(
                judge.check(&world, &ran, began),
                Vec::<String>::new(),
                "{case}"
            );
        }
        let user = judge.state().users[&0].id.clone();
        let event = world.engine.items("PendingEventsTable")[0]["event_key"]["S"].clone();
        let (enrollments, of) = ("EnrollmentsTable", key(&user));
        let change = match case {
            "nothing" => None,
            "enrollment gone" => Some(delete(enrollments, &of)),
            "mode" => Some(set(enrollments, &of, "mode", r#"{"S": "audit"}"#)),
            "role gone" => Some(set(enrollments, &of, "roles", r#"{"SS": ["instructor"]}"#)),
            "version" => Some(set(enrollments, &of, "version", r#"{"N": "0"}"#)),
            "id" => Some(set(
                enrollments,
                &of,
                "enrollment_id",
                r#"{"S": "another"}"#,
            )),
            "count" => Some(set(enrollments, &of, "history_count", r#"{"N": "7"}"#)),
            "certificate gone" => Some(delete("CertificatesTable", &of)),
            "grade" => Some(set("GradesTable", &of, "percent", r#"{"N": "0.5"}"#)),
            "event gone" => Some(delete(
                "PendingEventsTable",
                &format!(r#"{{"event_key": {{"S": {event}}}}}"#),
            )),
            "user gone" => Some(delete(
                "UsersTable",
                r#"{"email": {"S": "learner0@example.org"}}"#,
            )),
            other => panic!("{other}"),
        };
        if let Some((operation, body)) = change {
            assert_eq!(world.engine.call(operation, &body).0, 200, "{case}");
        }
        let began = world.clock.ms();
        let wrong = judge.check(&world, &[], began).join("\n");
        match expected {
            None => assert_eq!(wrong, "", "{case}"),
            Some(text) => assert!(wrong.contains(text), "{case}: {wrong}"),
        }
    }
}

/// A sequence is shortened to what is needed, and is printed as a test.
#[test]
fn the_shortest_sequence_is_found() {
    let needed = |steps: &[Step]| {
        let retry = Op::from(Retry).fault(Tables, 3, Throttled);
        let pass = steps
            .iter()
            .position(|step| step.iter().any(|op| op.action == Pass(Of(0, 0))))?;
        let step = steps.iter().rposition(|step| {
            step.iter()
                .any(|op| op.action == retry.action && op.faults.contains(&retry.faults[0]))
        })?;
        (pass < step).then_some(Difference {
            step,
            wrong: Vec::new(),
        })
    };
    let mut steps = case(3);
    steps.insert(20, vec![Op::from(Pass(Of(0, 0))).after(7), Op::from(Retry)]);
    let retry = Op::from(Retry)
        .fault(Tables, 1, Broken)
        .fault(Tables, 3, Throttled)
        .dies(9);
    steps.insert(90, vec![Op::from(Restart), retry]);
    let found = needed(&steps).unwrap();
    let (shortest, _) = shrink(&steps, &found, needed);
    let text = as_test(3, &shortest);
    assert!(text.contains("vec![Op::from(Pass(Of(0, 0)))],"), "{text}");
    assert!(
        text.contains("vec![Op::from(Retry).fault(Tables, 3, Throttled)],"),
        "{text}"
    );
    assert_eq!(shortest.len(), 2, "{text}");
}

/// A pass is blocked while the enrollment is being written in the same retry batch. It takes effect
/// a minute later.
#[test]
fn a_pass_and_its_enrollment_in_one_batch() {
    let of = Of(0, 0);
    let steps = [
        vec![Op::from(LmsGrade(of, Score(90, true)))],
        vec![Op::from(ImportRun(0))],
        vec![Op::from(Enroll(of, None, Some(Verified)))],
        vec![Op::from(Pass(of))],
        vec![Op::from(ImportUser(0, true))],
        vec![Op::from(Wait(620))],
        vec![Op::from(Retry)],
        vec![Op::from(Wait(80))],
        vec![Op::from(Retry)],
    ];
    holds(15, &steps);
}

/// While a pass is issuing its certificate, the enrollment's attempt in the other lane makes it due. Its
/// event stays, and its next attempt finds the certificate.
#[test]
fn a_pass_is_made_due_while_it_is_issuing() {
    let of = Of(0, 0);
    let steps = [
        vec![Op::from(LmsGrade(of, Score(90, true)))],
        vec![Op::from(ImportRun(0))],
        vec![Op::from(Enroll(of, None, Some(Verified)))],
        vec![Op::from(ImportUser(0, true))],
        vec![Op::from(Pass(of))],
        vec![Op::from(Wait(120))],
        vec![Op::from(Retry)],
        vec![Op::from(Wait(80))],
        vec![Op::from(Retry)],
    ];
    for seed in 0..10 {
        holds(seed, &steps);
    }
}

/// An operator's own 0 takes the certificate at the first sweep, whatever the LMS says.
#[test]
fn an_operators_zero_needs_no_confirmation() {
    let of = Of(2, 0);
    let steps = [
        vec![Op::from(ImportUser(2, true))],
        vec![Op::from(ImportRun(0))],
        vec![Op::from(ImportCertificate(of))],
        vec![Op::from(LmsGrade(of, Score(90, true)))],
        vec![Op::from(Override(of, Score(0, false)))],
        vec![Op::from(SweepGrades(0, Full))],
    ];
    holds(3, &steps);
}

/// An operator's override whose answer is lost is one change, also if another operator releases the
/// grade before the command learns that it was made.
#[test]
fn an_override_whose_answer_is_lost_is_one_change() {
    let of = Of(0, 0);
    for after in 0..60 {
        let release = Op::from(Release(of)).after(after);
        let steps = [
            vec![Op::from(ImportUser(0, true))],
            vec![Op::from(ImportRun(0))],
            vec![
                release,
                Op::from(Override(of, Score(90, true))).fault(Tables, 3, ErrorAfter),
            ],
            vec![
                Op::from(Override(of, Score(30, false))),
                Op::from(Release(of)).fault(Tables, 3, BrokenAfter),
            ],
        ];
        holds(u64::from(after), &steps);
    }
}

/// A claim whose answer is lost is over if an operator makes the event due before it is known: the
/// event is not attempted without a lease, and each attempt counts.
#[test]
fn a_lost_claim_of_an_event_that_is_made_due_is_over() {
    for after in (0..3000).step_by(500) {
        let retry = Op::from(Retry).fault(Tables, 1, HangsAfter);
        let steps = [
            vec![Op::from(Pass(Of(0, 0)))],
            vec![Op::from(Wait(120))],
            vec![retry, Op::from(RetryEvents).after(after)],
        ];
        holds(u64::from(after), &steps);
    }
}

/// A transaction that is cancelled because the table is busy is sent eight times.
#[tokio::test(start_paused = true)]
async fn a_busy_transaction_is_sent_eight_times() {
    for (conflicts, is_done) in [(7, true), (8, false), (20, false)] {
        let mut world = World::new(1).unwrap();
        // The first call reads, the next ones are the transaction.
        let import = Op::from(ImportUser(0, true));
        let import = (1..=conflicts).fold(import, |op, call| op.fault(Tables, call, Conflict));
        let ran = world.run(&vec![import], 0).await;
        let expected = if is_done {
            "Command(Ok(true))"
        } else {
            "Command(Err("
        };
        let answer = format!("{:?}", ran[0].answer);
        assert!(answer.starts_with(expected), "{conflicts}: {answer}");
        assert_eq!(
            ran[0].struck.len(),
            usize::from(conflicts.min(8)),
            "{conflicts}"
        );
    }
}

/// A forced sweep that hangs may come after the first scheduled one, which began at the same time, and
/// is not dry then.
#[test]
fn of_two_sweeps_at_once_one_is_the_first() {
    let forced = Op::from(SweepEnrollments(0, Forced)).fault(Tables, 1, Hangs);
    let steps = [
        vec![Op::from(ImportRun(0))],
        vec![forced, Op::from(SweepEnrollments(0, Full))],
    ];
    holds(153_316_473, &steps);
}
