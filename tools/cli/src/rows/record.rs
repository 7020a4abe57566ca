//! Reads the records of CSV, by the grammar of RFC 4180.
//!
//! The grammar is enforced strictly where a mistake would affect other rows: only a comma
//! or the end of the line may follow a quotation mark that closes a cell, and a cell that
//! contains a quotation mark must begin with one. A forgotten quotation mark therefore
//! makes the row bad into which it draws others. The same holds for a CR that may be the
//! end of a line in a file whose lines end in LF.

use super::error::{FileError, MAX_BYTES, RowError};
use super::source::{Source, Unit};

/// One record.
#[derive(Debug)]
pub struct CsvRecord {
    /// The record's first line, counted from 1.
    pub line: u64,
    /// The record's last line: cells in quotation marks may have several lines.
    pub last_line: u64,
    pub cells: Result<Vec<String>, RowError>,
    /// True if the record ends with the end of a line, and not with that of the file.
    pub has_end: bool,
    /// The byte after the first quotation mark that closes a cell, if it is neither a
    /// comma nor the end of a line.
    pub behind_a_quote: Option<u8>,
    /// True if the record is a line of nothing but blanks.
    is_blank: bool,
}

/// The state of the parser at the next byte of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the beginning of a cell.
    Start,
    /// In a cell without quotation marks.
    Bare,
    /// In a cell in quotation marks.
    Quoted,
    /// After a quotation mark in such a cell: it ends the cell, or is the first of two
    /// that stand for one.
    Quote,
}

/// Reads the next record that is not a blank line.
///
/// # Errors
/// The file cannot be read any further, or ends within quotation marks.
pub fn next(source: &mut Source) -> Result<Option<CsvRecord>, FileError> {
    loop {
        let record = read(source)?;
        if !record.as_ref().is_some_and(|record| record.is_blank) {
            return Ok(record);
        }
    }
}

