//! Reads the functions' log lines, from a file or another program.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

/// A log line of Coursehook: those fields of `docs/logs.md` that are shown.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The message of the line.
    pub message: Message,
    /// The time at which it was written.
    pub timestamp: Option<Timestamp>,
    pub kind: Option<String>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub status: Option<u16>,
    pub duration_ms: Option<u64>,
    pub course_id: Option<String>,
    pub token_id: Option<String>,
}

/// The messages that are read; other lines are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Message {
    /// The outcome of a delivery.
    #[serde(rename = "delivery processed")]
    DeliveryProcessed,
    /// The outcome of an attempt at a pending event.
    #[serde(rename = "event retried")]
    EventRetried,
}

/// Returns the JSON of a line, without a prefix that another program may have put before
/// it.
pub fn json(line: &str) -> Option<&str> {
    line.find('{').map(|start| line[start..].trim_end())
}

impl Line {
    /// Reads a line; `None` if it is not one that is shown.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// Returns the lines of a file that are Coursehook's. A read error ends them.
pub fn read(file: &Path) -> io::Result<impl Iterator<Item = Line> + use<>> {
    let lines = BufReader::new(File::open(file)?).split(b'\n');
    let lines = lines.map_while(Result::ok);
    Ok(lines.filter_map(|line| Line::read(json(&String::from_utf8_lossy(&line))?)))
}
