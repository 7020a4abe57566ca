//! Use cases of Coursehook. Each one makes the decisions, and leaves reading and writing to
//! `store`, `secrets` and `lms`.

pub mod authenticating;
pub mod certifying;
pub mod enrolling;
pub mod erasing;
pub mod importing;
pub mod issuing_tokens;
pub mod operator;
pub mod renaming;
pub mod retry;
pub mod sweeping;

/// Error of a use case that could not read or write its data.
pub use store::StoreError;
/// The result of an enrollment change, as the store returns it.
pub use store::enrollments::{ChangeOutcome, Changed};

use domain::{Blocked, BlockedReason, EventKey};
use thiserror::Error;

/// Error of a delivery that could not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct DeliveryError {
    /// The error of the store.
    pub error: StoreError,
    /// The key of the event, if the failure is not temporary: the event is then stored as a
    /// pending event with the reason `failed`.
    pub pending: Option<EventKey>,
}

impl From<StoreError> for DeliveryError {
    fn from(error: StoreError) -> Self {
        Self {
            error,
            pending: None,
        }
    }
}

/// Returns the blocked reason of an event that fails with this error.
fn blocked_by(error: &StoreError) -> Blocked {
    Blocked {
        error: Some(error.code().to_owned()),
        ..BlockedReason::Failed.into()
    }
}

/// The result of one attempt at a change that reads an item and then writes it.
enum ChangeAttempt<T> {
    /// The change is made, or is not needed.
    Done(T),
    /// Another writer has changed the item since it was read.
    Conflict,
}

/// Runs `attempt` until it is done, at most five times.
///
/// Only commands use it: the future of an async closure is not `Send`, as the functions need.
///
/// # Errors
/// The error of `attempt`, or [`StoreError::contended`] if each attempt met a conflict.
async fn retry_on_conflict<T, E: From<StoreError>>(
    mut attempt: impl AsyncFnMut() -> Result<ChangeAttempt<T>, E>,
) -> Result<T, E> {
    const ATTEMPTS: u32 = 5;
    for _ in 0..ATTEMPTS {
        if let ChangeAttempt::Done(done) = attempt().await? {
            return Ok(done);
        }
    }
    Err(StoreError::contended().into())
}
