//! The steps of a run: what is done, at once or alone, and which faults it meets.
//!
//! A step's `Debug` text is Rust code, so that a printed sequence can be pasted into a test.

use std::fmt;

/// The number of learners of a portal.
pub const LEARNERS: u8 = 4;

/// The number of course runs of a portal. Run 0 is self-paced, the certificates of run 1 are not
/// available yet.
pub const RUNS: u8 = 2;

/// A mode of an enrollment. `Verified` alone is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// `audit`
    Audit,
    /// `honor`
    Honor,
    /// `verified`
    Verified,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Honor, Self::Verified];

    /// Returns the mode as the tables and the LMS spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Honor => "honor",
            Self::Verified => "verified",
        }
    }
}

/// A course role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `staff`
    Staff,
    /// `instructor`
    Instructor,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 2] = [Self::Staff, Self::Instructor];

    /// Returns the role as the tables and the LMS spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staff => "staff",
            Self::Instructor => "instructor",
        }
    }

    /// Returns the role as a bit of a set.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A learner in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Of(
    /// The learner's number, below [`LEARNERS`].
    pub u8,
    /// The run's number, below [`RUNS`].
    pub u8,
);

/// A grade: its percentage, and whether it is a pass. The course's rules decide that, so that one does
/// not follow from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Score(
    /// In percent.
    pub u8,
    /// True if it is a pass.
    pub bool,
);

/// How the LMS behaves until the next [`Action::LmsIs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Up,
    /// It answers 503.
    Down,
    /// It answers 429 with `Retry-After: 90`.
    Throttles,
    /// It never answers.
    Hangs,
    /// A proxy before it answers 200 with a page.
    Maintenance,
}

/// A way to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// As scheduled.
    Full,
    /// As scheduled, in calls with time for one page each.
    Short,
    /// A dry run.
    Dry,
    /// Whatever the run's dates are.
    Forced,
    /// This learner alone.
    Alone(u8),
}

/// An action of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The LMS announces an enrollment or a role.
    Enroll(Of, Option<Role>, Option<Mode>),
    /// The LMS announces an un-enrollment.
    Unenroll(Of),
    /// The LMS announces a pass.
    Pass(Of),
    /// Somebody delivers without a valid token.
    Intrude(Of),
    /// The schedule runs a retry batch.
    Retry,
    /// The schedule or an operator sweeps the grades of a run.
    SweepGrades(u8, Sweep),
    /// The schedule or an operator sweeps the enrollments of a run.
    SweepEnrollments(u8, Sweep),
    /// An operator imports a user, with a username if the flag is true.
    ImportUser(u8, bool),
    /// An operator imports a course run.
    ImportRun(u8),
    /// An operator imports an enrollment: its mode, and whether it is active.
    ImportEnrollment(Of, Mode, bool),
    /// An operator imports a grade.
    ImportGrade(Of, Score),
    /// An operator imports a certificate in force.
    ImportCertificate(Of),
    /// An operator sets mode and `active` of an enrollment.
    Set(Of, Option<Mode>, Option<bool>),
    /// An operator removes a role.
    RemoveRole(Of, Role),
    /// An operator overrides a grade.
    Override(Of, Score),
    /// An operator releases a grade.
    Release(Of),
    /// An operator issues a certificate that has been earned.
    Issue(Of),
    /// An operator revokes a certificate.
    Revoke(Of),
    /// An operator restores a revoked certificate.
    Restore(Of),
    /// An operator has all pending events retried.
    RetryEvents,
    /// An operator drops the pending events of a learner in a run.
    DropEvents(Of),
    /// An operator gives a learner another address, or the one before.
    Rename(u8),
    /// An operator erases a learner.
    Erase(u8),
    /// The LMS's grade becomes this.
    LmsGrade(Of, Score),
    /// The LMS loses the grade.
    LmsForgets(Of),
    /// The LMS's enrollment becomes this: its mode, and whether it is active.
    LmsEnrollment(Of, Mode, bool),
    /// The LMS behaves so from now on.
    LmsIs(Mood),
    /// Secrets Manager answers, or does not, from now on.
    Secrets(bool),
    /// All instances are replaced by new ones.
    Restart,
    /// DynamoDB removes expired items.
    TimeToLive,
    /// This many seconds pass.
    Wait(u32),
}

impl Action {
    /// True if it asks the LMS, or Secrets Manager for a token.
    pub const fn asks_others(self) -> bool {
        matches!(
            self,
            Self::Enroll(..)
                | Self::Unenroll(_)
                | Self::Pass(_)
                | Self::Intrude(_)
                | Self::Retry
                | Self::SweepGrades(..)
                | Self::SweepEnrollments(..)
                | Self::Issue(_)
        )
    }
}

