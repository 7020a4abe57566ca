//! A test that looks for lost, doubled and wrong.
#![recursion_limit = "256"]

pub mod check;
pub mod generate;
pub mod model;
pub mod report;
pub mod run;
pub mod state;
pub mod steps;
pub mod world;
