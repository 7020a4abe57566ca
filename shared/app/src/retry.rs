//! Retries of pending events that are due.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::AwsError;
use common::clock::SharedClock;
use common::panic::caught;
use domain::{
    AfterAttempt, Blocked, BlockedReason, Change, Email, EventKey, EventKind, EventState, Lane,
    PendingEvent,
};
use futures::future::ready;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lms::{LmsClient, LmsError};
use store::StoreError;
use store::pending_events::{PendingEvents, Removal};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::ChangeOutcome;
use super::certifying::{BlockedBy, CERTIFYING_TIME, CertifyOutcome, Certifying, Pass, Source};
use super::enrolling::{Announcement, Enrolled, Enrolling};

/// The time limit of one attempt; a webhook has no more for a delivery.
pub const ATTEMPT_TIME: Duration = CERTIFYING_TIME;

/// The wait before the next attempt at an event that is not of the expected shape.
const UNREADABLE_FOR: SignedDuration = SignedDuration::from_hours(12);

/// The extra time of an attempt beyond the time limit of its use case.
const GRACE: Duration = Duration::from_secs(1);

/// Retries pending events, each through the use case of its webhook.
pub struct RetryWorker {
    pending_events: PendingEvents,
    enrolling: Enrolling,
    certifying: Certifying,
    lms: LmsClient,
    clock: SharedClock,
    lms_at_once: usize,
}

/// The number of events that are retried in parallel in the lane that does not ask the LMS.
const OWN_AT_ONCE: usize = 16;

/// The context of a retry batch: its request id and its time limits.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// Lambda's id of the request, for the histories.
    pub request_id: String,
    /// The time until which events are claimed. All attempts end at most [`ATTEMPT_TIME`]
    /// later.
    pub claim_until: Instant,
    /// True if the events that there are in each state are counted at the end.
    pub counts: bool,
    /// The end of the leases: the process is stopped by then, and another one may claim its
    /// events.
    pub lease: Timestamp,
}

/// An attempt at one event.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The key of the event.
    pub event_key: EventKey,
    /// The event as it was claimed; absent if it is not of the expected shape.
    pub event: Option<PendingEvent>,
    /// The user's id; absent if no user has the address.
    pub user_id: Option<Uuid>,
    /// The outcome of the attempt.
    pub outcome: AttemptOutcome,
}

impl Attempt {
    /// True if a certificate was issued or restored.
    fn has_certified(&self) -> bool {
        let certifies = |event: &PendingEvent| event.kind.certifies();
        let is_created =
            matches!(self.outcome, AttemptOutcome::Done { effect, .. } if effect == "created");
        self.event.as_ref().is_some_and(certifies) && is_created
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone)]
pub enum AttemptOutcome {
    /// The event took effect, or had taken effect before, and was removed.
    Done {
        /// The effect, as a word of the webhook's log.
        effect: &'static str,
        /// The error if it could not be removed. Its next attempt will find it done.
        left_over: Option<StoreError>,
    },
    /// It keeps waiting, in this state.
    Waiting(Box<PendingEvent>),
    /// It has ended, as dead or expired.
    Ended(Box<PendingEvent>),
    /// It has waited long enough for this reason, and was removed.
    Dropped(BlockedReason),
    /// Requests to the LMS are paused: the attempt is not counted.
    Released,
    /// It was delivered again or made due meanwhile; that change stays.
    Changed,
    /// The store failed. The event is retried when its lease is over, or later if the error is
    /// not temporary.
    Failed(StoreError),
    /// The attempt panicked at this place in the source. It is retried later.
    Panicked(String),
}

