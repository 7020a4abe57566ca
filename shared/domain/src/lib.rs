//! Identifiers, records and rules. This module does not depend on AWS, HTTP, the environment or
//! the clock: times and random identifiers are passed as arguments.

pub mod certificate;
pub mod certificate_rule;
pub mod course_id;
pub mod course_run;
pub mod credential;
pub mod digest;
pub mod email;
pub mod enrollment;
pub mod enrollment_change;
pub mod event;
pub mod given;
pub mod grade;
pub mod history;
pub mod moment;
pub mod page_cursor;
pub mod pending_event;
pub mod sweep;
pub mod terms;
mod text;
pub mod token;
pub mod user;

pub use certificate::{Certificate, CertificateEntry, CertificateState, Renaming};
pub use certificate_rule::Ineligible;
pub use course_id::CourseId;
pub use course_run::{CourseRun, CourseRunChange};
pub use credential::Credential;
pub use email::Email;
pub use enrollment::{Change, Enrollment, HistoryEntry, ModeSource};
pub use enrollment_change::{Announced, EnrollmentChange, Setting};
pub use event::{EventKey, EventKind, Lane};
pub use grade::{Grade, GradeEntry, LetterGrade, Percent, Score};
pub use history::History;
pub use page_cursor::{Cursor, PageCursor, PaginationError};
pub use pending_event::{
    AfterAttempt, Blocked, BlockedReason, EventState, NewPendingEvent, PendingEvent, Waited,
};
pub use sweep::{
    ByName, Checkpoint, Effect, Left, Names, Stage, SweepEnd, SweepKind, SweepOptions,
    SweepOutcome, Tally,
};
pub use terms::{CourseRole, Mode, PaidModes};
pub use user::{LearnerRef, User, UserRow, Username, UsernameKey};
