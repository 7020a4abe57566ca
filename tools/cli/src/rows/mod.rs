//! Rows of a file, the records of CSV or the lines of JSON Lines, in bounded
//! memory. What is wrong with one row is told with its line, and the next one is
//! read.

mod reader;
mod record;
mod row;
mod source;

pub use reader::{Entry, FileError, Rows};
pub use row::{CsvRow, RowError};

/// The columns that an import knows. Others are passed over.
#[derive(Debug)]
pub struct Columns {
    pub names: &'static [&'static str],
    /// Those of `names` that a file must have.
    pub required: &'static [&'static str],
}
