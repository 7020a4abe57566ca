//! Sweep: the correction of one course run by the LMS's list of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Certificate, Change, CourseRun, Enrollment, Grade, ModeSource, PageCursor, PaidModes};

/// The longest time before its write at which a delivery may have asked the LMS or got its
/// answer. A certificate's answer takes no longer.
const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(30);

/// The number of learners from whom a sweep may always take something.
const FEW: u64 = 10;

/// A sweep may take something from one learner in this many.
const ONE_IN: u64 = 50;

/// The kind of a sweep: the list of the LMS that it goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepKind {
    /// The LMS's grades: grades are stored, and certificates issued, withdrawn or restored.
    Grades,
    /// The LMS's enrollments: ours are created, reactivated, deactivated, or change their mode.
    Enrollments,
}

impl SweepKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Grades, Self::Enrollments];

    /// Returns the name of the kind in commands, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grades => "grades",
            Self::Enrollments => "enrollments",
        }
    }
}

/// The options of a sweep: what it may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepOptions {
    /// The sweep also takes a run that is not live or is past its window, and changes its
    /// certificates before their date. It never ignores enrollment, mode or grade.
    pub force: bool,
    /// A dry run: nothing is written. The changes that a real sweep would make are counted
    /// and reported.
    pub dry_run: bool,
    /// An operator has confirmed the losses: no safety limit stops the sweep.
    pub confirm: bool,
}

/// The effect of a sweep on one learner of a list; in a dry run, the effect that it would
/// have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A grade was stored, new or changed.
    GradeStored,
    /// A certificate was issued.
    Issued,
    /// A withdrawn certificate was restored by a pass.
    Restored,
    /// A certificate was withdrawn, because the grade became 0.
    Withdrawn,
    /// An enrollment was created.
    Created,
    /// An inactive enrollment was made active again.
    Reactivated,
    /// An active enrollment was made inactive, with the status `unenrolled`.
    Deactivated,
    /// The mode of the enrollment was changed.
    ModeChanged,
    /// An enrollment that an operator created is now also the LMS's.
    Confirmed,
    /// Nothing differed from the LMS.
    Unchanged,
    /// The portal has no user with this username.
    NoUser,
    /// Something differs and was left as it is.
    Left(Left),
    /// The answer of the LMS or the item in the table cannot be used, or a write failed.
    /// The text is a code that says why.
    Failed(String),
}

/// The reason why something that differs was left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It changed after the LMS was asked, or so shortly before that the LMS's answer may
    /// be older than the change.
    ChangedMeanwhile,
    /// An operator has overridden the grade, and the LMS has another grade.
    GradeOverridden,
    /// An operator has revoked the certificate of a learner who has passed.
    Revoked,
    /// An operator or an import has set the mode, and the LMS has another mode.
    ModeSetInPortal,
    /// An operator has made the enrollment inactive, and in the LMS it is active.
    InactiveByOperator,
    /// The grade is 0 in the LMS, but no sweep found it so a day ago. The certificate stays
    /// for now.
    ZeroSeenOnce,
    /// The grade is 0 in the LMS, but the LMS does not list the learner's enrollment as
    /// active, or does not let us read it. The certificate stays.
    Unconfirmed,
    /// So many learners would lose something that the sweep was halted at its safety limit.
    SafetyLimit,
}

impl Left {
    /// Returns the name of the reason in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangedMeanwhile => "changed_meanwhile",
            Self::GradeOverridden => "grade_overridden",
            Self::Revoked => "revoked",
            Self::ModeSetInPortal => "mode_set_in_portal",
            Self::InactiveByOperator => "inactive_by_operator",
            Self::ZeroSeenOnce => "zero_seen_once",
            Self::Unconfirmed => "unconfirmed",
            Self::SafetyLimit => "safety_limit",
        }
    }
}

impl Effect {
    /// Returns the name of the effect in tables and logs. The prefixes `left:` and
    /// `failed:` are followed by the reason.
    pub fn as_str(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::GradeStored => "grade_stored",
            Self::Issued => "issued",
            Self::Restored => "restored",
            Self::Withdrawn => "withdrawn",
            Self::Created => "created",
            Self::Reactivated => "reactivated",
            Self::Deactivated => "deactivated",
            Self::ModeChanged => "mode_changed",
            Self::Confirmed => "confirmed",
            Self::Unchanged => "unchanged",
            Self::NoUser => "no_user",
            Self::Left(why) => return Cow::Owned(format!("left:{}", why.as_str())),
            Self::Failed(code) => return Cow::Owned(format!("failed:{code}")),
        })
    }
}

