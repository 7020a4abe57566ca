//! What is written: answers to standard output, as text or as JSON, and
//! everything else to standard error.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use comfy_table::{Table, presets};
use serde::Serialize;
use shared::domain::given::{CodePoint, is_invisible};
use shared::domain::{Change, CourseId, EventKey, History};

use crate::failure::Failure;

/// How answers are written.
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

    /// Writes an answer: `value` where JSON is asked for, else the lines that
    /// `text` makes.
    pub fn answer(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(value);
            escaped(&json.map_err(|error| Failure::Output(error.into()))?)
        } else {
            printable_lines(&text())
        };
        line(&text)
    }
}

/// Writes one line to standard output.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// A value as JSON in one line.
pub fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|error| Failure::Output(error.into()))?;
    Ok(escaped(&json))
}

/// Whether standard output leads nowhere: it is `/dev/null`, which also stands
/// in for one that was closed when the program started.
pub fn is_dead_end() -> bool {
    let about = io::stdout().as_fd().try_clone_to_owned();
    match about.and_then(|out| File::from(out).metadata()) {
        Ok(about) => fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev()),
        Err(_) => true,
    }
}

/// Writes to standard error what is to be answered on the same line.
pub fn question(text: &str) {
    let _ = write!(io::stderr(), "{text} ");
}

/// Writes lines to standard error. Where that is closed, nobody listens.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_lines(text));
}

/// A table with a heading for each column.
pub fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.set_header(headings);
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell)));
    }
    aligned(table)
}

/// One thing, field by field.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    for (name, value) in fields {
        table.add_row([name.to_owned(), printable(&value)]);
    }
    aligned(table)
}

/// A table, and below it others, each with a line above it.
pub fn sections(mut text: String, others: impl IntoIterator<Item = (String, String)>) -> String {
    for (heading, table) in others {
        text.push_str(&format!("\n\n{heading}\n{table}"));
    }
    text
}

/// The heading of a history: `title`, and how much of it is shown where that is not all.
pub fn history_heading<T>(title: &CourseId, history: &History<T>) -> String {
    let (shown, all) = (history.len(), history.count());
    if all > shown as u64 {
        let last = shown.saturating_sub(1);
        format!("{title} (of {all} changes the first and the last {last})")
    } else {
        title.to_string()
    }
}

/// The blanks between two columns.
pub const COLUMN_GAP: u16 = 2;

/// Columns with two blanks between them and nothing else, so that other programs can cut them.
pub fn aligned(mut table: Table) -> String {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    table.trim_fmt()
}

/// Text that cannot move the terminal's cursor, change its colours, break the
/// line or have a part of it read in another order. A character that shows
/// nothing of its own is shown by its number: `<U+200B>`.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for (before, c) in with_the_one_before(text) {
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

/// Lines that are each [`printable`].
fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// JSON of the same value, with those characters escaped that a terminal heeds
/// or that nobody sees. JSON allows control characters from U+007F on, and all
/// that are not visible, as they are within strings.
pub fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for (before, c) in with_the_one_before(json) {
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

/// The characters of a text, each with the one before it.
fn with_the_one_before(text: &str) -> impl Iterator<Item = (Option<char>, char)> {
    let before = [None].into_iter().chain(text.chars().map(Some));
    before.zip(text.chars())
}

/// Whether nobody sees a character that stands behind `before`. Joiners and
/// selectors of variants show in the letter or picture that they belong to,
/// which is none of ASCII: Persian and Hindi are spelled with the former,
/// Japanese names with the latter.
fn is_hidden(before: Option<char>, c: char) -> bool {
    let belongs = matches!(
        c,
        '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
    );
    is_invisible(c) && !(belongs && before.is_some_and(|before| !before.is_ascii()))
}

/// A path as messages have it.
pub fn path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// So much of a foreign text as a message can repeat.
pub fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let mut excerpt: String = printable(text).chars().take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// A text as part of a command that people copy into a shell: an address may
/// have characters that mean something there.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A command of ours, which people copy into a shell. An operand may begin with
/// -, as an address can, and must not be taken for an option.
pub fn command(name: &str, operands: &[&str], options: &[&str]) -> String {
    let words = if operands.iter().any(|operand| operand.starts_with('-')) {
        [options, &["--"], operands].concat()
    } else {
        [operands, options].concat()
    };
    let words = words.into_iter().map(|word| format!(" {}", quoted(word)));
    format!("coursehook {name}{}", String::from_iter(words))
}

/// Who or what made a change, in a table.
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

/// As much of an event's key as tells events apart; JSON has all of it.
pub fn key(key: &EventKey) -> String {
    const KEY_CHARS: usize = 12;
    key.as_str().chars().take(KEY_CHARS).collect()
}

/// So many things: `1 grade`, `2 grades`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A flag in a table.
pub fn yes_or_no(flag: bool) -> String {
    (if flag { "yes" } else { "no" }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{command, escaped, printable, quoted};

    #[test]
    fn what_would_move_the_cursor_is_replaced_and_what_nobody_sees_is_shown() {
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
            assert_eq!(printable(text), text);
            assert_eq!(escaped(text), text);
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

    #[test]
    fn what_a_shell_would_take_for_more_is_quoted() {
        for (text, expected) in [
            ("ada.l+x@example.org", "ada.l+x@example.org"),
            ("course-v1:Org+Bees+2026", "course-v1:Org+Bees+2026"),
            ("a;reboot@b", "'a;reboot@b'"),
            ("o'hara@b", r"'o'\''hara@b'"),
            ("$(x)@b", "'$(x)@b'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        for (email, run, expected) in [
            ("a@b", "Org/C/1", "coursehook x y a@b Org/C/1 --z 'a b'"),
            (
                "a;b@c",
                "~Org/C/1",
                "coursehook x y 'a;b@c' '~Org/C/1' --z 'a b'",
            ),
            (
                "-a@b",
                "Org/C/1",
                "coursehook x y --z 'a b' -- -a@b Org/C/1",
            ),
            (
                "a@b",
                "-Org/C/1",
                "coursehook x y --z 'a b' -- a@b -Org/C/1",
            ),
        ] {
            assert_eq!(command("x y", &[email, run], &["--z", "a b"]), expected);
        }
    }
}
