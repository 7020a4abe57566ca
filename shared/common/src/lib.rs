//! The parts that all other crates need: the clock, random ids, counts of calls, errors of AWS, and
//! panics as errors.

pub mod aws_error;
pub mod calls;
pub mod clock;
pub mod panic;
pub mod random;

pub use aws_error::AwsError;
