//! AWS's clients, made once.

use std::error::Error;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use thiserror::Error;

use crate::adapters::store::{self, CallLimits};

/// What somebody has named, in place of what the SDK would find by itself.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// A profile of AWS's configuration files. Its credentials count, also
    /// where the environment has others, as with the `--profile` of AWS's own tools.
    pub profile: Option<String>,
    /// `eu-central-1` for instance.
    pub region: Option<String>,
}

/// Region, credentials and endpoints, as the SDK finds them
/// (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB` and so on), where none are chosen.
pub async fn configuration(choice: Choice) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = choice.region {
        loader = loader.region(Region::new(region));
    }
    let Some(profile) = choice.profile else {
        return loader.load().await;
    };
    let found = loader.profile_name(&profile).load().await;
    // By itself the SDK would take a profile's only where the environment has none.
    let with_region = ProviderConfig::without_region().with_region(found.region().cloned());
    let credentials = ProfileFileCredentialsProvider::builder()
        .configure(&with_region)
        .profile_name(profile)
        .build();
    let credentials = SharedCredentialsProvider::new(credentials);
    found
        .into_builder()
        .credentials_provider(credentials)
        .build()
}

/// There is nothing to sign calls with. Says why, in the SDK's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there are no credentials for AWS: {0}")]
pub struct CredentialsError(String);

/// The credentials that calls are signed with. Asks whoever gives them, which
/// may be AWS; whether they are good for anything only a call can tell.
///
/// # Errors
/// Where the SDK finds none, or cannot use what it finds.
pub async fn credentials(aws: &SdkConfig) -> Result<Credentials, CredentialsError> {
    let Some(provider) = aws.credentials_provider() else {
        return Err(CredentialsError("none are configured".to_owned()));
    };
    provider.provide_credentials().await.map_err(|error| {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why.push_str(&format!(": {error}"));
            cause = error.source();
        }
        CredentialsError(why)
    })
}

/// The client for the tables.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn dynamodb(aws: &SdkConfig, limits: CallLimits) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(store::settings(aws, limits).build())
}

/// The client for the secrets: at most three attempts of two seconds, since
/// whoever waits for a token's decision waits for its answer too.
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
