//! Reads CSV and JSON Lines into rows.

use std::collections::BTreeSet;
use std::io::Read;
use std::mem;

use serde_json::{Map, Value};

use super::error::{FileError, RowError};
use super::record::{self, CsvRecord};
use super::row::{Cell, Columns, CsvRow};
use super::source::Source;
use crate::output;

/// The rows of a file, from first to last.
pub struct Rows {
    source: Source,
    /// The first row, which is read early to check that there is one.
    first: Option<Entry>,
    columns: &'static Columns,
    format: Format,
    unknown: Unknown,
}

enum Format {
    Csv(Heading),
    JsonLines,
}

/// The heading: the first line of a CSV file.
struct Heading {
    /// The place of each known column in the file, or `None` if it is absent.
    places: Vec<Option<usize>>,
    /// The number of columns in the file.
    count: usize,
}

/// Columns that the import does not know. Each is reported once.
#[derive(Default)]
struct Unknown {
    found: BTreeSet<String>,
    unreported: Vec<String>,
}

/// Separators of cells in files that are called CSV and have no commas.
const SEPARATORS: [char; 3] = [';', '\t', '|'];

/// A row, or its error.
pub struct Entry {
    /// The row's first line, counted from 1.
    pub line: u64,
    /// The row's last line.
    pub last_line: u64,
    pub row: Result<CsvRow, RowError>,
}

impl Rows {
    /// Reads as far as the first row. The first character decides the format: JSON Lines
    /// begin with a brace, and everything else is CSV, whose first line names the
    /// columns.
    ///
    /// # Errors
    /// The file cannot be imported, or has no row, unless `allow_empty` permits that.
    pub fn new(
        input: Box<dyn Read + Send>,
        columns: &'static Columns,
        allow_empty: bool,
    ) -> Result<Self, FileError> {
        let mut source = Source::new(input)?;
        let mut unknown = Unknown::default();
        let format = match source.begins()? {
            Some(b'{') => Format::JsonLines,
            Some(b'[') => return Err(FileError::JsonArray),
            _ => match heading(&mut source)? {
                Some(record) => Format::Csv(Heading::read(record, columns, &mut unknown)?),
                // This may be JSON Lines without a row.
                None if allow_empty => Format::JsonLines,
                None => return Err(FileError::Empty),
            },
        };
        let mut rows = Self {
            source,
            first: None,
            columns,
            format,
            unknown,
        };
        rows.first = rows.read()?;
        if rows.first.is_none() && !allow_empty {
            return Err(FileError::NoRows);
        }
        Ok(rows)
    }

    /// Returns the unknown columns that were found since the last call.
    pub fn take_unknown(&mut self) -> Vec<String> {
        mem::take(&mut self.unknown.unreported)
    }

    /// Returns how many bytes of the file have been read.
    pub const fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// Reads the next row. An error is one of the whole file, after which no further row
    /// can be read.
    pub fn next(&mut self) -> Result<Option<Entry>, FileError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Option<Entry>, FileError> {
        let columns = self.columns;
        Ok(match &self.format {
            Format::Csv(heading) => record::next(&mut self.source)?.map(|record| Entry {
                line: record.line,
                last_line: record.last_line,
                row: heading.row(record, columns),
            }),
            Format::JsonLines => self.source.line()?.map(|line| Entry {
                line: line.number,
                last_line: line.number,
                row: line
                    .text
                    .and_then(|text| json_row(&text, columns, &mut self.unknown)),
            }),
        })
    }
}

/// Reads the record that names the columns. Excel may write a line before it that names
/// the separator.
fn heading(source: &mut Source) -> Result<Option<CsvRecord>, FileError> {
    let record = record::next(source)?;
    let cells = record
        .as_ref()
        .and_then(|record| record.cells.as_ref().ok());
    let text = cells.map(|cells| cells.join(",").to_ascii_lowercase());
    let separator = text.as_deref().and_then(|text| text.strip_prefix("sep="));
    let mut separator = separator.unwrap_or_default().chars();
    match (separator.next(), separator.next()) {
        (Some(','), None) => record::next(source),
        (Some(other), None) => Err(FileError::Separator(other)),
        _ => Ok(record),
    }
}

