//! The LMS's client, made once.

use std::time::Duration;

/// The client for the LMS.
///
/// It follows no redirect, since the next request would show our credential to
/// whomever the LMS names; it keeps no cookie and heeds no proxy of the
/// environment. Its TLS is the one that the AWS clients have.
///
/// # Errors
/// When the TLS library cannot start, for instance without the system's
/// certificates.
#[expect(clippy::disallowed_methods, reason = "clients are made at start-up")]
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("coursehook/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .no_proxy()
        .build()
}
