//! The start of a process: it reads the environment, makes the clients and puts the use cases
//! together.

pub mod aws;
pub mod environment;
pub mod lms_http;
pub mod process;
pub mod wiring;
