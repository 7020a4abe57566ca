//! Cache of a secret's value. One caller reads it for all, and it outlives an outage of Secrets
//! Manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::{SharedClock, within};
use jiff::{SignedDuration, Timestamp};

use crate::SecretError;

/// The age at which a value is read again: a change takes effect within this time.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The greatest age of a value that is served while Secrets Manager is unavailable.
const SERVED_STALE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// The time for which an outage counts after a read has found it. A read may fail by hanging,
/// and not every caller should wait for that.
const AFTER_AN_OUTAGE: SignedDuration = SignedDuration::from_secs(15);

/// A secret that can be read.
pub trait SecretSource {
    /// The value that the secret holds.
    type Value;

    /// Reads the value; `None` if the secret has none yet.
    fn read_value(&self) -> impl Future<Output = Result<Option<Self::Value>, SecretError>> + Send;
}

/// The result of a read; `None` if the secret has no value yet.
pub type ReadResult<T> = Result<Option<Arc<T>>, SecretError>;

/// A secret whose value is cached.
///
/// The value is read again after a minute. While Secrets Manager is unavailable, it is served
/// for up to a quarter of an hour. Any other failure is returned to the caller, and so is the
/// fact that the secret has no value. The callers that wait for a read share its result.
pub struct CachedSecret<S: SecretSource> {
    source: S,
    clock: SharedClock,
    state: Mutex<State<S::Value>>,
    /// Held by the caller that reads.
    reading: tokio::sync::Mutex<()>,
}

/// The cached value, and the last read that has ended.
struct State<T> {
    cached: Option<Cached<T>>,
    /// The number of reads that have ended.
    reads: u64,
    /// The time at which the last read ended.
    ended: Timestamp,
    /// The result of the last read.
    last: ReadResult<T>,
}

struct Cached<T> {
    value: Arc<T>,
    /// The time at which the read began.
    read_at: Timestamp,
    /// True unless a later read has found another failure than an outage: the secret was emptied,
    /// denied or malformed.
    outlives_outage: bool,
}

