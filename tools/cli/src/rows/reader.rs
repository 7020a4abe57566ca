//! CSV and JSON Lines, read into rows. A row is one line: a quotation mark that
//! was forgotten spoils its own line and swallows none of those after it.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::mem;

use csv::{ReaderBuilder, StringRecord, Terminator};
use serde_json::{Map, Value};
use thiserror::Error;

use super::lines::{Line, Lines};
use super::row::Cell;
use super::{Columns, Row, RowProblem};
use crate::output;

/// A file's rows, from its first to its last.
pub struct Rows {
    lines: Lines,
    /// The first line of JSON Lines, which was looked at to tell the format.
    first: Option<Line>,
    columns: &'static Columns,
    format: Format,
    unknown: Unknown,
}

enum Format {
    Csv(Heading),
    JsonLines,
}

/// What the first line of a CSV file says.
struct Heading {
    /// For each known column, its place in the file.
    places: Vec<Option<usize>>,
    /// How many columns the file has.
    count: usize,
}

/// Columns that the import does not know. Each is told once.
#[derive(Default)]
struct Unknown {
    met: BTreeSet<String>,
    untold: Vec<String>,
}

/// A row, or what is wrong with it.
pub struct Entry {
    /// Its line, counted from 1.
    pub line: u64,
    pub row: Result<Row, RowProblem>,
}

/// Why no row can be read any more. Reads on from "learners.csv: ".
#[derive(Debug, Error)]
pub enum FileProblem {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is empty; its first line must name the columns, or be a JSON object")]
    Empty,
    #[error(
        "is a JSON array; make it JSON Lines, one object a line, for instance with jq -c '.[]'"
    )]
    JsonArray,
    #[error("line 1, which must name the columns: {0}")]
    Heading(RowProblem),
    #[error("has no column {column}; its first line names: {found}")]
    NoColumn { column: &'static str, found: String },
    #[error("has the column {0} twice")]
    ColumnTwice(&'static str),
}

impl Rows {
    /// Reads as far as the first line, which tells the format: JSON Lines begin
    /// with a brace, and everything else is CSV, whose first line names the columns.
    pub fn new(
        input: Box<dyn BufRead + Send>,
        columns: &'static Columns,
    ) -> Result<Self, FileProblem> {
        let mut lines = Lines::new(input);
        let line = lines.next()?.ok_or(FileProblem::Empty)?;
        let mut unknown = Unknown::default();
        let (format, first) = match line.begins {
            Some(b'{') => (Format::JsonLines, Some(line)),
            Some(b'[') => return Err(FileProblem::JsonArray),
            _ => {
                let text = line.text.map_err(FileProblem::Heading)?;
                let heading = Heading::read(&text, columns, &mut unknown)?;
                (Format::Csv(heading), None)
            }
        };
        Ok(Self {
            lines,
            first,
            columns,
            format,
            unknown,
        })
    }

    /// The columns that were met since the last call, for the first time, and
    /// that the import does not know.
    pub fn take_unknown(&mut self) -> Vec<String> {
        mem::take(&mut self.unknown.untold)
    }

    /// How many bytes of the file are read.
    pub const fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// The next row. An error is one of the file's, and the last that comes of it.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let line = match self.first.take() {
            Some(line) => Some(line),
            None => self.lines.next()?,
        };
        let Some(Line { number, text, .. }) = line else {
            return Ok(None);
        };
        let cells = text.and_then(|text| match &self.format {
            Format::JsonLines => json_cells(&text, self.columns, &mut self.unknown),
            Format::Csv(heading) => heading.cells(&text),
        });
        let columns = self.columns.names;
        Ok(Some(Entry {
            line: number,
            row: cells.map(|cells| Row { columns, cells }),
        }))
    }
}

