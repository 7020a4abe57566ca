//! What is elsewhere: the tables, the secrets, the LMS. Each adapter
//! turns one outside client's answers and failures into the domain's words.

pub mod aws_failure;
pub mod lms;
pub mod secrets;
pub mod store;

pub use aws_failure::AwsError;
