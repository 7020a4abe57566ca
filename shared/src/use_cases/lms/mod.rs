//! Requests to the LMS. [`LmsClient`] makes them with one access token for the whole process,
//! and once more if a connection broke. `rate_limiter` keeps the rate limits and contains the
//! circuit breaker.

mod client;
mod error;
mod login;
mod rate_limiter;

pub use client::{LmsClient, PAGE_TIME};
pub use error::{LmsError, NoCredentialError};
pub use rate_limiter::LmsLimits;

pub use crate::adapters::lms::{About, EnrollmentRow, GradeRow, Page};
