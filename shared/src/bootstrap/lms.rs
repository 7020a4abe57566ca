//! The LMS's client, made once.

use std::time::Duration;

/// The settings of the LMS's client, to be made into one at start-up.
///
/// It follows no redirect, since the next request would show our credential to
/// whomever the LMS names; it keeps no cookie and heeds no proxy of the
/// environment. Its TLS is the one that the AWS clients have.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn settings() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("coursehook/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .no_proxy()
}

/// The client for the LMS.
///
/// # Errors
/// When the TLS library cannot start, for instance without the system's
/// certificates.
pub fn client() -> reqwest::Result<reqwest::Client> {
    settings().build()
}
