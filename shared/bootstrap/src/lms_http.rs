//! The HTTP client for the LMS, made once at start-up.

use std::time::Duration;

/// Returns the settings of the LMS's client, from which the client is built at start-up.
///
/// The client follows no redirect, because the next request would show our credential to
/// any host that the LMS names. It keeps no cookie and ignores the proxies of the
/// environment. It uses the same TLS library as the AWS clients.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn settings() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("coursehook/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .no_proxy()
}

/// Returns the client for the LMS.
///
/// # Errors
/// If the TLS library cannot start, for example without the system's certificates.
pub fn client() -> reqwest::Result<reqwest::Client> {
    settings().build()
}
