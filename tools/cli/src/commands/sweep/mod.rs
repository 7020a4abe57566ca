//! `coursehook sweep`: runs the functions' scheduled sweeps, with the same code.

mod advice;
mod interruption;
mod list;
mod printer;
mod summary;
mod words;

use std::cell::RefCell;
use std::process::ExitCode;

use app::sweeping::{Kind, Progress, Request, SweepError, SweepEvent, Sweeping, Wanted};
use common::calls::Counter;
use common::clock::SharedClock;
use domain::{CourseId, CourseRun, LearnerRef, SweepKind};
use jiff::Timestamp;
use store::StoreError;
use store::enrollments::Enrollments;
use thiserror::Error;
use tokio::select;

use self::interruption::PipelineError;
use self::printer::{Among, SweepPrinter};
use self::summary::{Summary, SweepResult, Swept};
use super::find::{self, FindError};
use crate::cli::{self, SweepRuns, exit_code};
use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::output::{self, Output, count};
use crate::{lms_errors, progress, shell};

/// Error: no LMS request can name the learner.
#[derive(Debug, Error)]
#[error(
    "the user has no edX username, so the LMS cannot be asked; import the user with an \
     edx_username, with `coursehook users import`"
)]
struct NoUsernameError;

impl CommandError for NoUsernameError {}

