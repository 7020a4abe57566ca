//! The clients of the services around a portal: each is the real one, with a simulated connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{
    Credentials, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::http::HttpClient;
use bootstrap::aws;
use common::clock::SharedClock;
use store::CallLimits;

use super::lms::InProcess;
use super::secrets::{self, Secrets};
use super::{Engine, StormClock, StormLms, World, engine};

/// Makes the clients of a process.
pub(super) struct Services {
    clock: StormClock,
    engine: Arc<Engine>,
    lms: Arc<StormLms>,
    secrets: Arc<Secrets>,
}

impl Services {
    /// Returns the services of a world.
    pub(super) fn of(world: &World) -> Self {
        Self {
            clock: world.clock,
            engine: Arc::clone(&world.engine),
            lms: Arc::clone(&world.lms),
            secrets: Arc::clone(&world.secrets),
        }
    }

    /// Returns the clock.
    pub(super) fn clock(&self) -> SharedClock {
        Arc::new(self.clock)
    }

    /// Returns a client of the tables, with the limits of a function.
    pub(super) fn tables(&self) -> aws_sdk_dynamodb::Client {
        self.tables_within(CallLimits::PRODUCTION)
    }

    /// Returns a client of the tables, with limits.
    pub(super) fn tables_within(&self, limits: CallLimits) -> aws_sdk_dynamodb::Client {
        let settings = self.configuration(engine::connection(&self.engine));
        aws::dynamodb(&settings, limits)
    }

    /// Returns a client of Secrets Manager.
    pub(super) fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws::secrets_manager(&self.configuration(secrets::connection(&self.secrets)))
    }

    /// Returns an HTTP client that reaches the LMS.
    pub(super) fn lms(&self) -> ::lms::HttpClient {
        ::lms::HttpClient::through(requests(), Arc::new(InProcess(Arc::clone(&self.lms))))
    }

    fn configuration(&self, client: impl HttpClient + 'static) -> SdkConfig {
        // The SDK limits the retries of a process for each region. Each client has one of its own, as
        // if it were alone in its process.
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let credentials = Credentials::new("storm", "storm", None, None, "storm");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(format!("storm-{number}")))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url("http://aws.test")
            .http_client(SharedHttpClient::new(client))
            .time_source(SharedTimeSource::new(self.clock))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

fn requests() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| {
        let settings = bootstrap::lms_http::settings().tls_certs_only([]);
        settings.build().unwrap_or_default()
    });
    client.clone()
}