/// The counts of one retry batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetrySummary {
    /// The number of events that were claimed.
    pub attempted: u64,
    /// The number of those that took effect.
    pub done: u64,
    /// The number of those whose attempt failed with an error or a panic.
    pub failed: u64,
    /// The number of certificates that were issued or restored.
    pub certified: u64,
    /// True if requests to the LMS are paused, and with them the events that need it.
    pub lms_paused: bool,
    /// For how long the first due event of our own lane had been due when the batch began; zero if
    /// none was due.
    pub own_due_for: Duration,
    /// The same of the lane that asks the LMS.
    pub lms_due_for: Duration,
    /// The events that there are, if the batch had to count them.
    pub counts: Option<EventCounts>,
}

/// The numbers of pending events; [`store::pending_events::COUNTED`] stands for that many or more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// The number of events that wait.
    pub waiting: u64,
    /// The number of dead events, whenever they died.
    pub dead: u64,
    /// The number of expired events.
    pub expired: u64,
}

impl RetrySummary {
    /// Counts an attempt.
    fn add(&mut self, attempt: &Attempt) {
        self.attempted += 1;
        self.certified += u64::from(attempt.has_certified());
        match &attempt.outcome {
            AttemptOutcome::Done { .. } => self.done += 1,
            AttemptOutcome::Failed(_) | AttemptOutcome::Panicked(_) => self.failed += 1,
            _ => {}
        }
    }

    /// The attempts of two lanes together.
    fn and(mut self, other: Self) -> Self {
        self.attempted += other.attempted;
        self.done += other.done;
        self.failed += other.failed;
        self.certified += other.certified;
        self.own_due_for = self.own_due_for.max(other.own_due_for);
        self.lms_due_for = self.lms_due_for.max(other.lms_due_for);
        self
    }
}

/// Error of an attempt that reached no outcome.
enum AttemptError {
    /// The store failed, or did not answer in time.
    Store(StoreError),
    /// The attempt panicked at this place in the source.
    Panicked(String),
}

/// The result of a use case for one event.
struct UseCaseResult {
    user_id: Option<Uuid>,
    /// The address under which the event keeps waiting: the learner's current one, if there is
    /// a user.
    email: Email,
    outcome: UseCaseOutcome,
}

/// The outcome of a use case for one event.
enum UseCaseOutcome {
    /// It took effect. Has the error if the event could not be removed.
    Effect(&'static str, Option<StoreError>),
    /// It is still blocked.
    Blocked(Blocked),
    /// Requests to the LMS are paused until then.
    Paused(Timestamp),
}

impl RetryWorker {
    /// Takes the use cases, and the number of events that are retried in parallel in the lane that
    /// asks the LMS: as many as may call it at the same time. Makes no call.
    pub fn new(
        pending_events: PendingEvents,
        enrolling: Enrolling,
        certifying: Certifying,
        lms: LmsClient,
        clock: SharedClock,
        lms_at_once: usize,
    ) -> Self {
        Self {
            pending_events,
            enrolling,
            certifying,
            lms,
            clock,
            lms_at_once,
        }
    }

    /// Opens the connections to the tables and to the LMS.
    pub async fn warm_up(&self) {
        tokio::join!(self.enrolling.warm_up(), self.lms.warm_up());
    }

    /// Retries the events that are due, those of each lane by themselves, until there are no more or
    /// the time is over. Calls `on_event` after each attempt.
    ///
    /// Any number of batches may run at the same time: each event is claimed by one of them.
    ///
    /// # Errors
    /// The store failed. The events already claimed are finished, and no more are claimed.
    pub async fn run(
        &self,
        context: &BatchContext,
        on_event: impl Fn(&Attempt),
    ) -> Result<RetrySummary, StoreError> {
        self.lms.begin_invocation();
        let stopped = AtomicBool::new(false);
        // Boxed because the futures are large.
        let run_lane = |lane| Box::pin(self.run_lane(lane, context, &stopped, &on_event));
        let (own, of_lms) = tokio::join!(run_lane(Lane::Own), run_lane(Lane::Lms));
        let mut summary = own?.and(of_lms?);
        summary.lms_paused = self.lms.is_paused();
        if context.counts {
            let count = |state| self.pending_events.count(state);
            summary.counts = Some(EventCounts {
                waiting: count(EventState::Waiting).await?,
                dead: count(EventState::Dead).await?,
                expired: count(EventState::Expired).await?,
            });
        }
        Ok(summary)
    }

