//! The LMS says that somebody is enrolled or has a role: what that does here.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use crate::adapters::store::StoreError;
use crate::adapters::store::enrollments::{Changed, EnrollmentChange, Enrollments};
use crate::adapters::store::kept_events::{KeptEvents, Waiting};
use crate::adapters::store::lookup::{Found, Lookup};
use crate::domain::{Change, CourseId, CourseRole, Email, EventKey, EventKind, Mode, Reason};

/// The roles of one write: DynamoDB bounds an expression, and what waited may
/// have more than it takes.
const ROLES_AT_ONCE: usize = 50;

/// Enrolls learners as the LMS announces it.
#[derive(Debug, Clone)]
pub struct Enrolling {
    lookup: Lookup,
    enrollments: Enrollments,
    kept_events: KeptEvents,
}

/// The LMS's announcement that somebody is enrolled in a run or has a role there.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The learner's; there may be no user of it yet.
    pub email: Email,
    /// `None` where what was sent cannot be a course id at all.
    pub course_id: Option<CourseId>,
    /// Added to the enrollment's roles; absent where none was announced.
    pub role: Option<CourseRole>,
    /// Counts only at creation; absent, a kept event's mode counts, or else `audit`.
    pub mode: Option<Mode>,
    /// Written into the enrollment's history.
    pub by: Change,
    /// The moment that the history, or the kept event, has for it.
    pub delivered_at: Timestamp,
}

/// What an announcement did.
#[derive(Debug, Clone)]
pub enum Enrolled {
    /// The enrollment stands as announced; `changed` says what that took.
    Stands {
        /// Who has the address.
        user_id: Uuid,
        /// The enrollment as it stands, and whether it is new, changed or as it was.
        changed: Box<Changed>,
        /// The mode that was announced, by this or by the event that waited.
        mode: Option<Mode>,
        /// Why a kept event that is done could not be removed. It will be
        /// found done when it is looked at again.
        left_over: Option<StoreError>,
    },
    /// The portal knows no such user. The event is kept, if it could ever come true.
    NoSuchUser {
        /// `None` where it is dropped, since no course id was sent.
        kept: Option<EventKey>,
    },
    /// The portal knows no such run. The event is kept, if it could ever come true.
    NoSuchRun {
        /// Who has the address.
        user_id: Uuid,
        /// `None` where it is dropped, since no course id was sent.
        kept: Option<EventKey>,
    },
}

impl Enrolling {
    /// Takes the tables that the function was wired with. Makes no call.
    pub fn new(lookup: Lookup, enrollments: Enrollments, kept_events: KeptEvents) -> Self {
        Self {
            lookup,
            enrollments,
            kept_events,
        }
    }

    /// Enrolls the learner, or keeps the event until user and run are known.
    ///
    /// Two round trips; one more where a kept event of the same key is done by this.
    pub async fn enroll(&self, announcement: &Announcement) -> Result<Enrolled, StoreError> {
        let event = announcement.course_id.as_ref().map(|course_id| {
            let key = EventKey::of(EventKind::Enrollment, &announcement.email, course_id);
            (course_id, key)
        });
        let wanted = event.as_ref().map(|(course_id, key)| (*course_id, key));
        let found = self.lookup.find(&announcement.email, wanted).await?;

        let Found {
            user_id: Some(user_id),
            run_exists,
            kept,
        } = found
        else {
            let kept = self.keep(announcement, Reason::NoSuchUser).await?;
            return Ok(Enrolled::NoSuchUser { kept });
        };
        let (true, Some(course_id)) = (run_exists, &announcement.course_id) else {
            let kept = self.keep(announcement, Reason::NoSuchRun).await?;
            return Ok(Enrolled::NoSuchRun { user_id, kept });
        };

        // An event that waited takes effect together with this one.
        let mut roles = BTreeSet::from_iter(announcement.role.clone());
        let mut mode = announcement.mode.clone();
        if let Some(kept) = &kept {
            roles.extend(kept.roles.iter().cloned());
            mode = mode.or_else(|| kept.mode.clone());
        }
        let roles = Vec::from_iter(roles);
        let (first, rest) = roles.split_at(roles.len().min(ROLES_AT_ONCE));
        let write = async |roles: &[CourseRole]| {
            let (by, at) = (announcement.by.clone(), announcement.delivered_at);
            let change = EnrollmentChange::new(user_id, course_id.clone(), by, at);
            let roles = roles.iter().cloned().collect();
            self.enrollments
                .announce(&change, mode.as_ref(), &roles)
                .await
        };
        let mut changed = write(first).await?;
        for roles in rest.chunks(ROLES_AT_ONCE) {
            changed = changed.and_then(write(roles).await?);
        }
        let left_over = match kept {
            Some(kept) => self.kept_events.remove(&kept).await.err(),
            None => None,
        };
        Ok(Enrolled::Stands {
            user_id,
            changed: Box::new(changed),
            mode,
            left_over,
        })
    }

    async fn keep(
        &self,
        announcement: &Announcement,
        reason: Reason,
    ) -> Result<Option<EventKey>, StoreError> {
        let Some(course_id) = &announcement.course_id else {
            return Ok(None);
        };
        let waiting = Waiting {
            kind: EventKind::Enrollment,
            email: &announcement.email,
            course_id,
            role: announcement.role.as_ref(),
            mode: announcement.mode.as_ref(),
            reason,
            delivered_at: announcement.delivered_at,
        };
        self.kept_events.keep(&waiting).await.map(Some)
    }

    /// Opens the connection to the tables.
    pub async fn warm_up(&self) {
        // A failure here is no matter: the first request meets it again and says so.
        let _ = self.lookup.warm_up().await;
    }
}
