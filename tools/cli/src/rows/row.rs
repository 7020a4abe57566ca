//! Reads one row: its cells by column, and their errors.

use domain::certificate::CertificateStateError;
use domain::given::GivenError;
use domain::grade::{LetterGradeError, PercentError};
use domain::terms::TermError;
use domain::{CourseRole, Mode, Percent};
use jiff::Timestamp;
use serde_json::Number;
use thiserror::Error;
use uuid::Uuid;

use super::source::MAX_BYTES;
use crate::seen::Repeated;
use crate::time::{self, MomentError};

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

/// Error of a row that is not imported. The message continues "line 7: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error(
        "a quotation mark stands inside a cell; a cell that has one must be in quotation marks, \
         and each one in it must be doubled"
    )]
    StrayQuote,
    #[error(
        "has a CR inside, while the file's lines end in LF; if another row begins there, save the \
         file with one kind of line ends"
    )]
    StrayCr,
    #[error("has {found} columns, and the first line has {expected}")]
    WrongCount { found: usize, expected: usize },
    #[error(
        "has {found} columns, and the first line has {expected}; it is the last line and has no \
         line end, so the file may be cut off"
    )]
    CutOff { found: usize, expected: usize },
    #[error("is not JSON from column {0} on")]
    NotJson(usize),
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not text")]
    NotText(&'static str),
    #[error("{0} has a line break or another control character")]
    ControlCharacter(&'static str),
    #[error("{0} must be true or false; yes, no, t, f, 1 and 0 are accepted too")]
    NotAFlag(&'static str),
    #[error("{0} is not a date such as 2026-09-01 or a time such as 2026-09-01T08:00:00Z")]
    NotADate(&'static str),
    #[error(
        "{0} is beyond the last time that can be stored, {last}; leave it empty if it never comes",
        last = time::show(Timestamp::MAX)
    )]
    TooLate(&'static str),
    #[error("{0} is in the future")]
    InTheFuture(&'static str),
    #[error("{0} is not a UUID such as 4d54f4a7-cee5-4684-9ad3-854bec65707e")]
    NotAUuid(&'static str),
    #[error("{0} contradicts {1}")]
    Contradiction(&'static str, &'static str),
    #[error("end_date is before start_date")]
    EndsBeforeStart,
    #[error("{0} {1}")]
    Given(&'static str, GivenError),
    #[error("mode {0}")]
    Mode(TermError),
    #[error(
        "Open edX is not known to have a mode {0}; use one of {known}, \
         or import the file with --force",
        known = Mode::KNOWN.join(", ")
    )]
    UnknownMode(Mode),
    #[error("one of roles {0}")]
    Role(TermError),
    #[error(
        "roles has {0} as one role; put ; between roles and nothing around them, \
         or import the file with --force"
    )]
    RoleList(CourseRole),
    #[error("roles is not text; put ; between roles")]
    RolesNotText,
    #[error("change_status {status} contradicts active, which is {active}")]
    StatusContradicts { status: String, active: bool },
    #[error(
        "active is missing, and change_status {0} does not say whether the enrollment is active"
    )]
    UnclearStatus(String),
    #[error("percent {0}, 1 being the whole course")]
    Percent(#[from] PercentError),
    #[error("passed is true, but percent is 0, and a grade of 0 is not a pass")]
    PassedAtZero,
    #[error("letter_grade {0}")]
    LetterGrade(#[from] LetterGradeError),
    #[error("state {0}")]
    State(#[from] CertificateStateError),
    #[error("the same address as {0}")]
    SameAddress(Repeated),
    #[error("the same username as line {0}")]
    SameUsername(u64),
    #[error("the same course id as {0}")]
    SameCourseId(Repeated),
    #[error("the same learner and course run as {0}")]
    SameLearnerAndRun(Repeated),
    #[error("the same enrollment_id as line {0}")]
    SameEnrollmentId(u64),
    #[error("the same certificate_id as line {0}")]
    SameCertificateId(u64),
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
