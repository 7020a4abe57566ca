//! Writes the program's output: answers to standard output, as text or as JSON, and
//! everything else to standard error.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use comfy_table::{Table, presets};
use domain::given::{CodePoint, is_invisible};
use domain::{Change, CourseId, EventKey, History};
use serde::Serialize;
use thiserror::Error;

/// Error of an answer that cannot be written.
#[derive(Debug, Error)]
#[error("standard output cannot be written: {0}; changes made until then stay")]
pub struct OutputError(pub io::Error);

/// The form in which answers are written.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Writes an answer: `value` if JSON was asked for, otherwise the lines that `text`
    /// makes.
    pub fn answer(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), OutputError> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(value);
            escaped(&json.map_err(|error| OutputError(error.into()))?)
        } else {
            printable_lines(&text())
        };
        line(&text)
    }
}

/// Writes one line to standard output.
pub fn line(text: &str) -> Result<(), OutputError> {
    let mut out = io::stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(OutputError)
}

/// Returns a value as JSON in one line.
pub fn json_line(value: &impl Serialize) -> Result<String, OutputError> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|error| OutputError(error.into()))?;
    Ok(escaped(&json))
}

/// True if standard output is discarded: it is `/dev/null`, which also replaces a
/// standard output that was closed when the program started.
pub fn is_dead_end() -> bool {
    let about = io::stdout().as_fd().try_clone_to_owned();
    match about.and_then(|out| File::from(out).metadata()) {
        Ok(about) => fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev()),
        Err(_) => true,
    }
}

/// Writes a question to standard error, to be answered on the same line.
pub fn question(text: &str) {
    let _ = write!(io::stderr(), "{text} ");
}

/// Writes lines to standard error. If standard error is closed, they are dropped.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_lines(text));
}

/// A column of a table: its heading, and the text of a row's cell.
pub type Column<R> = (&'static str, fn(&R) -> String);

/// Returns a table with a line for each row, below the headings.
pub fn table<'a, R: 'a>(columns: &[Column<R>], rows: impl IntoIterator<Item = &'a R>) -> String {
    let mut table = Table::new();
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(cells(columns, row));
    }
    aligned(table)
}

/// Returns the cells of a row.
pub fn cells<R>(columns: &[Column<R>], row: &R) -> impl Iterator<Item = String> {
    columns.iter().map(|(_, cell)| printable(&cell(row)))
}

/// Returns one record, a line for each column.
pub fn record<R>(columns: &[Column<R>], row: &R) -> String {
    fields(columns.iter().map(|(heading, cell)| (*heading, cell(row))))
}

/// Returns one record, field by field.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    for (name, value) in fields {
        table.add_row([name.to_owned(), printable(&value)]);
    }
    aligned(table)
}

/// Adds a table below a text, under its heading.
pub fn add_section(text: &mut String, heading: &str, table: &str) {
    text.push_str(&format!("\n\n{heading}\n{table}"));
}

/// Returns the heading of a history: `title`, and how many of its changes are shown if
/// that is not all.
pub fn history_heading<T>(title: &CourseId, history: &History<T>) -> String {
    let (shown, all) = (history.len(), history.count());
    if all > shown as u64 {
        let last = shown.saturating_sub(1);
        format!("{title} (the first and the last {last} of {all} changes)")
    } else {
        title.to_string()
    }
}

/// The number of blanks between two columns.
pub const COLUMN_GAP: u16 = 2;

/// Returns a table whose columns are separated by two blanks and nothing else, so that
/// other programs can cut them.
pub fn aligned(mut table: Table) -> String {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    table.trim_fmt()
}

