//! What happens once, before the first request: the environment is read, the
//! clients are made, the log is opened.

pub mod aws;
pub mod environment;
pub mod lms;
pub mod logging;
pub mod wiring;
