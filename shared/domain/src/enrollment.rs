//! Learner's enrollment in a course run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CourseId, CourseRole, EventKey, History, Mode};

/// One learner's enrollment in one course run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrollment {
    /// Random id made when the enrollment is created, or the id that an import gives. It
    /// never changes; answers contain it.
    pub enrollment_id: Uuid,
    /// Together with `course_id` the table's key.
    pub user_id: Uuid,
    /// The run's id, as the LMS has it.
    pub course_id: CourseId,
    /// The mode in which the learner is enrolled. A pass earns a certificate only in some
    /// modes.
    pub mode: Mode,
    /// The source of the mode, or `None` if it is the LMS. A reactivation removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_set_by: Option<ModeSource>,
    /// False after an operator's `--inactive`, an import that says so, or a sweep that
    /// finds the learner un-enrolled, until a delivery, an operator or a sweep enrolls the
    /// learner again.
    pub active: bool,
    /// True if an operator made it inactive: sweeps leave it so. False if it is active.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inactive_by_operator: bool,
    /// True if the LMS has said that the learner is enrolled there.
    pub edx_enrolled: bool,
    /// All roles that deliveries or an import have named. Only an operator removes one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<CourseRole>,
    /// The reason why the enrollment is inactive, e.g. `unenrolled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_status: Option<String>,
    /// The time of the last entry in `history`.
    #[serde(serialize_with = "super::moment::serialize")]
    pub changed_at: Timestamp,
    /// Grows with every write. A conditional write requires the version that was read. Absent
    /// counts as 0, because other programs may write the item.
    #[serde(default)]
    pub version: u64,
    /// One entry for each write.
    #[serde(flatten)]
    pub history: History<HistoryEntry>,
}

/// The source of an enrollment's mode, if it is not the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeSource {
    /// A person with the command line, or a program other than ours. The LMS never changes
    /// the mode while the enrollment is active.
    Operator,
    /// An import. The LMS replaces the mode only with an upgrade to a paid mode.
    Import,
}

impl Enrollment {
    /// True if the history contains the write `change`. This distinguishes our own write,
    /// whose answer was lost, from another writer's.
    pub fn holds(&self, change: Uuid) -> bool {
        self.history.iter().any(|entry| entry.change_id == change)
    }
}

/// One write to an enrollment: its author, and the values that it set.
///
/// The state after a write results from all entries up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The time at which the delivery or the command came, to the millisecond.
    pub at: Timestamp,
    /// Id of the change, new for each change. A repeated attempt at its write has the same
    /// id.
    pub change_id: Uuid,
    /// In JSON its fields stand beside the entry's own.
    #[serde(flatten)]
    pub by: Change,
    /// The value of the enrollment's `active` after the write.
    pub active: bool,
    /// The value of the enrollment's `edx_enrolled` after the write; absent if unchanged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edx_enrolled: Option<bool>,
    /// The mode that the write set; absent if unchanged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
    /// The mode that the LMS named, whether or not the write set it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub announced_mode: Option<Mode>,
    /// The roles that the LMS or an import named. Those that the enrollment lacked were
    /// added.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub announced_roles: BTreeSet<CourseRole>,
    /// The roles that an operator removed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub removed_roles: BTreeSet<CourseRole>,
}

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Change {
    /// A delivery: the id of the request and the id of its token.
    Delivery {
        /// Lambda's id of the request, which both log lines contain; empty outside of
        /// Lambda.
        request_id: String,
        /// The token's id in the list of tokens.
        token_id: String,
    },
    /// A pending event that was retried.
    #[serde(rename = "pending_event")]
    PendingEvent {
        /// The key of the event whose deliveries caused the change of the enrollment, grade
        /// or certificate.
        event_key: EventKey,
        /// Lambda's id of the request that retried it; empty outside of Lambda.
        request_id: String,
    },
    /// A person with the command line.
    Operator {
        /// The variable `USER` or `LOGNAME` of their environment, else `operator`.
        name: String,
    },
    /// An import from another receiver.
    Import {
        /// The name of the person who imported it, as an operator's name.
        name: String,
    },
    /// A sweep: the LMS's list of the run has it so.
    Sweep {
        /// The sweep's own id, which its log lines contain.
        sweep_id: Uuid,
        /// The operator who ran it at a terminal; absent if the schedule ran it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        name: Option<String>,
    },
}
