//! Reads one row: its cells by column, and their errors.

use domain::Percent;
use domain::given::GivenError;
use domain::grade::PercentError;
use jiff::Timestamp;
use serde_json::Number;
use uuid::Uuid;

use super::error::RowError;
use crate::time::{self, MomentError};

/// The columns that an import knows. Other columns are ignored.
#[derive(Debug)]
pub struct Columns {
    pub names: &'static [&'static str],
    /// Those of `names` that a file must have.
    pub required: &'static [&'static str],
}

/// The cells of one row, in the order of its columns.
#[derive(Debug)]
pub struct CsvRow {
    pub columns: &'static [&'static str],
    pub cells: Vec<Cell>,
    /// True if the row's last cells are left out; each counts as an absent column.
    pub is_short: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is no such column, or the cell is left out.
    Absent,
    /// Text, which may be empty.
    Text(String),
    Flag(bool),
    /// A number of JSON.
    Number(Number),
    /// An array or an object of JSON.
    Other,
}

impl CsvRow {
    /// True if there is a cell of this column, empty or not.
    pub fn has(&self, column: &str) -> bool {
        *self.cell(column) != Cell::Absent
    }

    /// Returns text without the blanks around it; `None` if there is none.
    pub fn text(&self, column: &'static str) -> Result<Option<&str>, RowError> {
        let text = match self.cell(column) {
            Cell::Absent => return Ok(None),
            Cell::Text(text) => text.trim(),
            Cell::Flag(_) | Cell::Number(_) | Cell::Other => {
                return Err(RowError::NotText(column));
            }
        };
        if text.chars().any(char::is_control) {
            return Err(RowError::ControlCharacter(column));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Returns text that must be there.
    pub fn required(&self, column: &'static str) -> Result<&str, RowError> {
        self.text(column)?.ok_or(RowError::Missing(column))
    }

    /// Returns an address, a username, an id or a name, read by the rules for texts that
    /// people enter; `None` if there is none.
    pub fn given<T>(
        &self,
        column: &'static str,
        read: fn(&str) -> Result<T, GivenError>,
    ) -> Result<Option<T>, RowError> {
        let read = |text| read(text).map_err(|error| RowError::Given(column, error));
        self.text(column)?.map(read).transpose()
    }

    /// Returns the same, which must be there.
    pub fn required_given<T>(
        &self,
        column: &'static str,
        read: fn(&str) -> Result<T, GivenError>,
    ) -> Result<T, RowError> {
        self.given(column, read)?.ok_or(RowError::Missing(column))
    }

    /// Returns a flag; `None` if there is none.
    pub fn flag(&self, column: &'static str) -> Result<Option<bool>, RowError> {
        let text = match self.cell(column) {
            Cell::Flag(flag) => return Ok(Some(*flag)),
            Cell::Number(number) => match number.as_u64() {
                Some(0) => return Ok(Some(false)),
                Some(1) => return Ok(Some(true)),
                _ => return Err(RowError::NotAFlag(column)),
            },
            Cell::Other => return Err(RowError::NotAFlag(column)),
            Cell::Absent | Cell::Text(_) => self.text(column)?,
        };
        let Some(text) = text else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "1" => Ok(Some(true)),
            "false" | "f" | "no" | "0" => Ok(Some(false)),
            _ => Err(RowError::NotAFlag(column)),
        }
    }

    /// Returns a percent that must be there, 1 being the whole course.
    pub fn percent(&self, column: &'static str) -> Result<Percent, RowError> {
        Ok(match self.cell(column) {
            Cell::Number(number) => number.as_f64().ok_or(PercentError)?.try_into()?,
            _ => self.required(column)?.parse()?,
        })
    }

    /// Returns the text of a percent that is not on the scale on which 1 is the whole
    /// course: it is above 2, or has a percent sign.
    pub fn other_scale(&self, column: &'static str) -> Option<String> {
        let text = match self.cell(column) {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.trim().to_owned(),
            Cell::Absent | Cell::Flag(_) | Cell::Other => return None,
        };
        let number = text.trim_end_matches('%');
        let has_sign = number.len() < text.len();
        // Some countries use a comma before the decimals.
        let number: f64 = number.trim_end().replace(',', ".").parse().ok()?;
        (has_sign || (number > 2.0 && number.is_finite())).then_some(text)
    }

    /// Returns a UUID, with or without its hyphens.
    pub fn uuid(&self, column: &'static str) -> Result<Option<Uuid>, RowError> {
        let uuid = |text: &str| text.parse().map_err(|_| RowError::NotAUuid(column));
        self.text(column)?.map(uuid).transpose()
    }

    /// Returns a time, or midnight UTC for a date.
    pub fn moment(&self, column: &'static str) -> Result<Option<Timestamp>, RowError> {
        let moment = |text| {
            time::moment(text).map_err(|error| match error {
                MomentError::NotAMoment => RowError::NotADate(column),
                MomentError::OutOfRange => RowError::TooLate(column),
            })
        };
        self.text(column)?.map(moment).transpose()
    }

    fn cell(&self, column: &str) -> &Cell {
        let named = self
            .columns
            .iter()
            .zip(&self.cells)
            .find(|(name, _)| **name == column);
        named.map_or(&Cell::Absent, |(_, cell)| cell)
    }
}
