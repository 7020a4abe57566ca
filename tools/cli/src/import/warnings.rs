//! Warnings of an import about rows that may be wrong, each kind written once.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// A possible mistake in a row that is imported anyway. The message continues "warning:
/// ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Spreadsheets omit the empty cells at the end of a row.
    CellsLeftOut,
    /// Accepted with --force.
    UnknownMode,
    UnknownRole,
    StatusIgnored,
    /// Extra credit may lead there.
    PercentAboveOne,
    /// The text of this column is a placeholder, as NULL. The variants below also name
    /// the column.
    WordForNothing(&'static str),
    HtmlEntity(&'static str),
    AddressAsName(&'static str),
    WrongEncoding(&'static str),
}

impl Warning {
    /// The kind in JSON; it never changes.
    const fn kind(self) -> &'static str {
        match self {
            Self::CellsLeftOut => "cells_left_out",
            Self::UnknownMode => "unknown_mode",
            Self::UnknownRole => "unknown_role",
            Self::StatusIgnored => "status_ignored",
            Self::PercentAboveOne => "percent_above_one",
            Self::WordForNothing(_) => "word_for_nothing",
            Self::HtmlEntity(_) => "html_entity",
            Self::AddressAsName(_) => "address_as_name",
            Self::WrongEncoding(_) => "wrong_encoding",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self {
            Self::CellsLeftOut => "the last cells are left out, and count as absent columns",
            Self::UnknownMode => "Open edX is not known to have the mode",
            Self::UnknownRole => {
                "Open edX is not known to have one of the roles, which are separated by ;"
            }
            Self::StatusIgnored => "change_status of an active enrollment is ignored",
            Self::PercentAboveOne => "percent is above 1, which is the whole course",
            Self::WordForNothing(column) => {
                return write!(
                    f,
                    "{column} is a placeholder for no value, such as NULL or #N/A"
                );
            }
            Self::HtmlEntity(column) => {
                return write!(f, "{column} has an HTML entity, such as &amp;");
            }
            Self::AddressAsName(column) => return write!(f, "{column} has an address"),
            Self::WrongEncoding(column) => {
                return write!(
                    f,
                    "{column} is UTF-8 that was read as Windows-1252 (Zoë as ZoÃ«)"
                );
            }
        };
        f.write_str(message)
    }
}

/// The warnings of some rows.
#[derive(Debug, Clone, Default)]
pub struct Warnings(BTreeMap<Warning, Rows>);

/// The rows that a warning is about.
#[derive(Debug, Clone, Default)]
struct Rows {
    count: u64,
    /// The lines of the first few rows, in order.
    lines: Vec<u64>,
}

/// The number of lines that a warning names.
const NAMED: usize = 5;

impl Warnings {
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn add(&mut self, warning: Warning, line: u64) {
        self.0.entry(warning).or_default().add(1, &[line]);
    }

    /// Adds the warnings of other rows, which may stand before or after these.
    pub fn merge(&mut self, others: Self) {
        for (warning, Rows { count, lines }) in others.0 {
            self.0.entry(warning).or_default().add(count, &lines);
        }
    }

    /// Returns each warning as a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |(warning, rows)| format!("warning: {warning}: {rows}");
        self.0.iter().map(line)
    }
}

impl Rows {
    fn add(&mut self, count: u64, lines: &[u64]) {
        self.count += count;
        self.lines.extend(lines);
        self.lines.sort_unstable();
        self.lines.truncate(NAMED);
    }
}

/// Formats the lines: `line 7`, `lines 2, 3 and 7`, `lines 2, 3, 4, 5, 7 and 12 more`.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<_> = self.lines.iter().map(u64::to_string).collect();
        let more = self.count - self.lines.len() as u64;
        if more > 0 {
            words.push(format!("{more} more"));
        }
        match words.split_last() {
            Some((last, [])) => write!(f, "line {last}"),
            Some((last, others)) => write!(f, "lines {} and {last}", others.join(", ")),
            None => Ok(()),
        }
    }
}

impl Serialize for Warnings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(warning, rows)| WarningView {
            kind: warning.kind(),
            problem: warning.to_string(),
            rows: rows.count,
            lines: &rows.lines,
        }))
    }
}

#[derive(Serialize)]
struct WarningView<'a> {
    kind: &'static str,
    problem: String,
    rows: u64,
    lines: &'a [u64],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_first_few_lines_and_counts_the_rest() {
        let warned = |lines: &[u64]| {
            let mut warnings = Warnings::default();
            for line in lines {
                warnings.add(Warning::CellsLeftOut, *line);
            }
            warnings
        };
        // Batches end in any order.
        for (batches, message) in [
            (&[&[7][..]][..], "line 7"),
            (&[&[7], &[2]], "lines 2 and 7"),
            (&[&[5, 6, 7], &[2, 3]], "lines 2, 3, 5, 6 and 7"),
            (&[&[5, 6, 7], &[2, 3, 4]], "lines 2, 3, 4, 5, 6 and 1 more"),
            (
                &[&[8, 9, 10, 11, 12, 13, 14], &[2], &[3, 4, 5, 6, 7]],
                "lines 2, 3, 4, 5, 6 and 8 more",
            ),
        ] {
            let mut warnings = Warnings::default();
            for batch in batches {
                warnings.merge(warned(batch));
            }
            let message = format!("warning: {}: {message}", Warning::CellsLeftOut);
            assert_eq!(warnings.lines().collect::<Vec<_>>(), [message]);
        }
        assert_eq!(Warnings::default().lines().count(), 0);
    }
}
