//! Pending events are looked at again when they are due.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::asking_the_lms::{AskError, LmsClient};
use super::certifying::{CERTIFYING_TIME, Certifying, Obstruction, Outcome, Pass, Source};
use super::enrolling::{Announcement, Enrolled, Enrolling};
use crate::adapters::AwsFailure;
use crate::adapters::store::StoreError;
use crate::adapters::store::pending_events::{Due, PendingEvents, Removal};
use crate::clock::SharedClock;
use crate::domain::{
    Change, Email, EventKey, EventKind, EventState, Obstacle, PendingEvent, Reason, Verdict,
};
use crate::panic::caught;

/// How long one event may take; at a webhook it has no longer.
pub const LOOK_TIME: Duration = CERTIFYING_TIME;

/// How long an event is left alone that is not of the expected shape.
const UNREADABLE_FOR: SignedDuration = SignedDuration::from_hours(12);

/// How much longer a look may take than what it does may take.
const GRACE: Duration = Duration::from_secs(1);

/// Looks at pending events again, each through the use case of its webhook.
pub struct LookingAgain {
    pending_events: PendingEvents,
    enrolling: Enrolling,
    certifying: Certifying,
    lms: LmsClient,
    clock: SharedClock,
    at_once: usize,
}

/// The time of one run.
#[derive(Debug, Clone)]
pub struct Shift {
    /// Lambda's id of the request; for the histories.
    pub request_id: String,
    /// When the last event is claimed; [`LOOK_TIME`] later all are done.
    pub claim_until: Instant,
    /// When the process is stopped at the latest, and its events are anybody's again.
    pub lease: Timestamp,
}

/// One event that was looked at.
#[derive(Debug, Clone)]
pub struct Look {
    /// Its key.
    pub event_key: EventKey,
    /// As it was claimed; absent where it is not of the expected shape.
    pub event: Option<PendingEvent>,
    /// Absent where no user has the address.
    pub user_id: Option<Uuid>,
    /// What became of it.
    pub end: End,
}

impl Look {
    /// Whether a certificate was issued or restored.
    fn has_certified(&self) -> bool {
        let kind = self.event.as_ref().map(|event| event.kind);
        let is_created = matches!(self.end, End::Done { effect, .. } if effect == "created");
        kind == Some(EventKind::Certificate) && is_created
    }
}

/// What became of an event that was looked at.
#[derive(Debug, Clone)]
pub enum End {
    /// It took effect, or had before, and is gone.
    Done {
        /// What it did, in a word of the webhook's log.
        effect: &'static str,
        /// Why it could not be removed: it will be found done at its next look.
        left_over: Option<StoreError>,
    },
    /// It waits on, as this.
    Waits(Box<PendingEvent>),
    /// It has ended, as dead or expired.
    Ended(Box<PendingEvent>),
    /// It has waited long enough for this, and is gone.
    Dropped(Reason),
    /// The LMS is left alone: the look does not count.
    GivenBack,
    /// It was delivered again or made due meanwhile, and stays as that has left it.
    Changed,
    /// The store failed. It is looked at again when its lease is over, or
    /// later, where the failure is not one of a moment.
    Failed(StoreError),
    /// Something panicked, at this place in the source; it is looked at again later.
    Panicked(String),
}

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that were claimed.
    pub looked_at: u64,
    /// Of these, those that took effect.
    pub done: u64,
    /// Of these, those that could not be finished.
    pub failed: u64,
    /// Certificates that were issued or restored.
    pub certified: u64,
    /// Whether the LMS is left alone, and certificates' events with it.
    pub lms_rests: bool,
    /// How many events there are now that wait.
    pub waiting: u64,
    /// How many dead events there are now, whenever they died.
    pub dead: u64,
    /// How many expired events there are now.
    pub expired: u64,
}

/// What an attempt has found.
struct Attempt {
    user_id: Option<Uuid>,
    /// The address that the learner has, where there is a user.
    email: Option<Email>,
    found: Found,
}

enum Found {
    Effect(&'static str, Option<StoreError>),
    Obstacle(Obstacle),
    Resting(Timestamp),
}

impl LookingAgain {
    /// `at_once` events are looked at side by side: as many as may call the LMS
    /// at once. Makes no call.
    pub fn new(
        pending_events: PendingEvents,
        enrolling: Enrolling,
        certifying: Certifying,
        lms: LmsClient,
        clock: SharedClock,
        at_once: usize,
    ) -> Self {
        Self {
            pending_events,
            enrolling,
            certifying,
            lms,
            clock,
            at_once,
        }
    }

