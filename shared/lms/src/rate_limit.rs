//! Rate limits and circuit breaker of requests to the LMS.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::{SharedClock, within};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::LmsError;

/// The limits of a process's requests to the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LmsLimits {
    /// The greatest number of requests in progress at the same time.
    pub concurrency: NonZeroU32,
    /// The least time between the starts of two requests.
    pub spacing: Duration,
    /// The least time between the starts of two requests for enrollments, for which the LMS has
    /// a throttle of its own: 120 a minute for a staff user, 40 for others.
    pub enrollment_spacing: Duration,
    /// The number of calls failing in a row for a cause of the LMS as a whole
    /// ([`LmsError::is_lms_wide`]) after which the circuit breaker opens until the next
    /// invocation, or `None` if it never opens.
    pub circuit_breaker_threshold: Option<NonZeroU32>,
}

impl LmsLimits {
    /// Returns the limits of each of `parties` processes that share these limits. Together they
    /// start as many requests in any period as one process alone would. Each may make at least
    /// one request at a time.
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

    /// No limits, as many requests as there are callers: for a function that answers one
    /// delivery at a time.
    pub const NONE: Self = Self {
        concurrency: NonZeroU32::MAX,
        spacing: Duration::ZERO,
        enrollment_spacing: Duration::ZERO,
        circuit_breaker_threshold: None,
    };
}

/// The endpoint of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Grades,
    Enrollments,
}

/// Gives each call its permit, within the limits.
pub(crate) struct RateLimiter {
    clock: SharedClock,
    limits: LmsLimits,
    concurrency: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The time at which the next request may start, according to the spacing.
    next_request_at: Timestamp,
    /// The time at which the next request for enrollments may start, according to its spacing.
    next_enrollment_request_at: Timestamp,
    failures: u32,
    /// The pause that the LMS asked for: its start and its length.
    pause: Option<(Timestamp, Duration)>,
}

impl RateLimiter {
    pub(crate) fn new(clock: SharedClock, limits: LmsLimits) -> Self {
        let permits = limits.concurrency.get() as usize;
        Self {
            clock,
            limits,
            concurrency: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            state: Mutex::default(),
        }
    }

