//! Starts the local stack from its built programs, and uses it as people do.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails says where"
)]

mod run;
mod stack;
mod transcripts;
