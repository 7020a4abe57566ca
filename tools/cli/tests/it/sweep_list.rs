//! `coursehook sweep list`: one line for each run and kind.

use domain::{Checkpoint, CourseId, SweepEnd, SweepKind, SweepOptions, SweepOutcome, Tally};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::sweeps::{SweepRecord, Sweeps, Which};
use uuid::Uuid;

use crate::harness::CliFixture;

const PLAIN: SweepOptions = leave(false, false);
const FORCE: SweepOptions = leave(true, false);
const REPORT: SweepOptions = leave(false, true);
const FORCE_REPORT: SweepOptions = leave(true, true);

const fn leave(force: bool, dry_run: bool) -> SweepOptions {
    SweepOptions {
        confirm: false,
        force,
        dry_run,
    }
}

/// The time, in seconds, at which a sweep ended or saved its checkpoint.
#[derive(Clone, Copy)]
enum At {
    Ended(i64),
    Stands(i64),
    /// One sweep ended, and the next one is in progress.
    Both(i64, i64),
}
use At::{Both, Ended, Stands};

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn record(options: SweepOptions, at: At) -> SweepRecord {
    let (ended, stands) = match at {
        Ended(second) => (Some(second), None),
        Stands(second) => (None, Some(second)),
        Both(ended, stands) => (Some(ended), Some(stands)),
    };
    SweepRecord {
        checkpoint: stands
            .map(|second| Checkpoint::new(Uuid::new_v4(), at_second(second), options)),
        last: ended.map(|second| SweepEnd {
            sweep_id: Uuid::new_v4(),
            began_at: at_second(second - 1),
            ended_at: at_second(second),
            options,
            outcome: SweepOutcome::Done,
            reason: None,
            tally: Tally::default(),
        }),
        complete_at: None,
    }
}

/// A line of the list: force, dry_run, the time of the last end and of the checkpoint.
type Line = (bool, bool, Option<i64>, Option<i64>);

fn line(shown: &Value) -> Line {
    let second = |moment: &Value| {
        let moment = moment.as_str()?.parse::<Timestamp>().unwrap();
        Some(moment.as_second() - 1_800_000_000)
    };
    (
        shown["force"].as_bool().unwrap(),
        shown["dry_run"].as_bool().unwrap(),
        second(&shown["last"]["ended_at"]),
        second(&shown["in_progress"]["began_at"]),
    )
}

#[tokio::test]
async fn only_the_newest_sweep_of_a_kind_is_listed() {
    let cases: &[(&[(SweepOptions, At)], Line)] = &[
        (&[(PLAIN, Ended(1))], (false, false, Some(1), None)),
        (&[(REPORT, Ended(1))], (false, true, Some(1), None)),
        // Any other sweep is shown before a dry run, however old it is.
        (
            &[(PLAIN, Ended(1)), (REPORT, Ended(9))],
            (false, false, Some(1), None),
        ),
        (
            &[(PLAIN, Stands(1)), (REPORT, Ended(9))],
            (false, false, None, Some(1)),
        ),
        (
            &[
                (FORCE, Ended(1)),
                (REPORT, Stands(9)),
                (FORCE_REPORT, Ended(5)),
            ],
            (true, false, Some(1), None),
        ),
        (
            &[(REPORT, Ended(1)), (FORCE_REPORT, Ended(2))],
            (true, true, Some(2), None),
        ),
        (
            &[(PLAIN, Ended(3)), (FORCE, Ended(2))],
            (false, false, Some(3), None),
        ),
        (
            &[(PLAIN, Ended(2)), (FORCE, Ended(3))],
            (true, false, Some(3), None),
        ),
        // A sweep that was abandoned long ago is not shown as in progress.
        (
            &[(PLAIN, Ended(9)), (FORCE, Both(1, 2))],
            (false, false, Some(9), None),
        ),
        // The last end is shown, whichever sweep is in progress.
        (
            &[(PLAIN, Both(1, 9)), (FORCE, Ended(5))],
            (false, false, Some(5), Some(9)),
        ),
        (
            &[(PLAIN, Stands(9)), (FORCE, Ended(5))],
            (false, false, Some(5), Some(9)),
        ),
    ];
    let stack = CliFixture::start().await;
    let sweeps = Sweeps::new(stack.dynamodb(), "SweepsTable".to_owned());
    let kinds = [SweepKind::Grades, SweepKind::Enrollments];
    for (n, (records, _)) in cases.iter().enumerate() {
        let course_id: CourseId = format!("Org/Course/{n:02}").parse().unwrap();
        for kind in kinds {
            for &(options, at) in *records {
                let which = Which {
                    course_id: &course_id,
                    kind,
                    options,
                };
                sweeps.put(which, &record(options, at)).await.unwrap();
            }
        }
    }
    let listed = stack.run(&["sweep", "list", "--json"]).await.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), kinds.len() * cases.len(), "{listed:?}");
    for (n, (_, expected)) in cases.iter().enumerate() {
        // By run, and within a run by kind.
        for (shown, kind) in listed[2 * n..].iter().zip(["enrollments", "grades"]) {
            assert_eq!(shown["course_id"], json!(format!("Org/Course/{n:02}")));
            assert_eq!(shown["sweep"], kind, "case {n}");
            assert_eq!(line(shown), *expected, "case {n}");
        }
    }
}
