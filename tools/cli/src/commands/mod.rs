//! One file a command.

pub mod enrollments;
pub mod events;
pub mod replay;
pub mod runs;
pub mod tokens;
pub mod users;
