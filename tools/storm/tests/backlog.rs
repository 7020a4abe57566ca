//! A backlog of passes after an outage of the LMS: how much of its allowance the retries use.

use std::time::Duration;

use storm::steps::Action::{
    Enroll, ImportRun, ImportUser, LmsGrade, LmsIs, Pass, Retry, SweepEnrollments, SweepGrades,
    Wait,
};
use storm::steps::{Action, Mode, Mood, Of, Op, Score, Step, Sweep};
use storm::world::World;
use tokio::time::Instant;

const LEARNERS: u8 = 125;
const RUNS: u8 = 4;

/// The template's default of `LmsPerSecond`.
const LMS_PER_SECOND: u32 = 10;

/// All learners pass all runs while the LMS is away. It comes back, and the passes are due.
async fn outage(world: &mut World) {
    world.engine.leave_unchecked();
    let of_all = |action: fn(Of) -> Action| {
        let all = (0..LEARNERS).flat_map(|learner| (0..RUNS).map(move |run| Of(learner, run)));
        Step::from_iter(all.map(|of| Op::from(action(of))))
    };
    let steps = [
        (0..LEARNERS)
            .map(|learner| Op::from(ImportUser(learner, true)))
            .collect(),
        (0..RUNS).map(|run| Op::from(ImportRun(run))).collect(),
        of_all(|of| Enroll(of, None, Some(Mode::Verified))),
        of_all(|of| LmsGrade(of, Score(90, true))),
        vec![Op::from(LmsIs(Mood::Down))],
        of_all(Pass),
        vec![Op::from(LmsIs(Mood::Up))],
        vec![Op::from(Wait(600))],
    ];
    for (number, step) in (0..).zip(&steps) {
        world.run(step, number).await;
    }
    world.lms.requests();
}

/// Returns the requests per second from the first to the last.
fn rate(requests: &[Instant]) -> f64 {
    let took = requests[requests.len() - 1].duration_since(requests[0]);
    (requests.len() - 1) as f64 / took.as_secs_f64()
}

/// Two batches, of which the second begins a minute after the first, use at least 95 % of their half
/// of the allowance, and never more.
#[tokio::test(start_paused = true)]
async fn the_retries_use_their_share_of_the_allowance() {
    let mut world = World::new(8).unwrap();
    outage(&mut world).await;
    let batches = vec![Op::from(Retry), Op::from(Retry).after(60_000)];
    world.run(&batches, 100).await;
    let requests = world.lms.requests();
    // A token, and each pass once.
    let passes = usize::from(LEARNERS) * usize::from(RUNS);
    assert!(
        (passes..=passes + 2).contains(&requests.len()),
        "{}",
        requests.len()
    );
    let share = f64::from(LMS_PER_SECOND) / 2.0;
    let rate = rate(&requests);
    assert!(
        (0.95 * share..=share).contains(&rate),
        "{rate} requests a second"
    );
    // Where one batch follows the other, the first request comes when it likes.
    for window in requests.windows(7) {
        assert!(
            window[6].duration_since(window[0]) >= Duration::from_secs(1),
            "{window:?}"
        );
    }
}

/// Beside both sweeps the limit holds for all together.
#[tokio::test(start_paused = true)]
async fn retries_and_sweeps_together_keep_to_the_limit() {
    let mut world = World::new(8).unwrap();
    outage(&mut world).await;
    let work = vec![
        Op::from(Retry),
        Op::from(SweepGrades(0, Sweep::Full)),
        Op::from(SweepEnrollments(1, Sweep::Full)),
        Op::from(Retry).after(60_000),
    ];
    world.run(&work, 100).await;
    let requests = world.lms.requests();
    assert!(requests.len() > 300, "{}", requests.len());
    // Each of the three has a limit of its own, so one second may have a request more of each.
    let per_second = LMS_PER_SECOND as usize;
    for window in requests.windows(10 * per_second + 4) {
        let took = window[window.len() - 1].duration_since(window[0]);
        assert!(took >= Duration::from_secs(10), "{took:?}");
    }
}
