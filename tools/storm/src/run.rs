//! Runs sequences of steps, and looks for the shortest one that fails.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::check::Judge;
use crate::generate;
use crate::state::Pair;
use crate::steps::{Action, Mood, Op, Step};
use crate::world::{Counts, World, lock};

/// The steps of a case, before the portal is left alone.
pub const CASE: usize = 200;

/// The most retry batches after the last step. Each finds all events due, the intervals between attempts
/// grow, and each reason that blocks an event has its own time.
const BATCHES: usize = 100;

/// What is wrong, and after which step.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step's number.
    pub step: usize,
    /// What is wrong.
    pub wrong: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after step {}:", self.step)?;
        self.wrong
            .iter()
            .try_for_each(|text| writeln!(f, "  {text}"))
    }
}

/// The result of a case.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The difference, if there is one.
    pub difference: Option<Difference>,
    /// The number of steps.
    pub steps: u64,
    /// Calls, faults and deaths.
    pub counts: Counts,
    /// A digest of all that was seen: two runs of the same steps have the same.
    pub digest: u64,
}

/// Runs steps on a new portal, then lets it settle, and compares it with the model after each step.
///
/// # Panics
/// No runtime can be built, or the template is wrong.
pub fn run(seed: u64, steps: &[Step]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    #[expect(clippy::expect_used, reason = "without a runtime there is no run")]
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run_on(seed, steps))
}

async fn run_on(seed: u64, steps: &[Step]) -> Outcome {
    #[expect(clippy::expect_used, reason = "the template is tested elsewhere")]
    let mut world = World::new(seed).expect("a portal");
    let mut judge = Judge::new();
    let mut outcome = Outcome::default();
    let mut digest = DefaultHasher::new();
    let mut settling = Settling::default();
    let mut number = 0;
    loop {
        let step = match steps.get(number) {
            Some(step) => step.clone(),
            None => match settling.next(&judge, world.clock.ms()) {
                Some(step) => step,
                None => break,
            },
        };
        let began = world.clock.ms();
        let ran = world.run(&step, number as u64).await;
        let wrong = judge.check(&world, &ran, began);
        format!("{ran:?} {:?}", judge.state().pairs).hash(&mut digest);
        number += 1;
        if !wrong.is_empty() {
            let step = number - 1;
            outcome.difference = Some(Difference { step, wrong });
            break;
        }
    }
    if outcome.difference.is_none() {
        let waiting = judge
            .state()
            .pairs
            .iter()
            .filter(|(_, pair)| pair.waiting().next().is_some());
        let wrong: Vec<_> = waiting
            .map(|(of, pair)| format!("{of:?}: an event waits without end: {pair:?}"))
            .collect();
        if !wrong.is_empty() {
            outcome.difference = Some(Difference {
                step: number,
                wrong,
            });
        }
    }
    outcome.steps = number as u64;
    outcome.counts = lock(&world.counts).clone();
    outcome.digest = digest.finish();
    outcome
}

/// The end of a case: faults stop, and what waits is retried each time that all of it is due, until nothing
/// waits.
#[derive(Default)]
struct Settling {
    given: usize,
}

impl Settling {
    fn next(&mut self, judge: &Judge, now: i64) -> Option<Step> {
        let begin = [
            Action::LmsIs(Mood::Up),
            Action::Secrets(true),
            Action::Restart,
            Action::Wait(180),
        ];
        let given = self.given;
        self.given += 1;
        if let Some(action) = begin.get(given) {
            return Some(vec![Op::from(*action)]);
        }
        let waiting = judge.state().pairs.values().flat_map(Pair::waiting);
        let due = waiting.map(|event| event.claimable().1).max()?;
        if given - begin.len() >= 2 * BATCHES {
            return None;
        }
        let action = if due <= now {
            Action::Retry
        } else {
            Action::Wait(u32::try_from((due - now) / 1000 + 1).unwrap_or(u32::MAX))
        };
        Some(vec![Op::from(action)])
    }
}

/// Returns the steps of the case with this seed.
pub fn case(seed: u64) -> Vec<Step> {
    generate::steps(seed, CASE)
}

/// Returns the shortest sequence of steps found that still fails, and its difference. `fails` runs a
/// sequence.
pub fn shrink(
    steps: &[Step],
    difference: &Difference,
    fails: impl Fn(&[Step]) -> Option<Difference>,
) -> (Vec<Step>, Difference) {
    let end = steps.len().min(difference.step + 1);
    let mut best = (steps.to_vec(), difference.clone());
    if let Some(difference) = fails(&steps[..end]) {
        best = (steps[..end].to_vec(), difference);
    }
    loop {
        let before = format!("{:?}", best.0).len();
        let mut part = best.0.len().div_ceil(2);
        while part > 0 {
            let mut start = 0;
            while start < best.0.len() {
                let mut shorter = best.0.clone();
                shorter.drain(start..(start + part).min(shorter.len()));
                match fails(&shorter) {
                    Some(difference) => best = (shorter, difference),
                    None => start += part,
                }
            }
            part /= 2;
        }
        for place in 0..best.0.len() {
            for simpler in simpler(&best.0[place]) {
                let mut shorter = best.0.clone();
                shorter[place] = simpler;
                if let Some(difference) = fails(&shorter) {
                    best = (shorter, difference);
                    break;
                }
            }
        }
        if format!("{:?}", best.0).len() >= before {
            return best;
        }
    }
}

/// Returns simpler forms of a step.
fn simpler(step: &Step) -> Vec<Step> {
    let mut simpler = Vec::new();
    for place in 0..step.len() {
        if step.len() > 1 {
            let mut fewer = step.clone();
            fewer.remove(place);
            simpler.push(fewer);
        }
        let mut with = |change: &dyn Fn(&mut Op)| {
            let mut changed = step.clone();
            change(&mut changed[place]);
            if changed != *step {
                simpler.push(changed);
            }
        };
        with(&|op| {
            op.faults.clear();
            op.dies = None;
            op.after = 0;
        });
        with(&|op| op.faults.clear());
        with(&|op| op.dies = None);
        with(&|op| op.after = 0);
        for fault in 0..step[place].faults.len() {
            with(&|op| {
                op.faults.remove(fault);
            });
        }
    }
    simpler
}

/// Returns a test that runs the steps.
pub fn as_test(seed: u64, steps: &[Step]) -> String {
    let mut text = String::from("#[test]\nfn a_difference() {\n    let steps = [\n");
    for step in steps {
        text.push_str(&format!("        vec!{step:?},\n"));
    }
    text.push_str(&format!("    ];\n    holds({seed}, &steps);\n}}\n"));
    text
}
