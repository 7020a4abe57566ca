//! The functions' log lines, as a file or another program has them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

/// A log line of ours: what `docs/logs.md` says of it, as far as it is shown.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// What the line tells.
    pub message: Message,
    /// When it was written.
    pub timestamp: Option<Timestamp>,
    pub kind: Option<String>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub status: Option<u16>,
    pub duration_ms: Option<u64>,
    pub course_id: Option<String>,
    pub token_id: Option<String>,
}

/// Which line it is; others are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Message {
    /// What became of a delivery.
    #[serde(rename = "delivery processed")]
    DeliveryProcessed,
    /// What became of a look at a pending event.
    #[serde(rename = "event retried")]
    EventRetried,
}

/// The JSON of a line, which other programs may have put something before.
pub fn json(line: &str) -> Option<&str> {
    line.find('{').map(|start| line[start..].trim_end())
}

impl Line {
    /// Reads a line; `None` where it is none that is shown.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// The lines of a file that are ours. One that breaks off in the middle ends it.
pub fn read(file: &Path) -> io::Result<impl Iterator<Item = Line> + use<>> {
    let lines = BufReader::new(File::open(file)?).split(b'\n');
    let lines = lines.map_while(Result::ok);
    Ok(lines.filter_map(|line| Line::read(json(&String::from_utf8_lossy(&line))?)))
}
