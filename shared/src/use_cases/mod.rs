//! What Coursehook does: each use case decides, and leaves reading and writing to the adapters.

pub mod asking_the_lms;
pub mod authenticating;
pub mod certifying;
pub mod correcting;
pub mod enrolling;
pub mod erasing;
pub mod importing;
pub mod issuing_tokens;
pub mod looking_again;
pub mod renaming;
pub mod sweeping;

/// Why a use case could not read or write what it needs.
pub use crate::adapters::store::StoreError;
/// What an enrollment took, as the store tells it.
pub use crate::adapters::store::enrollments::{Changed, Outcome};