pub async fn run(
    command: cli::Sweep,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    match command {
        cli::Sweep::Grades(options) => {
            let sweeping = context.grade_sweeping(&tables).await?;
            sweep(&sweeping, options, context, output).await
        }
        cli::Sweep::Enrollments(options) => {
            let sweeping = context.enrollment_sweeping(&tables).await?;
            sweep(&sweeping, options, context, output).await
        }
        cli::Sweep::List => {
            list::list(&tables.sweeps()?, output).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn sweep<K: Kind>(
    sweeping: &Sweeping<K>,
    options: SweepRuns,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    if let Some(course_id) = &options.run {
        let run = find::run(&tables.course_runs()?, course_id).await?;
        if options.confirm {
            confirm(&question(K::KIND, &run), options.yes)?;
        }
    }
    let (wanted, clock) = (options.wanted(), context.clock());
    let began = clock.now();
    let interruption = PipelineError::default();
    let sweeps = Sweeps {
        sweeping,
        enrollments: tables.enrollments()?,
        wanted,
        operator: context.name(),
        output,
        clock,
        interruption: &interruption,
        before: RefCell::new(options.after),
        all: RefCell::new(Summary::new(K::KIND)),
    };
    let done = select! {
        biased;
        () = interruption.pressed_twice() => Err(Failure::Interrupted),
        done = sweeps.all() => done,
    };
    sweeps.end(began, done)
}

/// Returns the question to confirm a sweep beyond the safety limit.
fn question(kind: SweepKind, run: &CourseRun) -> String {
    let what = advice::at_stake(kind);
    let (title, course_id) = (&run.title, &run.course_id);
    format!(
        "Sweep the {} of {title} ({course_id}), and take the {what} from every learner that \
         --dry-run lists as losing it, however many there are?",
        kind.as_str()
    )
}

/// The sweeps of one command, one after the other.
struct Sweeps<'a, K> {
    sweeping: &'a Sweeping<K>,
    enrollments: Enrollments,
    wanted: Wanted,
    operator: String,
    output: Output,
    clock: SharedClock,
    interruption: &'a PipelineError,
    /// The run after which the same command would resume.
    before: RefCell<Option<CourseId>>,
    all: RefCell<Summary>,
}

impl<K: Kind> Sweeps<'_, K> {
    async fn all(&self) -> Result<(), Failure> {
        let mut start = self.before.borrow().clone();
        loop {
            let chosen = self.sweeping.choose(&self.wanted, start.as_ref()).await;
            let chosen = chosen.map_err(|error| self.failure(error))?;
            if chosen.unreadable > 0 {
                output::note(&format!(
                    "warning: {} not of the expected shape, and skipped",
                    are(chosen.unreadable)
                ));
            }
            for request in chosen.requests {
                if self.interruption.is_pressed() {
                    return Err(Failure::Interrupted);
                }
                let request = Request {
                    operator: Some(self.operator.clone()),
                    ..request
                };
                self.one(&request).await?;
                self.before.replace(Some(request.run));
            }
            start = chosen.next;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Sweeps a run, and reports the result.
    async fn one(&self, request: &Request) -> Result<(), Failure> {
        self.all.borrow_mut().begun += 1;
        let among = match (&self.wanted.run, self.all.borrow().begun) {
            (Some(_), _) => Among::Alone,
            (None, 1) => Among::First,
            (None, _) => Among::Later,
        };
        let (learners, clock) = (self.learners(request).await, self.clock.clone());
        let printer = SweepPrinter::new(K::KIND, request, among, learners, self.output, clock);
        let calls = Counter::default();
        let result = match calls.count(self.proceed(request, &printer)).await {
            Ok(result) => result,
            // A record of this run cannot be read; the other runs are not affected.
            Err(Failure::Store(error @ StoreError::Corrupt(_))) => {
                printer.note(&Failure::from(error).to_string());
                self.all.borrow_mut().failed += 1;
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let rate = printer.rate(result.tally().listed());
        let swept = Swept::of(K::KIND, request, &result, rate, &calls);
        self.all.borrow_mut().add(&result, printer.listed_before());
        printer.end(if self.output.is_json() {
            output::json_line(&swept)
        } else {
            Ok(swept.text())
        })?;
        match result {
            SweepResult::Ended(_) => Ok(()),
            SweepResult::Interrupted(_) => Err(Failure::Interrupted),
        }
    }

    /// Sweeps a run until it has ended, or is interrupted.
    async fn proceed(
        &self,
        request: &Request,
        printer: &SweepPrinter<'_>,
    ) -> Result<SweepResult, Failure> {
        let interruption = self.interruption;
        let may_continue = || !interruption.is_pressed() && printer.can_write();
        let on_event = |event: SweepEvent<'_>| printer.on_event(event);
        loop {
            let mut work = std::pin::pin!(self.sweeping.sweep(request, &may_continue, &on_event));
            let progress = select! {
                biased;
                progress = &mut work => progress,
                () = interruption.pressed() => {
                    printer.note("interrupted; the current page is finished first, and Ctrl-C \
                                  again ends at once");
                    work.await
                }
            };
            let (wait, reason, checkpoint) = match progress.map_err(|error| self.failure(error))? {
                Progress::Ended(end) => return Ok(SweepResult::Ended(end)),
                Progress::Suspended {
                    wait,
                    reason,
                    checkpoint,
                } => (wait, reason, checkpoint),
            };
            if !may_continue() {
                return Ok(SweepResult::Interrupted(checkpoint));
            }
            if let Some(reason) = &reason {
                let (cause, _) = lms_errors::explain(reason);
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                printer.note(&format!("{cause} The next attempt is in {seconds} s."));
            }
            select! {
                () = self.clock.sleep(wait) => {}
                () = interruption.pressed() => return Ok(SweepResult::Interrupted(checkpoint)),
            }
        }
    }

    /// Estimates how many learners the LMS will list, if the bar is shown.
    async fn learners(&self, request: &Request) -> Option<u64> {
        if request.learner.is_some() || !progress::Progress::is_watched() {
            return None;
        }
        let counted = self.enrollments.count_of_run(&request.run).await;
        counted.ok().filter(|learners| *learners > 0)
    }

    fn failure(&self, error: SweepError) -> Failure {
        match (error, &self.wanted.learner) {
            (SweepError::Store(error), _) => error.into(),
            (SweepError::Lms(error), _) => Failure::Lms(error),
            (SweepError::NoSuchUser, Some(LearnerRef::Address(email))) => {
                FindError::User(email.clone()).into()
            }
            (SweepError::NoSuchUser, Some(LearnerRef::User(user_id))) => {
                FindError::UserId(*user_id).into()
            }
            // If the command names no learner, a user without a username cannot occur.
            (SweepError::NoSuchUser | SweepError::NoUsername, _) => NoUsernameError.into(),
        }
    }

    /// Reports on all runs together, and returns the exit code.
    fn end(self, began: Timestamp, done: Result<(), Failure>) -> Result<ExitCode, Failure> {
        let mut all = self.all.into_inner();
        all.took(self.clock.now().duration_since(began));
        let done = match done {
            Err(reason @ (Failure::Interrupted | Failure::Store(_))) => {
                all.stopped = Some(reason.to_string());
                let mut after = self.before.into_inner();
                if self.wanted.run.is_some() || self.wanted.learner.is_some() {
                    after = None;
                }
                let again = shell::sweep(K::KIND, &self.wanted, after.as_ref());
                Err(Failure::CutShort {
                    reason: Box::new(reason),
                    done: format!("what was done stays done; to resume from there: {again}"),
                })
            }
            // Running the same command again does not fix these errors.
            Err(failure) => return Err(failure),
            Ok(()) => Ok(()),
        };
        if self.output.is_json() {
            output::line(&output::json_line(&all)?)?;
        } else if all.begun == 0 && done.is_ok() {
            output::line(match self.wanted.learner {
                Some(_) => "The learner is in no course run that the portal knows.",
                None => "No course run is due; --run names one, and --force sweeps all.",
            })?;
        } else if all.begun > 1 {
            output::line(&format!("\n{}", all.text()))?;
        }
        done?;
        Ok(if all.is_well() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(exit_code::DONE_BUT)
        })
    }
}

fn are(runs: u64) -> String {
    let verb = if runs == 1 { "is" } else { "are" };
    format!("{} {verb}", count(runs, "course run"))
}
