//! A file is read by a thread of its own, in batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::{mem, thread};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

use super::Reader;
use crate::failure::Failure;
use crate::output;
use crate::rows::{Entry, FileProblem, RowProblem, Rows};

/// What is wrong with a file, with its name.
pub fn in_file(file: &Path, problem: FileProblem) -> Failure {
    let file = if is_standard_input(file) {
        "standard input".to_owned()
    } else {
        output::path(file)
    };
    Failure::File { file, problem }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// A file, and its length where somebody knows it.
pub fn open(file: &Path) -> io::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    const BUFFER: usize = 64 * 1024;
    if is_standard_input(file) {
        return Ok((
            Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
            None,
        ));
    }
    let file = File::open(file)?;
    let about = file.metadata()?;
    let bytes = about.is_file().then_some(about.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), bytes))
}

/// Rows that are written together.
pub struct Batch<T> {
    pub lines: Vec<u64>,
    pub rows: Vec<T>,
    /// What they take in the file, with the bad lines among them.
    pub bytes: u64,
}

impl<T> Batch<T> {
    pub const fn new() -> Self {
        Self {
            lines: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
        }
    }
}

/// What the thread that reads has to say.
pub enum Read<T> {
    Batch(Batch<T>),
    Bad(u64, RowProblem),
    Unknown(Vec<String>),
    Broken(io::Error),
}

/// Reads all rows, so many batches ahead of who takes them.
///
/// A thread of its own and not one of the runtime's, which would be waited for:
/// a read from a pipe may last for ever.
pub fn start<R: Reader>(
    rows: Rows,
    reader: R,
    ahead: usize,
) -> (mpsc::Receiver<Read<R::Parsed>>, thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(ahead);
    let thread = thread::spawn(move || {
        // Where nobody listens any more, there is nothing more to do.
        let _ = read_all(rows, reader, &sender);
    });
    (receiver, thread)
}

/// Reads until the end, or until nobody listens any more.
fn read_all<R: Reader>(
    mut rows: Rows,
    mut reader: R,
    sender: &mpsc::Sender<Read<R::Parsed>>,
) -> Result<(), SendError<Read<R::Parsed>>> {
    let mut batch = Batch::new();
    let mut told = 0;
    loop {
        let entry = match rows.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return sender.blocking_send(Read::Broken(error)),
        };
        let names = rows.take_unknown();
        if !names.is_empty() {
            sender.blocking_send(Read::Unknown(names))?;
        }
        let Entry { line, row } = entry;
        match row.and_then(|row| reader.read(&row, line)) {
            Ok(row) => {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            Err(problem) => sender.blocking_send(Read::Bad(line, problem))?,
        }
        if batch.rows.len() == R::AT_ONCE {
            batch.bytes = rows.bytes() - told;
            told = rows.bytes();
            sender.blocking_send(Read::Batch(mem::replace(&mut batch, Batch::new())))?;
        }
    }
    batch.bytes = rows.bytes() - told;
    sender.blocking_send(Read::Batch(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::users::UserReader;

    /// So that the bar ends at 100 %.
    #[test]
    fn batches_account_for_every_byte() {
        let rows: String = (0..250)
            .map(|n| format!("learner{n}@example.org\n"))
            .collect();
        let file = format!("email\n{rows}no address\n\n \n");
        let bytes = file.len() as u64;
        let input = Box::new(io::Cursor::new(file.into_bytes()));
        let rows = Rows::new(input, &UserReader::COLUMNS).unwrap();
        let (sender, mut receiver) = mpsc::channel(100);
        assert!(read_all(rows, UserReader::default(), &sender).is_ok());
        drop(sender);
        let mut told = 0;
        while let Some(read) = receiver.blocking_recv() {
            if let Read::Batch(batch) = read {
                told += batch.bytes;
            }
        }
        assert_eq!(told, bytes);
    }
}
