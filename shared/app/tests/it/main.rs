//! Integration tests of the use cases, in one program.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod enrollments;
mod importing;
mod pending_events;
mod sweeps;
mod tokens;
