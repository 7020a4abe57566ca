//! What an announcement of the LMS, an operator or a sweep makes of an enrollment.
//!
//! Each function returns the whole enrollment after the change, or `None` where
//! nothing differs. The store writes it on the condition that the enrollment
//! still is as it was read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::sweep::Correction;
use super::{
    Change, CourseId, CourseRole, Enrollment, History, HistoryEntry, Mode, ModeSource, PaidModes,
};

/// Why an enrollment is inactive that was made so for no other reason.
pub const UNENROLLED: &str = "unenrolled";

/// A change to one enrollment, and the ids by which it is known again.
#[derive(Debug, Clone)]
pub struct EnrollmentChange {
    /// With `course_id` the table's key. That both exist is the caller's affair.
    pub user_id: Uuid,
    /// The run, also where there is no enrollment in it yet.
    pub course_id: CourseId,
    /// The enrollment's id, if this change creates it.
    pub new_enrollment_id: Uuid,
    /// This change's own id, used for no other.
    pub change_id: Uuid,
    /// Written into the history entry.
    pub by: Change,
    /// The moment of the history entry, and then `changed_at`.
    pub at: Timestamp,
}

/// One announcement of the LMS about a learner and a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Whether the learner is enrolled; false is an un-enrollment.
    pub active: bool,
    /// The mode that it names.
    pub mode: Option<Mode>,
    /// The roles that it names.
    pub roles: BTreeSet<CourseRole>,
    /// When it was delivered, where it has waited since; absent, it comes just now.
    /// An enrollment that was changed later keeps its mode and stays as active as it is.
    pub delivered_at: Option<Timestamp>,
}

impl Announced {
    fn is_older_than(&self, enrollment: Option<&Enrollment>) -> bool {
        let changed_at = enrollment.map(|enrollment| enrollment.changed_at);
        matches!((self.delivered_at, changed_at), (Some(delivered), Some(changed)) if changed > delivered)
    }
}

/// What an operator says of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The mode, which the LMS then leaves alone; absent, it stays.
    pub mode: Option<Mode>,
    /// Whether it is active; absent, that stays. A new one is active.
    pub active: Option<bool>,
    /// The roles to be removed.
    pub remove_roles: BTreeSet<CourseRole>,
}

impl Setting {
    /// This mode, active or not, and the roles as they are.
    pub const fn mode(mode: Mode, active: bool) -> Self {
        Self {
            mode: Some(mode),
            active: Some(active),
            remove_roles: BTreeSet::new(),
        }
    }
}

impl EnrollmentChange {
    /// A change with fresh ids of its own.
    pub fn new(user_id: Uuid, course_id: CourseId, by: Change, at: Timestamp) -> Self {
        Self {
            user_id,
            course_id,
            new_enrollment_id: Uuid::new_v4(),
            change_id: Uuid::new_v4(),
            by,
            at,
        }
    }

    /// The enrollment after these announcements, oldest first; `None` where
    /// nothing differs, also where there is none and none is needed.
    ///
    /// A re-activation takes the mode that the announcement names, `audit` where
    /// it names none, whoever chose the mode before (openedx-platform does the
    /// same). An active enrollment changes its mode only from an unpaid one to a
    /// paid one, and only where no operator chose it.
    pub fn announce(
        &self,
        before: Option<&Enrollment>,
        announced: &[Announced],
        paid_modes: &PaidModes,
    ) -> Option<Enrollment> {
        let mut after = before.cloned();
        // Whether one of these announcements enrolls the learner: a later one
        // then says in which mode.
        let mut enrolls = false;
        for event in announced {
            let is_new = after.is_none();
            if is_new && !event.active && event.roles.is_empty() {
                continue;
            }
            let enrollment = after.get_or_insert_with(|| self.fresh(Mode::audit()));
            enrollment.roles.extend(event.roles.iter().cloned());
            enrollment.edx_enrolled |= event.active;
            if event.is_older_than(before) {
                continue;
            }
            let is_upgrade = |mode: &Mode| {
                paid_modes.contain(mode)
                    && !paid_modes.contain(&enrollment.mode)
                    && enrollment.mode_set_by != Some(ModeSource::Operator)
            };
            match (enrollment.active, event.active) {
                (false, true) => {
                    activate(enrollment);
                    enrollment.mode = event.mode.clone().unwrap_or_else(Mode::audit);
                    enrollment.mode_set_by = None;
                    enrolls = true;
                }
                (true, true) => {
                    if let Some(mode) = event.mode.as_ref()
                        && (enrolls || is_upgrade(mode))
                    {
                        enrollment.mode = mode.clone();
                        enrollment.mode_set_by = None;
                    }
                }
                (true, false) => {
                    deactivate(enrollment);
                    enrolls = false;
                }
                (false, false) => {
                    if is_new {
                        deactivate(enrollment);
                    }
                }
            }
        }
        let after = after.filter(|after| before != Some(after))?;
        let named = announced.iter().rev().find_map(|event| event.mode.clone());
        let roles = announced.iter().flat_map(|event| event.roles.clone());
        let entry = HistoryEntry {
            announced_mode: named,
            announced_roles: roles.collect(),
            ..self.entry(before, &after)
        };
        Some(self.written(after, entry))
    }

