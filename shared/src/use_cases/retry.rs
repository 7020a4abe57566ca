//! Pending events are retried when they are due.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::certifying::{BlockedBy, CERTIFYING_TIME, CertifyOutcome, Certifying, Pass, Source};
use super::enrolling::{Announcement, Enrolled, Enrolling};
use super::lms::{LmsClient, LmsError};
use crate::adapters::AwsError;
use crate::adapters::store::StoreError;
use crate::adapters::store::pending_events::{Due, PendingEvents, Removal};
use crate::clock::SharedClock;
use crate::domain::{
    AfterAttempt, Blocked, BlockedReason, Change, Email, EventKey, EventKind, EventState,
    PendingEvent,
};
use crate::panic::caught;

/// How long one event may take; at a webhook it has no longer.
pub const ATTEMPT_TIME: Duration = CERTIFYING_TIME;

/// How long an event is left alone that is not of the expected shape.
const UNREADABLE_FOR: SignedDuration = SignedDuration::from_hours(12);

/// How much longer a attempt may take than what it does may take.
const GRACE: Duration = Duration::from_secs(1);

/// Retries pending events again, each through the use case of its webhook.
pub struct RetryWorker {
    pending_events: PendingEvents,
    enrolling: Enrolling,
    certifying: Certifying,
    lms: LmsClient,
    clock: SharedClock,
    at_once: usize,
}

/// The time of one run.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// Lambda's id of the request; for the histories.
    pub request_id: String,
    /// When the last event is claimed; [`ATTEMPT_TIME`] later all are done.
    pub claim_until: Instant,
    /// When the process is stopped at the latest, and its events are anybody's again.
    pub lease: Timestamp,
}

/// One event that was retried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its key.
    pub event_key: EventKey,
    /// As it was claimed; absent where it is not of the expected shape.
    pub event: Option<PendingEvent>,
    /// Absent where no user has the address.
    pub user_id: Option<Uuid>,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

impl Attempt {
    /// Whether a certificate was issued or restored.
    fn has_certified(&self) -> bool {
        let kind = self.event.as_ref().map(|event| event.kind);
        let is_created =
            matches!(self.outcome, AttemptOutcome::Done { effect, .. } if effect == "created");
        kind == Some(EventKind::Certificate) && is_created
    }
}

/// What became of an event that was retried.
#[derive(Debug, Clone)]
pub enum AttemptOutcome {
    /// It took effect, or had before, and is gone.
    Done {
        /// What it did, in a word of the webhook's log.
        effect: &'static str,
        /// Why it could not be removed: it will be outcome done at its next attempt.
        left_over: Option<StoreError>,
    },
    /// It waits on, as this.
    Waiting(Box<PendingEvent>),
    /// It has ended, as dead or expired.
    Ended(Box<PendingEvent>),
    /// It has waited long enough for this, and is gone.
    Dropped(BlockedReason),
    /// Requests to the LMS are paused: the attempt does not count.
    Released,
    /// It was delivered again or made due meanwhile, and stays as that has left it.
    Changed,
    /// The store failed. It is retried when its lease is over, or
    /// later, where the failure is not one of a moment.
    Failed(StoreError),
    /// Something panicked, at this place in the source; it is retried later.
    Panicked(String),
}

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetrySummary {
    /// Events that were claimed.
    pub attempted: u64,
    /// Of these, those that took effect.
    pub done: u64,
    /// Of these, those that could not be finished.
    pub failed: u64,
    /// Certificates that were issued or restored.
    pub certified: u64,
    /// Whether requests to the LMS are paused, and certificates' events with it.
    pub lms_paused: bool,
    /// How many events there are now that wait.
    pub waiting: u64,
    /// How many dead events there are now, whenever they died.
    pub dead: u64,
    /// How many expired events there are now.
    pub expired: u64,
}

/// What an attempt has outcome.
struct UseCaseResult {
    user_id: Option<Uuid>,
    /// The address that the learner has, where there is a user.
    email: Option<Email>,
    outcome: UseCaseOutcome,
}

enum UseCaseOutcome {
    Effect(&'static str, Option<StoreError>),
    Blocked(Blocked),
    Paused(Timestamp),
}

impl RetryWorker {
    /// `at_once` events are retried side by side: as many as may call the LMS
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