/// Returns text that cannot move the terminal's cursor, change its colours, break the
/// line or have a part of it read in another order. A control character is replaced; an
/// invisible character is shown by its number: `<U+200B>`.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for (before, c) in with_the_previous(text) {
        if c.is_control() {
            printable.push(char::REPLACEMENT_CHARACTER);
        } else if is_hidden(before, c) {
            printable.push_str(&format!("<{}>", CodePoint(c)));
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Makes each line [`printable`].
fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// Returns JSON of the same value, in which control characters and invisible characters
/// are escaped. JSON itself allows control characters from U+007F on, and all invisible
/// characters, unescaped within strings.
pub fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for (before, c) in with_the_previous(json) {
        if (c.is_control() && c >= '\u{7f}') || is_hidden(before, c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns the characters of a text, each with the one before it.
fn with_the_previous(text: &str) -> impl Iterator<Item = (Option<char>, char)> {
    let before = [None].into_iter().chain(text.chars().map(Some));
    before.zip(text.chars())
}

/// True if the character is invisible after `before`. Joiners and variation selectors
/// show in the letter or picture that they belong to, which is never ASCII: Persian and
/// Hindi are spelled with the former, Japanese names with the latter.
fn is_hidden(before: Option<char>, c: char) -> bool {
    let belongs = matches!(
        c,
        '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
    );
    is_invisible(c) && !(belongs && before.is_some_and(|before| !before.is_ascii()))
}

/// Returns a path as messages show it.
pub fn path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Returns as much of a foreign text as a message may repeat.
pub fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let mut excerpt: String = printable(text).chars().take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// Returns the source of a change, for a table.
pub fn by(change: &Change) -> String {
    match change {
        Change::Delivery { token_id, .. } => format!("delivery with token {token_id}"),
        Change::PendingEvent { event_key, .. } => format!("pending event {}", key(event_key)),
        Change::Operator { name } => format!("operator {name}"),
        Change::Import { name } => format!("import of {name}"),
        Change::Sweep { name: None, .. } => "sweep".to_owned(),
        Change::Sweep {
            name: Some(name), ..
        } => format!("sweep of {name}"),
    }
}

/// Returns the first digits of an event's key, enough to tell events apart; JSON has the
/// whole key.
pub fn key(key: &EventKey) -> String {
    const KEY_CHARS: usize = 12;
    key.as_str().chars().take(KEY_CHARS).collect()
}

/// Returns a number with its noun: `1 grade`, `2 grades`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Returns a flag for a table.
pub fn yes_or_no(flag: bool) -> String {
    (if flag { "yes" } else { "no" }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{escaped, printable};

    #[test]
    fn control_characters_are_replaced_and_invisible_ones_are_shown_by_number() {
        for c in ['\u{1b}', '\n', '\u{7f}', '\u{9b}'] {
            assert_eq!(printable(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        let bidirectional = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for c in bidirectional.chain([
            '\u{200b}', '\u{feff}', '\u{ad}', '\u{2060}', '\u{200c}', '\u{200d}', '\u{200e}',
            '\u{200f}', '\u{61c}', '\u{2028}', '\u{2029}', '\u{3164}', '\u{fe0f}',
        ]) {
            let code = u32::from(c);
            let shown = format!("a<U+{code:04X}>b");
            assert_eq!(printable(&format!("a{c}b")), shown);
            let escaped_once = format!("\"a\\u{code:04x}b\"");
            assert_eq!(escaped(&format!("\"a{c}b\"")), escaped_once);
        }
        assert_eq!(printable("a\u{e0061}"), "a<U+E0061>");
        assert_eq!(escaped("\"a\u{e0061}\""), "\"a\\udb40\\udc61\"");
        for text in [
            "Leyla Şükrü",
            "שלום",
            "می\u{200c}رزا",
            "क्\u{200d}ष",
            "葛\u{e0100}城",
            "👩\u{200d}💻",
        ] {
            assert_eq!(printable(text), text, "{text}");
            assert_eq!(escaped(text), text, "{text}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let json = "{\n  \"a\": \"b\\u001b\u{7f}\u{9b}\u{a0}é\"\n}";
        let expected = "{\n  \"a\": \"b\\u001b\\u007f\\u009b\u{a0}é\"\n}";
        assert_eq!(escaped(json), expected);
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(json), read(expected));
    }
}