    /// Retries the due events of a lane, until there are no more, the time is over, or `stopped` is
    /// set, as it does if the store fails.
    async fn run_lane(
        &self,
        lane: Lane,
        context: &BatchContext,
        stopped: &AtomicBool,
        on_event: &impl Fn(&Attempt),
    ) -> Result<RetrySummary, StoreError> {
        let at_once = match lane {
            Lane::Own => OWN_AT_ONCE,
            Lane::Lms => self.lms_at_once,
        };
        // An event that needs the LMS is not claimed while requests to it are paused: the attempt
        // could not succeed.
        let may_claim = || {
            !stopped.load(Ordering::Relaxed)
                && Instant::now() < context.claim_until
                && !(lane == Lane::Lms && self.lms.is_paused())
        };
        let mut summary = RetrySummary::default();
        let mut failure = None;
        let mut due_for = None;
        loop {
            let now = self.clock.now();
            let due = match self.pending_events.due(lane, now).await {
                Ok(due) => due,
                Err(error) => {
                    stopped.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                    break;
                }
            };
            due_for.get_or_insert_with(|| {
                let due_for = due.oldest.map(|oldest| now.duration_since(oldest));
                due_for
                    .and_then(|due_for| due_for.try_into().ok())
                    .unwrap_or_default()
            });
            let before = summary.attempted;
            let attempts = stream::iter(&due.keys)
                .take_while(|_| ready(may_claim()))
                .map(|key| Box::pin(self.attempt(key, context)))
                .buffer_unordered(at_once);
            let mut attempts = pin!(attempts);
            while let Some(attempt) = attempts.next().await {
                match attempt {
                    Ok(None) => {}
                    Ok(Some(attempt)) => {
                        summary.add(&attempt);
                        on_event(&attempt);
                    }
                    Err(error) => {
                        stopped.store(true, Ordering::Relaxed);
                        failure.get_or_insert(error);
                    }
                }
            }
            // What others have claimed is still in the index.
            if !due.has_more || summary.attempted == before || !may_claim() {
                break;
            }
        }
        match lane {
            Lane::Own => summary.own_due_for = due_for.unwrap_or_default(),
            Lane::Lms => summary.lms_due_for = due_for.unwrap_or_default(),
        }
        failure.map_or(Ok(summary), Err)
    }

