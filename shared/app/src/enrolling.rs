//! Enrollments, un-enrollments and roles, announced by the LMS or set by an operator.

use std::collections::BTreeSet;

use common::random;
use domain::{
    Announced, Blocked, BlockedReason, Change, CourseId, CourseRole, Email, EnrollmentChange,
    EventKey, EventKind, EventState, Mode, PaidModes, PendingEvent, Setting,
};
use jiff::{SignedDuration, Timestamp};
use store::StoreError;
use store::enrollments::{Changed, Enrollments};
use store::lookup::{Found, FoundUser, Lookup};
use store::pending_events::{NewPendingEvent, PendingEvents};
use uuid::Uuid;

use super::{DeliveryError, blocked_by};

/// The time from just before the write of an enrollment to the retry of the certificate event
/// that waits for it. By then the write is done or given up, even an operator's, whose calls
/// wait longer.
const AFTER_THE_WRITE: SignedDuration = SignedDuration::from_secs(90);

/// Enrolls learners as the LMS announces it, or as an operator sets it.
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
    /// The learner's address. There may be no user with it yet.
    pub email: Email,
    /// The run, or `None` if the text that was sent cannot be a course id.
    pub course_id: Option<CourseId>,
    /// The event that is being delivered, or `None` if a pending event is retried.
    pub event: Option<EnrollmentEvent>,
    /// The author, written into the enrollment's history.
    pub by: Change,
    /// The time to be stored in the history or in the pending event.
    pub at: Timestamp,
}

/// The content of a delivery about a learner and a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentEvent {
    /// The learner is enrolled, or has a role.
    Enrolled {
        /// The role to be added to the enrollment's roles; absent if none was announced.
        role: Option<CourseRole>,
        /// The mode. It counts if this creates or reactivates the enrollment, or if it is an
        /// upgrade to a paid mode. If it is absent, a pending event's mode counts.
        mode: Option<Mode>,
    },
    /// The learner is un-enrolled.
    Unenrolled,
}

/// The result of an announcement.
#[derive(Debug, Clone)]
pub enum Enrolled {
    /// The enrollment is as announced.
    Stands {
        /// The id of the user who has the address.
        user_id: Uuid,
        /// The enrollment, and whether it was created, updated or unchanged.
        changed: Box<Changed>,
        /// The mode that was announced, by this delivery or by the event that waited.
        mode: Option<Mode>,
        /// The error if a pending event that has taken effect could not be removed. Its next
        /// attempt will find it done.
        left_over: Option<StoreError>,
    },
    /// User and run are known, but there is nothing to change: the learner who leaves was never
    /// enrolled, or a delivery has applied the retried event meanwhile.
    NotEnrolled {
        /// The id of the user who has the address.
        user_id: Uuid,
        /// As in [`Enrolled::Stands`].
        left_over: Option<StoreError>,
    },
    /// The portal has no such user.
    NoSuchUser {
        /// The key of the pending event. `None` if none was stored because this is an
        /// un-enrollment, or because no course id was sent.
        pending: Option<EventKey>,
    },
    /// The portal has no such run.
    NoSuchRun {
        /// The id of the user who has the address.
        user_id: Uuid,
        /// The learner's current address, even if a former one was announced.
        email: Email,
        /// As in [`Enrolled::NoSuchUser`].
        pending: Option<EventKey>,
    },
}

/// The result of an operator's command about an enrollment.
#[derive(Debug, Clone)]
pub enum Set {
    /// The enrollment is as the operator set it.
    Stands(Box<Changed>),
    /// The portal has no such user.
    NoSuchUser,
    /// The portal has no such run.
    NoSuchRun,
    /// There is no enrollment, and no mode to create one with was named.
    NotEnrolled,
}

impl Enrolling {
    /// Takes the function's tables, and the modes in which a pass earns a certificate. Makes no
    /// call.
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

    /// Applies an announcement, or stores a pending event until user and run are known. An
    /// un-enrollment is never stored: it removes from a pending event the part that would
    /// enroll the learner.
    ///
    /// The cost is two round trips if the enrollment is new or already as announced. A change
    /// of the enrollment costs one more, the removal of a pending event with the same key one
    /// more, and a certificate event that waits for the enrollment two more.
    ///
    /// # Errors
    /// The store failed. If the error is not temporary, the event is stored as a pending event
    /// with the reason `failed`.
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

