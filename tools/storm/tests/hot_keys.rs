//! A backfill while users or a run are not imported: no key of an index takes so many writes that
//! deliveries fail. The limit is a hundredth of AWS's, and so is the rate of a thousand deliveries a
//! second. The retries run as fast as ever, so their writes count a hundredth.

use storm::steps::Action::{Enroll, ImportRun, ImportUser, Pass, Retry};
use storm::steps::{Action, Of, Op, Role, Step};
use storm::world::{Answer, World};

/// A hundredth of the 1,000 write units a second that one key of an index takes:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>.
const LIMIT: f64 = 10.0;

const PER_SECOND: usize = 10;

/// Sends the deliveries at their rate, with a retry batch of each lane in each minute. Returns how
/// many were answered 503, and how many writes were throttled.
async fn unavailable(
    mut world: World,
    limit: f64,
    before: Step,
    deliveries: Vec<Action>,
) -> (usize, u64) {
    world.run(&before, 0).await;
    world.engine.limit_index_keys(limit, 0.01);
    let mut unavailable = 0;
    for (minute, deliveries) in (1..).zip(deliveries.chunks(60 * PER_SECOND)) {
        let starts = (0..).step_by(1000 / PER_SECOND);
        let ops = deliveries.iter().zip(starts);
        let mut step = Step::from_iter(ops.map(|(action, ms)| Op::from(*action).after(ms)));
        step.push(Op::from(Retry));
        let ran = world.run(&step, minute).await;
        let is_unavailable = |answer: &Answer| matches!(answer, Answer::Http(503, _));
        unavailable += ran.iter().filter(|ran| is_unavailable(&ran.answer)).count();
    }
    (unavailable, world.engine.throttled())
}

/// Returns a role and a pass for each learner in each of the runs.
fn backfill(learners: u8, runs: u8) -> Vec<Action> {
    let of = (0..runs).flat_map(|run| (0..learners).map(move |learner| Of(learner, run)));
    of.flat_map(|of| [Enroll(of, Some(Role::Staff), None), Pass(of)])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_backfill_for_unknown_users_meets_no_hot_key() {
    let runs = || Step::from_iter((0..4).map(|run| Op::from(ImportRun(run))));
    assert_eq!(
        unavailable(World::new(8).unwrap(), LIMIT, runs(), backfill(225, 4)).await,
        (0, 0)
    );
    // All keys together take less than what comes: the limit works.
    let (refused, throttled) = unavailable(
        World::new(8).unwrap(),
        LIMIT / 32.0,
        runs(),
        backfill(225, 1),
    )
    .await;
    assert!(refused > 0 && throttled > 0, "{refused} {throttled}");
}

#[tokio::test(start_paused = true)]
async fn a_backfill_for_one_unknown_run_meets_no_hot_key() {
    let users = (0..225).map(|learner| Op::from(ImportUser(learner, true)));
    assert_eq!(
        unavailable(
            World::new(8).unwrap(),
            LIMIT,
            users.collect(),
            backfill(225, 1)
        )
        .await,
        (0, 0)
    );
}
