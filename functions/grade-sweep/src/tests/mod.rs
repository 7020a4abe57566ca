//! Tests of the function, from the state machine's call to the tables and the LMS, on the real
//! engine.

mod calls;
mod chosen;
mod fixture;
mod learners;
mod logs;
mod metrics;
mod pages;
mod safety_limit;
mod stopped;
mod wiring;
