//! The model: what may become of a learner in a run by each action, by docs/contract.md,
//! docs/retries.md, docs/sweeps.md and the rules of imports; not by the code.
//!
//! An action is a [`Path`]: the states that its writes lead through, one after the other. An action
//! that ends well is at the end of its path. One that failed or died may be anywhere on it.

mod certificate;
mod commands;
mod enrollment;
mod pending;
mod sweeps;

use crate::state::{Pair, Span, User};
use crate::steps::{Action, Mode, Of, Score, Sweep};

pub use certificate::pass;
pub use enrollment::deliver;
pub use pending::attempts;

/// The states that an action leads through, and its answer.
#[derive(Debug, Clone)]
pub struct Path {
    /// The states; the first is that before.
    pub states: Vec<Pair>,
    /// The first state in which the event has taken effect or is stored: an action that was
    /// answered so is here or later.
    pub needed: usize,
    /// The answer.
    pub said: Said,
}

/// An expected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A webhook's status.
    Status(u16),
    /// The status of a certificate, with 200 or 202.
    Certificate(u16, &'static str),
    /// A command or an invocation is done.
    Done,
    /// A command is refused.
    Refused,
}

/// A grade as the LMS may answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LmsGrade {
    /// This one.
    Is(Score),
    /// The LMS gives no usable grade.
    None,
}

/// What an action sees of the world around a learner in a run.
#[derive(Debug, Clone)]
pub struct View {
    /// When it may have happened.
    pub now: Span,
    /// The user, if there is one.
    pub user: Option<User>,
    /// True if the portal has the run.
    pub run: bool,
    /// The grades that the LMS may answer.
    pub grades: Vec<LmsGrade>,
    /// The LMS's enrollment.
    pub lms_enrollment: Option<(Mode, bool)>,
    /// True if the certificates of the run are available.
    pub available: bool,
    /// True if a first sweep of the run's enrollments may have been, and if one must have been.
    pub swept: (bool, bool),
    /// True if the LMS may have asked for a pause that still lasts.
    pub paused: bool,
    /// True if there is a certificate with the id that an import gives.
    pub taken: bool,
    /// True if faults or other actions may have come in between.
    pub disturbed: bool,
}

/// Returns the paths of an action for a learner in a run.
pub fn paths(action: Action, of: Of, pair: &Pair, view: &View) -> Vec<Path> {
    let concerns = |other: Of| other == of;
    match action {
        Action::Enroll(other, role, mode) if concerns(other) => {
            let roles = role.map_or(0, crate::steps::Role::bit);
            deliver(pair, view, Some((true, mode, roles)))
        }
        Action::Unenroll(other) if concerns(other) => deliver(pair, view, Some((false, None, 0))),
        Action::Pass(other) if concerns(other) => pass(pair, view),
        Action::Retry => pending::retry(pair, view),
        Action::SweepGrades(run, sweep) if run == of.1 && reaches(sweep, of) => {
            let mut view = view.clone();
            view.available |= sweep == Sweep::Forced;
            sweeps::grades(pair, &view)
        }
        Action::SweepEnrollments(run, sweep) if run == of.1 && reaches(sweep, of) => {
            sweeps::enrollments(pair, view)
        }
        Action::ImportUser(..) => commands::wake(pair, view, commands::IMPORTED_USER),
        Action::ImportRun(_) => commands::wake(pair, view, commands::IMPORTED_RUN),
        Action::ImportEnrollment(other, mode, active) if concerns(other) => {
            commands::import_enrollment(pair, view, mode, active)
        }
        Action::ImportGrade(other, score) if concerns(other) => {
            commands::import_grade(pair, view, score)
        }
        Action::ImportCertificate(other) if concerns(other) => {
            commands::import_certificate(pair, view)
        }
        Action::Set(other, mode, active) if concerns(other) => {
            commands::set(pair, view, mode, active, 0)
        }
        Action::RemoveRole(other, role) if concerns(other) => {
            commands::set(pair, view, None, None, role.bit())
        }
        Action::Override(other, score) if concerns(other) => {
            commands::override_grade(pair, view, score)
        }
        Action::Release(other) if concerns(other) => commands::release(pair, view),
        Action::Issue(other) if concerns(other) => certificate::issue(pair, view),
        Action::Revoke(other) if concerns(other) => commands::revoke(pair, view),
        Action::Restore(other) if concerns(other) => commands::restore(pair, view),
        Action::RetryEvents => commands::retry_events(pair, view),
        Action::DropEvents(other) if concerns(other) => commands::drop_events(pair),
        Action::Rename(learner) => commands::rename(pair, view, learner == of.0),
        Action::Erase(learner) if learner == of.0 => commands::erase(pair),
        Action::TimeToLive => commands::time_to_live(pair, view),
        Action::Intrude(other) if concerns(other) => vec![Path::nothing(pair, Said::Status(401))],
        // Somebody else's, or the world's.
        Action::Enroll(..)
        | Action::Unenroll(_)
        | Action::Pass(_)
        | Action::Intrude(_)
        | Action::SweepGrades(..)
        | Action::SweepEnrollments(..)
        | Action::ImportEnrollment(..)
        | Action::ImportGrade(..)
        | Action::ImportCertificate(_)
        | Action::Set(..)
        | Action::RemoveRole(..)
        | Action::Override(..)
        | Action::Release(_)
        | Action::Issue(_)
        | Action::Revoke(_)
        | Action::Restore(_)
        | Action::DropEvents(_)
        | Action::Erase(_)
        | Action::LmsGrade(..)
        | Action::LmsForgets(_)
        | Action::LmsEnrollment(..)
        | Action::LmsIs(_)
        | Action::Secrets(_)
        | Action::Restart
        | Action::Wait(_) => vec![Path::nothing(pair, Said::Done)],
    }
}

/// True if a sweep changes the learner.
fn reaches(sweep: Sweep, of: Of) -> bool {
    match sweep {
        Sweep::Full | Sweep::Short | Sweep::Forced => true,
        Sweep::Dry => false,
        Sweep::Alone(learner) => learner == of.0,
    }
}

impl Path {
    /// Returns the path of an action that changes nothing.
    pub fn nothing(pair: &Pair, said: Said) -> Self {
        Self {
            states: vec![pair.clone()],
            needed: 0,
            said,
        }
    }

    /// Returns the path to a state, by one write.
    pub fn to(pair: &Pair, after: Pair, said: Said) -> Self {
        let mut path = Self::nothing(pair, said);
        path.then(after);
        path.needed = path.states.len() - 1;
        path
    }

    /// Adds a state, unless it is the one before.
    pub fn then(&mut self, after: Pair) {
        if self.states.last() != Some(&after) {
            self.states.push(after);
        }
    }

    /// The last state.
    pub fn end(&self) -> &Pair {
        &self.states[self.states.len() - 1]
    }

    /// Says that the last state is needed.
    pub fn needs_end(&mut self) {
        self.needed = self.states.len() - 1;
    }
}

/// True if `a` is later than `b`; `None` if it may be.
pub fn later(a: Span, b: Span) -> Option<bool> {
    if a.0 > b.1 {
        Some(true)
    } else if a.1 <= b.0 {
        Some(false)
    } else {
        None
    }
}

/// The span a number of milliseconds later.
pub fn plus(span: Span, least: i64, most: i64) -> Span {
    (span.0 + least, span.1 + most)
}