impl Heading {
    fn read(
        text: &str,
        columns: &'static Columns,
        unknown: &mut Unknown,
    ) -> Result<Self, FileProblem> {
        let record = split(text).map_err(FileProblem::Heading)?;
        let found: Vec<&str> = record.iter().map(|name| name.trim()).collect();
        let mut places = Vec::new();
        for column in columns.names.iter().copied() {
            let mut at =
                (0..found.len()).filter(|place| found[*place].eq_ignore_ascii_case(column));
            let place = at.next();
            if at.next().is_some() {
                return Err(FileProblem::ColumnTwice(column));
            }
            if place.is_none() && columns.required.contains(&column) {
                return Err(FileProblem::NoColumn {
                    column,
                    found: output::excerpt(&found.join(", ")),
                });
            }
            places.push(place);
        }
        for (place, name) in found.iter().enumerate() {
            if !name.is_empty() && !places.contains(&Some(place)) {
                unknown.meet(name);
            }
        }
        Ok(Self {
            places,
            count: found.len(),
        })
    }

    fn cells(&self, text: &str) -> Result<Vec<Cell>, RowProblem> {
        let record = split(text)?;
        if record.len() != self.count {
            return Err(RowProblem::WrongCount {
                found: record.len(),
                expected: self.count,
            });
        }
        let cell = |place: &Option<usize>| match place.and_then(|place| record.get(place)) {
            Some(text) if !text.is_empty() => Cell::Text(text.clone()),
            _ => Cell::Absent,
        };
        Ok(self.places.iter().map(cell).collect())
    }
}

impl Unknown {
    fn meet(&mut self, name: &str) {
        if !self.met.contains(name) {
            self.met.insert(name.to_owned());
            self.untold.push(name.to_owned());
        }
    }
}

/// The cells of a line. Its quotation marks come in pairs: two around a cell,
/// two for each one inside.
fn split(line: &str) -> Result<Vec<String>, RowProblem> {
    // Nearly every line is so, and a reader of its own costs more than all else.
    if !line.contains('"') {
        return Ok(line.split(',').map(str::to_owned).collect());
    }
    if line.matches('"').count() % 2 == 1 {
        return Err(RowProblem::QuoteNotClosed);
    }
    read_quoted(line)
}

fn read_quoted(line: &str) -> Result<Vec<String>, RowProblem> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::Any(b'\n'))
        .from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(_) => Ok(record.iter().map(str::to_owned).collect()),
        // Nothing else can be wrong with the bytes of one line.
        Err(_) => Err(RowProblem::NotUtf8),
    }
}

fn json_cells(
    text: &str,
    columns: &Columns,
    unknown: &mut Unknown,
) -> Result<Vec<Cell>, RowProblem> {
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            RowProblem::NotAnObject
        } else {
            RowProblem::NotJson(error.column())
        }
    })?;
    let cell = |name: &&str| match fields.remove(*name) {
        None | Some(Value::Null) => Cell::Absent,
        Some(Value::String(text)) => Cell::Text(text),
        Some(Value::Bool(flag)) => Cell::Flag(flag),
        Some(Value::Number(number)) => Cell::Number(number),
        Some(Value::Array(_) | Value::Object(_)) => Cell::Other,
    };
    let cells = columns.names.iter().map(cell).collect();
    for name in fields.keys() {
        unknown.meet(name);
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines without quotation marks are read as the library reads them.
    #[test]
    fn the_short_way_reads_the_same() {
        for line in [
            "a",
            "a,b",
            ",",
            "a,,b,",
            " a , b ",
            "a\tb;c",
            "ä,松尾 芭蕉\r",
            "a\\,b",
        ] {
            assert_eq!(split(line), read_quoted(line), "{line:?}");
        }
        let cells = |cells: &[&str]| Ok(cells.iter().map(|cell| (*cell).to_owned()).collect());
        assert_eq!(split("a,\"b,\"\"c\"\"\",d"), cells(&["a", "b,\"c\"", "d"]));
        assert_eq!(split("a,\"b"), Err(RowProblem::QuoteNotClosed));
    }
}