    /// Stores a pending event if the error is not temporary, so that the event takes effect
    /// once the cause is fixed.
    async fn fails(&self, announcement: &Announcement, error: StoreError) -> DeliveryError {
        if error.is_outage() {
            return error.into();
        }
        let blocked = blocked_by(&error);
        let pending = self
            .add_pending(announcement, &announcement.email, &blocked)
            .await;
        // If the event cannot be stored either, the first error is reported.
        DeliveryError {
            error,
            pending: pending.unwrap_or_default(),
        }
    }

    /// Applies an announcement if user and run are known. Stores no pending event. A pending
    /// event with the same key takes effect together with this one, and is removed.
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
        if announced.is_empty() {
            // A delivery has applied the event that is retried.
            return Ok(Enrolled::NotEnrolled {
                user_id,
                left_over: None,
            });
        }
        let waiting = if is_unenrollment {
            Vec::new()
        } else {
            certificates_that_wait(&found)
        };
        self.schedule_retry(&waiting, *at).await?;
        let change = EnrollmentChange::new(user_id, course_id.clone(), by.clone(), *at, random::id);
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

    /// Removes from the pending events the part that would enroll the learner.
    async fn unenroll_pending(&self, found: &Found, at: Timestamp) -> Result<(), StoreError> {
        for pending in found.pending(EventKind::Enrollment) {
            self.pending_events.unenroll(pending, at).await?;
        }
        Ok(())
    }

    /// Sets an enrollment as an operator says.
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
        let change = EnrollmentChange::new(user.user_id, course_id.clone(), by, at, random::id);
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
        // A failure is ignored here: the first request meets the same failure and reports it.
        let _ = self.lookup.warm_up().await;
    }
}

/// Returns the result of an announcement whose user or run is not known.
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

/// Returns all announcements, oldest first: the pending ones, then the one that is being
/// delivered. An un-enrollment leaves only the roles of the pending ones.
fn announced(found: &Found, delivered: Option<&EnrollmentEvent>) -> Vec<Announced> {
    let is_unenrollment = delivered == Some(&EnrollmentEvent::Unenrolled);
    let mut events: Vec<_> = found
        .pending(EventKind::Enrollment)
        .map(|pending| {
            let active = !pending.unenrolled && !is_unenrollment;
            Announced {
                active,
                mode: if active { pending.mode.clone() } else { None },
                roles: pending.roles.clone(),
                delivered_at: Some(pending.delivered_at),
            }
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

/// Returns the pending certificate events of the same learner and run that wait for the
/// enrollment to become active and paid.
fn certificates_that_wait(found: &Found) -> Vec<&PendingEvent> {
    let events = found.pending(EventKind::Certificate);
    events.filter(|event| waits_for_enrollment(event)).collect()
}

/// True if a certificate event waits for the enrollment to become active and paid.
pub(super) fn waits_for_enrollment(event: &PendingEvent) -> bool {
    event.reason == BlockedReason::NotEligible && event.state == EventState::Waiting
}

/// Schedules the retry of a certificate event that waits for an enrollment for soon after the
/// enrollment is written.
///
/// This is done before the write: if the process is stopped in between, the event gets one
/// attempt too many, not one too few. An attempt that runs at the same time finds the event
/// changed, and leaves it due. An event that is stored after the read that looked for it here
/// is retried after a minute anyway.
pub(super) async fn schedule_retry(
    pending_events: &PendingEvents,
    event: &PendingEvent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = now.checked_add(AFTER_THE_WRITE).unwrap_or(now);
    pending_events.set_next_attempt(event, at).await
}

/// Makes the event due now that the enrollment is written. Returns true if that succeeded; if
/// it fails, the event is retried a little later.
pub(super) async fn wake_now(
    pending_events: &PendingEvents,
    event: &PendingEvent,
    now: Timestamp,
) -> bool {
    matches!(pending_events.make_due(event, now).await, Ok(true))
}
