//! A file's lines, numbered, none longer than a limit.

use std::io::{self, BufRead, Read};

use super::RowProblem;

/// The longest line.
pub const MAX_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines that are not blank.
pub struct Lines {
    input: Box<dyn BufRead + Send>,
    /// Lines read so far, blank ones included.
    read: u64,
    /// Bytes read so far.
    bytes: u64,
}

/// One line without its end.
#[derive(Debug)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    pub text: Result<String, RowProblem>,
    /// Its first byte that is not blank; also of a line that is too long.
    pub begins: Option<u8>,
}

impl Lines {
    pub fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self {
            input,
            read: 0,
            bytes: 0,
        }
    }

    /// How many bytes are read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            match self.read()? {
                Some(line) if is_blank(&line) => {}
                line => return Ok(line),
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let limit = MAX_BYTES as u64 + 1;
        let mut length = self
            .input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok(None);
        }
        let whole = bytes.ends_with(b"\n") || length <= MAX_BYTES;
        if !whole {
            length += self.input.skip_until(b'\n')?;
        }
        self.bytes += length as u64;
        self.read += 1;
        if self.read == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(Line {
            number: self.read,
            begins: bytes.trim_ascii_start().first().copied(),
            text: if whole {
                text(bytes)
            } else {
                Err(RowProblem::TooLong)
            },
        }))
    }
}

fn text(bytes: Vec<u8>) -> Result<String, RowProblem> {
    let mut text = String::from_utf8(bytes).map_err(|_| RowProblem::NotUtf8)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

fn is_blank(line: &Line) -> bool {
    line.text.as_ref().is_ok_and(|text| text.trim().is_empty())
}