impl Heading {
    fn read(
        record: CsvRecord,
        columns: &'static Columns,
        unknown: &mut Unknown,
    ) -> Result<Self, FileError> {
        let CsvRecord { line, cells, .. } = record;
        let separator = record.behind_a_quote.map(char::from);
        let cells = cells.map_err(|problem| match separator {
            Some(separator) if SEPARATORS.contains(&separator) => FileError::Separator(separator),
            _ => FileError::Heading { line, problem },
        })?;
        let ends_a_line =
            |c: &char| matches!(c, '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let mut ends = cells
            .iter()
            .filter_map(|cell| cell.chars().find(ends_a_line));
        if let Some(end) = ends.next() {
            return Err(FileError::LineEnds(end));
        }
        let found: Vec<&str> = cells.iter().map(|name| name.trim()).collect();
        let mut places = Vec::new();
        for column in columns.names.iter().copied() {
            let mut at =
                (0..found.len()).filter(|place| found[*place].eq_ignore_ascii_case(column));
            let place = at.next();
            if at.next().is_some() {
                return Err(FileError::ColumnTwice(column));
            }
            if place.is_none() && columns.required.contains(&column) {
                return Err(match separator_of(&found.join(","), column) {
                    Some(separator) => FileError::Separator(separator),
                    None => FileError::NoColumn {
                        column,
                        found: output::excerpt(&found.join(", ")),
                    },
                });
            }
            places.push(place);
        }
        for (place, name) in found.iter().enumerate() {
            if !name.is_empty() && !places.contains(&Some(place)) {
                unknown.add(name);
            }
        }
        Ok(Self {
            places,
            count: found.len(),
        })
    }

    fn row(&self, record: CsvRecord, columns: &'static Columns) -> Result<CsvRow, RowError> {
        let mut cells = record.cells?;
        let (found, expected) = (cells.len(), self.count);
        if found < expected && !record.has_end {
            return Err(RowError::CutOff { found, expected });
        }
        // Spreadsheets omit the empty cells at the end of a row.
        let lacks = |place: &Option<usize>| place.is_some_and(|place| place >= found);
        let names = columns.names.iter().zip(&self.places);
        let mut lacking = names.filter(|(_, place)| lacks(place));
        let is_required = |name: &&str| columns.required.contains(name);
        if found > expected || lacking.any(|(name, _)| is_required(name)) {
            return Err(RowError::WrongCount { found, expected });
        }
        let cell = |place: &Option<usize>| match place.and_then(|place| cells.get_mut(place)) {
            Some(text) => Cell::Text(mem::take(text)),
            None => Cell::Absent,
        };
        Ok(CsvRow {
            columns: columns.names,
            cells: self.places.iter().map(cell).collect(),
            is_short: found < expected,
        })
    }
}

/// Returns the separator of a heading that lacks a column, if the column is there between
/// separators other than commas.
fn separator_of(heading: &str, column: &str) -> Option<char> {
    let names_it = |separator: &char| {
        let mut names = heading.split(*separator).map(str::trim);
        names.any(|name| name.eq_ignore_ascii_case(column))
    };
    SEPARATORS.into_iter().find(names_it)
}

impl Unknown {
    fn add(&mut self, name: &str) {
        if !self.found.contains(name) {
            self.found.insert(name.to_owned());
            self.unreported.push(name.to_owned());
        }
    }
}

fn json_row(
    text: &str,
    columns: &'static Columns,
    unknown: &mut Unknown,
) -> Result<CsvRow, RowError> {
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            RowError::NotAnObject
        } else {
            RowError::NotJson(error.column())
        }
    })?;
    let cell = |name: &&str| match fields.remove(*name) {
        None => Cell::Absent,
        // Null counts as an empty cell of CSV.
        Some(Value::Null) => Cell::Text(String::new()),
        Some(Value::String(text)) => Cell::Text(text),
        Some(Value::Bool(flag)) => Cell::Flag(flag),
        Some(Value::Number(number)) => Cell::Number(number),
        Some(Value::Array(_) | Value::Object(_)) => Cell::Other,
    };
    let cells = columns.names.iter().map(cell).collect();
    for name in fields.keys() {
        unknown.add(name);
    }
    Ok(CsvRow {
        columns: columns.names,
        cells,
        is_short: false,
    })
}
