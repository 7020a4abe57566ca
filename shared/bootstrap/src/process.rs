//! The process of a function: the environment, clients and clock that it is wired from.

use std::sync::Arc;

use aws_config::SdkConfig;
use common::clock::{SharedClock, SystemClock};
use store::CallLimits;

use crate::environment::Environment;
use crate::{aws, lms_http};

/// The process of a function.
pub struct Process {
    /// The variables of the process.
    pub environment: Environment,
    /// The system's clock.
    pub clock: SharedClock,
    aws: SdkConfig,
}

impl Process {
    /// Reads the environment, and finds region, credentials and endpoints.
    pub async fn read() -> Self {
        Self {
            environment: Environment::of_process(),
            clock: Arc::new(SystemClock),
            aws: aws::configuration(aws::Choice::default()).await,
        }
    }

    /// Returns the client for the tables.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws::dynamodb(&self.aws, CallLimits::PRODUCTION)
    }

    /// Returns the client for the secrets.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws::secrets_manager(&self.aws)
    }

    /// Returns the HTTP client for the LMS.
    ///
    /// # Errors
    /// If the TLS library cannot start, for example without the system's certificates.
    pub fn lms_http(&self) -> reqwest::Result<reqwest::Client> {
        lms_http::client()
    }
}
