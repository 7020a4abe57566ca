//! The retry of a request: it is sent once more if its connection broke, because a function's
//! connections die while its machine is frozen. A request that was answered is not sent again.

use crate::error::{LmsApiError, LmsError};
use crate::rate_limit::Permit;

/// Sends a request, and once more if its connection broke. Records the pause that the LMS asks
/// for.
pub(crate) async fn send<T, A>(
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
