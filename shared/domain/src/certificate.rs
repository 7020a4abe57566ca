//! Learner's certificate for a course run.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{Change, CourseId, History};

/// One learner's certificate for one course run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Random id made when it is first issued, or the id that an import gives. It never
    /// changes.
    pub certificate_id: Uuid,
    /// Together with `course_id` the table's key.
    pub user_id: Uuid,
    /// The run's id, as the LMS has it.
    pub course_id: CourseId,
    /// The state: whether the certificate counts.
    pub state: CertificateState,
    /// The time at which it was first issued. Restoring it does not change this.
    pub issued_at: Timestamp,
    /// The learner's name when it was issued, or as an operator has corrected it; absent if the
    /// portal had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learner_name: Option<String>,
    /// The run's title when it was issued; absent if the portal had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_title: Option<String>,
    /// Grows with every write. A conditional write requires the version that was read.
    pub version: u64,
    /// One entry for each write.
    #[serde(flatten)]
    pub history: History<CertificateEntry>,
}

/// The state of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// It counts.
    InForce,
    /// It was taken back because the grade became 0; a later pass restores it.
    Withdrawn,
    /// It was taken back by an operator; only an operator restores it.
    Revoked,
}

/// Error of a text that is not a state of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is none of in_force, withdrawn and revoked")]
pub struct CertificateStateError;

impl FromStr for CertificateState {
    type Err = CertificateStateError;

    fn from_str(text: &str) -> Result<Self, CertificateStateError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or(CertificateStateError)
    }
}

impl CertificateState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::InForce, Self::Withdrawn, Self::Revoked];

    /// Returns the name of the state in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }
}

/// One write to a certificate: its author, the state after it, and the corrected name, if it
/// corrected the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// The time at which the delivery or the command came, to the millisecond.
    pub at: Timestamp,
    /// Id of the change, new for each change. A repeated attempt at its write has the same id.
    pub change_id: Uuid,
    /// In JSON its fields stand beside the entry's own.
    #[serde(flatten)]
    pub by: Change,
    /// The state after the write.
    pub state: CertificateState,
    /// The correction of the name, if the write was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub renamed: Option<Renaming>,
}

/// A correction of the name. `Debug` shows neither of the two names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renaming {
    /// The name before; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// The name after.
    pub to: String,
}

impl fmt::Debug for Renaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renaming(..)")
    }
}

/// Shows only ids and state; the name is personal data.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certificate_id,
            user_id,
            state,
            history,
            ..
        } = self;
        write!(
            f,
            "Certificate({certificate_id} of {user_id}, {state:?}, {history:?})"
        )
    }
}

impl Certificate {
    /// Returns the certificate after the write that this entry records.
    #[must_use]
    pub fn after(&self, entry: CertificateEntry) -> Self {
        let mut after = self.clone();
        after.state = entry.state;
        if let Some(Renaming { to, .. }) = &entry.renamed {
            after.learner_name = Some(to.clone());
        }
        after.version += 1;
        after.history.push(entry);
        after
    }

    /// The correction that makes `to` the name on it, or `None` if it already is.
    pub fn renaming(&self, to: &str) -> Option<Renaming> {
        let from = self.learner_name.as_deref();
        (from != Some(to)).then(|| Renaming {
            from: from.map(str::to_owned),
            to: to.to_owned(),
        })
    }

    /// The entry of the write that set the current state, if that entry is still stored.
    /// Corrections of the name are skipped: they are possible in any state.
    pub fn last_of_state(&self) -> Option<&CertificateEntry> {
        let mut entries = self.history.iter().rev();
        entries.find(|entry| entry.renamed.is_none())
    }

    /// The state before it was revoked; if it is not revoked, the current state.
    pub fn state_unless_revoked(&self) -> CertificateState {
        let states = self.history.iter().rev().map(|entry| entry.state);
        let mut states = [self.state].into_iter().chain(states);
        let found = states.find(|state| *state != CertificateState::Revoked);
        found.unwrap_or(CertificateState::InForce)
    }

    /// True if the history contains the write `change`. This distinguishes our own write, whose
    /// answer was lost, from another writer's.
    pub fn holds(&self, change: Uuid) -> bool {
        self.history.iter().any(|entry| entry.change_id == change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_before_a_revocation_is_found() {
        use CertificateState::{InForce, Revoked, Withdrawn};
        for (states, before) in [
            (&[InForce][..], InForce),
            (&[InForce, Revoked], InForce),
            (&[InForce, Withdrawn, Revoked], Withdrawn),
            (&[InForce, Withdrawn, InForce, Revoked, Revoked], InForce),
            (&[InForce, Withdrawn], Withdrawn),
            (&[Revoked], InForce),
        ] {
            let entry = |state: &CertificateState| CertificateEntry {
                at: Timestamp::UNIX_EPOCH,
                change_id: Uuid::nil(),
                by: Change::Operator { name: "op".into() },
                state: *state,
                renamed: None,
            };
            let certificate = Certificate {
                certificate_id: Uuid::nil(),
                user_id: Uuid::nil(),
                course_id: "course-v1:a+b+c".parse().unwrap(),
                state: states[states.len() - 1],
                issued_at: Timestamp::UNIX_EPOCH,
                learner_name: Some("Ada Lovelace".to_owned()),
                run_title: None,
                version: 1,
                history: Vec::from_iter(states.iter().map(entry)).into(),
            };
            assert_eq!(certificate.state_unless_revoked(), before, "{states:?}");
            assert!(
                !format!("{certificate:?}").contains("Lovelace"),
                "{states:?}"
            );

            // A correction of the name changes no state, and its entry is not one of a state.
            let renaming = CertificateEntry {
                renamed: certificate.renaming("Ada King"),
                change_id: Uuid::max(),
                ..entry(&certificate.state)
            };
            let renamed = certificate.after(renaming);
            assert_eq!(
                renamed.learner_name.as_deref(),
                Some("Ada King"),
                "{states:?}"
            );
            assert_eq!(renamed.state_unless_revoked(), before, "{states:?}");
            assert_eq!(
                renamed.last_of_state(),
                certificate.history.last(),
                "{states:?}"
            );
            assert_eq!(renamed.renaming("Ada King"), None, "{states:?}");
            assert!(renamed.holds(Uuid::max()), "{states:?}");
            let shown = format!("{renamed:?}");
            assert!(
                !shown.contains("Lovelace") && !shown.contains("King"),
                "{states:?}: {shown}"
            );
        }
    }
}
