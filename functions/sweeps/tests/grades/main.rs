//! Tests of the function, from the state machine's call to the tables and the LMS, on the real
//! engine.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod calls;
mod chosen;
mod fixture;
mod learners;
mod logs;
mod metrics;
mod pages;
mod safety_limit;
mod state_machine;
mod stopped;
mod wiring;
