//! Reads the rows of a file, the records of CSV or the lines of JSON Lines, in bounded
//! memory. A bad row is reported with its line, and reading continues with the next row.

mod error;
mod reader;
mod record;
mod row;
mod source;

pub use self::error::{FileError, NamedFileError, RowError, is_standard_input};
pub use self::reader::{Entry, Rows};
pub use self::row::{Columns, CsvRow};
