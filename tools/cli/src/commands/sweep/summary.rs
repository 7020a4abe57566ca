//! Summarises the sweep of a run, and of all runs.

use app::sweeping::Request;
use common::calls::Counter;
use domain::{Checkpoint, CourseId, SweepEnd, SweepKind, SweepOptions, SweepOutcome, Tally};
use jiff::SignedDuration;
use serde::Serialize;
use uuid::Uuid;

use super::{advice, words};
use crate::commands::advice::Advice;
use crate::output::{self, count};

/// The state of a run's sweep when the command leaves it.
pub enum SweepResult {
    Ended(SweepEnd),
    /// Interrupted by Ctrl-C at this checkpoint.
    Interrupted(Checkpoint),
}

impl SweepResult {
    /// The counts of the sweep, those of earlier commands included.
    pub fn tally(&self) -> &Tally {
        match self {
            Self::Ended(end) => &end.tally,
            Self::Interrupted(checkpoint) => &checkpoint.tally,
        }
    }
}

/// Returns the number of learners per second.
pub fn per_second(learners: u64, took: SignedDuration) -> u64 {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or_default();
    learners.saturating_mul(1_000) / milliseconds.max(1)
}

/// The result of one run, in JSON.
#[derive(Serialize)]
pub struct Swept<'a> {
    message: &'static str,
    sweep: &'static str,
    sweep_id: Uuid,
    course_id: &'a CourseId,
    #[serde(flatten)]
    options: SweepOptions,
    outcome: &'static str,
    reason: Option<&'a str>,
    tally: &'a Tally,
    learners_per_second: u64,
    /// The calls of this command, retries included.
    dynamodb_calls: u32,
    /// The calls of this command, those for a token included.
    lms_calls: u32,
    advice: Option<Advice>,
    /// The outcome in words.
    #[serde(skip)]
    how: String,
}

impl<'a> Swept<'a> {
    pub fn of(
        kind: SweepKind,
        request: &'a Request,
        result: &'a SweepResult,
        learners_per_second: u64,
        calls: &Counter,
    ) -> Self {
        let (sweep_id, options, outcome, reason) = match result {
            SweepResult::Ended(end) => {
                let (outcome, reason) = (end.outcome.as_str(), end.reason.as_deref());
                (end.sweep_id, end.options, outcome, reason)
            }
            SweepResult::Interrupted(checkpoint) => {
                (checkpoint.sweep_id, checkpoint.options, "interrupted", None)
            }
        };
        let (how, advice) = match result {
            SweepResult::Ended(end) => (words::how(end), advice::about(kind, request, end)),
            SweepResult::Interrupted(checkpoint) => {
                (format!("interrupted {}", words::progress(checkpoint)), None)
            }
        };
        Self {
            message: "sweep ended",
            sweep: kind.as_str(),
            sweep_id,
            course_id: &request.run,
            options,
            outcome,
            reason,
            tally: result.tally(),
            learners_per_second,
            dynamodb_calls: calls.dynamodb(),
            lms_calls: calls.lms(),
            advice,
            how,
        }
    }

    pub fn text(&self) -> String {
        let outcome = [("outcome".to_owned(), self.how.clone())];
        let table = table(outcome, self.tally, self.learners_per_second);
        match &self.advice {
            Some(advice) => format!("{table}\n\n{}", advice.text()),
            None => table,
        }
    }
}

/// The result of all runs together.
#[derive(Serialize)]
pub struct Summary {
    message: &'static str,
    sweep: &'static str,
    done: u64,
    halted: u64,
    pub failed: u64,
    /// The reason why the command was cut short, if it was.
    pub stopped: Option<String>,
    tally: Tally,
    learners_per_second: u64,
    /// The number of runs that were begun.
    #[serde(skip)]
    pub begun: u64,
    /// The number of rows that earlier commands had processed.
    #[serde(skip)]
    listed_before: u64,
}

impl Summary {
    pub fn new(kind: SweepKind) -> Self {
        Self {
            message: "all sweeps ended",
            sweep: kind.as_str(),
            done: 0,
            halted: 0,
            failed: 0,
            stopped: None,
            tally: Tally::default(),
            learners_per_second: 0,
            begun: 0,
            listed_before: 0,
        }
    }

    pub fn add(&mut self, result: &SweepResult, listed_before: u64) {
        self.listed_before += listed_before;
        if let SweepResult::Ended(end) = result {
            *match end.outcome {
                SweepOutcome::Done => &mut self.done,
                SweepOutcome::Halted => &mut self.halted,
                SweepOutcome::Failed => &mut self.failed,
            } += 1;
        }
        self.tally.extend(result.tally());
    }

    /// Sets the rate by the time that all runs took.
    pub fn took(&mut self, time: SignedDuration) {
        let learners = self.tally.listed().saturating_sub(self.listed_before);
        self.learners_per_second = per_second(learners, time);
    }

    /// True if everything was done, except what is left as it is by the rules.
    pub fn is_well(&self) -> bool {
        self.halted == 0 && self.failed == 0 && self.tally.failed() == 0
    }

    pub fn text(&self) -> String {
        let ended = [
            ("done", self.done),
            ("halted", self.halted),
            ("failed", self.failed),
        ];
        let ended = ended.into_iter().filter(|(_, runs)| *runs > 0);
        let ended = ended.map(|(how, runs)| (format!("runs {how}"), runs.to_string()));
        let table = table(ended, &self.tally, self.learners_per_second);
        format!("all {}\n{table}", count(self.begun, "run"))
    }
}

/// Returns a table of the first rows, the counts and the rate.
fn table(
    first: impl IntoIterator<Item = (String, String)>,
    tally: &Tally,
    learners_per_second: u64,
) -> String {
    let mut rows = Vec::from_iter(first);
    rows.extend(
        words::rows(tally)
            .into_iter()
            .map(|(name, count)| (name, count.to_string())),
    );
    if learners_per_second > 0 {
        rows.push((
            "learners a second".to_owned(),
            learners_per_second.to_string(),
        ));
    }
    output::fields(
        rows.iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    )
}
