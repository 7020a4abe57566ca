//! A client that panics.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use store::settings;

use crate::{ADA, FAST_RETRIES, configuration};

/// Returns a client for the tables at `url` that panics at each call of this operation, with an
/// address in its message.
#[expect(
    clippy::disallowed_methods,
    reason = "a client that no start-up would make"
)]
pub fn panicking_client(url: &str, operation: &'static str) -> Client {
    let settings = settings(&configuration(url), FAST_RETRIES);
    Client::from_conf(settings.interceptor(Panics(operation)).build())
}

#[derive(Debug)]
struct Panics(&'static str);

impl Intercept for Panics {
    fn name(&self) -> &'static str {
        "Panics"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        let is_it = target.is_some_and(|target| target.ends_with(self.0));
        assert!(!is_it, "about {ADA}");
        Ok(())
    }
}
