//! What Coursehook keeps elsewhere: the tables and the secrets. Each adapter
//! turns one outside client's answers and failures into the domain's words.

pub mod aws_failure;
pub mod secrets;
pub mod store;

pub use aws_failure::AwsFailure;
