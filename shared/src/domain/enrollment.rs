//! A learner's enrollment in a course run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CourseId, CourseRole, EventKey, History, Mode};

/// One learner in one course run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Made by chance when the enrollment is created, or as an import has it, and never changed;
    /// answers bear it.
    pub enrollment_id: Uuid,
    /// With `course_id` the table's key.
    pub user_id: Uuid,
    /// The run's id, as the LMS has it.
    pub course_id: CourseId,
    /// How the learner is enrolled; a pass earns a certificate in some modes alone.
    pub mode: Mode,
    /// Who chose the mode, where that was not the LMS. A re-activation removes it.
    pub mode_set_by: Option<ModeSource>,
    /// False from an operator's `--inactive`, an import that says so, or a sweep that finds the
    /// learner un-enrolled, until a delivery, an operator or a sweep enrolls the learner again.
    pub active: bool,
    /// An operator made it inactive, and sweeps leave it so; false where it is active.
    pub inactive_by_operator: bool,
    /// The LMS has said that the learner is enrolled there.
    pub edx_enrolled: bool,
    /// All that deliveries or an import have named; an operator alone removes one.
    pub roles: BTreeSet<CourseRole>,
    /// Why an enrollment is inactive, e.g. `unenrolled`.
    pub change_status: Option<String>,
    /// The moment of the last entry in `history`.
    pub changed_at: Timestamp,
    /// Grows with every write; a change rests on the version that was read.
    pub version: u64,
    /// One entry for each write.
    pub history: History<HistoryEntry>,
}

/// Who chose an enrollment's mode, where that was not the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeSource {
    /// A person with the command line, or another program than ours: the LMS
    /// never changes the mode while the enrollment is active.
    Operator,
    /// An import: of what the LMS says, only an upgrade to a paid mode replaces it.
    Import,
}

impl Enrollment {
    /// Whether the write named `change` is in this enrollment: tells our own
    /// write, whose answer was lost, from somebody else's.
    pub fn holds(&self, change: Uuid) -> bool {
        self.history.iter().any(|entry| entry.change_id == change)
    }
}

/// One write to an enrollment: by whom, and what it made true.
///
/// The state after a write is that of the entries up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When the delivery or the command came, to the millisecond.
    pub at: Timestamp,
    /// New for each change; a second attempt at its write bears it again.
    pub change_id: Uuid,
    /// In JSON its fields stand beside the entry's own.
    #[serde(flatten)]
    pub by: Change,
    /// What the write made the enrollment's `active`.
    pub active: bool,
    /// What the write made the enrollment's `edx_enrolled`; absent where it left that alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edx_enrolled: Option<bool>,
    /// The mode that the write set; absent where it left that alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
    /// The mode that the LMS named, whether or not the write set it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub announced_mode: Option<Mode>,
    /// The roles that the LMS named, or an import; those that were not there were added.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub announced_roles: BTreeSet<CourseRole>,
    /// The roles that an operator removed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub removed_roles: BTreeSet<CourseRole>,
}

/// Who or what changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Change {
    /// A delivery: the id of the request, and of the token that it bore.
    Delivery {
        /// Lambda's id of the request, which both log lines bear; empty outside of Lambda.
        request_id: String,
        /// The token's id in the list of tokens.
        token_id: String,
    },
    /// A pending event that was retried.
    #[serde(rename = "pending_event")]
    PendingEvent {
        /// Whose deliveries the enrollment's, grade's or certificate's change goes back to.
        event_key: EventKey,
        /// Lambda's id of the request that looked; empty outside of Lambda.
        request_id: String,
    },
    /// A person with the command line.
    Operator {
        /// The variable `USER` or `LOGNAME` of their environment, else `operator`.
        name: String,
    },
    /// An import of what another receiver had.
    Import {
        /// Who imported it, as an operator's name.
        name: String,
    },
    /// A sweep: the LMS's list of the run has it so.
    Sweep {
        /// The sweep's own id, which its log lines bear.
        sweep_id: Uuid,
        /// The operator who made it at a terminal; absent where the schedule did.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        name: Option<String>,
    },
}
