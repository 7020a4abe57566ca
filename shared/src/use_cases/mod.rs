//! What Coursehook does: each use case decides, and leaves reading and writing to the adapters.

pub mod authenticating;
pub mod certifying;
pub mod enrolling;
pub mod erasing;
pub mod importing;
pub mod issuing_tokens;
pub mod lms;
pub mod operator;
pub mod renaming;
pub mod retry;
pub mod sweeping;

/// Why a use case could not read or write what it needs.
pub use crate::adapters::store::StoreError;
/// What an enrollment took, as the store tells it.
pub use crate::adapters::store::enrollments::{ChangeOutcome, Changed};

use thiserror::Error;

use crate::domain::{Blocked, BlockedReason, EventKey};

/// Why a delivery could not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct DeliveryError {
    /// What failed.
    pub error: StoreError,
    /// The event, stored as a pending event with the reason `failed`, where the failure is not one of a moment.
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

impl StoreError {
    /// What an event that fails by this waits for.
    pub(crate) fn blocked(&self) -> Blocked {
        Blocked {
            error: Some(self.code().to_owned()),
            ..BlockedReason::Failed.into()
        }
    }
}