    /// Waits for the permit of one call, and for the slot of its first request. None of its
    /// requests needs another permit.
    pub(crate) async fn permit(&self, endpoint: Endpoint) -> Result<Permit<'_>, LmsError> {
        self.check_paused()?;
        // An error would mean that the semaphore was closed, which never happens.
        let concurrency = self.concurrency.acquire().await.ok();
        if endpoint == Endpoint::Enrollments {
            self.wait_for_enrollment_spacing().await?;
        }
        self.wait_for_spacing().await?;
        Ok(Permit {
            rate_limiter: self,
            endpoint,
            _concurrency: concurrency,
            is_spaced: AtomicBool::new(true),
            is_enrollment_spaced: AtomicBool::new(endpoint == Endpoint::Enrollments),
        })
    }

    /// Resets the count of failures.
    pub(crate) fn begin(&self) {
        self.state().failures = 0;
    }

    /// The error to return instead of making a request, or `None` if requests are not paused.
    pub(crate) fn paused(&self) -> Option<LmsError> {
        let state = self.state();
        if let Some((since, lasts)) = state.pause {
            let now = self.clock.now();
            let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
            if within(lasts, since, now) {
                let left = lasts - now.duration_since(since);
                let retry_after = Some(left.unsigned_abs());
                return Some(LmsError::Paused { retry_after });
            }
        }
        let limit = self.limits.circuit_breaker_threshold;
        let has_failed = limit.is_some_and(|limit| state.failures >= limit.get());
        has_failed.then_some(LmsError::Paused { retry_after: None })
    }

    /// Records how a call ended.
    pub(crate) fn ended(&self, failure: Option<&LmsError>) {
        let mut state = self.state();
        if failure.is_some_and(LmsError::is_lms_wide) {
            state.failures = state.failures.saturating_add(1);
        } else {
            state.failures = 0;
        }
    }

    /// Records the length of a pause that the LMS asked for. An earlier pause that ends later
    /// still holds.
    fn pause(&self, lasts: Duration) {
        let now = self.clock.now();
        let end = |(since, lasts): (Timestamp, Duration)| since.saturating_add(lasts).ok();
        let mut state = self.state();
        if state.pause.and_then(end) < end((now, lasts)) {
            state.pause = Some((now, lasts));
        }
    }

    fn check_paused(&self) -> Result<(), LmsError> {
        self.paused().map_or(Ok(()), Err)
    }

    /// Waits until one more request may start.
    async fn wait_for_spacing(&self) -> Result<(), LmsError> {
        let spacing = self.limits.spacing;
        self.wait(|| self.reserve(spacing, |state| &mut state.next_request_at))
            .await
    }

    /// Waits until one more request for enrollments may start.
    async fn wait_for_enrollment_spacing(&self) -> Result<(), LmsError> {
        let spacing = self.limits.enrollment_spacing;
        self.wait(|| self.reserve(spacing, |state| &mut state.next_enrollment_request_at))
            .await
    }

    /// Waits for the time that `take` returns; `take` reserves a slot.
    async fn wait(&self, take: impl Fn() -> Duration) -> Result<(), LmsError> {
        self.check_paused()?;
        let wait = take();
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
            self.check_paused()?;
        }
        Ok(())
    }

    /// Reserves the next slot, at the given spacing, and returns the wait until then.
    fn reserve(&self, spacing: Duration, next: impl Fn(&mut State) -> &mut Timestamp) -> Duration {
        let now = self.clock.now();
        let mut state = self.state();
        let next = next(&mut state);
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        // The holder of a permit waits for one slot at most. A slot that is farther away was
        // reserved before the clock was set back.
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

/// The permit of a call. The requests of a call are made one after another.
pub(crate) struct Permit<'a> {
    rate_limiter: &'a RateLimiter,
    endpoint: Endpoint,
    _concurrency: Option<SemaphorePermit<'a>>,
    /// True until the slot that came with the permit is used.
    is_spaced: AtomicBool,
    /// True until the slot for enrollments that came with the permit is used.
    is_enrollment_spaced: AtomicBool,
}

impl Permit<'_> {
    /// The endpoint that the permit is for.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Waits until one more request may start. `of_enrollments` says whether the spacing of
    /// requests for enrollments counts too.
    pub(crate) async fn wait_for_spacing(&self, of_enrollments: bool) -> Result<(), LmsError> {
        if of_enrollments && !self.is_enrollment_spaced.swap(false, Ordering::Relaxed) {
            self.rate_limiter.wait_for_enrollment_spacing().await?;
        }
        if self.is_spaced.swap(false, Ordering::Relaxed) {
            self.rate_limiter.check_paused()
        } else {
            self.rate_limiter.wait_for_spacing().await
        }
    }

    /// Records the length of a pause that the LMS asked for.
    pub(crate) fn pause(&self, lasts: Duration) {
        self.rate_limiter.pause(lasts);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::clock::FakeClock;

    use super::*;

    /// Two answers that were in flight at the same time may ask for different pauses.
    #[test]
    fn the_longer_of_two_pauses_holds() {
        for order in [[3600, 1], [1, 3600]] {
            let clock = Arc::new(FakeClock::at(Timestamp::UNIX_EPOCH));
            let rate_limiter = RateLimiter::new(clock.clone(), LmsLimits::NONE);
            for seconds in order {
                rate_limiter.pause(Duration::from_secs(seconds));
            }
            clock.advance(Duration::from_secs(600));
            let retry_after = Some(Duration::from_secs(3000));
            assert_eq!(
                rate_limiter.paused(),
                Some(LmsError::Paused { retry_after }),
                "{order:?}"
            );
            clock.advance(Duration::from_secs(3000));
            assert_eq!(rate_limiter.paused(), None, "{order:?}");
            rate_limiter.pause(Duration::from_secs(1));
            assert!(rate_limiter.paused().is_some(), "{order:?}");
        }
    }
}
