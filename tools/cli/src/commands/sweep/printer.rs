//! Prints the progress of one run's sweep. Nothing is kept in memory per learner: a run
//! may have millions.

use std::cell::{Cell, RefCell};

use app::sweeping::{Request, SweepEvent};
use common::clock::SharedClock;
use domain::{Checkpoint, CourseId, Effect, Email, SweepKind, Username};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::summary::per_second;
use super::words;
use crate::output::{self, Output, OutputError, printable};
use crate::progress::Progress;

/// Prints the events of one run's sweep.
pub struct SweepPrinter<'a> {
    kind: SweepKind,
    request: &'a Request,
    output: Output,
    progress: Progress,
    clock: SharedClock,
    among: Among,
    /// The time at which this command started the run.
    began: Timestamp,
    /// The number of rows of the list that earlier commands had processed; `None` before
    /// the sweep begins.
    listed_before: Cell<Option<u64>>,
    /// The number of rows that the bar shows.
    listed: Cell<u64>,
    /// True if the sweep is a dry run.
    is_dry_run: Cell<bool>,
    /// True once the run's heading is written to standard output.
    has_heading: Cell<bool>,
    /// The error that stops all output.
    failure: RefCell<Option<OutputError>>,
}

/// The place of the run among those of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// The only run that there can be.
    Alone,
    /// The first of several.
    First,
    /// A later one.
    Later,
}

/// A learner with the effect of the sweep, or of the dry run, as JSON: most fields of the functions'
/// line `learner swept`, and the address, the username and the command that would change it.
#[derive(Serialize)]
struct Line<'a> {
    message: &'static str,
    sweep: &'static str,
    sweep_id: Uuid,
    course_id: &'a CourseId,
    user_id: Option<Uuid>,
    email: Option<&'a str>,
    username: Option<&'a str>,
    effect: &'a str,
    command: Option<String>,
}

impl<'a> SweepPrinter<'a> {
    /// `learners` is the number of learners in the run, if it is known.
    pub fn new(
        kind: SweepKind,
        request: &'a Request,
        among: Among,
        learners: Option<u64>,
        output: Output,
        clock: SharedClock,
    ) -> Self {
        Self {
            kind,
            request,
            output,
            progress: Progress::new(learners),
            among,
            began: clock.now(),
            clock,
            listed_before: Cell::new(None),
            listed: Cell::new(0),
            is_dry_run: Cell::new(false),
            has_heading: Cell::new(false),
            failure: RefCell::new(None),
        }
    }

    pub fn on_event(&self, event: SweepEvent<'_>) {
        match event {
            SweepEvent::Begins {
                checkpoint,
                resumed,
            } => self.begins(checkpoint, resumed),
            SweepEvent::Learner { effect, .. } => {
                let is_undone = matches!(effect, Effect::Left(_) | Effect::Failed(_));
                if self.is_dry_run.get() || is_undone {
                    self.learner(event);
                }
            }
            SweepEvent::ByName(_) => self.note(
                "the LMS's list cannot be read to its end (its next page is the same page again, \
                 as when more than 1,000 learners were enrolled at one instant): the LMS is asked \
                 by username for those who have an enrollment here, then for those who have a \
                 grade there",
            ),
            SweepEvent::Page(checkpoint) => {
                let listed = checkpoint.tally.listed();
                let more = listed.saturating_sub(self.listed.replace(listed));
                self.progress.advance(more, &self.rate_in_words(listed));
            }
        }
    }

    /// Writes a line about this run to standard error.
    pub fn note(&self, text: &str) {
        let line = format!("{}: {text}", self.request.run);
        self.progress.note(&printable(&line));
    }

    /// Writes how the sweep ended, below the learners.
    pub fn end(self, text: Result<String, OutputError>) -> Result<(), OutputError> {
        if !self.output.is_json() {
            if self.has_heading.get() {
                self.line(Ok(String::new()));
            }
            self.heading();
        }
        self.line(text);
        self.failure.into_inner().map_or(Ok(()), Err)
    }

    /// Writes the run's heading, before its first line.
    fn heading(&self) {
        if !self.has_heading.replace(true) {
            let above = if self.among == Among::Later { "\n" } else { "" };
            self.line(Ok(format!("{above}{}", self.request.run)));
        }
    }

    /// True while the output can be written.
    pub fn can_write(&self) -> bool {
        self.failure.borrow().is_none()
    }

    /// The number of rows of the list that earlier commands had processed.
    pub fn listed_before(&self) -> u64 {
        self.listed_before.get().unwrap_or_default()
    }

    /// Writes a line to standard output.
    fn line(&self, text: Result<String, OutputError>) {
        let written = text.and_then(|text| self.progress.above(|| output::line(&text)));
        if let Err(failure) = written {
            self.failure.borrow_mut().get_or_insert(failure);
        }
    }

    /// The number of learners of the list that were processed per second.
    pub fn rate(&self, listed: u64) -> u64 {
        let learners = listed.saturating_sub(self.listed_before());
        per_second(learners, self.clock.now().duration_since(self.began))
    }

    fn rate_in_words(&self, listed: u64) -> String {
        let run = match self.among {
            Among::Alone => String::new(),
            Among::First | Among::Later => format!("{}  ", self.request.run),
        };
        let rate = self.rate(listed);
        format!("{run}{listed} learners, {rate} a second")
    }

    fn begins(&self, checkpoint: &Checkpoint, resumed: bool) {
        self.is_dry_run.set(checkpoint.options.dry_run);
        let listed = checkpoint.tally.listed();
        if self.listed_before.get().is_some() {
            return;
        }
        self.listed_before.set(Some(listed));
        self.listed.set(listed);
        if resumed {
            let progress = words::progress(checkpoint);
            self.note(&format!(
                "a sweep that was cut short is resumed, {progress}"
            ));
        }
        if checkpoint.options.dry_run && !self.request.options.dry_run {
            self.note(
                "the enrollments of this run were never swept, so this is a dry run: nothing is \
                 written; the same command again writes the changes",
            );
        }
        self.progress.advance(listed, &self.rate_in_words(listed));
    }

    fn learner(&self, event: SweepEvent<'_>) {
        let SweepEvent::Learner {
            sweep_id,
            user_id,
            email,
            username,
            effect,
        } = event
        else {
            return;
        };
        let run = &self.request.run;
        let command = email.and_then(|email| words::remedy(effect, email, run));
        if self.output.is_json() {
            self.line(output::json_line(&Line {
                message: "learner swept",
                sweep: self.kind.as_str(),
                sweep_id,
                course_id: run,
                user_id,
                email: email.map(Email::as_str),
                username: username.map(Username::as_str),
                effect: &effect.as_str(),
                command,
            }));
            return;
        }
        let who = match (email, username, user_id) {
            (Some(email), ..) => email.as_str().to_owned(),
            (None, Some(username), _) => username.as_str().to_owned(),
            (None, None, Some(user_id)) => format!("the user {user_id}"),
            (None, None, None) => "a row of the list".to_owned(),
        };
        let command = command.map(|command| format!("; to change it: {command}"));
        let effect = words::effect(effect);
        let text = format!("{who}: {effect}{}", command.unwrap_or_default());
        if self.is_dry_run.get() {
            self.heading();
            self.line(Ok(printable(&text)));
        } else {
            self.note(&text);
        }
    }
}
