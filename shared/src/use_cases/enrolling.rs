//! Somebody is enrolled, un-enrolled or has a role, says the LMS or an operator:
//! what that does here.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::DeliveryError;
use crate::adapters::store::StoreError;
use crate::adapters::store::enrollments::{Changed, Enrollments};
use crate::adapters::store::lookup::{Found, FoundUser, Lookup};
use crate::adapters::store::pending_events::{NewPendingEvent, PendingEvents};
use crate::domain::{
    Announced, Blocked, BlockedReason, Change, CourseId, CourseRole, Email, EnrollmentChange,
    EventKey, EventKind, EventState, Mode, PaidModes, PendingEvent, Setting,
};

/// How long after an enrollment is about to change a certificate's event that
/// waits for it is retried: by then the write is done, or given up, also an
/// operator's, whose calls are more patient.
const AFTER_THE_WRITE: SignedDuration = SignedDuration::from_secs(90);

/// Enrolls learners as the LMS announces it, or as an operator says.
#[derive(Debug, Clone)]
pub struct Enrolling {
    lookup: Lookup,
    enrollments: Enrollments,
    pending_events: PendingEvents,
    paid_modes: PaidModes,
}

/// The LMS's announcement about a learner and a run, or the retry of one.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The learner's; there may be no user of it yet.
    pub email: Email,
    /// `None` where what was sent cannot be a course id at all.
    pub course_id: Option<CourseId>,
    /// What is delivered just now; `None` where what is pending is tried again.
    pub event: Option<EnrollmentEvent>,
    /// Written into the enrollment's history.
    pub by: Change,
    /// The moment that the history, or the pending event, has for it.
    pub at: Timestamp,
}

/// What a delivery says of a learner and a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentEvent {
    /// The learner is enrolled, or has a role.
    Enrolled {
        /// Added to the enrollment's roles; absent where none was announced.
        role: Option<CourseRole>,
        /// Counts where this creates or re-activates the enrollment, and as an
        /// upgrade to a paid mode; absent, a pending event's mode counts.
        mode: Option<Mode>,
    },
    /// The learner is un-enrolled.
    Unenrolled,
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
        /// Why a pending event that is done could not be removed. It will be
        /// found done when it is tried again.
        left_over: Option<StoreError>,
    },
    /// User and run are known, and the learner was never enrolled: there is
    /// nothing that an un-enrollment could change.
    NotEnrolled {
        /// Who has the address.
        user_id: Uuid,
        /// As in [`Enrolled::Stands`].
        left_over: Option<StoreError>,
    },
    /// The portal knows no such user.
    NoSuchUser {
        /// The pending event; `None` where it is not pending: it is an un-enrollment,
        /// or no course id was sent.
        pending: Option<EventKey>,
    },
    /// The portal knows no such run.
    NoSuchRun {
        /// Who has the address.
        user_id: Uuid,
        /// The address that they have, also where a former one was announced.
        email: Email,
        /// As in [`Enrolled::NoSuchUser`].
        pending: Option<EventKey>,
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
    /// There is no enrollment, and no mode to create one with was named.
    NotEnrolled,
}

impl Enrolling {
    /// Takes the tables that the function was wired with, and the modes in
    /// which a pass earns a certificate. Makes no call.
    pub fn new(
        lookup: Lookup,
        enrollments: Enrollments,
        pending_events: PendingEvents,
        paid_modes: PaidModes,
    ) -> Self {
        Self {
            lookup,
            enrollments,
            pending_events,
            paid_modes,
        }
    }

