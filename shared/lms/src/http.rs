//! The way of a request to the LMS.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::{Client, Request, RequestBuilder, Response};

use crate::error::LmsApiError;

/// Sends requests to the LMS.
///
/// In production it is reqwest's client. It is a trait because a test on a clock of its own cannot
/// wait for a socket.
pub trait SendRequest: Debug + Send + Sync {
    /// Sends the request, and returns the answer, whose body may not have arrived yet.
    ///
    /// # Errors
    /// [`LmsApiError::Timeout`] or [`LmsApiError::Unreachable`].
    fn send(&self, request: Request) -> Sending<'_>;
}

/// A request that is being sent.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response, LmsApiError>> + Send + 'a>>;

impl SendRequest for Client {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(async { self.execute(request).await.map_err(broken) })
    }
}

/// The HTTP client for the LMS: builds requests and sends them.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pub(crate) requests: Client,
    sender: Arc<dyn SendRequest>,
}

impl HttpClient {
    /// Returns a client that builds requests as `requests` does and sends them through `sender`.
    pub fn through(requests: Client, sender: Arc<dyn SendRequest>) -> Self {
        Self { requests, sender }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, LmsApiError> {
        self.sender.send(request.build().map_err(broken)?).await
    }
}

impl From<Client> for HttpClient {
    fn from(client: Client) -> Self {
        Self::through(client.clone(), Arc::new(client))
    }
}

/// Maps an error of the HTTP client. Only its kind is kept, because the error itself names the URL
/// and the URL names the learner.
pub(crate) fn broken(error: reqwest::Error) -> LmsApiError {
    if error.is_timeout() {
        LmsApiError::Timeout
    } else {
        LmsApiError::Unreachable
    }
}
