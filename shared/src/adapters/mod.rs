//! The outside systems: the tables, the secrets, the LMS. Each adapter translates the
//! answers and failures of one outside client into the domain's terms.

pub mod aws_error;
pub mod lms;
pub mod secrets;
pub mod store;

pub use aws_error::AwsError;
