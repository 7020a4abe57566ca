//! A sweep: one course run put right by what the LMS lists of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Certificate, Change, CourseRun, Enrollment, Grade, ModeSource, PageCursor, PaidModes};

/// How long before its write a delivery may have asked the LMS, or have been
/// answered by it: a certificate's answer takes no longer.
const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(30);

/// How many learners a sweep may always take something from.
const FEW: u64 = 10;

/// A sweep may take something from one learner in so many.
const ONE_IN: u64 = 50;

/// What a sweep is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepKind {
    /// The LMS's grades: grades are stored, and certificates issued, withdrawn or restored.
    Grades,
    /// The LMS's enrollments: ours are created, reactivated, deactivated, or change their mode.
    Enrollments,
}

impl SweepKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Grades, Self::Enrollments];

    /// The word that commands, logs and the table have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grades => "grades",
            Self::Enrollments => "enrollments",
        }
    }
}

/// What a sweep may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepOptions {
    /// The run is swept also where it is not live or past its window, and its
    /// certificates also before their date. Never skips enrollment, mode or grade.
    pub force: bool,
    /// Nothing is written; what would be is counted and told.
    pub dry_run: bool,
    /// An operator has looked: no safety limit stops it.
    pub confirm: bool,
}

/// What became of one learner of a list, or would, where a sweep is a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A grade was stored, new or changed.
    GradeStored,
    /// A certificate was issued.
    Issued,
    /// A withdrawn certificate was restored by a pass.
    Restored,
    /// A certificate was withdrawn, since the grade became 0.
    Withdrawn,
    /// An enrollment was created.
    Created,
    /// An inactive enrollment was made active again.
    Reactivated,
    /// An active enrollment was made inactive, as `unenrolled`.
    Deactivated,
    /// The enrollment has another mode now.
    ModeChanged,
    /// An enrollment of an operator's is one of the LMS's too.
    Confirmed,
    /// All was as the LMS has it.
    Unchanged,
    /// The portal knows nobody of this username.
    NoUser,
    /// Something differs, and stays as it is.
    Left(Left),
    /// What the LMS says, or what the table holds, cannot be used, or a write
    /// failed: a code that says why.
    Failed(String),
}

/// Why something that differs stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It changed after the LMS was asked, or so shortly before that the LMS's
    /// answer may be older.
    ChangedMeanwhile,
    /// An operator has overridden the grade, and the LMS has another.
    GradeOverridden,
    /// An operator has revoked the certificate of a learner who has passed.
    Revoked,
    /// An operator or an import has set the mode, and the LMS has another.
    ModeSetByAdmin,
    /// An operator has made the enrollment inactive, and the LMS has it active.
    InactiveByOperator,
    /// The grade is 0 by the LMS, and no sweep found that so a day ago: the
    /// certificate stays for now.
    ZeroSeenOnce,
    /// The grade is 0 by the LMS, which does not list the learner's enrollment as
    /// active, or does not let us read it: the certificate stays.
    Unconfirmed,
    /// So many would lose something that the sweep stopped at its safety limit.
    SafetyLimit,
}

impl Left {
    /// The word that tables and logs have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangedMeanwhile => "changed_meanwhile",
            Self::GradeOverridden => "grade_overridden",
            Self::Revoked => "revoked",
            Self::ModeSetByAdmin => "mode_set_by_admin",
            Self::InactiveByOperator => "inactive_by_operator",
            Self::ZeroSeenOnce => "zero_seen_once",
            Self::Unconfirmed => "unconfirmed",
            Self::SafetyLimit => "safety_limit",
        }
    }
}

impl Effect {
    /// The word that tables and logs have for it; `left:` and `failed:` are
    /// followed by the reason.
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

/// How often each thing happened, by the words of [`Effect::as_str`]; `listed`
/// is how many rows the LMS's list had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    const LISTED: &'static str = "listed";

    /// Counts rows of the LMS's list.
    pub fn list(&mut self, rows: u64) {
        self.add(Self::LISTED, rows);
    }