    /// The enrollment as an operator sets it; `None` where nothing differs, and
    /// where there is none and no mode is named to create one with.
    pub fn set(&self, before: Option<&Enrollment>, setting: &Setting) -> Option<Enrollment> {
        let mut after = match before {
            Some(before) => before.clone(),
            None => {
                let mut fresh = self.fresh(setting.mode.clone()?);
                activate(&mut fresh);
                fresh
            }
        };
        if let Some(mode) = &setting.mode {
            after.mode = mode.clone();
            after.mode_set_by = Some(ModeSource::Operator);
        }
        match setting.active {
            Some(true) => activate(&mut after),
            Some(false) => {
                deactivate(&mut after);
                after.inactive_by_operator = true;
            }
            None => {}
        }
        after
            .roles
            .retain(|role| !setting.remove_roles.contains(role));
        if before == Some(&after) {
            return None;
        }
        let roles = before.into_iter().flat_map(|before| &before.roles);
        let removed = roles.filter(|role| !after.roles.contains(*role)).cloned();
        let entry = HistoryEntry {
            mode: setting.mode.clone(),
            removed_roles: removed.collect(),
            ..self.entry(before, &after)
        };
        Some(self.written(after, entry))
    }

    /// The enrollment as the LMS's list has it.
    pub fn correct(&self, before: Option<&Enrollment>, correction: &Correction) -> Enrollment {
        let mut after = match before {
            Some(before) => before.clone(),
            None => self.fresh(Mode::audit()),
        };
        match correction.active {
            Some(true) => {
                activate(&mut after);
                after.mode_set_by = None;
            }
            Some(false) => deactivate(&mut after),
            None => {}
        }
        if let Some(mode) = &correction.mode {
            after.mode = mode.clone();
            after.mode_set_by = None;
        }
        // Who is active in the LMS's list is enrolled there.
        after.edx_enrolled |= after.active;
        let entry = HistoryEntry {
            mode: correction.mode.clone(),
            edx_enrolled: after.active.then_some(true),
            ..self.entry(before, &after)
        };
        self.written(after, entry)
    }

    /// An enrollment that is not active yet, and has no history.
    fn fresh(&self, mode: Mode) -> Enrollment {
        Enrollment {
            enrollment_id: self.new_enrollment_id,
            user_id: self.user_id,
            course_id: self.course_id.clone(),
            mode,
            mode_set_by: None,
            active: false,
            inactive_by_operator: false,
            edx_enrolled: false,
            roles: BTreeSet::new(),
            change_status: None,
            changed_at: self.at,
            version: 0,
            history: History::default(),
        }
    }

    /// What this change did, as far as the two enrollments tell it.
    fn entry(&self, before: Option<&Enrollment>, after: &Enrollment) -> HistoryEntry {
        let mode = before.is_none_or(|before| before.mode != after.mode);
        let edx_enrolled = before.is_some_and(|before| before.edx_enrolled);
        HistoryEntry {
            at: self.at,
            change_id: self.change_id,
            by: self.by.clone(),
            active: after.active,
            edx_enrolled: (after.edx_enrolled != edx_enrolled).then_some(after.edx_enrolled),
            mode: mode.then(|| after.mode.clone()),
            announced_mode: None,
            announced_roles: BTreeSet::new(),
            removed_roles: BTreeSet::new(),
        }
    }

    fn written(&self, mut after: Enrollment, entry: HistoryEntry) -> Enrollment {
        after.changed_at = self.at;
        after.version += 1;
        after.history.push(entry);
        after
    }
}

/// Makes an enrollment active.
fn activate(enrollment: &mut Enrollment) {
    enrollment.active = true;
    enrollment.inactive_by_operator = false;
    enrollment.change_status = None;
}

/// Makes an enrollment inactive, unless it is.
fn deactivate(enrollment: &mut Enrollment) {
    if enrollment.active || enrollment.change_status.is_none() {
        enrollment.active = false;
        enrollment.change_status = Some(UNENROLLED.to_owned());
    }
}
