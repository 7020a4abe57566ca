//! Import of enrollments from another receiver.

use std::collections::{BTreeSet, HashSet};

use common::random;
use jiff::Timestamp;
use store::StoreError;
use store::enrollments::Enrollments;
use store::pending_events::PendingEvents;
use store::records::Written;
use uuid::Uuid;

use super::records::{Addition, Decision, Owner, RecordKey, RecordTable};
use super::{Answers, Difference, RECORDS_AT_ONCE, RecordImport};
pub use domain::enrollment_change::UNENROLLED;
use domain::{
    CourseId, CourseRole, Email, Enrollment, EventKey, EventKind, History, HistoryEntry, Mode,
    ModeSource, PendingEvent,
};

use crate::enrolling::{schedule_retry, waits_for_enrollment, wake_now};

/// An enrollment as a file contains it.
#[derive(Clone)]
pub struct EnrollmentRow {
    /// The learner's address; there must be a user with it.
    pub email: Email,
    /// The run; the portal must have it.
    pub course_id: CourseId,
    /// The mode. While the enrollment is active, the LMS then changes it only by an upgrade to a
    /// paid mode.
    pub mode: Mode,
    /// True if the enrollment is active.
    pub active: bool,
    /// True if the LMS had said so to the other receiver. If it is absent, it counts as false
    /// and is not compared.
    pub edx_enrolled: Option<bool>,
    /// The roles. If there are none, they are not compared.
    pub roles: BTreeSet<CourseRole>,
    /// The reason why it is inactive. If it is absent, it is [`UNENROLLED`], and is not
    /// compared. For an active enrollment it is ignored.
    pub change_status: Option<String>,
    /// The id, which is kept. If it is absent, a new one is made, and is not compared.
    pub enrollment_id: Option<Uuid>,
}

impl EnrollmentRow {
    /// The reason why it is inactive; absent if it is active.
    fn change_status(&self) -> Option<&String> {
        if self.active {
            None
        } else {
            self.change_status.as_ref()
        }
    }
}

impl RecordTable for Enrollments {
    type Row = EnrollmentRow;
    type Record = Enrollment;
    const WHAT: &'static str = "an enrollment";

    fn about(row: &EnrollmentRow) -> (&Email, &CourseId) {
        (&row.email, &row.course_id)
    }

    fn record(row: &EnrollmentRow, owner: &Owner<'_>) -> Enrollment {
        let edx_enrolled = row.edx_enrolled.unwrap_or_default();
        let entry = HistoryEntry {
            at: owner.at,
            change_id: random::id(),
            by: owner.by.clone(),
            active: row.active,
            edx_enrolled: Some(edx_enrolled),
            mode: Some(row.mode.clone()),
            announced_mode: None,
            announced_roles: row.roles.clone(),
            removed_roles: BTreeSet::new(),
        };
        let unenrolled = (!row.active).then(|| UNENROLLED.to_owned());
        Enrollment {
            enrollment_id: row.enrollment_id.unwrap_or_else(random::id),
            user_id: owner.user.user_id,
            course_id: row.course_id.clone(),
            mode: row.mode.clone(),
            mode_set_by: Some(ModeSource::Import),
            active: row.active,
            inactive_by_operator: false,
            edx_enrolled,
            roles: row.roles.clone(),
            change_status: row.change_status().cloned().or(unenrolled),
            changed_at: owner.at,
            version: 1,
            history: History::new(entry),
        }
    }

    fn differences(row: &EnrollmentRow, there: &Enrollment) -> Vec<Difference> {
        let id = row.enrollment_id.as_ref();
        let edx_enrolled = row.edx_enrolled.as_ref();
        [
            Difference::between("mode", Some(&there.mode), &row.mode),
            Difference::between("active", Some(&there.active), &row.active),
            edx_enrolled.and_then(|edx_enrolled| {
                Difference::between("edx_enrolled", Some(&there.edx_enrolled), edx_enrolled)
            }),
            words(&row.roles).and_then(|roles| {
                Difference::between("roles", words(&there.roles).as_ref(), &roles)
            }),
            row.change_status().and_then(|status| {
                Difference::between("change_status", there.change_status.as_ref(), status)
            }),
            id.and_then(|id| Difference::between("enrollment_id", Some(&there.enrollment_id), id)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn key(enrollment: &Enrollment) -> RecordKey {
        (enrollment.user_id, enrollment.course_id.clone())
    }

    fn made_by(enrollment: &Enrollment) -> Option<Uuid> {
        enrollment.history.first().map(|entry| entry.change_id)
    }

    async fn get_many(&self, keys: &[RecordKey]) -> Result<Vec<Enrollment>, StoreError> {
        Self::get_many(self, keys).await
    }

    async fn add(&self, enrollments: &[Enrollment]) -> Result<Written, StoreError> {
        Self::add(self, enrollments).await
    }
}

/// Returns the roles as a file has them, or `None` if there are none.
fn words(roles: &BTreeSet<CourseRole>) -> Option<String> {
    if roles.is_empty() {
        return None;
    }
    let words: Vec<_> = roles.iter().map(CourseRole::as_str).collect();
    Some(words.join(";"))
}

impl RecordImport<Enrollments> {
    /// Imports some enrollments (at most [`RECORDS_AT_ONCE`]). The answers are in the order of
    /// the rows. Certificate events that waited for one of the enrollments are made due; their
    /// number is returned too.
    pub async fn import(
        &self,
        pending_events: &PendingEvents,
        rows: &[EnrollmentRow],
        at: Timestamp,
    ) -> Result<(Answers, u64), StoreError> {
        let decisions = self.decide(rows, at).await?;
        let events = if self.is_dry() {
            Vec::new()
        } else {
            waiting(pending_events, rows, &decisions).await?
        };
        for event in &events {
            schedule_retry(pending_events, event, at).await?;
        }
        let answers = self.carry_out(rows, decisions).await?;
        let mut made_due = 0;
        for event in &events {
            if wake_now(pending_events, event, at).await {
                made_due += 1;
            }
        }
        Ok((answers, made_due))
    }
}

/// Returns the certificate events that wait for an enrollment to be added. They were announced
/// under the user's address, or under the one in the file.
async fn waiting(
    pending_events: &PendingEvents,
    rows: &[EnrollmentRow],
    decisions: &[Decision<Enrollment>],
) -> Result<Vec<PendingEvent>, StoreError> {
    let mut keys = HashSet::new();
    for (row, decision) in rows.iter().zip(decisions) {
        if let Decision::Add(Addition { email, record }) = decision
            && record.active
        {
            let emails = [email, &row.email];
            let of = |email| EventKey::of(EventKind::Certificate, email, &row.course_id);
            keys.extend(emails.map(of));
        }
    }
    let keys = Vec::from_iter(keys);
    let mut events = Vec::new();
    for keys in keys.chunks(RECORDS_AT_ONCE) {
        let found = pending_events.get_many(keys).await?;
        // An event that cannot be read reports its error at its next attempt.
        events.extend(found.into_iter().flatten().filter(waits_for_enrollment));
    }
    Ok(events)
}