fn read(source: &mut Source) -> Result<Option<CsvRecord>, FileError> {
    let line = source.line_number();
    let mut cells = vec![Vec::new()];
    let (mut at, mut length) = (At::Start, 0);
    let mut opened = line;
    let (mut has_stray_quote, mut behind_a_quote) = (false, None);
    let (mut has_stray_cr, mut is_behind_cr) = (false, false);
    let mut unit = source.unit(false)?;
    if unit.is_none() {
        return Ok(None);
    }
    let has_end = loop {
        let (next, byte) = match (at, unit) {
            (At::Quoted, None) => return Err(FileError::QuoteNotClosed(opened)),
            (_, None) => break false,
            (At::Quoted, Some(Unit::LineEnd)) => (At::Quoted, Some(b'\n')),
            (_, Some(Unit::LineEnd)) => break true,
            (At::Start, Some(Unit::Byte(b'"'))) => {
                opened = source.line_number();
                (At::Quoted, None)
            }
            (At::Quoted, Some(Unit::Byte(b'"'))) => (At::Quote, None),
            (At::Quote, Some(Unit::Byte(b'"'))) => (At::Quoted, Some(b'"')),
            (At::Quoted, Some(Unit::Byte(byte))) => (At::Quoted, Some(byte)),
            (_, Some(Unit::Byte(b','))) => {
                if length < MAX_BYTES {
                    cells.push(Vec::new());
                }
                (At::Start, None)
            }
            (_, Some(Unit::Byte(byte))) => {
                if at == At::Quote {
                    behind_a_quote.get_or_insert(byte);
                }
                has_stray_quote |= at == At::Quote || byte == b'"';
                (At::Bare, Some(byte))
            }
        };
        if at != At::Quoted
            && let Some(Unit::Byte(byte)) = unit
        {
            // A CR at the end of the line is ignored, as blanks are.
            has_stray_cr |= is_behind_cr && byte != b'\r';
            is_behind_cr = byte == b'\r';
        }
        at = next;
        length += 1;
        if let (Some(byte), Some(cell)) = (byte, cells.last_mut())
            && length <= MAX_BYTES
        {
            cell.push(byte);
        }
        unit = source.unit(at == At::Quoted)?;
    };
    let cells: Result<Vec<String>, _> = if length > MAX_BYTES {
        Err(RowError::TooLong)
    } else if has_stray_cr {
        Err(RowError::StrayCr)
    } else if has_stray_quote {
        Err(RowError::StrayQuote)
    } else {
        let cells = cells.into_iter().map(String::from_utf8);
        cells
            .collect::<Result<_, _>>()
            .map_err(|_| RowError::NotUtf8)
    };
    let is_blank = match cells.as_deref() {
        // A line with an empty cell in quotation marks is a row.
        Ok([cell]) => cell.len() == length && cell.trim().is_empty(),
        _ => false,
    };
    Ok(Some(CsvRecord {
        line,
        last_line: source.line_number() - u64::from(has_end),
        cells,
        has_end,
        behind_a_quote,
        is_blank,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use csv::{QuoteStyle, ReaderBuilder, Terminator, WriterBuilder};
    use proptest::collection::vec;

    use super::*;

    type Read = (u64, u64, Result<Vec<String>, RowError>);

    /// Returns all records of a file, and the line of the quotation mark that is open at
    /// its end.
    fn read(file: &[u8]) -> (Vec<Read>, Option<u64>) {
        let mut source = Source::new(Box::new(Cursor::new(file.to_vec()))).unwrap();
        let mut records = Vec::new();
        loop {
            match next(&mut source) {
                Ok(Some(record)) => records.push((record.line, record.last_line, record.cells)),
                Ok(None) => return (records, None),
                Err(FileError::QuoteNotClosed(line)) => return (records, Some(line)),
                Err(problem) => panic!("{problem}"),
            }
        }
    }

    /// The output of the csv library is read as the library itself reads it, with any
    /// line ends.
    #[test]
    fn records_are_read_as_the_csv_library_reads_them() {
        let rows = vec(vec("[a-c\"', \n\té]{0,5}", 2..4), 1..5);
        let always = proptest::bool::ANY;
        proptest::proptest!(|(rows in rows, always in always, end in 0..3_usize)| {
            let ends = [Terminator::Any(b'\n'), Terminator::CRLF, Terminator::Any(b'\r')];
            let style = if always { QuoteStyle::Always } else { QuoteStyle::Necessary };
            let mut writer = WriterBuilder::new()
                .flexible(true)
                .quote_style(style)
                .terminator(ends[end])
                .from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let file = writer.into_inner().unwrap();
            let mut reader = ReaderBuilder::new()
                .flexible(true)
                .has_headers(false)
                .from_reader(file.as_slice());
            let of_the_library: Vec<Vec<String>> =
                reader.deserialize().collect::<Result<_, _>>().unwrap();
            let (records, open) = read(&file);
            let cells: Result<Vec<_>, _> = records.into_iter().map(|(.., cells)| cells).collect();
            assert_eq!((cells, open), (Ok(of_the_library), None), "{file:?}");
        });
    }

    #[test]
    fn a_bad_record_does_not_affect_others() {
        let row = |line, last, cells: &[&str]| -> Read {
            let cells = cells.iter().map(|cell| (*cell).to_owned());
            (line, last, Ok(cells.collect()))
        };
        let bad = |line, last, problem| -> Read { (line, last, Err(problem)) };
        let long = "x".repeat(MAX_BYTES);
        for (file, expected, open) in [
            ("a,b\n", vec![row(1, 1, &["a", "b"])], None),
            ("a,b", vec![row(1, 1, &["a", "b"])], None),
            (
                "a\rb\r\rc",
                vec![row(1, 1, &["a"]), row(2, 2, &["b"]), row(4, 4, &["c"])],
                None,
            ),
            (
                "a\r\nb\rc\r",
                vec![row(1, 1, &["a"]), bad(2, 2, RowError::StrayCr)],
                None,
            ),
            (
                "\n \t\na\n \n\"\"\n",
                vec![row(3, 3, &["a"]), row(5, 5, &[""])],
                None,
            ),
            (
                "a,\"1\n2\r\n3\",b\nc",
                vec![row(1, 3, &["a", "1\n2\n3", "b"]), row(4, 4, &["c"])],
                None,
            ),
            (
                "\"a\nb\"\r\"c\nd\"\r",
                vec![row(1, 2, &["a\nb"]), row(3, 4, &["c\nd"])],
                None,
            ),
            (
                "a,\"b \"\"c\"\"\"\n",
                vec![row(1, 1, &["a", "b \"c\""])],
                None,
            ),
            // This is the case when a heading was put before another program's rows.
            (
                "a,b\nc,d\re,f\rg,h\r",
                vec![row(1, 1, &["a", "b"]), bad(2, 2, RowError::StrayCr)],
                None,
            ),
            (
                "a\nb,\"c\rd\"\n",
                vec![row(1, 1, &["a"]), row(2, 2, &["b", "c\rd"])],
                None,
            ),
            (
                "a\nb\r \n",
                vec![row(1, 1, &["a"]), bad(2, 2, RowError::StrayCr)],
                None,
            ),
            (
                "a\nb\r\r\n",
                vec![row(1, 1, &["a"]), row(2, 2, &["b\r"])],
                None,
            ),
            // Forgotten at the end of a cell: the rows up to the next quotation mark are in it.
            (
                "a,\"b\nc,d\ne,\"f\"\ng\n",
                vec![bad(1, 3, RowError::StrayQuote), row(4, 4, &["g"])],
                None,
            ),
            (
                "\"a\",\"b\n\"c\",\"d\"\n\"e\",\"f\"\n",
                vec![bad(1, 2, RowError::StrayQuote), row(3, 3, &["e", "f"])],
                None,
            ),
            // Forgotten at the beginning, or not meant as a quotation mark.
            (
                "a,b\"\nc\n",
                vec![bad(1, 1, RowError::StrayQuote), row(2, 2, &["c"])],
                None,
            ),
            (
                "a,5\" disk\nc\n",
                vec![bad(1, 1, RowError::StrayQuote), row(2, 2, &["c"])],
                None,
            ),
            (
                "a, \"b\"\nc\n",
                vec![bad(1, 1, RowError::StrayQuote), row(2, 2, &["c"])],
                None,
            ),
            (
                "a,\"b\" \nc\n",
                vec![bad(1, 1, RowError::StrayQuote), row(2, 2, &["c"])],
                None,
            ),
            // Never closed.
            ("a\nb,\"c\nd\n", vec![row(1, 1, &["a"])], Some(2)),
            ("a,\"b\nc\",\"d", vec![], Some(2)),
            ("\"", vec![], Some(1)),
            // As long as a row may be, and longer.
            (
                &format!("{long}\na\n"),
                vec![row(1, 1, &[&long]), row(2, 2, &["a"])],
                None,
            ),
            (
                &format!("{long}x\na\n"),
                vec![bad(1, 1, RowError::TooLong), row(2, 2, &["a"])],
                None,
            ),
            (
                &format!("a,\"{long}\n{long}\"\na\n"),
                vec![bad(1, 2, RowError::TooLong), row(3, 3, &["a"])],
                None,
            ),
            (
                &format!("{}\na\n", ",".repeat(MAX_BYTES + 1)),
                vec![bad(1, 1, RowError::TooLong), row(2, 2, &["a"])],
                None,
            ),
        ] {
            let start = &file[..file.len().min(60)];
            assert_eq!(read(file.as_bytes()), (expected, open), "{start:?}");
        }
        let (records, _) = read(b"a,\xFF\nb\n");
        assert_eq!(records, [bad(1, 1, RowError::NotUtf8), row(2, 2, &["b"])]);
    }
}
