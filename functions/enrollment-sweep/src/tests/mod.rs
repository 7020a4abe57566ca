//! The function, from the state machine's call to the tables and the LMS, on the
//! real engine.

mod brakes;
mod calls;
mod chosen;
mod learners;
mod logs;
mod metrics;
mod moved;
mod pages;
mod pending_passes;
mod stack;
mod stopped;
mod wiring;