    /// Counts one thing that happened to one learner.
    pub fn note(&mut self, effect: &Effect) {
        self.note_many(effect, 1);
    }

    /// Counts it for so many learners.
    pub fn note_many(&mut self, effect: &Effect, learners: u64) {
        self.add(&effect.as_str(), learners);
    }

    /// Adds what another has counted.
    pub fn extend(&mut self, other: &Self) {
        for (word, count) in &other.0 {
            self.add(word, *count);
        }
    }

    /// How many rows the LMS's list had so far.
    pub fn listed(&self) -> u64 {
        self.0.get(Self::LISTED).copied().unwrap_or_default()
    }

    /// How often this happened.
    pub fn of(&self, effect: &Effect) -> u64 {
        let word = effect.as_str();
        self.0.get(word.as_ref()).copied().unwrap_or_default()
    }

    /// How many learners have lost something, or would.
    pub fn losing(&self) -> u64 {
        self.of(&Effect::Withdrawn) + self.of(&Effect::Deactivated)
    }

    /// How often something differed and stayed, for whatever reason.
    pub fn left(&self) -> u64 {
        self.beginning_with("left:")
    }

    /// How often something failed, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.beginning_with("failed:")
    }

    /// The words with a reason, each with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (&str, u64)> {
        self.iter().filter(|(word, _)| word.contains(':'))
    }

    fn beginning_with(&self, beginning: &str) -> u64 {
        let words = self
            .reasons()
            .filter(|(word, _)| word.starts_with(beginning));
        words.map(|(_, count)| count).sum()
    }

    /// All words with their counts, by word.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(word, count)| (word.as_str(), *count))
    }

    fn add(&mut self, word: &str, count: u64) {
        if count > 0 {
            *self.0.entry(word.to_owned()).or_default() += count;
        }
    }
}

/// Where a sweep of a run stands, so that it can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// New for each sweep of a run; in the histories, too.
    pub sweep_id: Uuid,
    /// Under which those are held back who would lose something. The process that resumes
    /// with a sweep takes them over under another id: who was believed to be
    /// stopped may go on as well, and each has to know how many they are.
    pub lease_id: Uuid,
    /// When the sweep began.
    pub began_at: Timestamp,
    /// What it may do.
    pub options: SweepOptions,
    /// What it is at.
    pub stage: Stage,
    /// What it has done so far.
    pub tally: Tally,
    /// How many of the learners of the list so far had what they might lose: a
    /// certificate in force, an active enrollment.
    pub at_stake: u64,
    /// How often in a row the LMS gave no answer.
    pub failures: u32,
    /// When this was written down last.
    pub saved_at: Timestamp,
}

/// What a sweep is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It goes through the LMS's list, and is here.
    Listing(PageCursor),
    /// The list cannot be read to its end, and the LMS is asked for learners by name.
    ByName(ByName),
    /// The list is through, and what it held back is done.
    Applying,
}

/// Where a sweep is that asks for learners by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByName {
    /// How many pages and requests by name there were before.
    pub pages: u32,
    /// Whose names come next.
    pub names: Names,
}

/// Whom a sweep asks for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// Those who have an enrollment in the run here, from behind this user on.
    Enrolled(Option<Uuid>),
    /// Those beside them whom the LMS's list of grades has, from here on.
    Graded(PageCursor),
}

impl Checkpoint {
    /// The beginning of a sweep.
    pub fn new(sweep_id: Uuid, began_at: Timestamp, options: SweepOptions) -> Self {
        Self {
            sweep_id,
            lease_id: sweep_id,
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

/// How a sweep of a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepEnd {
    /// The sweep's own id, which the histories have.
    pub sweep_id: Uuid,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it was allowed.
    pub options: SweepOptions,
    /// How.
    pub outcome: SweepOutcome,
    /// Why it failed: a code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What it did, or would have done where it was a dry run.
    pub tally: Tally,
}

/// How a sweep of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepOutcome {
    /// The whole list is through; single learners may have failed.
    Done,
    /// So many would lose something that none did, until an operator confirms it.
    /// Of a dry run: the sweep would end so.
    Halted,
    /// The list could not be read to its end.
    Failed,
}

impl SweepOutcome {
    /// The word that logs and the table have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Halted => "halted",
            Self::Failed => "failed",
        }
    }
}

