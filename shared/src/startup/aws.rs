//! AWS's clients, made once.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::adapters::store::{self, CallLimits};

/// Region, credentials and endpoints, as the SDK finds them
/// (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB` and so on).
pub async fn configuration() -> SdkConfig {
    aws_config::load_from_env().await
}

/// The client for the tables.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn dynamodb(aws: &SdkConfig, limits: CallLimits) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(store::settings(aws, limits).build())
}

/// The client for the secrets: at most three attempts of two seconds, since
/// whoever waits for a token's judgement waits for its answer too.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn secrets_manager(aws: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    const ATTEMPT: Duration = Duration::from_secs(2);
    let settings = aws_sdk_secretsmanager::config::Builder::from(aws)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(ATTEMPT)
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(ATTEMPT * 3)
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(3)
                .with_initial_backoff(Duration::from_millis(50)),
        );
    aws_sdk_secretsmanager::Client::from_conf(settings.build())
}