    /// Does what is announced, or keeps the event until user and run are known.
    /// An un-enrollment is never pending: it takes from the pending event what
    /// would enroll the learner.
    ///
    /// Two round trips where the enrollment is new or as announced; one more
    /// where it changes, and where a pending event of the same key is done by this,
    /// and two where a certificate's waits for it.
    ///
    /// # Errors
    /// The store failed. What fails not for a moment alone is stored as a pending event with the reason `failed`.
    pub async fn enroll(&self, announcement: &Announcement) -> Result<Enrolled, DeliveryError> {
        let enrolled = match self.attempt(announcement).await {
            Ok(enrolled) => enrolled,
            Err(error) => return Err(self.fails(announcement, error).await),
        };
        Ok(match enrolled {
            Enrolled::NoSuchUser { .. } => {
                let email = &announcement.email;
                let blocked = BlockedReason::NoSuchUser.into();
                let pending = self.add_pending(announcement, email, &blocked).await?;
                Enrolled::NoSuchUser { pending }
            }
            Enrolled::NoSuchRun { user_id, email, .. } => {
                let blocked = BlockedReason::NoSuchRun.into();
                let pending = self.add_pending(announcement, &email, &blocked).await?;
                Enrolled::NoSuchRun {
                    user_id,
                    email,
                    pending,
                }
            }
            stands => stands,
        })
    }

    /// Keeps an event that fails not for a moment alone, so that it takes effect
    /// once the cause is gone.
    async fn fails(&self, announcement: &Announcement, error: StoreError) -> DeliveryError {
        if error.is_outage() {
            return error.into();
        }
        let blocked = error.blocked();
        let pending = self
            .add_pending(announcement, &announcement.email, &blocked)
            .await;
        // Where it cannot be pending either, the first failure is what to tell.
        DeliveryError {
            error,
            pending: pending.unwrap_or_default(),
        }
    }

    /// Does what is announced if user and run are known. Keeps nothing; a pending
    /// event of the same key takes effect together with this, and is removed.
    pub async fn attempt(&self, announcement: &Announcement) -> Result<Enrolled, StoreError> {
        let Announcement {
            email,
            course_id,
            event,
            by,
            at,
        } = announcement;
        let found = self.find(email, course_id.as_ref()).await?;
        let is_unenrollment = *event == Some(EnrollmentEvent::Unenrolled);
        let (user, course_id) = match (&found, course_id) {
            (
                Found {
                    user: Some(user),
                    run: Some(_),
                    ..
                },
                Some(course_id),
            ) => (user, course_id),
            _ => {
                if is_unenrollment {
                    self.unenroll_pending(&found, *at).await?;
                }
                return Ok(unknown(found.user.as_ref()));
            }
        };
        let user_id = user.user_id;
        let announced = announced(&found, event.as_ref());
        let waiting = if is_unenrollment {
            Vec::new()
        } else {
            certificates_that_wait(&found)
        };
        self.schedule_retry(&waiting, *at).await?;
        let change = EnrollmentChange::new(user_id, course_id.clone(), by.clone(), *at);
        let changed = self
            .enrollments
            .change(&change, |before| {
                change.announce(before, &announced, &self.paid_modes)
            })
            .await?;
        self.wake_now(&waiting, *at).await;
        let mut left_over = None;
        for pending in found.pending(EventKind::Enrollment) {
            left_over = self
                .pending_events
                .remove(pending)
                .await
                .err()
                .or(left_over);
        }
        Ok(match changed {
            Some(changed) => Enrolled::Stands {
                user_id,
                changed: Box::new(changed),
                mode: announced.into_iter().rev().find_map(|event| event.mode),
                left_over,
            },
            None => Enrolled::NotEnrolled { user_id, left_over },
        })
    }

    /// Takes from the pending events what would enroll the learner.
    async fn unenroll_pending(&self, found: &Found, at: Timestamp) -> Result<(), StoreError> {
        for pending in found.pending(EventKind::Enrollment) {
            self.pending_events.unenroll(pending, at).await?;
        }
        Ok(())
    }

    /// Does what an operator says of an enrollment.
    pub async fn set(
        &self,
        email: &Email,
        course_id: &CourseId,
        setting: Setting,
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
        self.schedule_retry(&waiting, at).await?;
        let change = EnrollmentChange::new(user.user_id, course_id.clone(), by, at);
        let changed = self
            .enrollments
            .change(&change, |before| change.set(before, &setting))
            .await?;
        self.wake_now(&waiting, at).await;
        Ok(changed.map_or(Set::NotEnrolled, |changed| Set::Stands(Box::new(changed))))
    }

    async fn find(&self, email: &Email, run: Option<&CourseId>) -> Result<Found, StoreError> {
        let kinds = [EventKind::Enrollment, EventKind::Certificate];
        self.lookup.find(email, run, &kinds).await
    }