/// A service that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// DynamoDB.
    Tables,
    /// The LMS.
    Lms,
    /// Secrets Manager.
    Secrets,
}

impl Service {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tables => "DynamoDB",
            Self::Lms => "LMS",
            Self::Secrets => "Secrets Manager",
        }
    }

    /// True if the fault means something for calls of the service. Nothing is written to the LMS and
    /// to Secrets Manager.
    pub const fn has(self, fault: Fault) -> bool {
        match fault {
            Fault::Error | Fault::Broken | Fault::Hangs | Fault::Throttled | Fault::HalfBody => {
                true
            }
            Fault::Stale => !matches!(self, Self::Secrets),
            Fault::ErrorAfter
            | Fault::BrokenAfter
            | Fault::HangsAfter
            | Fault::Late
            | Fault::Conflict
            | Fault::Unprocessed => matches!(self, Self::Tables),
        }
    }
}

/// A fault of one call. One that has no meaning for a call does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The answer is 500, and the call has no effect.
    Error,
    /// The call has its effect, and the answer is 500.
    ErrorAfter,
    /// The connection breaks before the call has an effect.
    Broken,
    /// The connection breaks after the effect.
    BrokenAfter,
    /// There is no answer and no effect.
    Hangs,
    /// The call has its effect, and there is no answer.
    HangsAfter,
    /// There is no answer, and the call has its effect when the caller has given up.
    Late,
    /// The call is throttled.
    Throttled,
    /// Another transaction holds the item.
    Conflict,
    /// The answer is old: of an index, or the LMS's grade.
    Stale,
    /// A read of several items leaves one out.
    Unprocessed,
    /// The answer breaks off in its middle.
    HalfBody,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 12] = [
        Self::Error,
        Self::ErrorAfter,
        Self::Broken,
        Self::BrokenAfter,
        Self::Hangs,
        Self::HangsAfter,
        Self::Late,
        Self::Throttled,
        Self::Conflict,
        Self::Stale,
        Self::Unprocessed,
        Self::HalfBody,
    ];
}

impl Fault {
    /// Returns what happens, in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error, no effect",
            Self::ErrorAfter => "error after the effect",
            Self::Broken => "connection breaks, no effect",
            Self::BrokenAfter => "connection breaks after the effect",
            Self::Hangs => "time-out, no effect",
            Self::HangsAfter => "time-out after the effect",
            Self::Late => "time-out, and the effect comes later",
            Self::Throttled => "throttled",
            Self::Conflict => "transaction conflict",
            Self::Stale => "stale answer",
            Self::Unprocessed => "unprocessed keys",
            Self::HalfBody => "half an answer",
        }
    }
}

/// One action, and what it meets.
#[derive(Clone, PartialEq, Eq)]
pub struct Op {
    /// The action.
    pub action: Action,
    /// Its calls that fail, and how: the service, and the number of the call to it, from 0.
    pub faults: Vec<(Service, u16, Fault)>,
    /// The number of polls after which its process dies.
    pub dies: Option<u16>,
    /// The milliseconds after which it begins.
    pub after: u16,
}

impl From<Action> for Op {
    fn from(action: Action) -> Self {
        Self {
            action,
            faults: Vec::new(),
            dies: None,
            after: 0,
        }
    }
}

impl Op {
    /// The same action, whose call of this number to the service has a fault.
    #[must_use]
    pub fn fault(mut self, service: Service, call: u16, fault: Fault) -> Self {
        self.faults.push((service, call, fault));
        self
    }

    /// The same action, whose process dies after so many polls.
    #[must_use]
    pub fn dies(mut self, polls: u16) -> Self {
        self.dies = Some(polls);
        self
    }

    /// The same action, which begins so many milliseconds later than the others of its step.
    #[must_use]
    pub fn after(mut self, ms: u16) -> Self {
        self.after = ms;
        self
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Op::from({:?})", self.action)?;
        for (service, call, fault) in &self.faults {
            write!(f, ".fault({service:?}, {call}, {fault:?})")?;
        }
        if let Some(polls) = self.dies {
            write!(f, ".dies({polls})")?;
        }
        if self.after > 0 {
            write!(f, ".after({})", self.after)?;
        }
        Ok(())
    }
}

/// The actions that happen at once; most often there is one.
pub type Step = Vec<Op>;

/// Returns each learner in each run.
pub fn all() -> impl Iterator<Item = Of> {
    (0..LEARNERS).flat_map(|learner| (0..RUNS).map(move |run| Of(learner, run)))
}