    /// Retries the events that are due, the longest due first, until there
    /// are no more or the time is over. `on_event` is told of each.
    ///
    /// Any number of runs may go on at once: each event is claimed by one.
    ///
    /// # Errors
    /// The store failed: what was claimed is finished, and no more claimed.
    pub async fn run(
        &self,
        context: &RunContext,
        on_event: impl Fn(&Attempt),
    ) -> Result<RetrySummary, StoreError> {
        self.lms.begin_invocation();
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
        let may_continue = || !stopped.load(Ordering::Relaxed) && Instant::now() < context.claim_until;
        let attempts = pages
            .try_flatten()
            .take_while(|_| ready(may_continue()))
            .map(async |due| self.attempt(&due?, context).await)
            .buffer_unordered(self.at_once);
        let mut attempts = pin!(attempts);

        let mut summary = RetrySummary::default();
        let mut failure = None;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(None) => {}
                Ok(Some(attempt)) => {
                    summary.attempted += 1;
                    summary.certified += u64::from(attempt.has_certified());
                    match &attempt.outcome {
                        AttemptOutcome::Done { .. } => summary.done += 1,
                        AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => {
                            summary.failed += 1
                        }
                        _ => {}
                    }
                    on_event(&attempt);
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
        summary.lms_paused = self.lms.is_paused();
        summary.waiting = self.pending_events.count(EventState::Waiting).await?;
        summary.dead = self.pending_events.count(EventState::Dead).await?;
        summary.expired = self.pending_events.count(EventState::Expired).await?;
        Ok(summary)
    }

    /// Retries one event, if it can be claimed.
    async fn attempt(
        &self,
        due: &Due,
        context: &RunContext,
    ) -> Result<Option<Attempt>, StoreError> {
        // While requests to the LMS are paused, its events need not be claimed in vain.
        if due.kind == Some(EventKind::Certificate) && self.lms.is_paused() {
            return Ok(None);
        }
        let now = self.clock.now();
        let event_key = due.event_key.clone();
        let event = match self
            .pending_events
            .claim(&event_key, now, context.lease)
            .await
        {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            // One event's fault is not the table's.
            Err(error @ StoreError::Corrupt(_)) => {
                let later = now.checked_add(UNREADABLE_FOR).unwrap_or(now);
                // Where this fails, it is claimed again when its lease is over.
                let _ = self.pending_events.postpone(&event_key, later).await;
                return Ok(Some(Attempt {
                    event_key,
                    event: None,
                    user_id: None,
                    outcome: AttemptOutcome::Failed(error),
                }));
            }
            Err(error) => return Err(error),
        };
        let until = Instant::now() + ATTEMPT_TIME;
        let attempt = self.perform(&event, &context.request_id, now, until);
        // Certifying keeps to the time by itself, and enrolling is cut short.
        let at_last = until + GRACE;
        let (user_id, outcome) = match caught(timeout_at(at_last, attempt)).await {
            Ok(Ok(Ok(UseCaseResult {
                user_id,
                email,
                outcome,
            }))) => {
                let email = email.as_ref().unwrap_or(&event.email);
                let saved = self.save(&event, email, outcome).await;
                (user_id, saved.unwrap_or_else(AttemptOutcome::Failed))
            }
            Ok(Ok(Err(error))) => {
                let code = error.code().to_owned();
                let is_lasting = !error.is_outage();
                let outcome = AttemptOutcome::Failed(error);
                (
                    None,
                    if is_lasting {
                        self.record_failure(&event, code, outcome).await
                    } else {
                        outcome
                    },
                )
            }
            Ok(Err(_)) => (None, AttemptOutcome::Failed(AwsError::Timeout.into())),
            Err(location) => {
                let outcome = AttemptOutcome::Panicked(location);
                (
                    None,
                    self.record_failure(&event, "Panicked".to_owned(), outcome)
                        .await,
                )
            }
        };
        Ok(Some(Attempt {
            event_key,
            event: Some(event),
            user_id,
            outcome,
        }))
    }

    /// Has an event wait that failed by itself, so that it is neither tried
    /// each time its lease is over nor for ever: `end`, unless that is its end.
    async fn record_failure(
        &self,
        event: &PendingEvent,
        code: String,
        outcome: AttemptOutcome,
    ) -> AttemptOutcome {
        let failed = UseCaseOutcome::Blocked(Blocked {
            error: Some(code),
            ..BlockedReason::Failed.into()
        });
        match self.save(event, &event.email, failed).await {
            Ok(ended @ AttemptOutcome::Ended(_)) => ended,
            // Where it cannot even be written back, its lease ends by itself.
            _ => outcome,
        }
    }

    /// Does what the event's webhook would do, save for keeping the event.
    async fn perform(
        &self,
        event: &PendingEvent,
        request_id: &str,
        now: Timestamp,
        until: Instant,
    ) -> Result<UseCaseResult, StoreError> {
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
                let (user, outcome) = match self.enrolling.attempt(&announcement).await? {
                    Enrolled::Stands {
                        user_id,
                        changed,
                        left_over,
                        ..
                    } => {
                        let effect = match changed.outcome {
                            super::ChangeOutcome::Created => "created",
                            super::ChangeOutcome::Updated => "updated",
                            super::ChangeOutcome::Unchanged => "unchanged",
                        };
                        (
                            Some((user_id, None)),
                            UseCaseOutcome::Effect(effect, left_over),
                        )
                    }
                    Enrolled::NotEnrolled { user_id, left_over } => {
                        let effect = UseCaseOutcome::Effect("unchanged", left_over);
                        (Some((user_id, None)), effect)
                    }
                    Enrolled::NoSuchUser { .. } => (
                        None,
                        UseCaseOutcome::Blocked(BlockedReason::NoSuchUser.into()),
                    ),
                    Enrolled::NoSuchRun { user_id, email, .. } => (
                        Some((user_id, Some(email))),
                        UseCaseOutcome::Blocked(BlockedReason::NoSuchRun.into()),
                    ),
                };
                let (user_id, email) = user.unzip();
                let email = email.flatten();
                Ok(UseCaseResult {
                    user_id,
                    email,
                    outcome,
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
                let outcome = match certified.outcome {
                    CertifyOutcome::Exists(_) => {
                        UseCaseOutcome::Effect("exists", certified.left_over)
                    }
                    CertifyOutcome::Created(_) => {
                        UseCaseOutcome::Effect("created", certified.left_over)
                    }
                    CertifyOutcome::Revoked => {
                        UseCaseOutcome::Effect("revoked", certified.left_over)
                    }
                    CertifyOutcome::Blocked(why) => {
                        let now = self.clock.now();
                        let blocked = why.blocked(now);
                        match why {
                            BlockedBy::Lms(LmsError::Paused { .. }) => {
                                UseCaseOutcome::Paused(blocked.not_before.unwrap_or(now))
                            }
                            _ => UseCaseOutcome::Blocked(blocked),
                        }
                    }
                };
                Ok(UseCaseResult {
                    user_id: certified.user_id,
                    email: Some(certified.email),
                    outcome,
                })
            }
        }
    }

    /// Writes down what was outcome. An event that was pending under a former address
    /// of the learner goes on waiting under `email`, the one that they have:
    /// there it is outcome by what it waits for.
    async fn save(
        &self,
        event: &PendingEvent,
        email: &Email,
        outcome: UseCaseOutcome,
    ) -> Result<AttemptOutcome, StoreError> {
        let now = self.clock.now();
        let (next, outcome) = match outcome {
            UseCaseOutcome::Effect(effect, left_over) => {
                return Ok(AttemptOutcome::Done { effect, left_over });
            }
            UseCaseOutcome::Paused(due) => (
                Box::new(event.clone().release(due)),
                AttemptOutcome::Released,
            ),
            UseCaseOutcome::Blocked(blocked) => {
                let reason = blocked.reason;
                match event.clone().after_attempt(blocked, now) {
                    AfterAttempt::Stored(next) if next.state == EventState::Waiting => {
                        (next.clone(), AttemptOutcome::Waiting(next))
                    }
                    AfterAttempt::Stored(next) => (next.clone(), AttemptOutcome::Ended(next)),
                    AfterAttempt::Dropped => {
                        return Ok(match self.pending_events.remove(event).await? {
                            Removal::Done | Removal::Gone => AttemptOutcome::Dropped(reason),
                            Removal::Changed => AttemptOutcome::Changed,
                        });
                    }
                }
            }
        };
        if !self.pending_events.save(&next, now).await? {
            return Ok(AttemptOutcome::Changed);
        }
        if *email != event.email {
            let saved = PendingEvent {
                version: next.version + 1,
                ..*next
            };
            self.pending_events.rekey(saved, email).await?;
        }
        Ok(outcome)
    }
}
