//! Reads a file in a thread of its own, in batches.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::{fmt, mem, thread};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

use super::warnings::{Warning, Warnings};
use crate::rows::{Columns, CsvRow, Entry, FileError, RowError, Rows, is_standard_input};

/// Reads the rows of a file. It remembers the keys that no other row may repeat.
pub trait Reader: Send + 'static {
    /// The parsed row.
    type Parsed: Send;
    const COLUMNS: Columns;
    /// The number of rows that are written in one call.
    const AT_ONCE: usize;

    /// Reads a row; warnings about an accepted row are added to `warnings`.
    fn read(
        &mut self,
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self::Parsed, RowError>;
}

/// The opened input of an import.
pub struct Input {
    pub reader: Box<dyn Read + Send>,
    /// The length of the input; `None` if it is unknown.
    pub bytes: Option<u64>,
}

/// Opens a file, or standard input.
pub fn open(file: &Path) -> io::Result<Input> {
    if is_standard_input(file) {
        return Ok(Input {
            reader: Box::new(io::stdin()),
            bytes: None,
        });
    }
    let file = File::open(file)?;
    let about = file.metadata()?;
    Ok(Input {
        bytes: about.is_file().then_some(about.len()),
        reader: Box::new(file),
    })
}

/// Opens a file that can be read more than once. Standard input or a pipe is copied into
/// a temporary file without a name, which is deleted when the program ends.
pub fn open_for_several_passes(path: &Path) -> Result<File, FileError> {
    let mut reader: Box<dyn Read> = if is_standard_input(path) {
        Box::new(io::stdin())
    } else {
        // A pipe is opened only once: the second reader would find no writer.
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Box::new(file)
    };
    let mut copy = tempfile::tempfile().map_err(FileError::NotCopied)?;
    // The usual cause of an error is a full disk.
    io::copy(&mut reader, &mut copy).map_err(FileError::NotCopied)?;
    copy.rewind()?;
    Ok(copy)
}

impl TryFrom<File> for Input {
    type Error = io::Error;

    fn try_from(file: File) -> io::Result<Self> {
        Ok(Self {
            bytes: Some(file.metadata()?.len()),
            reader: Box::new(file),
        })
    }
}

/// Rows that are written together.
pub struct Batch<T> {
    pub lines: Vec<u64>,
    pub rows: Vec<T>,
    pub warnings: Warnings,
    /// The number of bytes of these rows, and of the bad lines among them.
    pub bytes: u64,
}

impl<T> Batch<T> {
    pub const fn new() -> Self {
        Self {
            lines: Vec::new(),
            rows: Vec::new(),
            warnings: Warnings::new(),
            bytes: 0,
        }
    }
}

/// A message of the reading thread.
pub enum Message<T> {
    Batch(Batch<T>),
    Bad(BadRow),
    Unknown(Vec<String>),
    /// The error that ends reading; the last message.
    Broken(FileError),
}

/// A row that cannot be imported. The message continues "line 7: ".
#[derive(Debug)]
pub struct BadRow {
    pub line: u64,
    last_line: u64,
    problem: RowError,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)?;
        if self.last_line > self.line {
            write!(f, " (the row continues to line {})", self.last_line)?;
        }
        Ok(())
    }
}

/// Reads all rows, at most `ahead` batches ahead of the writer.
///
/// The thread is not one of the runtime's, which waits for its threads at the end: a read
/// from a pipe may never return.
pub fn start<R: Reader>(
    rows: Rows,
    reader: R,
    ahead: usize,
) -> (mpsc::Receiver<Message<R::Parsed>>, thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(ahead);
    let thread = thread::spawn(move || {
        // If the receiver is closed, there is nothing more to do.
        let _ = read_all(rows, reader, &sender);
    });
    (receiver, thread)
}

/// Reads until the end, or until the receiver is closed.
fn read_all<R: Reader>(
    mut rows: Rows,
    mut reader: R,
    sender: &mpsc::Sender<Message<R::Parsed>>,
) -> Result<(), SendError<Message<R::Parsed>>> {
    let mut batch = Batch::new();
    let mut reported = 0;
    loop {
        let entry = match rows.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(problem) => {
                sender.blocking_send(Message::Batch(batch))?;
                return sender.blocking_send(Message::Broken(problem));
            }
        };
        let names = rows.take_unknown();
        if !names.is_empty() {
            sender.blocking_send(Message::Unknown(names))?;
        }
        let Entry {
            line,
            last_line,
            row,
        } = entry;
        let mut warnings = Vec::new();
        let row = row.and_then(|row| {
            if row.is_short {
                warnings.push(Warning::CellsLeftOut);
            }
            reader.read(&row, line, &mut warnings)
        });
        match row {
            Ok(row) => {
                batch.lines.push(line);
                batch.rows.push(row);
                for warning in warnings {
                    batch.warnings.add(warning, line);
                }
            }
            Err(problem) => sender.blocking_send(Message::Bad(BadRow {
                line,
                last_line,
                problem,
            }))?,
        }
        if batch.rows.len() == R::AT_ONCE {
            batch.bytes = rows.bytes() - reported;
            reported = rows.bytes();
            sender.blocking_send(Message::Batch(mem::replace(&mut batch, Batch::new())))?;
        }
    }
    batch.bytes = rows.bytes() - reported;
    sender.blocking_send(Message::Batch(batch))
}

#[cfg(test)]
mod tests {
    use domain::{Email, given};

    use super::*;

    struct EmailReader;

    impl Reader for EmailReader {
        type Parsed = Email;
        const COLUMNS: Columns = Columns {
            names: &["email"],
            required: &["email"],
        };
        const AT_ONCE: usize = 100;

        fn read(&mut self, row: &CsvRow, _: u64, _: &mut Vec<Warning>) -> Result<Email, RowError> {
            row.required_given("email", given::email)
        }
    }

    /// The bytes of all batches add up to the file, so that the bar ends at 100 %.
    #[test]
    fn batches_account_for_every_byte() {
        let rows: String = (0..250)
            .map(|n| format!("learner{n}@example.org\n"))
            .collect();
        let file = format!("\u{feff}email\r\n{rows}no address\r\n\n\"\n\"\n \n");
        let bytes = file.len() as u64;
        let input = Box::new(io::Cursor::new(file.into_bytes()));
        let rows = Rows::new(input, &EmailReader::COLUMNS, false).unwrap();
        let (sender, mut receiver) = mpsc::channel(100);
        assert!(read_all(rows, EmailReader, &sender).is_ok());
        drop(sender);
        let mut reported = 0;
        while let Some(read) = receiver.blocking_recv() {
            if let Message::Batch(batch) = read {
                reported += batch.bytes;
            }
        }
        assert_eq!(reported, bytes);
    }
}
