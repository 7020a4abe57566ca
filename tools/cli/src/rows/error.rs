//! Errors of a file's rows, and of a whole file.

use std::io;
use std::path::Path;

use domain::certificate::CertificateStateError;
use domain::given::GivenError;
use domain::grade::{LetterGradeError, PercentError};
use domain::terms::TermError;
use domain::{CourseRole, Mode};
use jiff::Timestamp;
use thiserror::Error;

use crate::encoding::PlainTextError;
use crate::failure::CommandError;
use crate::output;
use crate::seen::Repeated;
use crate::time;

/// The most bytes of a row.
pub const MAX_BYTES: usize = 64 * 1024;

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

/// Error after which no further row can be read. The message continues "learners.csv: ".
#[derive(Debug, Error)]
pub enum FileError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("cannot be copied into the folder for temporary files ($TMPDIR): {0}")]
    NotCopied(io::Error),
    #[error("{0}")]
    PlainTextError(#[from] PlainTextError),
    #[error("is empty; its first line must name the columns, or be a JSON object")]
    Empty,
    #[error("has no row below the line that names the columns; if that is right: --allow-empty")]
    NoRows,
    #[error(
        "is a JSON array; make it JSON Lines, one object a line, for instance with jq -c '.[]'"
    )]
    JsonArray,
    #[error("line {line}, which must name the columns: {problem}")]
    Heading { line: u64, problem: RowError },
    #[error("has lines that end in {}; save it with LF or CRLF at the end of each", describe_end(*.0))]
    LineEnds(char),
    #[error(
        "has {} between its cells, and not commas; save it as CSV with commas (in Excel: \
         \"CSV UTF-8 (Comma delimited)\" under a region whose list separator is the comma; in \
         LibreOffice: \"Edit filter settings\", field delimiter \",\")",
        describe_separator(*.0)
    )]
    Separator(char),
    #[error("has no column {column}; its first line names: {found}")]
    NoColumn { column: &'static str, found: String },
    #[error("has the column {0} twice")]
    ColumnTwice(&'static str),
    #[error(
        "line {line}: percent is {percent}, but percent is 0 to 1, 1 being the whole course{}; \
         nothing of the file is written, since all of it may be out of 100: divide every percent \
         by 100",
        describe_more(*.more)
    )]
    OtherScale {
        line: u64,
        percent: String,
        /// The number of further rows with such a percent.
        more: u64,
    },
    #[error(
        "line {0}: a quotation mark is not closed by the end of the file; nothing after it is \
         imported"
    )]
    QuoteNotClosed(u64),
}

/// Error of a file, with the file's name.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct NamedFileError {
    file: String,
    problem: FileError,
}

impl CommandError for NamedFileError {}

impl NamedFileError {
    /// Returns the error of a file; `-` is standard input.
    pub fn new(file: &Path, problem: impl Into<FileError>) -> Self {
        let file = if is_standard_input(file) {
            "standard input".to_owned()
        } else {
            output::path(file)
        };
        let problem = problem.into();
        Self { file, problem }
    }
}

/// True if standard input is read in place of a file.
pub fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn describe_more(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and so in {})", output::count(more, "more row")),
    }
}

fn describe_end(end: char) -> &'static str {
    match end {
        '\u{b}' => "VT (U+000B)",
        '\u{c}' => "FF (U+000C)",
        '\u{85}' => "NEL (U+0085)",
        '\u{2028}' => "LINE SEPARATOR (U+2028)",
        _ => "PARAGRAPH SEPARATOR (U+2029)",
    }
}

fn describe_separator(separator: char) -> String {
    match separator {
        '\t' => "tabs".to_owned(),
        separator => separator.to_string(),
    }
}
