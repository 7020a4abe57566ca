//! Reads the rows of a file, the records of CSV or the lines of JSON Lines, in bounded
//! memory. A bad row is reported with its line, and reading continues with the next row.

mod reader;
mod record;
mod row;
mod source;

pub use reader::{Entry, FileError, Rows};
pub use row::{CsvRow, RowError};

/// The columns that an import knows. Other columns are ignored.
#[derive(Debug)]
pub struct Columns {
    pub names: &'static [&'static str],
    /// Those of `names` that a file must have.
    pub required: &'static [&'static str],
}
