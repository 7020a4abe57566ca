//! How much is asked of the LMS, and when nothing is.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::AskError;
use crate::adapters::lms::LmsError;
use crate::clock::{SharedClock, within};

/// The most that a process asks of the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LmsLimits {
    /// How many requests may be under way at once.
    pub concurrency: NonZeroU32,
    /// How much time there is at least between the beginnings of two.
    pub spacing: Duration,
    /// The same between two for enrollments, for which the LMS has a throttle of its
    /// own: 120 a minute for a staff user, 40 for others.
    pub enrollment_spacing: Duration,
    /// After how many calls in a row that failed by the LMS's own fault
    /// ([`AskError::is_the_lms_own`]) it is left alone until the next
    /// invocation; `None` where it never is.
    pub failures_in_a_row: Option<NonZeroU32>,
}

impl LmsLimits {
    /// The limits of each of so many parties who share these. In any stretch
    /// of time they begin together what one alone would; one request at once is
    /// the least that each may make.
    #[must_use]
    pub fn shared_by(self, parties: NonZeroU32) -> Self {
        let concurrency = self.concurrency.get() / parties;
        Self {
            concurrency: NonZeroU32::new(concurrency).unwrap_or(NonZeroU32::MIN),
            spacing: self.spacing.saturating_mul(parties.get()),
            enrollment_spacing: self.enrollment_spacing.saturating_mul(parties.get()),
            ..self
        }
    }

    /// As many requests as there are callers: for a function that answers one
    /// delivery at a time.
    pub const NONE: Self = Self {
        concurrency: NonZeroU32::MAX,
        spacing: Duration::ZERO,
        enrollment_spacing: Duration::ZERO,
        failures_in_a_row: None,
    };
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Grades,
    Enrollments,
}

/// Gives each call its turn, within the limits.
pub(super) struct Pace {
    clock: SharedClock,
    limits: LmsLimits,
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the next request may begin, as far as the spacing goes.
    next_slot: Timestamp,
    /// The same of the next one for enrollments.
    next_enrollment_slot: Timestamp,
    failures: u32,
    /// The LMS asked for silence: since when, and for how long.
    silence: Option<(Timestamp, Duration)>,
}

impl Pace {
    pub(super) fn new(clock: SharedClock, limits: LmsLimits) -> Self {
        let permits = limits.concurrency.get() as usize;
        Self {
            clock,
            limits,
            permits: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            state: Mutex::default(),
        }
    }

