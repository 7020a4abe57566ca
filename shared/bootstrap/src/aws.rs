//! The AWS clients, made once at start-up.

use std::error::Error;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use store::{self, CallLimits};
use thiserror::Error;

/// A choice of profile and region that overrides what the SDK would find by itself.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// A profile of AWS's configuration files. Its credentials are used even if the
    /// environment has others, as with the `--profile` of AWS's own tools.
    pub profile: Option<String>,
    /// A region, for example `eu-central-1`.
    pub region: Option<String>,
}

/// Reads region, credentials and endpoints as the SDK finds them (`AWS_REGION`,
/// `AWS_ENDPOINT_URL_DYNAMODB` and so on). What `choice` names takes precedence.
pub async fn configuration(choice: Choice) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = choice.region {
        loader = loader.region(Region::new(region));
    }
    let Some(profile) = choice.profile else {
        return loader.load().await;
    };
    let found = loader.profile_name(&profile).load().await;
    // By itself the SDK would use a profile's credentials only if the environment has
    // none.
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

/// Error: there are no credentials to sign calls with. It gives the reason in the SDK's
/// words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there are no credentials for AWS: {0}")]
pub struct CredentialsError(String);

/// Returns the credentials that calls are signed with. It asks their provider, which may
/// be AWS. Only a call can show whether they are valid.
///
/// # Errors
/// If the SDK finds no credentials or cannot use those that it finds.
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

/// Returns the client for the tables.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn dynamodb(aws: &SdkConfig, limits: CallLimits) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(store::settings(aws, limits).build())
}

/// Returns the client for the secrets. It makes at most three attempts of two seconds,
/// because a caller that waits for a token check waits for its answer too.
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
