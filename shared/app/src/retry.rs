//! Retries of pending events that are due.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::AwsError;
use common::clock::SharedClock;
use common::panic::caught;
use domain::{
    AfterAttempt, Blocked, BlockedReason, Change, Email, EventKey, EventState, Lane, PendingEvent,
};
use futures::future::ready;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lms::{LmsClient, LmsError};
use store::StoreError;
use store::pending_events::{Due, PendingEvents, Removal};
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

/// The number of events that are retried in parallel in the lane that does not ask the LMS.
const OWN_AT_ONCE: usize = 16;

/// The time after which the due events are read again, so that what was made due meanwhile comes
/// soon.
const ROUND_TIME: Duration = Duration::from_secs(5);

/// The time for which a batch holds the lease of its lane. It is renewed after each round, which
/// ends a whole attempt later, and after the calls that end that attempt.
const LEASE_TIME: SignedDuration = SignedDuration::from_secs(45);

/// The time after which a batch asks again for a lease that another one holds.
const LEASE_WAIT: Duration = Duration::from_secs(1);

/// Retries the pending events of a lane, each through the use case of its webhook.
pub struct RetryWorker {
    pending_events: PendingEvents,
    use_case: UseCase,
    clock: SharedClock,
    at_once: usize,
}

/// The use case of a lane's events.
enum UseCase {
    /// Of [`Lane::Own`].
    Enroll(Enrolling),
    /// Of [`Lane::Lms`].
    Certify(Certifying, Box<LmsClient>),
}

/// The context of a retry batch: its request id and its time limits.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// Lambda's id of the request, for the histories.
    pub request_id: String,
    /// The time until which events are claimed. All attempts end at most [`ATTEMPT_TIME`]
    /// later.
    pub claim_until: Instant,
    /// The id under which the batch holds the lease of its lane.
    pub holder_id: Uuid,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySummary {
    /// The lane whose events were retried.
    pub lane: Lane,
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
    /// For how long the longest due event had been due when the batch began; zero if none was due.
    pub due_for: Duration,
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
    /// Returns the counts of a batch that has done nothing yet.
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            attempted: 0,
            done: 0,
            failed: 0,
            certified: 0,
            lms_paused: false,
            due_for: Duration::ZERO,
            counts: None,
        }
    }

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
}

