//! Sends requests to the webhooks at `COURSEHOOK_URL`, as a sender does.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Url};
use thiserror::Error;

use crate::failure::{CommandError, Failure};

/// The timeout of a request, the same as the LMS's.
const LIMIT: Duration = Duration::from_secs(30);

/// Error of a variable with which no request can be sent.
#[derive(Debug, Error)]
pub enum GatewayError {
    #[error("COURSEHOOK_URL is not a URL such as http://127.0.0.1:9000")]
    Url,
    #[error("COURSEHOOK_TOKEN is not a token; `coursehook tokens issue` issues one")]
    Bearer,
}

impl CommandError for GatewayError {}

/// The webhooks' address.
pub struct Gateway {
    /// The URL with the stage, without the last slash.
    base: String,
    client: Client,
}

impl Gateway {
    pub fn at(url: &str) -> Result<Self, Failure> {
        let parsed: Url = url.parse().map_err(|_| GatewayError::Url)?;
        let host = parsed.host_str().ok_or(GatewayError::Url)?;
        if !parsed.scheme().starts_with("http") {
            return Err(GatewayError::Url.into());
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
        #[expect(
            clippy::disallowed_methods,
            reason = "bootstrap's client is for the LMS; this one is for our own gateway"
        )]
        let mut client = Client::builder().timeout(LIMIT).redirect(Policy::none());
        if is_loopback {
            // A proxy has a loopback of its own.
            client = client.no_proxy();
        }
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            client: client.build()?,
        })
    }

    /// Builds a request for a path, and perhaps a query, from `/api/` on.
    pub fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{target}", self.base))
    }
}

/// Returns the header that carries a token.
pub fn bearer(token: &str) -> Result<HeaderValue, GatewayError> {
    let bearer = HeaderValue::try_from(format!("Bearer {token}"));
    let mut bearer = bearer.map_err(|_| GatewayError::Bearer)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// Describes why there is no answer.
pub fn describe_no_answer(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "cannot be reached; is the stack running (make run)?"
    } else if error.is_timeout() {
        "no answer within 30 seconds"
    } else {
        "the connection broke before the answer arrived"
    }
}