    async fn schedule_retry(
        &self,
        waiting: &[&PendingEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for event in waiting {
            schedule_retry(&self.pending_events, event, now).await?;
        }
        Ok(())
    }

    async fn wake_now(&self, waiting: &[&PendingEvent], now: Timestamp) {
        for event in waiting {
            wake_now(&self.pending_events, event, now).await;
        }
    }

    async fn add_pending(
        &self,
        announcement: &Announcement,
        email: &Email,
        blocked: &Blocked,
    ) -> Result<Option<EventKey>, StoreError> {
        let (Some(course_id), Some(EnrollmentEvent::Enrolled { role, mode })) =
            (&announcement.course_id, &announcement.event)
        else {
            return Ok(None);
        };
        let waiting = NewPendingEvent {
            kind: EventKind::Enrollment,
            email,
            course_id,
            role: role.as_ref(),
            mode: mode.as_ref(),
            blocked,
            delivered_at: announcement.at,
        };
        self.pending_events.add(&waiting).await.map(Some)
    }

    /// Opens the connection to the tables.
    pub async fn warm_up(&self) {
        // A failure here is no matter: the first request meets it again and says so.
        let _ = self.lookup.warm_up().await;
    }
}

/// What becomes of an announcement whose user or run is not known.
fn unknown(user: Option<&FoundUser>) -> Enrolled {
    match user {
        None => Enrolled::NoSuchUser { pending: None },
        Some(user) => Enrolled::NoSuchRun {
            user_id: user.user_id,
            email: user.email.clone(),
            pending: None,
        },
    }
}

/// What is announced in all, oldest first: what is pending, and then what is
/// delivered just now. An un-enrollment leaves of what is pending the roles.
fn announced(found: &Found, delivered: Option<&EnrollmentEvent>) -> Vec<Announced> {
    let is_unenrollment = delivered == Some(&EnrollmentEvent::Unenrolled);
    let mut events: Vec<_> = found
        .pending(EventKind::Enrollment)
        .map(|pending| Announced {
            active: !pending.unenrolled && !is_unenrollment,
            mode: pending
                .mode
                .clone()
                .filter(|_| !pending.unenrolled && !is_unenrollment),
            roles: pending.roles.clone(),
            delivered_at: Some(pending.delivered_at),
        })
        .collect();
    events.sort_by_key(|event| event.delivered_at);
    events.extend(delivered.map(|delivered| match delivered {
        EnrollmentEvent::Enrolled { role, mode } => Announced {
            active: true,
            mode: mode.clone(),
            roles: BTreeSet::from_iter(role.clone()),
            delivered_at: None,
        },
        EnrollmentEvent::Unenrolled => Announced {
            active: false,
            mode: None,
            roles: BTreeSet::new(),
            delivered_at: None,
        },
    }));
    events
}

/// The certificate's events of the same learner and run that wait for the
/// enrollment to become active and paid.
fn certificates_that_wait(found: &Found) -> Vec<&PendingEvent> {
    let events = found.pending(EventKind::Certificate);
    events.filter(|event| waits_for_enrollment(event)).collect()
}

/// Whether a certificate's event waits for the enrollment to become active and paid.
pub(super) fn waits_for_enrollment(event: &PendingEvent) -> bool {
    event.reason == BlockedReason::NotEligible && event.state == EventState::Waiting
}

/// Has a certificate's event that waits for an enrollment retried soon after
/// the enrollment is written.
///
/// It is done before the write: whoever is stopped in between has caused a
/// look too many, and not one too few. Whoever retries the event meanwhile
/// finds it changed, and leaves it due. An pending event later than it
/// was looked for here is retried after a minute of its own.
pub(super) async fn schedule_retry(
    pending_events: &PendingEvents,
    event: &PendingEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = now.checked_add(AFTER_THE_WRITE).unwrap_or(now);
    pending_events.set_next_attempt(event, at).await
}

/// Has it retried now that the enrollment is written; whether it is. Where
/// this fails it is retried a little later.
pub(super) async fn wake_now(
    pending_events: &PendingEvents,
    event: &PendingEvent,
    now: Timestamp,
) -> bool {
    matches!(pending_events.make_due(event, now).await, Ok(true))
}
