//! The program: runs cases from a seed until a number of steps is reached, or one fails.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{available_parallelism, scope};

use clap::Parser;
use storm::report::{self, Total};
use storm::run::{Difference, as_test, case, run, shrink};
use storm::world::lock;

/// Looks for lost, doubled and wrong: runs random steps on simulated portals, and compares each
/// portal with a model after each step.
#[derive(Parser)]
struct Arguments {
    /// The number of steps, at least; cases that have begun are finished.
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// The seed of the first case; each further one has the next. Without it, a random one.
    #[arg(long)]
    seed: Option<u64>,
    /// Run each case twice, and fail if the two differ.
    #[arg(long)]
    twice: bool,
    /// Print a difference as it was found, without looking for a shorter sequence.
    #[arg(long)]
    no_shrink: bool,
    /// Print each step.
    #[arg(long)]
    verbose: bool,
    /// Write the numbers of the run into this page.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// The cases that threads share.
struct Cases {
    next: u64,
    total: Total,
    failed: Option<(u64, Option<Difference>)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments
        .seed
        .unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    println!("seed {first}");
    let cases = Mutex::new(Cases {
        next: first,
        total: Total::new(first),
        failed: None,
    });
    let threads = available_parallelism().map_or(1, usize::from);
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&arguments, &cases));
        }
    });
    let Cases { total, failed, .. } = cases
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    match failed {
        None => {}
        Some((seed, None)) => {
            println!("case {seed} differs when it is run again: something is not simulated");
            return ExitCode::FAILURE;
        }
        Some((seed, Some(difference))) => {
            explain(seed, &difference, arguments.no_shrink);
            return ExitCode::FAILURE;
        }
    }
    print!("{}", report::table(&total));
    if let Some(page) = arguments.write
        && let Err(error) = report::write(&page, &total)
    {
        println!("{} cannot be written: {error}", page.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs cases until there are steps enough, or one fails.
fn work(arguments: &Arguments, cases: &Mutex<Cases>) {
    loop {
        let seed = {
            let mut cases = lock(cases);
            if cases.failed.is_some() || cases.total.steps >= arguments.steps {
                return;
            }
            cases.next += 1;
            cases.next - 1
        };
        let steps = case(seed);
        let outcome = run(seed, &steps);
        let differs = arguments.twice && run(seed, &steps).digest != outcome.digest;
        let mut cases = lock(cases);
        if arguments.verbose {
            for (number, step) in steps.iter().enumerate() {
                println!("case {seed}, step {number}: {step:?}");
            }
        }
        cases.total.add(&outcome);
        if differs || outcome.difference.is_some() {
            cases.failed = Some((seed, outcome.difference));
        }
    }
}

/// Prints a difference, and the shortest sequence that has one.
fn explain(seed: u64, difference: &Difference, no_shrink: bool) {
    println!("case {seed} differs from the model:\n{difference}");
    if no_shrink {
        return;
    }
    let (shortest, difference) =
        shrink(&case(seed), difference, |steps| run(seed, steps).difference);
    println!("The shortest sequence found:\n{difference}");
    println!("{}", as_test(seed, &shortest));
    println!("Replay the whole case: make storm SEED={seed} STEPS=1");
}
