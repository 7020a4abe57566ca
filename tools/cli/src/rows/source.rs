//! Reads a file's bytes, the ends of its lines, and lines of a bounded length.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::error::{FileError, MAX_BYTES, RowError};
use crate::encoding::{FIRST_BYTES, byte_order_mark};

/// A file that is read once, from beginning to end, in little memory.
pub struct Source {
    input: BufReader<Box<dyn Read + Send>>,
    /// The kind of line ends; known once a line has ended outside quotation marks.
    ends: Option<LineEnds>,
    /// The number of bytes read so far.
    bytes: u64,
    /// The number of lines that have ended so far.
    lines: u64,
}

/// The kind of line ends in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    /// LF, with or without a CR before it. Any other CR is part of the text.
    Lf,
    /// CR alone, as old spreadsheets for the Mac write. An LF ends a line as well.
    Cr,
}

/// A byte of a line, or the line's end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Byte(u8),
    LineEnd,
}

/// One line without its end.
#[derive(Debug)]
pub struct Line {
    /// The number of the line, counted from 1.
    pub number: u64,
    pub text: Result<String, RowError>,
}

impl Source {
    /// Reads the byte order mark, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is not text in UTF-8.
    pub fn new(mut input: Box<dyn Read + Send>) -> Result<Self, FileError> {
        const BUFFER: usize = 64 * 1024;
        let mut start = Vec::with_capacity(FIRST_BYTES);
        input
            .by_ref()
            .take(FIRST_BYTES as u64)
            .read_to_end(&mut start)?;
        let mark = byte_order_mark(&start)?;
        let rest = start.split_off(mark);
        Ok(Self {
            input: BufReader::with_capacity(BUFFER, Box::new(Cursor::new(rest).chain(input))),
            ends: None,
            bytes: mark as u64,
            lines: 0,
        })
    }

    /// The number of bytes read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the line that holds the next byte, counted from 1.
    pub const fn line_number(&self) -> u64 {
        self.lines + 1
    }

    /// Reads the next byte or end of a line. The first end that is not `quoted` decides
    /// how the lines of the file end.
    pub fn unit(&mut self, quoted: bool) -> io::Result<Option<Unit>> {
        let Some(byte) = self.peek()? else {
            return Ok(None);
        };
        self.pass();
        let found = match byte {
            b'\n' => LineEnds::Lf,
            b'\r' => match self.peek()? {
                Some(b'\n') => {
                    self.pass();
                    LineEnds::Lf
                }
                Some(_) => LineEnds::Cr,
                // The end of the file also ends a line.
                None => self.ends.unwrap_or(LineEnds::Cr),
            },
            byte => return Ok(Some(Unit::Byte(byte))),
        };
        let ends = match self.ends {
            Some(ends) => ends,
            None if quoted => LineEnds::Lf,
            None => *self.ends.insert(found),
        };
        if found == LineEnds::Cr && ends == LineEnds::Lf {
            return Ok(Some(Unit::Byte(byte)));
        }
        self.lines += 1;
        Ok(Some(Unit::LineEnd))
    }

    /// Returns the first byte that is not blank, without reading it.
    pub fn begins(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.unit(false)?;
        }
        Ok(None)
    }

    /// Reads the next line that is not blank.
    pub fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let line = self.any_line()?;
            let is_blank = |line: &Line| matches!(&line.text, Ok(text) if text.trim().is_empty());
            if !line.as_ref().is_some_and(is_blank) {
                return Ok(line);
            }
        }
    }

    fn any_line(&mut self) -> io::Result<Option<Line>> {
        let number = self.line_number();
        let mut unit = self.unit(false)?;
        if unit.is_none() {
            return Ok(None);
        }
        let (mut bytes, mut length) = (Vec::new(), 0);
        while let Some(Unit::Byte(byte)) = unit {
            length += 1;
            if length <= MAX_BYTES {
                bytes.push(byte);
            }
            unit = self.unit(false)?;
        }
        let text = if length > MAX_BYTES {
            Err(RowError::TooLong)
        } else {
            String::from_utf8(bytes).map_err(|_| RowError::NotUtf8)
        };
        Ok(Some(Line { number, text }))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn pass(&mut self) {
        self.input.consume(1);
        self.bytes += 1;
    }
}