/// Whether a sweep would take something from so many of a run's learners that
/// an operator has to look first: more than ten, and more than 2 % of those who
/// have what is taken. Of all who are enrolled it might be few, and yet
/// everybody's certificate.
pub const fn exceeds_safety_limit(losing: u64, at_stake: u64) -> bool {
    losing > FEW && losing.saturating_mul(ONE_IN) > at_stake
}

/// Whether sweeps that name no run take this one: it is live, and its
/// certificates have been available for no longer than the window, or have no date.
pub fn is_swept(run: &CourseRun, window: SignedDuration, now: Timestamp) -> bool {
    let is_past = run
        .certificate_available_date
        .is_some_and(|date| now.duration_since(date) > window);
    run.live && !is_past
}

/// Whether sweeps issue, withdraw and restore a run's certificates by now: at
/// once where learners go at their own pace, else from their date on. Without a
/// date it has not come.
pub fn certifies(run: &CourseRun, now: Timestamp) -> bool {
    let has_come = run
        .certificate_available_date
        .is_some_and(|date| date <= now);
    run.is_self_paced || has_come
}

/// Whether something whose last change this is may be newer than what the LMS
/// answers to a question of `asked_at`. A delivery's change rests on an answer
/// that may have come some time after the delivery, and the LMS may announce what
/// its lists do not have yet.
pub fn is_newer(by: &Change, at: Timestamp, asked_at: Timestamp) -> bool {
    let in_flight = match by {
        Change::Delivery { .. } | Change::PendingEvent { .. } => IN_FLIGHT,
        _ => SignedDuration::ZERO,
    };
    at.saturating_add(in_flight)
        .map_or(true, |until| until >= asked_at)
}

impl Grade {
    /// Whether it may be newer than an answer of the LMS, as [`is_newer`] has it.
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

impl Enrollment {
    /// Whether it may be newer than an answer of the LMS, as [`is_newer`] has it.
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

impl Certificate {
    /// Whether it may be newer than an answer of the LMS, as [`is_newer`] has it.
    pub fn is_newer(&self, asked_at: Timestamp) -> bool {
        let last = self.history.last();
        last.is_some_and(|entry| is_newer(&entry.by, entry.at, asked_at))
    }
}

/// What the LMS's list makes of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// What that is called, each; empty where all is as the LMS has it.
    pub effects: Vec<Effect>,
    /// Whether the enrollment is to be active; `None` where that stays as it is.
    pub active: Option<bool>,
    /// The mode that it is to have, where that is another.
    pub mode: Option<super::Mode>,
}

impl Correction {
    /// Whether anything is to be written.
    pub fn is_any(&self) -> bool {
        let is_left = |effect: &Effect| matches!(effect, Effect::Left(_));
        self.effects.iter().any(|effect| !is_left(effect))
    }

    /// Whether a learner loses their enrollment by it.
    pub fn deactivates(&self) -> bool {
        self.active == Some(false)
    }
}

/// What a row of the LMS's list makes of the learner's enrollment. Who is not
/// enrolled, neither here nor there, needs none.
///
/// An enrollment that is made active again takes the LMS's mode, whoever chose
/// the mode before. Of an active one a mode that an operator chose stays, and one
/// that was imported unless the LMS's is an upgrade to a paid mode. An enrollment
/// that an operator made inactive stays so: the LMS's list does not know of it.
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
                let is_free = match ours.mode_set_by.filter(|_| ours.active) {
                    None => true,
                    Some(ModeSource::Import) => is_upgrade,
                    Some(ModeSource::Operator) => false,
                };
                if is_free {
                    effects.push(Effect::ModeChanged);
                    correction.mode = Some(mode.clone());
                } else {
                    effects.push(Effect::Left(Left::ModeSetByAdmin));
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
    fn more_than_ten_and_more_than_two_percent() {
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
