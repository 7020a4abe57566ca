//! How far a command is that takes long, shown while it runs, if anybody watches.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// A bar on standard error; nothing is shown where that is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// For so many bytes or things, or for an input whose length nobody knows.
    pub fn new(all: Option<u64>) -> Self {
        let (bar, template) = match all {
            Some(all) => (
                ProgressBar::new(all),
                "{bar:30} {percent:>3} %  {msg}  {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// So many bytes or things more are done.
    pub fn advance(&self, more: u64, done: &impl Display) {
        self.0.inc(more);
        self.0.set_message(done.to_string());
    }

    /// Writes a line above the bar.
    pub fn note(&self, text: &str) {
        self.above(|| output::note(text));
    }

    /// Makes way for what is written to the same terminal.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Whether anybody watches, so that it pays to find out how much there is to do.
    pub fn is_watched() -> bool {
        io::stderr().is_terminal()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
