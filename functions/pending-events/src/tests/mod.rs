//! Tests of the function, from the schedule's call to the tables and the LMS, on the real engine.

mod at_once;
mod ends;
mod fixture;
mod lms;
mod logs;
mod lost;
mod metrics;
mod renamed;
mod stopped;
mod unenrolled;
mod wiring;
