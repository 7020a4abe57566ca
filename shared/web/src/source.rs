//! The differences between the senders of events.

use http::HeaderMap;

use super::bearer::Authentication;
use super::delivery::Delivery;
use super::error::WebhookError;

/// A sender of events: how its requests are authenticated, and how they are parsed.
pub trait Source: Send + Sync {
    /// Reads ahead of the first request what authenticating takes.
    fn warm_up(&self) -> impl Future<Output = ()>;

    /// Authenticates the caller of a request by its headers.
    fn authenticate(&self, headers: &HeaderMap) -> impl Future<Output = Authentication> + Send;

    /// Parses a request of an authenticated caller.
    ///
    /// # Errors
    /// What is wrong with the request.
    fn parse(&self, headers: &HeaderMap, body: &[u8]) -> Result<Delivery, WebhookError>;
}