/// The lease of a batch's lane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// It was free, or the lane needs none.
    AtOnce,
    /// It was free after another one had it.
    Later,
    /// Another one has it, and the time is over.
    HeldByAnother,
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
    /// Returns the worker of the lane that does not ask the LMS. Makes no call.
    pub fn own(pending_events: PendingEvents, enrolling: Enrolling, clock: SharedClock) -> Self {
        Self {
            pending_events,
            use_case: UseCase::Enroll(enrolling),
            clock,
            at_once: OWN_AT_ONCE,
        }
    }

    /// Returns the worker of the lane that asks the LMS, of which `at_once` events are retried in
    /// parallel: as many as may call the LMS at the same time. Makes no call.
    pub fn lms(
        pending_events: PendingEvents,
        certifying: Certifying,
        lms: LmsClient,
        clock: SharedClock,
        at_once: usize,
    ) -> Self {
        Self {
            pending_events,
            use_case: UseCase::Certify(certifying, Box::new(lms)),
            clock,
            at_once,
        }
    }

    /// The lane whose events it retries.
    pub fn lane(&self) -> Lane {
        match self.use_case {
            UseCase::Enroll(_) => Lane::Own,
            UseCase::Certify(..) => Lane::Lms,
        }
    }

    /// Opens the connections to the tables and to the LMS.
    pub async fn warm_up(&self) {
        match &self.use_case {
            UseCase::Enroll(enrolling) => enrolling.warm_up().await,
            UseCase::Certify(certifying, lms) => {
                tokio::join!(certifying.warm_up(), lms.warm_up());
            }
        }
    }

    /// Retries the events that are due, until there are no more or the time is over. Calls `on_event`
    /// after each attempt.
    ///
    /// Any number of batches may run at the same time: each event is claimed by one of them. Of the
    /// lane that asks the LMS, one batch at a time has the lease, and with it the whole rate; another
    /// one waits for it.
    ///
    /// # Errors
    /// The store failed. The events already claimed are finished, and no more are claimed.
    pub async fn run(
        &self,
        context: &BatchContext,
        on_event: impl Fn(&Attempt),
    ) -> Result<RetrySummary, StoreError> {
        let lane = self.lane();
        let mut summary = RetrySummary::new(lane);
        if let UseCase::Certify(_, lms) = &self.use_case {
            lms.begin_invocation();
        }
        let now = self.clock.now();
        let due = self.pending_events.due(lane, now).await?;
        let due_for = due.oldest.map(|oldest| now.duration_since(oldest));
        let due_for = due_for.and_then(|due_for| due_for.try_into().ok());
        summary.due_for = due_for.unwrap_or_default();
        if !due.keys.is_empty() && self.may_claim(context) {
            let lease = self.acquire(context).await?;
            let due = match lease {
                Lease::AtOnce => Some(due),
                // Meanwhile its former holder has retried them.
                Lease::Later | Lease::HeldByAnother => None,
            };
            if lease != Lease::HeldByAnother {
                // Boxed because the future is large.
                let retried = Box::pin(self.retry(due, context, &mut summary, &on_event)).await;
                if lane == Lane::Lms {
                    // If it is not released, it ends by itself.
                    let _ = self.pending_events.release(lane, context.holder_id).await;
                }
                retried?;
            }
        }
        summary.lms_paused = self.is_lms_paused();
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

    /// True if one more event may be claimed. An event that needs the LMS is not claimed while
    /// requests to it are paused: the attempt could not succeed.
    fn may_claim(&self, context: &BatchContext) -> bool {
        Instant::now() < context.claim_until && !self.is_lms_paused()
    }

    fn is_lms_paused(&self) -> bool {
        matches!(&self.use_case, UseCase::Certify(_, lms) if lms.is_paused())
    }

    /// Takes the lease of the lane, if it needs one, and waits for it as long as events may be
    /// claimed.
    async fn acquire(&self, context: &BatchContext) -> Result<Lease, StoreError> {
        let mut lease = Lease::AtOnce;
        while !self.holds_lease(context).await? {
            lease = Lease::Later;
            self.clock.sleep(LEASE_WAIT).await;
            if !self.may_claim(context) {
                return Ok(Lease::HeldByAnother);
            }
        }
        Ok(lease)
    }

    /// Takes or renews the lease of the lane, if it needs one. Returns false if another one has it.
    async fn holds_lease(&self, context: &BatchContext) -> Result<bool, StoreError> {
        match self.lane() {
            Lane::Own => Ok(true),
            Lane::Lms => {
                let now = self.clock.now();
                let until = now.checked_add(LEASE_TIME).unwrap_or(now);
                let holder = context.holder_id;
                self.pending_events
                    .acquire(Lane::Lms, holder, (now, until))
                    .await
            }
        }
    }

    /// Retries due events in rounds, beginning with `due` or with what it reads.
    async fn retry(
        &self,
        mut due: Option<Due>,
        context: &BatchContext,
        summary: &mut RetrySummary,
        on_event: &impl Fn(&Attempt),
    ) -> Result<(), StoreError> {
        loop {
            let of_round = match due.take() {
                Some(due) => due,
                None => {
                    self.pending_events
                        .due(self.lane(), self.clock.now())
                        .await?
                }
            };
            let before = summary.attempted;
            let ended = self
                .retry_round(&of_round, context, summary, on_event)
                .await?;
            // What others have claimed is still in the index.
            let is_over = ended && !of_round.has_more || summary.attempted == before;
            if is_over || !self.may_claim(context) || !self.holds_lease(context).await? {
                return Ok(());
            }
        }
    }

    /// Retries these events. Returns false if the time of the round was over before.
    async fn retry_round(
        &self,
        due: &Due,
        context: &BatchContext,
        summary: &mut RetrySummary,
        on_event: &impl Fn(&Attempt),
    ) -> Result<bool, StoreError> {
        let (stopped, cut) = (AtomicBool::new(false), AtomicBool::new(false));
        let until = Instant::now() + ROUND_TIME;
        let continues = || {
            let in_time = Instant::now() < until;
            cut.fetch_or(!in_time, Ordering::Relaxed);
            in_time && !stopped.load(Ordering::Relaxed) && self.may_claim(context)
        };
        let attempts = stream::iter(&due.keys)
            .take_while(|_| ready(continues()))
            .map(|key| Box::pin(self.attempt(key, context)))
            .buffer_unordered(self.at_once);
        let mut attempts = pin!(attempts);
        let mut failure = None;
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
        failure.map_or(Ok(!cut.load(Ordering::Relaxed)), Err)
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
            match &self.use_case {
                UseCase::Enroll(enrolling) => enroll(enrolling, event, by, now).await,
                UseCase::Certify(certifying, lms) => {
                    let pass = (event, by, now);
                    self.certify((certifying, lms), pass, until).await
                }
            }
        };
        // Certifying keeps its time limit itself; enrolling is cut off here.
        match caught(timeout_at(until + GRACE, use_case)).await {
            Ok(Ok(result)) => result.map_err(AttemptError::Store),
            Ok(Err(_)) => Err(AttemptError::Store(AwsError::Timeout.into())),
            Err(location) => Err(AttemptError::Panicked(location)),
        }
    }

    async fn certify(
        &self,
        (certifying, lms): (&Certifying, &LmsClient),
        (event, by, now): (&PendingEvent, Change, Timestamp),
        until: Instant,
    ) -> Result<UseCaseResult, StoreError> {
        let pass = Pass {
            email: event.email.clone(),
            course_id: Some(event.course_id.clone()),
            by,
            at: now,
        };
        let source = Source::Lms {
            lms,
            asking: &|_| {},
        };
        let certified = certifying.attempt(&pass, source, until).await?;
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

/// Runs the use case of an event of our own lane.
async fn enroll(
    enrolling: &Enrolling,
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
    match enrolling.attempt(&announcement).await? {
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