impl<S: SecretSource> CachedSecret<S> {
    /// Makes no read.
    pub fn new(source: S, clock: SharedClock) -> Self {
        Self {
            source,
            clock,
            state: Mutex::new(State {
                cached: None,
                reads: 0,
                ended: Timestamp::MIN,
                last: Ok(None),
            }),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Returns a fresh value; while Secrets Manager is unavailable, a stale one within its
    /// limits.
    pub async fn get(&self) -> ReadResult<S::Value> {
        self.get_younger_than(FRESH_FOR).await
    }

    /// Returns the value of a read that ended since the call; while Secrets Manager is
    /// unavailable, the same as [`CachedSecret::get`].
    pub async fn refresh(&self) -> ReadResult<S::Value> {
        self.get_younger_than(SignedDuration::ZERO).await
    }

    async fn get_younger_than(&self, fresh_for: SignedDuration) -> ReadResult<S::Value> {
        let reads = self.state().reads;
        if let Some(value) = self.state().without_read(fresh_for, self.clock.now()) {
            return Ok(Some(value));
        }
        let _reading = self.reading.lock().await;
        // Another caller may have read the value since this one came.
        if self.state().reads == reads {
            self.read().await;
        }
        self.state().last_or_stale(self.clock.now())
    }

    /// Returns the value as it was at most `limit` ago, or since `arrived`; no older one, even in
    /// an outage. A failed read is repeated after `limit`, and one that found an outage after
    /// `AFTER_AN_OUTAGE`.
    pub async fn get_recent(
        &self,
        limit: SignedDuration,
        arrived: Timestamp,
    ) -> ReadResult<S::Value> {
        let _reading = self.reading.lock().await;
        let now = self.clock.now();
        if let Some(value) = self.state().recent(limit, arrived, now) {
            return Ok(Some(value));
        }
        if !self.state().failed_within(limit, now) {
            self.read().await;
        }
        self.state().last.clone()
    }

    /// Reads the value. The caller holds `reading`.
    async fn read(&self) {
        let read_at = self.clock.now();
        // Boxed because otherwise the callers' futures would be as large, and they are moved often.
        let read = Box::pin(self.source.read_value()).await;
        let last = read.map(|value| value.map(Arc::new));
        let mut state = self.state();
        match &last {
            Ok(Some(value)) => {
                state.cached = Some(Cached {
                    value: Arc::clone(value),
                    read_at,
                    outlives_outage: true,
                });
            }
            Err(error) if error.is_outage() => {}
            Ok(None) | Err(_) => {
                if let Some(cached) = &mut state.cached {
                    cached.outlives_outage = false;
                }
            }
        }
        state.reads += 1;
        state.ended = self.clock.now();
        state.last = last;
    }

    fn state(&self) -> MutexGuard<'_, State<S::Value>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Returns the value if it can be served without a read.
    fn without_read(&self, fresh_for: SignedDuration, now: Timestamp) -> Option<Arc<T>> {
        if self.is_outage() && within(AFTER_AN_OUTAGE, self.ended, now) {
            self.stale(now)
                .or_else(|| self.younger_than(fresh_for, now))
        } else {
            self.younger_than(fresh_for, now)
        }
    }

    /// Returns the result of the last read; if it found an outage, the value if possible.
    fn last_or_stale(&self, now: Timestamp) -> ReadResult<T> {
        if self.is_outage()
            && let Some(value) = self.stale(now)
        {
            return Ok(Some(value));
        }
        self.last.clone()
    }

    /// Returns the value if it was read at most `limit` ago, or since `arrived`.
    fn recent(&self, limit: SignedDuration, arrived: Timestamp, now: Timestamp) -> Option<Arc<T>> {
        match &self.cached {
            Some(cached) if cached.read_at >= arrived => Some(Arc::clone(&cached.value)),
            _ => self.younger_than(limit, now),
        }
    }

    fn younger_than(&self, limit: SignedDuration, now: Timestamp) -> Option<Arc<T>> {
        let cached = self.cached.as_ref()?;
        within(limit, cached.read_at, now).then(|| Arc::clone(&cached.value))
    }

    /// Returns the value if it can be served in an outage.
    fn stale(&self, now: Timestamp) -> Option<Arc<T>> {
        let cached = self.cached.as_ref()?;
        if cached.outlives_outage {
            self.younger_than(SERVED_STALE_FOR, now)
        } else {
            None
        }
    }

    /// True if the last read failed or found no value, and need not be repeated at `now`.
    fn failed_within(&self, limit: SignedDuration, now: Timestamp) -> bool {
        let limit = if self.is_outage() {
            AFTER_AN_OUTAGE
        } else {
            limit
        };
        !matches!(self.last, Ok(Some(_))) && within(limit, self.ended, now)
    }

    /// True if the last read found Secrets Manager unavailable.
    fn is_outage(&self) -> bool {
        self.last.as_ref().is_err_and(SecretError::is_outage)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::AwsError;
    use common::clock::FakeClock;
    use futures::future::join_all;

    use super::*;

    const AWAY: SecretError = SecretError::Aws(AwsError::Timeout);
    const LIMIT: SignedDuration = SignedDuration::from_secs(2);

    /// A source whose values are the numbers of their reads, and which finds what `next` says.
    struct Fake {
        reads: Mutex<u32>,
        next: Mutex<Result<Option<()>, SecretError>>,
        clock: Arc<FakeClock>,
        takes: Duration,
    }

    impl SecretSource for Fake {
        type Value = u32;

        async fn read_value(&self) -> Result<Option<u32>, SecretError> {
            // Lets the other callers come.
            tokio::task::yield_now().await;
            self.clock.advance(self.takes);
            let mut reads = self.reads.lock().unwrap();
            *reads += 1;
            let found = self.next.lock().unwrap().clone()?;
            Ok(found.map(|()| *reads))
        }
    }

    impl CachedSecret<Fake> {
        fn fake(takes: Duration) -> Self {
            let clock = Arc::new(FakeClock::at(Timestamp::UNIX_EPOCH));
            let source = Fake {
                reads: Mutex::default(),
                next: Mutex::new(Ok(Some(()))),
                clock: clock.clone(),
                takes,
            };
            Self::new(source, clock)
        }

        fn advance(&self, seconds: u64) {
            self.source.clock.advance(Duration::from_secs(seconds));
        }

        fn find(&self, next: Result<Option<()>, SecretError>) {
            *self.source.next.lock().unwrap() = next;
        }

        fn reads(&self) -> u32 {
            *self.source.reads.lock().unwrap()
        }
    }

    fn value(number: u32) -> ReadResult<u32> {
        Ok(Some(Arc::new(number)))
    }

    #[tokio::test]
    async fn a_value_is_fresh_for_a_minute() {
        let secret = CachedSecret::fake(Duration::ZERO);
        for (seconds, number) in [(0, 1), (59, 1), (1, 2), (59, 2), (1, 3)] {
            secret.advance(seconds);
            assert_eq!(secret.get().await, value(number), "{seconds} s: {number}");
        }
        assert_eq!(secret.refresh().await, value(4));
        assert_eq!(secret.get().await, value(4));
    }

    /// The age of a value is counted from the beginning of its read.
    #[tokio::test]
    async fn the_duration_of_a_read_counts() {
        let secret = CachedSecret::fake(Duration::from_secs(6));
        assert_eq!(secret.get().await, value(1));
        secret.advance(53);
        assert_eq!(secret.get().await, value(1));
        secret.advance(1);
        assert_eq!(secret.get().await, value(2));
    }

    /// In an outage a stale value is served, with a read each 15 seconds.
    #[tokio::test]
    async fn a_stale_value_is_served_in_an_outage() {
        let secret = CachedSecret::fake(Duration::ZERO);
        assert_eq!(secret.get().await, value(1));
        secret.find(Err(AWAY));
        // A fresh value is not read again.
        secret.advance(59);
        assert_eq!((secret.get().await, secret.reads()), (value(1), 1));
        for (seconds, reads) in [(1, 2), (14, 2), (1, 3), (14, 3), (1, 4)] {
            secret.advance(seconds);
            assert_eq!(
                (secret.get().await, secret.reads()),
                (value(1), reads),
                "{seconds} s: {reads} reads"
            );
            // That the caller needs a newer value changes nothing.
            assert_eq!(
                (secret.refresh().await, secret.reads()),
                (value(1), reads),
                "{seconds} s: {reads} reads"
            );
        }
        secret.advance(900 - 90 - 1);
        assert_eq!(secret.get().await, value(1));
        secret.advance(1);
        // There is nothing to serve any more, and so every caller reads.
        assert_eq!((secret.get().await, secret.reads()), (Err(AWAY), 6));
        assert_eq!((secret.get().await, secret.reads()), (Err(AWAY), 7));
        secret.find(Ok(Some(())));
        assert_eq!(secret.get().await, value(8));
        secret.advance(59);
        assert_eq!(secret.get().await, value(8));
    }

    #[tokio::test]
    async fn an_outage_at_the_start_ends_with_the_next_read() {
        let secret = CachedSecret::fake(Duration::ZERO);
        secret.find(Err(AWAY));
        assert_eq!(secret.get().await, Err(AWAY));
        secret.find(Ok(Some(())));
        assert_eq!(secret.get().await, value(2));
    }

    /// A refusal or the lack of a value is not an outage.
    #[tokio::test]
    async fn another_failure_than_an_outage_is_not_served_stale() {
        for (found, result) in [
            (Err(SecretError::Malformed), Err(SecretError::Malformed)),
            (Ok(None), Ok(None)),
        ] {
            let secret = CachedSecret::fake(Duration::ZERO);
            assert_eq!(secret.get().await, value(1), "{result:?}");
            secret.find(found);
            assert_eq!(secret.refresh().await, result, "{result:?}");
            assert_eq!(secret.get().await, value(1), "{result:?}");
            secret.advance(60);
            assert_eq!(
                (secret.get().await, secret.reads()),
                (result.clone(), 3),
                "{result:?}"
            );
            assert_eq!(
                (secret.get().await, secret.reads()),
                (result.clone(), 4),
                "{result:?}"
            );
        }
    }

    /// A value from before the secret was emptied, denied or malformed is not served in an outage
    /// that follows.
    #[tokio::test]
    async fn an_outage_after_another_failure_serves_nothing() {
        for failure in [Ok(None), Err(SecretError::Malformed)] {
            let secret = CachedSecret::fake(Duration::ZERO);
            assert_eq!(secret.get().await, value(1), "{failure:?}");
            secret.find(failure.clone());
            secret.advance(60);
            let result = failure.clone().map(|_| None);
            assert_eq!(secret.get().await, result, "{failure:?}");
            secret.find(Err(AWAY));
            secret.advance(60);
            assert_eq!(secret.get().await, Err(AWAY), "{failure:?}");

            // The failure may also be found for a caller that needs a recent value.
            let secret = CachedSecret::fake(Duration::ZERO);
            assert_eq!(secret.get().await, value(1), "{failure:?}");
            secret.find(failure.clone());
            secret.advance(30);
            let recent = secret.get_recent(LIMIT, secret.clock.now()).await;
            assert_eq!(recent, result, "{failure:?}");
            // The value is still fresh.
            assert_eq!(secret.get().await, value(1), "{failure:?}");
            secret.find(Err(AWAY));
            secret.advance(30);
            assert_eq!(secret.get().await, Err(AWAY), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn callers_that_wait_share_one_read() {
        let secret = CachedSecret::fake(Duration::ZERO);
        for (reads, found, result) in [
            (1, Err(AWAY), Err(AWAY)),
            (2, Ok(None), Ok(None)),
            (3, Err(SecretError::Malformed), Err(SecretError::Malformed)),
            (4, Ok(Some(())), value(4)),
            // A stale value is shared too.
            (5, Err(AWAY), value(4)),
        ] {
            secret.advance(60);
            secret.find(found);
            let results = join_all((0..50).map(|_| secret.get())).await;
            assert!(
                results.iter().all(|each| *each == result),
                "{reads} reads: {results:?}"
            );
            assert_eq!(secret.reads(), reads, "{reads} reads");
        }
        secret.find(Ok(Some(())));
        secret.advance(60);
        let results = join_all((0..50).map(|_| secret.refresh())).await;
        assert!(results.iter().all(|each| *each == value(6)), "{results:?}");
    }

    /// The age of a value or an outage from the future is not known.
    #[tokio::test]
    async fn a_value_is_read_again_after_the_clock_was_set_back() {
        let secret = CachedSecret::fake(Duration::ZERO);
        secret.advance(3600);
        assert_eq!(secret.get().await, value(1));
        secret.source.clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(secret.get().await, value(2));

        secret.find(Err(AWAY));
        secret.advance(80);
        assert_eq!((secret.get().await, secret.reads()), (value(2), 3));
        let before = secret.clock.now() - SignedDuration::from_secs(10);
        secret.source.clock.set(before);
        assert_eq!((secret.get().await, secret.reads()), (value(2), 4));
    }

    #[tokio::test]
    async fn a_recent_value_is_younger_than_the_limit_or_the_caller() {
        let secret = CachedSecret::fake(Duration::from_secs(6));
        let recent = || secret.get_recent(LIMIT, secret.clock.now());
        // The callers that came before the read share it, although it took long.
        let results = join_all((0..50).map(|_| recent())).await;
        assert!(results.iter().all(|each| *each == value(1)), "{results:?}");
        assert_eq!(recent().await, value(2));

        let secret = CachedSecret::fake(Duration::ZERO);
        for (seconds, number) in [(0, 1), (1, 1), (1, 2)] {
            secret.advance(seconds);
            let recent = secret.get_recent(LIMIT, secret.clock.now()).await;
            assert_eq!(recent, value(number), "{seconds} s: {number}");
        }
    }

    /// A failure counts as long as a value does, and an outage for 15 seconds.
    #[tokio::test]
    async fn a_recent_failure_is_not_repeated() {
        for (found, result, stands_for) in [
            (Err(AWAY), Err(AWAY), 15),
            (Err(SecretError::Malformed), Err(SecretError::Malformed), 2),
            (Ok(None), Ok(None), 2),
        ] {
            let secret = CachedSecret::fake(Duration::ZERO);
            assert_eq!(secret.get().await, value(1), "{result:?}");
            secret.find(found);
            secret.advance(2);
            for (seconds, reads) in [(0, 2), (stands_for - 1, 2), (1, 3)] {
                secret.advance(seconds);
                let recent = secret.get_recent(LIMIT, secret.clock.now()).await;
                assert_eq!(
                    (recent, secret.reads()),
                    (result.clone(), reads),
                    "{result:?}, {seconds} s"
                );
            }
        }
    }
}