/// The number of times each effect happened, by its name from [`Effect::as_str`]. The key
/// `listed` counts the rows of the LMS's list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    const LISTED: &'static str = "listed";

    /// Counts rows of the LMS's list.
    pub fn list(&mut self, rows: u64) {
        self.add(Self::LISTED, rows);
    }

    /// Counts one effect on one learner.
    pub fn note(&mut self, effect: &Effect) {
        self.note_many(effect, 1);
    }

    /// Counts one effect on `learners` learners.
    pub fn note_many(&mut self, effect: &Effect, learners: u64) {
        self.add(&effect.as_str(), learners);
    }

    /// Adds the counts of another tally.
    pub fn extend(&mut self, other: &Self) {
        for (word, count) in &other.0 {
            self.add(word, *count);
        }
    }

    /// The number of rows of the LMS's list so far.
    pub fn listed(&self) -> u64 {
        self.0.get(Self::LISTED).copied().unwrap_or_default()
    }

    /// The number of times this effect happened.
    pub fn of(&self, effect: &Effect) -> u64 {
        let word = effect.as_str();
        self.0.get(word.as_ref()).copied().unwrap_or_default()
    }

    /// The number of learners who have lost something; in a dry run, who would lose
    /// something.
    pub fn losing(&self) -> u64 {
        self.of(&Effect::Withdrawn) + self.of(&Effect::Deactivated)
    }

    /// The number of differences that were left as they are, for any reason.
    pub fn left(&self) -> u64 {
        self.beginning_with("left:")
    }

    /// The number of failures, for any reason.
    pub fn failed(&self) -> u64 {
        self.beginning_with("failed:")
    }

    /// The names that contain a reason, each with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (&str, u64)> {
        self.iter().filter(|(word, _)| word.contains(':'))
    }

    fn beginning_with(&self, beginning: &str) -> u64 {
        let words = self
            .reasons()
            .filter(|(word, _)| word.starts_with(beginning));
        words.map(|(_, count)| count).sum()
    }

    /// All names with their counts, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(word, count)| (word.as_str(), *count))
    }

    fn add(&mut self, word: &str, count: u64) {
        if count > 0 {
            *self.0.entry(word.to_owned()).or_default() += count;
        }
    }
}

/// The position of a sweep in a run, stored so that the sweep can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The sweep's id, new for each sweep of a run. The histories contain it too.
    pub sweep_id: Uuid,
    /// Id of the process that holds back the learners who would lose something; part of the key
    /// of their items. A process that resumes the sweep copies them to an id of its own: the process
    /// that was believed stopped may still be running, and each of the two must know its
    /// own number of losses.
    pub holder_id: Uuid,
    /// The time at which the sweep began.
    pub began_at: Timestamp,
    /// The options of the sweep.
    pub options: SweepOptions,
    /// The stage that the sweep has reached.
    pub stage: Stage,
    /// The effects so far.
    pub tally: Tally,
    /// The number of learners of the list so far who had something to lose: a certificate
    /// in force, or an active enrollment.
    pub at_stake: u64,
    /// The number of times in a row that the LMS gave no answer.
    pub failures: u32,
    /// The time at which this checkpoint was last saved.
    pub saved_at: Timestamp,
}

/// The stage of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The sweep goes through the LMS's list, and has reached this page.
    Listing(PageCursor),
    /// The list cannot be read to its end, so the sweep asks the LMS for learners by name.
    ByName(ByName),
    /// The list has been read to its end, and the losses that were held back are applied.
    Applying,
}

/// The position of a sweep that asks for learners by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByName {
    /// The number of pages and of requests by name before this one.
    pub pages: u32,
    /// The source of the next names.
    pub names: Names,
}

/// The learners whom a sweep asks for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// The learners with an enrollment in the run here, after this user.
    Enrolled(Option<Uuid>),
    /// The other learners, from the LMS's list of grades, starting at this page.
    Graded(PageCursor),
}

impl Checkpoint {
    /// The checkpoint at the beginning of a sweep.
    pub fn new(sweep_id: Uuid, began_at: Timestamp, options: SweepOptions) -> Self {
        Self {
            sweep_id,
            holder_id: sweep_id,
            began_at,
            options,
            stage: Stage::Listing(PageCursor::default()),
            tally: Tally::default(),
            at_stake: 0,
            failures: 0,
            saved_at: began_at,
        }
    }
}

/// The end of a sweep of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepEnd {
    /// The sweep's own id, which the histories contain.
    pub sweep_id: Uuid,
    /// The time at which the sweep began.
    pub began_at: Timestamp,
    /// The time at which the sweep ended.
    pub ended_at: Timestamp,
    /// The options of the sweep.
    pub options: SweepOptions,
    /// The outcome.
    pub outcome: SweepOutcome,
    /// The code of the error, if the sweep failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The effects of the sweep; of a dry run, the effects that it would have had.
    pub tally: Tally,
}

/// The outcome of a sweep of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepOutcome {
    /// The whole list was processed; single learners may have failed.
    Done,
    /// So many learners would lose something that the sweep took nothing from any of them;
    /// it waits for an operator's confirmation. In a dry run: a real sweep would be halted.
    Halted,
    /// The list could not be read to its end.
    Failed,
}

impl SweepOutcome {
    /// Returns the name of the outcome in logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Halted => "halted",
            Self::Failed => "failed",
        }
    }
}

/// True if a sweep would take something from so many of a run's learners that an operator
/// has to confirm it first: more than ten, and more than 2 % of the learners who have what
/// is taken. The limit is not a share of all enrolled learners: a small share of them might
/// be everybody who has a certificate.
pub const fn exceeds_safety_limit(losing: u64, at_stake: u64) -> bool {
    losing > FEW && losing.saturating_mul(ONE_IN) > at_stake
}

