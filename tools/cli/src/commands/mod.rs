//! The commands, each in a file or folder.

mod advice;
pub mod certificates;
pub mod completions;
pub mod credential;
pub mod deliveries;
pub mod doctor;
pub mod enrollments;
pub mod events;
mod find;
pub mod grades;
pub mod replay;
pub mod runs;
pub mod status;
pub mod sweep;
pub mod tokens;
pub mod users;
