//! Runs servers inside this process.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Serves an axum router on a listener.
    pub(crate) fn serve(listener: TcpListener, router: axum::Router) -> Self {
        Self::start(async move {
            // The server ends only with its listener, when no caller is left to read an error.
            let _ = axum::serve(listener, router).await;
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Binds a port of this machine's loopback address, any free one if `port` is 0; returns the
/// listener and its URL.
pub(crate) async fn listen(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Returns an HTTP client for servers on this machine: it ignores the proxies of the environment
/// and needs no system certificates.
///
/// # Errors
/// The TLS library could not be initialized; this never happens in practice.
#[expect(
    clippy::disallowed_methods,
    reason = "tools have no start-up of shared"
)]
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        // A pooled connection belongs to the runtime that opened it, and each test has a runtime of
        // its own.
        .pool_max_idle_per_host(0)
        .build()
}
