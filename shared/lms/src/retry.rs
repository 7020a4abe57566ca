//! The retries of one call to the LMS. Each rule applies once:
//!
//! - a request whose connection broke is sent again, because a function's connections die while
//!   its machine is frozen; a request that was answered is not;
//! - a token that was refused in the second after the LMS issued it is used again a second later;
//! - a token that was refused is renewed.

use common::clock::SharedClock;

use crate::error::{LmsApiError, LmsError};
use crate::oauth::{Authorization, Login, NEW_FOR};
use crate::rate_limit::{Endpoint, Permit};

/// Makes one call under its permit, with a token, and once more with a new token if the LMS
/// refuses the first.
pub(crate) async fn call<T, A>(
    permit: &Permit<'_>,
    login: &Login,
    clock: &SharedClock,
    request: impl Fn(Authorization) -> A,
) -> Result<T, LmsError>
where
    A: Future<Output = Result<T, LmsApiError>>,
{
    let first = login.authorization(permit, None).await?;
    let refused = match call_with(permit, login, clock, &first, &request).await {
        Err(refused) if is_unauthorized(&refused) => refused,
        result => return result,
    };
    let second = login.authorization(permit, Some(&first)).await?;
    if second == first {
        return Err(refused);
    }
    call_with(permit, login, clock, &second, &request).await
}

/// Makes one request with this authorization, and once more after a second if the LMS refuses a
/// token that it has only just issued.
async fn call_with<T, A>(
    permit: &Permit<'_>,
    login: &Login,
    clock: &SharedClock,
    authorization: &Authorization,
    request: impl Fn(Authorization) -> A,
) -> Result<T, LmsError>
where
    A: Future<Output = Result<T, LmsApiError>>,
{
    let of_enrollments = permit.endpoint() == Endpoint::Enrollments;
    let is_new = login.is_new(authorization).await;
    let result = send(permit, of_enrollments, || request(authorization.clone())).await;
    match &result {
        Err(refused) if is_new && is_unauthorized(refused) => {
            clock.sleep(NEW_FOR).await;
            send(permit, of_enrollments, || request(authorization.clone())).await
        }
        _ => result,
    }
}

/// Makes a request for a token, and once more if its connection broke.
pub(crate) async fn request_token<T, A>(
    permit: &Permit<'_>,
    request: impl Fn() -> A,
) -> Result<T, LmsError>
where
    A: Future<Output = Result<T, LmsApiError>>,
{
    send(permit, false, request).await
}

/// Sends a request, and once more if its connection broke. Records the pause that the LMS asks
/// for.
async fn send<T, A>(
    permit: &Permit<'_>,
    of_enrollments: bool,
    request: impl Fn() -> A,
) -> Result<T, LmsError>
where
    A: Future<Output = Result<T, LmsApiError>>,
{
    permit.wait_for_spacing(of_enrollments).await?;
    let mut result = request().await;
    if matches!(result, Err(LmsApiError::Unreachable)) {
        permit.wait_for_spacing(of_enrollments).await?;
        result = request().await;
    }
    if let Some(lasts) = result.as_ref().err().and_then(LmsApiError::retry_after) {
        permit.pause(lasts);
    }
    Ok(result?)
}

fn is_unauthorized(error: &LmsError) -> bool {
    matches!(error, LmsError::Api(LmsApiError::Unauthorized { .. }))
}
