//! The log, caught.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// The log lines that a test has caused.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// All lines, each parsed.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The last line with this message.
    pub fn last(&self, message: &str) -> Value {
        let last = self.lines().into_iter();
        let mut last = last.filter(|line| line["message"] == message);
        last.next_back().unwrap()
    }

    /// The last `done` line.
    pub fn done(&self) -> Value {
        self.last("done")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
