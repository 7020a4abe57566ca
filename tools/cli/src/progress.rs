//! Shows the progress of a long command while it runs, on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// A bar on standard error; nothing is shown if that is not a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar of this many bytes or items, or a spinner for an input of unknown
    /// length.
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

    /// Adds this many finished bytes or items.
    pub fn advance(&self, more: u64, done: &impl Display) {
        self.0.inc(more);
        self.0.set_message(done.to_string());
    }

    /// Writes a line above the bar.
    pub fn note(&self, text: &str) {
        self.above(|| output::note(text));
    }

    /// Hides the bar while `write` writes to the same terminal.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// True if the bar is shown, and the number of items is worth finding out.
    pub fn is_watched() -> bool {
        io::stderr().is_terminal()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
