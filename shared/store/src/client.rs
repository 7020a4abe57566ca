//! Settings of every DynamoDB call: its time limit, its retries, its count.

use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use common::calls;

/// The time limits of a call. The SDK itself sets no time limit for an answer.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// The time limit of each attempt, including the connection.
    pub attempt: Duration,
    /// The maximum number of attempts, including the first.
    pub attempts: u32,
    /// The backoff before the first retry. It grows, with jitter, up to
    /// `longest_backoff`.
    pub first_backoff: Duration,
    /// The maximum backoff between two attempts.
    pub longest_backoff: Duration,
}

impl CallLimits {
    /// The limits in production.
    pub const PRODUCTION: Self = Self {
        attempt: Duration::from_secs(2),
        attempts: 3,
        first_backoff: Duration::from_millis(50),
        longest_backoff: Duration::from_millis(500),
    };

    /// The longest time that one call can take, including retries and backoff.
    pub const fn longest(&self) -> Duration {
        let waits = self.attempts.saturating_sub(1);
        Duration::from_millis(
            self.attempt.as_millis() as u64 * self.attempts as u64
                + self.longest_backoff.as_millis() as u64 * waits as u64,
        )
    }
}

/// Returns the settings of a DynamoDB client, from which the client is built at start-up.
pub fn settings(aws: &aws_config::SdkConfig, limits: CallLimits) -> Builder {
    Builder::from(aws)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(limits.attempt)
                .operation_attempt_timeout(limits.attempt)
                .operation_timeout(limits.longest())
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(limits.attempts)
                .with_initial_backoff(limits.first_backoff)
                .with_max_backoff(limits.longest_backoff),
        )
        .retry_classifier(RetryConflicts)
        .interceptor(CountCalls)
}

/// Counts each attempt in [`common::calls`].
#[derive(Debug)]
struct CountCalls;

impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        calls::dynamodb();
        Ok(())
    }
}

/// Retries transaction conflicts. A single write that meets a transaction on the same
/// item is refused with a conflict, which passes within milliseconds. The SDK does not
/// retry it.
#[derive(Debug)]
struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn name(&self) -> &'static str {
        "RetryConflicts"
    }

    fn classify_retry(
        &self,
        context: &aws_sdk_dynamodb::config::interceptors::InterceptorContext,
    ) -> RetryAction {
        const CONFLICT: &[u8] = b"#TransactionConflictException\"";
        let conflict = context
            .response()
            .filter(|response| response.status().as_u16() == 400)
            .and_then(|response| response.body().bytes())
            .is_some_and(|body| body.windows(CONFLICT.len()).any(|part| part == CONFLICT));
        if conflict {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }
}
