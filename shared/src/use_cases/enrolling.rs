//! Somebody is enrolled or has a role, says the LMS or an operator: what that
//! does here.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::adapters::store::StoreError;
use crate::adapters::store::enrollments::{Changed, EnrollmentChange, Enrollments};
use crate::adapters::store::kept_events::{KeptEvents, Waiting};
use crate::adapters::store::lookup::{Found, Lookup};
use crate::domain::{
    Change, CourseId, CourseRole, Email, EventKey, EventKind, KeptEvent, KeptState, Mode, Reason,
};

/// The roles of one write: DynamoDB bounds an expression, and what waited may
/// have more than it takes.
const ROLES_AT_ONCE: usize = 50;

/// How long after an enrollment is about to change a certificate's event that
/// waits for it is looked at: by then the write is done, or given up, also an
/// operator's, whose calls are more patient.
const AFTER_THE_WRITE: SignedDuration = SignedDuration::from_secs(90);

/// Enrolls learners as the LMS announces it, or as an operator says.
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
    pub at: Timestamp,
    /// For a kept event that is looked at again, when it was delivered: an
    /// enrollment that was changed since stays as active as it is.
    pub yields_to: Option<Timestamp>,
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
        /// `None` where it is not kept, since no course id was sent.
        kept: Option<EventKey>,
    },
    /// The portal knows no such run. The event is kept, if it could ever come true.
    NoSuchRun {
        /// Who has the address.
        user_id: Uuid,
        /// The address that they have, also where a former one was announced.
        email: Email,
        /// `None` where it is not kept, since no course id was sent.
        kept: Option<EventKey>,
    },
}

/// What an operator's word did.
#[derive(Debug, Clone)]
pub enum Set {
    /// The enrollment stands as said.
    Stands(Box<Changed>),
    /// The portal knows no such user.
    NoSuchUser,
    /// The portal knows no such run.
    NoSuchRun,
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
    /// Two round trips; one more where a kept event of the same key is done by
    /// this, and two where a certificate's waits for it.
    pub async fn enroll(&self, announcement: &Announcement) -> Result<Enrolled, StoreError> {
        Ok(match self.attempt(announcement).await? {
            Enrolled::NoSuchUser { .. } => Enrolled::NoSuchUser {
                kept: self
                    .keep(announcement, &announcement.email, Reason::NoSuchUser)
                    .await?,
            },
            Enrolled::NoSuchRun { user_id, email, .. } => Enrolled::NoSuchRun {
                user_id,
                kept: self.keep(announcement, &email, Reason::NoSuchRun).await?,
                email,
            },
            stands => stands,
        })
    }

    /// Enrolls the learner if user and run are known. Keeps nothing; a kept
    /// event of the same key takes effect together with this, and is removed.
    pub async fn attempt(&self, announcement: &Announcement) -> Result<Enrolled, StoreError> {
        let found = self
            .find(&announcement.email, announcement.course_id.as_ref())
            .await?;
        let Some(user) = &found.user else {
            return Ok(Enrolled::NoSuchUser { kept: None });
        };
        let user_id = user.user_id;
        let (Some(_), Some(course_id)) = (&found.run, &announcement.course_id) else {
            return Ok(Enrolled::NoSuchRun {
                user_id,
                email: user.email.clone(),
                kept: None,
            });
        };
        let waiting = certificates_that_wait(&found);
        self.will_change(&waiting, announcement.at).await?;

        let mut roles = BTreeSet::from_iter(announcement.role.clone());
        let mut mode = announcement.mode.clone();
        let mut yields_to = announcement.yields_to;
        for kept in found.kept(EventKind::Enrollment) {
            roles.extend(kept.roles.iter().cloned());
            mode = mode.or_else(|| kept.mode.clone());
            yields_to = yields_to.map(|at| at.max(kept.delivered_at));
        }
        let roles = Vec::from_iter(roles);
        let (first, rest) = roles.split_at(roles.len().min(ROLES_AT_ONCE));
        let write = async |roles: &[CourseRole]| {
            let (by, at) = (announcement.by.clone(), announcement.at);
            let change = EnrollmentChange::new(user_id, course_id.clone(), by, at);
            let roles = roles.iter().cloned().collect();
            self.enrollments
                .announce(&change, mode.as_ref(), &roles, yields_to)
                .await
        };
        let mut changed = write(first).await?;
        for roles in rest.chunks(ROLES_AT_ONCE) {
            changed = changed.and_then(write(roles).await?);
        }
        self.has_changed(&waiting, announcement.at).await;
        let mut left_over = None;
        for kept in found.kept(EventKind::Enrollment) {
            left_over = self.kept_events.remove(kept).await.err().or(left_over);
        }
        Ok(Enrolled::Stands {
            user_id,
            changed: Box::new(changed),
            mode,
            left_over,
        })
    }

