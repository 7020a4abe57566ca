//! The fixtures of the functions' tests: a portal of the test's own (tables, secrets, LMS, clock,
//! log), and deliveries as the gateway passes them on.
//!
//! An error here fails the test, so functions panic and return no errors.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that fails says where"
)]

mod delivery;
mod log;
mod panics;
mod portal;
pub mod stop;
pub mod sweep;
pub mod wiring;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Region;
use bootstrap::{aws, lms_http};
use jiff::Timestamp;
use store::CallLimits;
use uuid::Uuid;

pub use delivery::{
    EXPIRED, NOT_STAFF, REVOKED, STAFF, Webhook, WebhookResponse, from_gateway, tokens, with_id,
};
pub use log::Log;
pub use panics::panicking_client;
pub use portal::Portal;

/// The time at which every test begins.
pub const NOW: &str = "2026-11-22T09:00:00Z";
/// A user of each portal.
pub const ADA: &str = "ada@example.org";
/// Ada's user id.
pub const ADA_ID: &str = "6f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
/// Ada's username in the LMS.
pub const ADA_USERNAME: &str = "ada";
/// A course run of each portal.
pub const RUN: &str = "course-v1:Demo+RustOnLambda+2026_T3";

/// Limits for retries that do not wait, on a machine that may be slow.
pub const FAST_RETRIES: CallLimits = CallLimits {
    attempt: Duration::from_secs(60),
    first_backoff: Duration::from_millis(1),
    ..CallLimits::PRODUCTION
};

/// The same for a call that hangs and is to be abandoned soon. The longest backoff is never waited;
/// it only raises the limit of the call as a whole.
pub const SHORT_TIMEOUTS: CallLimits = CallLimits {
    attempt: Duration::from_millis(500),
    first_backoff: Duration::from_millis(1),
    longest_backoff: Duration::from_secs(60),
    ..CallLimits::PRODUCTION
};

/// Returns [`NOW`] as a timestamp.
pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// Returns a client for an engine or a proxy. The SDK limits the retries of a process per region,
/// and no test may use up another's: each client has a region of its own.
pub fn client(url: &str, limits: CallLimits) -> Client {
    aws::dynamodb(&configuration(url), limits)
}

/// Returns the SDK's configuration for such a client.
pub fn configuration(url: &str) -> SdkConfig {
    let region = Region::new(Uuid::new_v4().to_string());
    local::sdk::configuration(url)
        .into_builder()
        .region(region)
        .build()
}

/// Returns a client for an LMS on this machine: that of production, without the system's
/// certificates, which take long to read, and without connections that outlive the test that opened
/// them.
pub fn http_client() -> reqwest::Client {
    let settings = lms_http::settings().tls_certs_only([]);
    settings.pool_max_idle_per_host(0).build().unwrap()
}
