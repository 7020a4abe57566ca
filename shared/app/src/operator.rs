//! Corrections that operators make by hand: grades, certificates and pending events.

use std::fmt;

use common::random;
use domain::{
    Certificate, CertificateEntry, CertificateState, Change, CourseId, Grade, GradeEntry,
    PendingEvent, Score,
};
use jiff::Timestamp;
use store::StoreError;
use store::certificates::Certificates;
use store::pending_events::PendingEvents;
use store::records::{Records, Written};
use thiserror::Error;
use uuid::Uuid;

use super::{ChangeAttempt, retry_on_conflict};

/// A grade or a certificate after an operator command, and whether the command changed it.
#[derive(Debug, Clone)]
pub struct Corrected<T> {
    /// The current value.
    pub now: T,
    /// False if it already had that value and nothing was written.
    pub changed: bool,
}

/// Sets a learner's grade in a run; the LMS's grade never replaces it from then on. The caller
/// makes sure that user and run exist.
pub async fn override_grade(
    records: &Records,
    user_id: Uuid,
    course_id: &CourseId,
    score: &Score,
    by: &Change,
    at: Timestamp,
) -> Result<Corrected<Grade>, StoreError> {
    let change_id = random::id();
    retry_on_conflict(async || {
        let before = records.find(user_id, course_id).await?.grade;
        if let Some(grade) = &before {
            // If the answer to the write was lost, somebody may have changed the grade since.
            let changed = grade.holds(change_id);
            if changed || (grade.set_by_admin && grade.score == *score) {
                return Ok(ChangeAttempt::Done(Corrected {
                    now: grade.clone(),
                    changed,
                }));
            }
        }
        let entry = GradeEntry {
            at,
            change_id,
            by: by.clone(),
            score: score.clone(),
            set_by_admin: true,
        };
        let after = Grade::after(before.as_ref(), user_id, course_id, entry);
        Ok(match records.write_grade(before.as_ref(), &after).await? {
            Written::Done => ChangeAttempt::Done(Corrected {
                now: after,
                changed: true,
            }),
            Written::Moved => ChangeAttempt::Conflict,
        })
    })
    .await
}

/// Releases a grade that an operator has set: it stays as it is until the LMS gives another
/// one. Returns `None` if there is no grade.
pub async fn release_grade(
    records: &Records,
    user_id: Uuid,
    course_id: &CourseId,
    by: &Change,
    at: Timestamp,
) -> Result<Option<Corrected<Grade>>, StoreError> {
    let change_id = random::id();
    retry_on_conflict(async || {
        let Some(before) = records.find(user_id, course_id).await?.grade else {
            return Ok(ChangeAttempt::Done(None));
        };
        let changed = before.holds(change_id);
        if changed || !before.set_by_admin {
            return Ok(ChangeAttempt::Done(Some(Corrected {
                now: before,
                changed,
            })));
        }
        let entry = GradeEntry {
            at,
            change_id,
            by: by.clone(),
            score: before.score.clone(),
            set_by_admin: false,
        };
        let after = Grade::after(Some(&before), user_id, course_id, entry);
        Ok(match records.write_grade(Some(&before), &after).await? {
            Written::Done => ChangeAttempt::Done(Some(Corrected {
                now: after,
                changed: true,
            })),
            Written::Moved => ChangeAttempt::Conflict,
        })
    })
    .await
}

/// An operator command about a certificate.
#[derive(Clone, PartialEq, Eq)]
pub enum CertificateAction {
    /// Revokes it: it no longer counts, until an operator restores it.
    Revoke,
    /// Restores a revoked one to its state before: in force, or withdrawn until a pass restores
    /// it.
    Restore,
    /// Changes the learner's name on it, whatever its state.
    Rename(String),
}

/// Hides the name, which is personal data.
impl fmt::Debug for CertificateAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoke => "Revoke",
            Self::Restore => "Restore",
            Self::Rename(_) => "Rename(..)",
        })
    }
}

/// Error of an operator's action on a certificate, which stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateActionError {
    /// There is no certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// It was withdrawn because the grade became 0: a pass restores it.
    #[error("the certificate is withdrawn, until a pass restores it")]
    Withdrawn,
    /// A table could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Revokes or restores a learner's certificate, or corrects the name on it.
///
/// # Errors
/// The action does not apply, or the store failed.
pub async fn correct_certificate(
    records: &Records,
    certificates: &Certificates,
    (user_id, course_id): (Uuid, &CourseId),
    action: &CertificateAction,
    by: &Change,
    at: Timestamp,
) -> Result<Corrected<Certificate>, CertificateActionError> {
    let found = records.find(user_id, course_id).await?;
    let mut certificate = found
        .certificate
        .ok_or(CertificateActionError::NoCertificate)?;
    let change_id = random::id();
    retry_on_conflict(async || {
        let (state, renamed) = match action {
            CertificateAction::Revoke => (CertificateState::Revoked, None),
            CertificateAction::Restore if certificate.state == CertificateState::Withdrawn => {
                return Err(CertificateActionError::Withdrawn);
            }
            CertificateAction::Restore => (certificate.state_unless_revoked(), None),
            CertificateAction::Rename(to) => (certificate.state, certificate.renaming(to)),
        };
        if certificate.state == state && renamed.is_none() {
            return Ok(ChangeAttempt::Done(Corrected {
                now: certificate.clone(),
                changed: false,
            }));
        }
        let entry = CertificateEntry {
            at,
            change_id,
            by: by.clone(),
            state,
            renamed,
        };
        let after = certificate.after(entry);
        certificate = certificates.put(&certificate, &after).await?;
        Ok(if certificate.holds(change_id) {
            ChangeAttempt::Done(Corrected {
                now: certificate.clone(),
                changed: true,
            })
        } else {
            ChangeAttempt::Conflict
        })
    })
    .await
}

/// Has a pending event retried at once and restarts its waiting time, whatever its current
/// state. Returns the event as it is then, or `None` if it is gone because it took effect or
/// was removed.
pub async fn retry_event(
    pending_events: &PendingEvents,
    mut event: PendingEvent,
    at: Timestamp,
) -> Result<Option<PendingEvent>, StoreError> {
    retry_on_conflict(async || {
        let retried = event.clone().retried(at);
        if pending_events.save(&retried).await? {
            return Ok(ChangeAttempt::Done(Some(retried)));
        }
        let key = [retried.event_key];
        match pending_events.get_many(&key).await?.pop() {
            Some(found) => event = found?,
            None => return Ok(ChangeAttempt::Done(None)),
        }
        Ok(ChangeAttempt::Conflict)
    })
    .await
}