/// True if sweeps that name no run take this one: it is live, and its certificates have
/// been available for no longer than the window, or have no date.
pub fn is_swept(run: &CourseRun, window: SignedDuration, now: Timestamp) -> bool {
    let is_past = run
        .certificate_available_date
        .is_some_and(|date| now.duration_since(date) > window);
    run.live && !is_past
}

/// True if sweeps may now issue, withdraw and restore a run's certificates. In a self-paced
/// run they always may, in another one from its certificate date on, and never if it has no
/// date.
pub fn certifies(run: &CourseRun, now: Timestamp) -> bool {
    let has_come = run
        .certificate_available_date
        .is_some_and(|date| date <= now);
    run.is_self_paced || has_come
}

/// True if an item whose last change is `by`, made at `at`, may be newer than an answer of
/// the LMS to a request sent at `asked_at`. A delivery's change rests on an answer of the
/// LMS that may have come some time after the delivery, and the LMS may announce changes
/// that its lists do not contain yet.
pub fn is_newer(by: &Change, at: Timestamp, asked_at: Timestamp) -> bool {
    let in_flight = match by {
        Change::Delivery { .. } | Change::PendingEvent { .. } => IN_FLIGHT,
        _ => SignedDuration::ZERO,
    };
    at.saturating_add(in_flight)
        .map_or(true, |until| until >= asked_at)
}

impl Grade {
    /// True if the grade may be newer than an answer of the LMS; see [`is_newer`].
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

impl Enrollment {
    /// True if the enrollment may be newer than an answer of the LMS; see [`is_newer`].
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

impl Certificate {
    /// True if the certificate may be newer than an answer of the LMS; see [`is_newer`].
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

/// The change that the LMS's list requires of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The effects to report; empty if the enrollment agrees with the LMS.
    pub effects: Vec<Effect>,
    /// The new value of `active`, or `None` if it stays as it is.
    pub active: Option<bool>,
    /// The new mode, or `None` if it stays as it is.
    pub mode: Option<super::Mode>,
}

impl Correction {
    /// True if anything has to be written.
    pub fn is_any(&self) -> bool {
        let is_left = |effect: &Effect| matches!(effect, Effect::Left(_));
        self.effects.iter().any(|effect| !is_left(effect))
    }

    /// True if the learner loses the enrollment.
    pub fn deactivates(&self) -> bool {
        self.active == Some(false)
    }
}

/// Returns the change that a row of the LMS's list requires of the learner's enrollment. A
/// learner who is enrolled on neither side needs none.
///
/// An enrollment that is reactivated takes the LMS's mode, no matter who chose the mode
/// before. An active enrollment keeps a mode that an operator chose. It keeps an imported
/// mode unless the LMS's mode is an upgrade to a paid one. An enrollment that an operator
/// made inactive stays inactive: the LMS's list does not know of that decision.
pub fn correction(
    ours: Option<&Enrollment>,
    mode: &super::Mode,
    is_active: bool,
    paid_modes: &PaidModes,
) -> Correction {
    let mut correction = Correction {
        effects: Vec::new(),
        active: None,
        mode: None,
    };
    let effects = &mut correction.effects;
    match ours {
        None if is_active => {
            effects.push(Effect::Created);
            correction.active = Some(true);
            correction.mode = Some(mode.clone());
        }
        None => {}
        Some(ours) if !is_active && ours.active => {
            effects.push(Effect::Deactivated);
            correction.active = Some(false);
        }
        Some(_) if !is_active => {}
        Some(ours) if !ours.active && ours.inactive_by_operator => {
            effects.push(Effect::Left(Left::InactiveByOperator));
        }
        Some(ours) => {
            if !ours.active {
                effects.push(Effect::Reactivated);
                correction.active = Some(true);
            }
            if ours.mode != *mode {
                let is_upgrade = paid_modes.contain(mode) && !paid_modes.contain(&ours.mode);
                let is_free = !ours.active
                    || match ours.mode_set_by {
                        None => true,
                        Some(ModeSource::Import) => is_upgrade,
                        Some(ModeSource::Operator) => false,
                    };
                if is_free {
                    effects.push(Effect::ModeChanged);
                    correction.mode = Some(mode.clone());
                } else {
                    effects.push(Effect::Left(Left::ModeSetInPortal));
                }
            }
            if !ours.edx_enrolled {
                effects.push(Effect::Confirmed);
            }
        }
    }
    correction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_safety_limit_is_ten_learners_and_two_percent() {
        for (losing, at_stake, expected) in [
            (0, 0, false),
            (10, 0, false),
            (10, 10, false),
            (11, 0, true),
            (11, 549, true),
            (11, 550, false),
            (2_000, 100_000, false),
            (2_001, 100_000, true),
        ] {
            assert_eq!(
                exceeds_safety_limit(losing, at_stake),
                expected,
                "{losing} of {at_stake}"
            );
        }
    }
}
