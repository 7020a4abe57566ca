//! Imports a file into a table: one thread reads it, and batches are written, several at
//! once. Each kind of import has its own file, with a reader and a writer of its rows.

mod certificates;
mod doubts;
mod enrollments;
mod grades;
mod reading;
mod records;
mod runs;
mod summary;
mod users;
mod warnings;
mod writing;

pub use self::certificates::import as certificates;
pub use self::enrollments::import as enrollments;
pub use self::grades::import as grades;
pub use self::runs::import as runs;
pub use self::users::import as users;