    /// Does what an operator says: the mode is set and no longer the LMS's
    /// affair, and the enrollment is active or, as `unenrolled`, inactive.
    pub async fn set(
        &self,
        email: &Email,
        course_id: &CourseId,
        mode: &Mode,
        active: bool,
        by: Change,
        at: Timestamp,
    ) -> Result<Set, StoreError> {
        let found = self.find(email, Some(course_id)).await?;
        let Some(user) = &found.user else {
            return Ok(Set::NoSuchUser);
        };
        if found.run.is_none() {
            return Ok(Set::NoSuchRun);
        }
        let waiting = certificates_that_wait(&found);
        self.will_change(&waiting, at).await?;
        let change = EnrollmentChange::new(user.user_id, course_id.clone(), by, at);
        let changed = self.enrollments.set(&change, mode, active).await?;
        self.has_changed(&waiting, at).await;
        Ok(Set::Stands(Box::new(changed)))
    }

    async fn find(&self, email: &Email, run: Option<&CourseId>) -> Result<Found, StoreError> {
        let kinds = [EventKind::Enrollment, EventKind::Certificate];
        self.lookup.find(email, run, &kinds).await
    }

    async fn will_change(&self, waiting: &[&KeptEvent], now: Timestamp) -> Result<(), StoreError> {
        for event in waiting {
            will_change(&self.kept_events, event, now).await?;
        }
        Ok(())
    }

    async fn has_changed(&self, waiting: &[&KeptEvent], now: Timestamp) {
        for event in waiting {
            has_changed(&self.kept_events, event, now).await;
        }
    }

    async fn keep(
        &self,
        announcement: &Announcement,
        email: &Email,
        reason: Reason,
    ) -> Result<Option<EventKey>, StoreError> {
        let Some(course_id) = &announcement.course_id else {
            return Ok(None);
        };
        let waiting = Waiting {
            kind: EventKind::Enrollment,
            email,
            course_id,
            role: announcement.role.as_ref(),
            mode: announcement.mode.as_ref(),
            obstacle: &reason.into(),
            delivered_at: announcement.at,
        };
        self.kept_events.keep(&waiting).await.map(Some)
    }

    /// Opens the connection to the tables.
    pub async fn warm_up(&self) {
        // A failure here is no matter: the first request meets it again and says so.
        let _ = self.lookup.warm_up().await;
    }
}

/// The certificate's events of the same learner and run that wait for the
/// enrollment to become active and paid.
fn certificates_that_wait(found: &Found) -> Vec<&KeptEvent> {
    let events = found.kept(EventKind::Certificate);
    events.filter(|event| waits_for_enrollment(event)).collect()
}

/// Whether a certificate's event waits for the enrollment to become active and paid.
pub(super) fn waits_for_enrollment(event: &KeptEvent) -> bool {
    event.reason == Reason::NotEligible && event.state == KeptState::Waiting
}

/// Has a certificate's event that waits for an enrollment looked at soon after
/// the enrollment is written.
///
/// It is done before the write: whoever is stopped in between has caused a
/// look too many, and not one too few. Whoever looks at the event meanwhile
/// finds it changed, and leaves it due. An event that is kept later than it
/// was looked for here is looked at after a minute of its own.
pub(super) async fn will_change(
    kept_events: &KeptEvents,
    event: &KeptEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = now.checked_add(AFTER_THE_WRITE).unwrap_or(now);
    kept_events.look_at(event, at).await
}

/// Has it looked at now that the enrollment is written; whether it is. Where
/// this fails it is looked at a little later.
pub(super) async fn has_changed(
    kept_events: &KeptEvents,
    event: &KeptEvent,
    now: Timestamp,
) -> bool {
    matches!(kept_events.make_due(event, now).await, Ok(true))
}