    /// Opens the connections to the tables and to the LMS.
    pub async fn warm_up(&self) {
        tokio::join!(self.enrolling.warm_up(), self.lms.warm_up());
    }

    /// Looks at the events that are due, the longest due first, until there
    /// are no more or the time is over. `tell` is told of each.
    ///
    /// Any number of runs may go on at once: each event is claimed by one.
    ///
    /// # Errors
    /// The store failed: what was claimed is finished, and no more claimed.
    pub async fn run(&self, shift: &Shift, tell: impl Fn(&Look)) -> Result<Summary, StoreError> {
        self.lms.begin();
        let now = self.clock.now();
        let pages = stream::try_unfold(Some(None), async |start| match start {
            None => Ok::<_, StoreError>(None),
            Some(start) => {
                let page = self.pending_events.due(now, start).await?;
                let due = stream::iter(page.entries.into_iter().map(Ok::<Due, StoreError>));
                Ok(Some((due, page.next.map(Some))))
            }
        });
        let stopped = AtomicBool::new(false);
        let goes_on = || !stopped.load(Ordering::Relaxed) && Instant::now() < shift.claim_until;
        let looks = pages
            .try_flatten()
            .take_while(|_| ready(goes_on()))
            .map(async |due| self.look(&due?, shift).await)
            .buffer_unordered(self.at_once);
        let mut looks = pin!(looks);

        let mut summary = Summary::default();
        let mut failure = None;
        while let Some(look) = looks.next().await {
            match look {
                Ok(None) => {}
                Ok(Some(look)) => {
                    summary.looked_at += 1;
                    summary.certified += u64::from(look.has_certified());
                    match &look.end {
                        End::Done { .. } => summary.done += 1,
                        End::Failed(_) | End::Panicked(_) => summary.failed += 1,
                        _ => {}
                    }
                    tell(&look);
                }
                Err(error) => {
                    stopped.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        summary.lms_rests = self.lms.is_resting();
        summary.waiting = self.pending_events.count(EventState::Waiting).await?;
        summary.dead = self.pending_events.count(EventState::Dead).await?;
        summary.expired = self.pending_events.count(EventState::Expired).await?;
        Ok(summary)
    }

    /// Looks at one event, if it can be claimed.
    async fn look(&self, due: &Due, shift: &Shift) -> Result<Option<Look>, StoreError> {
        // While the LMS is left alone, its events need not be claimed in vain.
        if due.kind == Some(EventKind::Certificate) && self.lms.is_resting() {
            return Ok(None);
        }
        let now = self.clock.now();
        let event_key = due.event_key.clone();
        let event = match self
            .pending_events
            .claim(&event_key, now, shift.lease)
            .await
        {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            // One event's fault is not the table's.
            Err(error @ StoreError::Corrupt(_)) => {
                let later = now.checked_add(UNREADABLE_FOR).unwrap_or(now);
                // Where this fails, it is claimed again when its lease is over.
                let _ = self.pending_events.put_off(&event_key, later).await;
                return Ok(Some(Look {
                    event_key,
                    event: None,
                    user_id: None,
                    end: End::Failed(error),
                }));
            }
            Err(error) => return Err(error),
        };
        let until = Instant::now() + LOOK_TIME;
        let attempt = self.attempt(&event, &shift.request_id, now, until);
        // Certifying keeps to the time by itself, and enrolling is cut short.
        let at_last = until + GRACE;
        let (user_id, end) = match caught(timeout_at(at_last, attempt)).await {
            Ok(Ok(Ok(Attempt {
                user_id,
                email,
                found,
            }))) => {
                let email = email.as_ref().unwrap_or(&event.email);
                let settled = self.settle(&event, email, found).await;
                (user_id, settled.unwrap_or_else(End::Failed))
            }
            Ok(Ok(Err(error))) => {
                let code = error.code().to_owned();
                let is_lasting = !error.is_outage();
                let end = End::Failed(error);
                (
                    None,
                    if is_lasting {
                        self.postpone(&event, code, end).await
                    } else {
                        end
                    },
                )
            }
            Ok(Err(_)) => (None, End::Failed(AwsFailure::Timeout.into())),
            Err(location) => {
                let end = End::Panicked(location);
                (
                    None,
                    self.postpone(&event, "Panicked".to_owned(), end).await,
                )
            }
        };
        Ok(Some(Look {
            event_key,
            event: Some(event),
            user_id,
            end,
        }))
    }

    /// Has an event wait that failed by itself, so that it is neither tried
    /// each time its lease is over nor for ever: `end`, unless that is its end.
    async fn postpone(&self, event: &PendingEvent, code: String, end: End) -> End {
        let failed = Found::Obstacle(Obstacle {
            error: Some(code),
            ..Reason::Failed.into()
        });
        match self.settle(event, &event.email, failed).await {
            Ok(ended @ End::Ended(_)) => ended,
            // Where it cannot even be written back, its lease ends by itself.
            _ => end,
        }
    }

    /// Does what the event's webhook would do, save for keeping the event.
    async fn attempt(
        &self,
        event: &PendingEvent,
        request_id: &str,
        now: Timestamp,
        until: Instant,
    ) -> Result<Attempt, StoreError> {
        let by = Change::PendingEvent {
            event_key: event.event_key.clone(),
            request_id: request_id.to_owned(),
        };
        match event.kind {
            EventKind::Enrollment => {
                let announcement = Announcement {
                    email: event.email.clone(),
                    course_id: Some(event.course_id.clone()),
                    event: None,
                    by,
                    at: now,
                };
                let (user, found) = match self.enrolling.attempt(&announcement).await? {
                    Enrolled::Stands {
                        user_id,
                        changed,
                        left_over,
                        ..
                    } => {
                        let effect = match changed.outcome {
                            super::Outcome::Created => "created",
                            super::Outcome::Updated => "updated",
                            super::Outcome::Unchanged => "unchanged",
                        };
                        (Some((user_id, None)), Found::Effect(effect, left_over))
                    }
                    Enrolled::NotEnrolled { user_id, left_over } => {
                        let effect = Found::Effect("unchanged", left_over);
                        (Some((user_id, None)), effect)
                    }
                    Enrolled::NoSuchUser { .. } => {
                        (None, Found::Obstacle(Reason::NoSuchUser.into()))
                    }
                    Enrolled::NoSuchRun { user_id, email, .. } => (
                        Some((user_id, Some(email))),
                        Found::Obstacle(Reason::NoSuchRun.into()),
                    ),
                };
                let (user_id, email) = user.unzip();
                let email = email.flatten();
                Ok(Attempt {
                    user_id,
                    email,
                    found,
                })
            }
            EventKind::Certificate => {
                let pass = Pass {
                    email: event.email.clone(),
                    course_id: Some(event.course_id.clone()),
                    by,
                    at: now,
                };
                let source = Source::Lms {
                    lms: &self.lms,
                    asking: &|_| {},
                };
                let certified = self.certifying.attempt(&pass, source, until).await?;
                let found = match certified.outcome {
                    Outcome::Exists(_) => Found::Effect("exists", certified.left_over),
                    Outcome::Created(_) => Found::Effect("created", certified.left_over),
                    Outcome::Revoked => Found::Effect("revoked", certified.left_over),
                    Outcome::Waits(why) => {
                        let now = self.clock.now();
                        let obstacle = why.obstacle(now);
                        match why {
                            Obstruction::Lms(AskError::Resting { .. }) => {
                                Found::Resting(obstacle.not_before.unwrap_or(now))
                            }
                            _ => Found::Obstacle(obstacle),
                        }
                    }
                };
                Ok(Attempt {
                    user_id: certified.user_id,
                    email: Some(certified.email),
                    found,
                })
            }
        }
    }

    /// Writes down what was found. An event that was pending under a former address
    /// of the learner goes on waiting under `email`, the one that they have:
    /// there it is found by what it waits for.
    async fn settle(
        &self,
        event: &PendingEvent,
        email: &Email,
        found: Found,
    ) -> Result<End, StoreError> {
        let now = self.clock.now();
        let (next, end) = match found {
            Found::Effect(effect, left_over) => return Ok(End::Done { effect, left_over }),
            Found::Resting(due) => (Box::new(event.clone().given_back(due)), End::GivenBack),
            Found::Obstacle(obstacle) => {
                let reason = obstacle.reason;
                match event.clone().looked_at(obstacle, now) {
                    Verdict::Kept(next) if next.state == EventState::Waiting => {
                        (next.clone(), End::Waits(next))
                    }
                    Verdict::Kept(next) => (next.clone(), End::Ended(next)),
                    Verdict::Dropped => {
                        return Ok(match self.pending_events.remove(event).await? {
                            Removal::Done | Removal::Gone => End::Dropped(reason),
                            Removal::Changed => End::Changed,
                        });
                    }
                }
            }
        };
        if !self.pending_events.settle(&next, now).await? {
            return Ok(End::Changed);
        }
        if *email != event.email {
            let settled = PendingEvent {
                version: next.version + 1,
                ..*next
            };
            self.pending_events.readdress(settled, email).await?;
        }
        Ok(end)
    }
}