    /// Retries one event, if it can be claimed.
    async fn attempt(
        &self,
        event_key: &EventKey,
        context: &BatchContext,
    ) -> Result<Option<Attempt>, StoreError> {
        let now = self.clock.now();
        let event_key = event_key.clone();
        let event = match self
            .pending_events
            .claim(&event_key, now, context.lease)
            .await
        {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            // An error of one item is not an error of the table.
            Err(error @ StoreError::Corrupt(_)) => {
                let later = now.checked_add(UNREADABLE_FOR).unwrap_or(now);
                // If this fails, the event is claimed again when its lease is over.
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
        let (user_id, outcome) = match self.perform(&event, &context.request_id, now).await {
            Ok(UseCaseResult {
                user_id,
                email,
                outcome,
            }) => {
                let saved = self.save(&event, &email, outcome).await;
                (user_id, saved.unwrap_or_else(AttemptOutcome::Failed))
            }
            Err(error) => (None, self.save_failure(&event, error).await),
        };
        Ok(Some(Attempt {
            event_key,
            event: Some(event),
            user_id,
            outcome,
        }))
    }

    /// Saves the failure of an event, unless it is temporary, so that the event is not retried
    /// each time its lease is over, and not without end.
    async fn save_failure(&self, event: &PendingEvent, error: AttemptError) -> AttemptOutcome {
        let (code, outcome) = match error {
            AttemptError::Store(error) if error.is_outage() => {
                return AttemptOutcome::Failed(error);
            }
            AttemptError::Store(error) => (error.code().to_owned(), AttemptOutcome::Failed(error)),
            AttemptError::Panicked(location) => {
                ("Panicked".to_owned(), AttemptOutcome::Panicked(location))
            }
        };
        let failed = UseCaseOutcome::Blocked(Blocked {
            error: Some(code),
            ..BlockedReason::Failed.into()
        });
        match self.save(event, &event.email, failed).await {
            Ok(ended @ AttemptOutcome::Ended(_)) => ended,
            // If it cannot even be saved, its lease ends by itself.
            _ => outcome,
        }
    }

    /// Runs the use case of the event's webhook, without storing a pending event.
    async fn perform(
        &self,
        event: &PendingEvent,
        request_id: &str,
        now: Timestamp,
    ) -> Result<UseCaseResult, AttemptError> {
        let by = Change::PendingEvent {
            event_key: event.event_key.clone(),
            request_id: request_id.to_owned(),
        };
        let until = Instant::now() + ATTEMPT_TIME;
        let use_case = async {
            match event.kind {
                EventKind::Enrollment => self.enroll(event, by, now).await,
                EventKind::Certificate => self.certify(event, by, now, until).await,
            }
        };
        // Certifying keeps its time limit itself; enrolling is cut off here.
        match caught(timeout_at(until + GRACE, use_case)).await {
            Ok(Ok(result)) => result.map_err(AttemptError::Store),
            Ok(Err(_)) => Err(AttemptError::Store(AwsError::Timeout.into())),
            Err(location) => Err(AttemptError::Panicked(location)),
        }
    }

    async fn enroll(
        &self,
        event: &PendingEvent,
        by: Change,
        now: Timestamp,
    ) -> Result<UseCaseResult, StoreError> {
        let announcement = Announcement {
            email: event.email.clone(),
            course_id: Some(event.course_id.clone()),
            event: None,
            by,
            at: now,
        };
        let mut result = UseCaseResult {
            user_id: None,
            email: event.email.clone(),
            outcome: UseCaseOutcome::Blocked(BlockedReason::NoSuchUser.into()),
        };
        match self.enrolling.attempt(&announcement).await? {
            Enrolled::Stands {
                user_id,
                changed,
                left_over,
                ..
            } => {
                let effect = match changed.outcome {
                    ChangeOutcome::Created => "created",
                    ChangeOutcome::Updated => "updated",
                    ChangeOutcome::Unchanged => "unchanged",
                };
                result.user_id = Some(user_id);
                result.outcome = UseCaseOutcome::Effect(effect, left_over);
            }
            Enrolled::NotEnrolled { user_id, left_over } => {
                result.user_id = Some(user_id);
                result.outcome = UseCaseOutcome::Effect("unchanged", left_over);
            }
            Enrolled::NoSuchUser { .. } => {}
            Enrolled::NoSuchRun { user_id, email, .. } => {
                result.user_id = Some(user_id);
                result.email = email;
                result.outcome = UseCaseOutcome::Blocked(BlockedReason::NoSuchRun.into());
            }
        }
        Ok(result)
    }

    async fn certify(
        &self,
        event: &PendingEvent,
        by: Change,
        now: Timestamp,
        until: Instant,
    ) -> Result<UseCaseResult, StoreError> {
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
        let effect = |effect| UseCaseOutcome::Effect(effect, certified.left_over);
        let outcome = match certified.outcome {
            CertifyOutcome::Exists(_) => effect("exists"),
            CertifyOutcome::Created(_) => effect("created"),
            CertifyOutcome::Revoked => effect("revoked"),
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
            email: certified.email,
            outcome,
        })
    }

    /// Saves the outcome. An event that was stored under a former address of the learner keeps
    /// waiting under `email`, the current one: imports look for it there.
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
        if !self.pending_events.save(&next).await? {
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
