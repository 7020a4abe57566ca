//! Changes of an enrollment by an announcement of the LMS, an operator or a sweep.
//!
//! Each function returns the whole enrollment after the change, or `None` if nothing differs.
//! The store writes it with a conditional write, which requires the enrollment to be as it was
//! read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::sweep::Correction;
use super::{
    Change, CourseId, CourseRole, Enrollment, History, HistoryEntry, Mode, ModeSource, PaidModes,
};

/// The default reason for which an enrollment is inactive.
pub const UNENROLLED: &str = "unenrolled";

/// A change of one enrollment, with the ids that identify it.
#[derive(Debug, Clone)]
pub struct EnrollmentChange {
    /// Together with `course_id` the table's key. The caller makes sure that both exist.
    pub user_id: Uuid,
    /// The run, even if there is no enrollment in it yet.
    pub course_id: CourseId,
    /// The enrollment's id, if this change creates it.
    pub new_enrollment_id: Uuid,
    /// This change's own id, used for no other.
    pub change_id: Uuid,
    /// The author, written into the history entry.
    pub by: Change,
    /// The time of the history entry; it becomes `changed_at`.
    pub at: Timestamp,
}

/// One announcement of the LMS about a learner and a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// True if the learner is enrolled; false is an un-enrollment.
    pub active: bool,
    /// The mode that the announcement names.
    pub mode: Option<Mode>,
    /// The roles that the announcement names.
    pub roles: BTreeSet<CourseRole>,
    /// The time of the delivery, if the event was pending since; absent if it is being
    /// delivered now. An enrollment that was changed later keeps its mode and its `active`.
    pub delivered_at: Option<Timestamp>,
}

impl Announced {
    fn is_older_than(&self, enrollment: Option<&Enrollment>) -> bool {
        let changed_at = enrollment.map(|enrollment| enrollment.changed_at);
        matches!((self.delivered_at, changed_at), (Some(delivered), Some(changed)) if changed > delivered)
    }
}

/// The values that an operator sets on an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The mode, which the LMS then does not change; absent, it stays.
    pub mode: Option<Mode>,
    /// The new `active`; absent, it stays. A new enrollment is active.
    pub active: Option<bool>,
    /// The roles to remove.
    pub remove_roles: BTreeSet<CourseRole>,
}

impl Setting {
    /// Returns a setting with this mode and `active`, which removes no roles.
    pub const fn mode(mode: Mode, active: bool) -> Self {
        Self {
            mode: Some(mode),
            active: Some(active),
            remove_roles: BTreeSet::new(),
        }
    }
}

impl EnrollmentChange {
    /// Returns a change whose ids `new_id` makes.
    pub fn new(
        user_id: Uuid,
        course_id: CourseId,
        by: Change,
        at: Timestamp,
        mut new_id: impl FnMut() -> Uuid,
    ) -> Self {
        Self {
            user_id,
            course_id,
            new_enrollment_id: new_id(),
            change_id: new_id(),
            by,
            at,
        }
    }

    /// Returns the enrollment after these announcements, oldest first, or `None` if nothing
    /// differs or if there is no enrollment and none is needed.
    ///
    /// A reactivation takes the mode that the announcement names, or `audit` if it names none,
    /// no matter who chose the mode before (openedx-platform does the same). An active
    /// enrollment changes its mode only from an unpaid one to a paid one, and only if no
    /// operator chose it.
    pub fn announce(
        &self,
        before: Option<&Enrollment>,
        announced: &[Announced],
        paid_modes: &PaidModes,
    ) -> Option<Enrollment> {
        let mut after = before.cloned();
        // True if one of these announcements enrolls the learner. A later one may then set any
        // mode.
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

    /// Returns the enrollment as an operator sets it, or `None` if nothing differs or if there
    /// is no enrollment and no mode is named to create one with.
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

    /// Returns the enrollment corrected to agree with the LMS's list.
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
        // A learner who is active in the LMS's list is enrolled there.
        after.edx_enrolled |= after.active;
        let entry = HistoryEntry {
            mode: correction.mode.clone(),
            edx_enrolled: after.active.then_some(true),
            ..self.entry(before, &after)
        };
        self.written(after, entry)
    }

    /// Returns an enrollment that is not active yet and has no history.
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

    /// Returns the history entry of this change, as far as it follows from the two enrollments.
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

/// Makes an enrollment inactive, unless it already is.
fn deactivate(enrollment: &mut Enrollment) {
    if enrollment.active || enrollment.change_status.is_none() {
        enrollment.active = false;
        enrollment.change_status = Some(UNENROLLED.to_owned());
    }
}
