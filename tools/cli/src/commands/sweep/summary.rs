//! What came of a run, and of all of them.

use jiff::SignedDuration;
use serde::Serialize;
use shared::calls::Counter;
use shared::domain::{
    Checkpoint, CourseId, SweepEnd, SweepKind, SweepOptions, SweepOutcome, Tally,
};
use shared::use_cases::sweeping::Request;
use uuid::Uuid;

use super::words;
use crate::advice::Advice;
use crate::output::{self, count};

/// How far the sweep of a run came.
pub enum Came {
    Ended(SweepEnd),
    /// Somebody pressed Ctrl-C, and this is where it stands.
    Interrupted(Checkpoint),
}

impl Came {
    /// What it has done, by this command or before it.
    pub fn tally(&self) -> &Tally {
        match self {
            Self::Ended(end) => &end.tally,
            Self::Interrupted(checkpoint) => &checkpoint.tally,
        }
    }
}

/// How many a second that is.
pub fn a_second(learners: u64, took: SignedDuration) -> u64 {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or_default();
    learners.saturating_mul(1_000) / milliseconds.max(1)
}

/// What came of one run, for other programs.
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
    /// By this command, retries included.
    dynamodb_calls: u32,
    /// By this command, those for a token included.
    lms_calls: u32,
    advice: Option<Advice>,
    /// The outcome for people.
    #[serde(skip)]
    how: String,
}

impl<'a> Swept<'a> {
    pub fn of(
        kind: SweepKind,
        request: &'a Request,
        came: &'a Came,
        learners_per_second: u64,
        calls: &Counter,
    ) -> Self {
        let (sweep_id, options, outcome, reason) = match came {
            Came::Ended(end) => {
                let (outcome, reason) = (end.outcome.as_str(), end.reason.as_deref());
                (end.sweep_id, end.options, outcome, reason)
            }
            Came::Interrupted(checkpoint) => {
                (checkpoint.sweep_id, checkpoint.options, "interrupted", None)
            }
        };
        let (how, advice) = match came {
            Came::Ended(end) => (words::how(end), Advice::about_sweep(kind, request, end)),
            Came::Interrupted(checkpoint) => {
                (format!("interrupted {}", words::came(checkpoint)), None)
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
            tally: came.tally(),
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

/// What came of all runs together.
#[derive(Serialize)]
pub struct Summary {
    message: &'static str,
    sweep: &'static str,
    done: u64,
    halted: u64,
    pub failed: u64,
    /// Why not all was done, where it was not.
    pub stopped: Option<String>,
    tally: Tally,
    learners_per_second: u64,
    /// The runs that were begun with.
    #[serde(skip)]
    pub begun: u64,
    /// Rows that were through before this command.
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

    pub fn add(&mut self, came: &Came, listed_before: u64) {
        self.listed_before += listed_before;
        if let Came::Ended(end) = came {
            *match end.outcome {
                SweepOutcome::Done => &mut self.done,
                SweepOutcome::Halted => &mut self.halted,
                SweepOutcome::Failed => &mut self.failed,
            } += 1;
        }
        self.tally.extend(came.tally());
    }

    /// So long it took, all in all.
    pub fn took(&mut self, time: SignedDuration) {
        let learners = self.tally.listed().saturating_sub(self.listed_before);
        self.learners_per_second = a_second(learners, time);
    }

    /// Whether everything was done, but for what is to be left as it is.
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

/// What was counted, below what goes before, and how fast it went.
fn table(
    first: impl IntoIterator<Item = (String, String)>,
    tally: &Tally,
    learners_per_second: u64,
) -> String {
    let rows = words::rows(tally).into_iter();
    let rows = rows.map(|(name, count)| (name, count.to_string()));
    let rate = Some(learners_per_second).filter(|rate| *rate > 0);
    let rate = rate.map(|rate| ("learners a second".to_owned(), rate.to_string()));
    let rows: Vec<_> = first.into_iter().chain(rows).chain(rate).collect();
    output::fields(
        rows.iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    )
}