    /// Waits for the turn of one call; no request of it need wait for another
    /// permit, and the first not for a slot either.
    pub(super) async fn turn(&self, endpoint: Endpoint) -> Result<Turn<'_>, AskError> {
        self.may_ask()?;
        // An error would mean that it was closed, which it never is.
        let permit = self.permits.acquire().await.ok();
        if endpoint == Endpoint::Enrollments {
            self.enrollment_slot().await?;
        }
        self.slot().await?;
        Ok(Turn {
            pace: self,
            endpoint,
            _permit: permit,
            has_slot: AtomicBool::new(true),
            has_enrollment_slot: AtomicBool::new(endpoint == Endpoint::Enrollments),
        })
    }

    /// Forgets the failures.
    pub(super) fn begin(&self) {
        self.state().failures = 0;
    }

    /// Whether nothing is asked for now, and what is answered instead.
    pub(super) fn rest(&self) -> Option<AskError> {
        let state = self.state();
        if let Some((since, lasts)) = state.silence {
            let now = self.clock.now();
            let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
            if within(lasts, since, now) {
                let left = lasts - now.duration_since(since);
                let retry_after = Some(left.unsigned_abs());
                return Some(AskError::Resting { retry_after });
            }
        }
        let limit = self.limits.failures_in_a_row;
        let has_failed = limit.is_some_and(|limit| state.failures >= limit.get());
        has_failed.then_some(AskError::Resting { retry_after: None })
    }

    /// Takes note of how a call ended.
    pub(super) fn ended(&self, failure: Option<&AskError>) {
        let mut state = self.state();
        if failure.is_some_and(AskError::is_the_lms_own) {
            state.failures = state.failures.saturating_add(1);
        } else {
            state.failures = 0;
        }
    }

    /// Takes note of how long the LMS is to be left alone; what it said before
    /// and lasts longer still holds.
    fn silence(&self, lasts: Duration) {
        let now = self.clock.now();
        let end = |(since, lasts): (Timestamp, Duration)| since.saturating_add(lasts).ok();
        let mut state = self.state();
        if state.silence.and_then(end) < end((now, lasts)) {
            state.silence = Some((now, lasts));
        }
    }

    fn may_ask(&self) -> Result<(), AskError> {
        self.rest().map_or(Ok(()), Err)
    }

    /// Waits until one more request may begin.
    async fn slot(&self) -> Result<(), AskError> {
        let spacing = self.limits.spacing;
        self.wait(|| self.take(spacing, |state| &mut state.next_slot))
            .await
    }

    /// Waits until one more request for enrollments may begin.
    async fn enrollment_slot(&self) -> Result<(), AskError> {
        let spacing = self.limits.enrollment_spacing;
        self.wait(|| self.take(spacing, |state| &mut state.next_enrollment_slot))
            .await
    }

    /// Waits for as long as `take` says, which takes a slot.
    async fn wait(&self, take: impl Fn() -> Duration) -> Result<(), AskError> {
        self.may_ask()?;
        let wait = take();
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
            self.may_ask()?;
        }
        Ok(())
    }

    /// Takes the next slot, of those that are so far apart: how long it is until then.
    fn take(&self, spacing: Duration, next: impl Fn(&mut State) -> &mut Timestamp) -> Duration {
        let now = self.clock.now();
        let mut state = self.state();
        let next = next(&mut state);
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        // Whoever holds a permit waits for one slot at most. One that is
        // farther away was taken before the clock was set back.
        let longest = spacing.saturating_mul(self.limits.concurrency.get());
        let wait = if wait > longest { Duration::ZERO } else { wait };
        let after = now.saturating_add(wait.saturating_add(spacing));
        *next = after.unwrap_or(now);
        wait
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's turn. Its requests come one after another.
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    endpoint: Endpoint,
    _permit: Option<SemaphorePermit<'a>>,
    /// Whether the slot that came with the turn is still to be used.
    has_slot: AtomicBool,
    /// The same of that for enrollments.
    has_enrollment_slot: AtomicBool,
}

impl Turn<'_> {
    /// Makes a request of what the turn is for, and once more where its connection
    /// broke.
    pub(super) async fn ask<T, A>(&self, request: impl Fn() -> A) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        self.attempt(self.endpoint == Endpoint::Enrollments, request)
            .await
    }

    /// The same of a request for a token.
    pub(super) async fn ask_for_token<T, A>(&self, request: impl Fn() -> A) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        self.attempt(false, request).await
    }

    async fn attempt<T, A>(
        &self,
        of_enrollments: bool,
        request: impl Fn() -> A,
    ) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        self.slot(of_enrollments).await?;
        let mut result = request().await;
        if matches!(result, Err(LmsError::Unreachable)) {
            self.slot(of_enrollments).await?;
            result = request().await;
        }
        if let Some(lasts) = result.as_ref().err().and_then(LmsError::retry_after) {
            self.pace.silence(lasts);
        }
        Ok(result?)
    }

    async fn slot(&self, of_enrollments: bool) -> Result<(), AskError> {
        if of_enrollments && !self.has_enrollment_slot.swap(false, Ordering::Relaxed) {
            self.pace.enrollment_slot().await?;
        }
        if self.has_slot.swap(false, Ordering::Relaxed) {
            self.pace.may_ask()
        } else {
            self.pace.slot().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::HeldClock;

    /// Two answers that were on their way at once may say different times.
    #[test]
    fn the_longer_silence_holds() {
        for order in [[3600, 1], [1, 3600]] {
            let clock = Arc::new(HeldClock::at(Timestamp::UNIX_EPOCH));
            let pace = Pace::new(clock.clone(), LmsLimits::NONE);
            for seconds in order {
                pace.silence(Duration::from_secs(seconds));
            }
            clock.turn(Duration::from_secs(600));
            let retry_after = Some(Duration::from_secs(3000));
            assert_eq!(pace.rest(), Some(AskError::Resting { retry_after }));
            clock.turn(Duration::from_secs(3000));
            assert_eq!(pace.rest(), None);
            pace.silence(Duration::from_secs(1));
            assert!(pace.rest().is_some());
        }
    }
}
