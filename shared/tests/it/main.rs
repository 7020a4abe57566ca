//! Integration tests of the shared library, in one program.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod enrollments;
mod importing;
mod layers;
mod lms;
mod metrics;
mod sweeps;
mod tokens;
