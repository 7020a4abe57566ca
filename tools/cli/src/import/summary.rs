//! Counts the results of a file's rows, and shows them as they grow.

use std::fmt;

use app::importing::{Answers, Imported, RowRefusedError};
use serde::Serialize;

use super::reading::Batch;
use super::warnings::Warnings;
use crate::output::count;
use crate::progress::Progress;

/// Treatment of stored records that differ from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// The record is replaced.
    Replace,
    /// The record stays as it is, and the difference is reported.
    Add,
    /// As `Add`, and new records are not created either.
    DryRun,
}

/// The results of a file's rows.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    #[serde(skip)]
    mode: ImportMode,
    /// The records that were created, or would be in a dry run.
    created: u64,
    /// 0 if the import only adds.
    updated: u64,
    unchanged: u64,
    /// Empty if the import replaces.
    differing: Vec<NamedLine>,
    bad_lines: Vec<NamedLine>,
    /// Warnings of rows that were read, whatever their result.
    pub warnings: Warnings,
    /// Pending events that were blocked on records which now exist; they are retried
    /// within a minute.
    events_due: u64,
    dry_run: bool,
    /// The reason why the import was cut short, if it was. The numbers are then the least
    /// that was done.
    stopped: Option<String>,
}

/// A line that was not imported, and why.
#[derive(Debug, Clone, Serialize)]
struct NamedLine {
    line: u64,
    problem: String,
}

impl Summary {
    pub fn new(mode: ImportMode) -> Self {
        Self {
            mode,
            created: 0,
            updated: 0,
            unchanged: 0,
            differing: Vec::new(),
            bad_lines: Vec::new(),
            warnings: Warnings::new(),
            events_due: 0,
            dry_run: mode == ImportMode::DryRun,
            stopped: None,
        }
    }

    /// True if every row of the file is stored.
    pub fn is_whole(&self) -> bool {
        self.bad_lines.is_empty() && self.differing.is_empty()
    }

    /// Sorts the lines: batches end in any order.
    pub fn sort(&mut self) {
        self.bad_lines.sort_by_key(|bad| bad.line);
        self.differing.sort_by_key(|differing| differing.line);
    }

    pub fn expects(&mut self, events_due: u64) {
        self.events_due = events_due;
    }

    pub fn stop(&mut self, why: String) {
        self.stopped = Some(why);
    }

    fn count(&mut self, imported: Imported) {
        match imported {
            Imported::Created => self.created += 1,
            Imported::Updated => self.updated += 1,
            Imported::Unchanged => self.unchanged += 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mode,
            created,
            updated,
            unchanged,
            differing,
            bad_lines,
            events_due,
            ..
        } = self;
        let would_be = if *mode == ImportMode::DryRun {
            "would be "
        } else {
            ""
        };
        write!(f, "{created} {would_be}created, ")?;
        match mode {
            ImportMode::Replace => write!(f, "{updated} updated, {unchanged} unchanged, ")?,
            ImportMode::Add | ImportMode::DryRun => {
                write!(f, "{unchanged} unchanged, {} differing, ", differing.len())?;
            }
        }
        f.write_str(&count(bad_lines.len() as u64, "bad line"))?;
        if *events_due > 0 {
            let events = count(*events_due, "pending event");
            let are = if *events_due == 1 { "is" } else { "are" };
            write!(
                f,
                "; {events} waited for this and {are} retried within a minute"
            )?;
        }
        if *mode == ImportMode::DryRun {
            f.write_str(" (a dry run: nothing was written)")?;
        }
        Ok(())
    }
}

/// The results so far, shown as they grow.
pub struct Tally {
    pub done: Summary,
    pub progress: Progress,
}

/// A row that may be accepted later, and why it was refused.
pub struct Refused<T> {
    pub line: u64,
    pub row: T,
    pub why: RowRefusedError,
}

impl Tally {
    /// Counts the rows of a batch that are done, reports those that can never be
    /// imported, described by `describe`, and returns the others.
    pub fn count<T>(
        &mut self,
        batch: Batch<T>,
        answers: Answers,
        describe: impl Fn(&T, &RowRefusedError) -> String,
    ) -> Vec<Refused<T>> {
        self.done.warnings.merge(batch.warnings);
        let mut refused = Vec::new();
        for ((line, row), answer) in batch.lines.into_iter().zip(batch.rows).zip(answers) {
            match answer {
                Ok(imported) => self.done.count(imported),
                Err(why) if why.may_pass() => refused.push(Refused { line, row, why }),
                Err(why @ RowRefusedError::Differs { .. }) => {
                    self.differs(line, &describe(&row, &why))
                }
                Err(why) => self.bad(line, &describe(&row, &why)),
            }
        }
        self.progress.advance(batch.bytes, &self.done);
        refused
    }

    pub fn bad(&mut self, line: u64, problem: &impl fmt::Display) {
        let named = self.name(line, problem);
        self.done.bad_lines.push(named);
    }

    fn differs(&mut self, line: u64, problem: &impl fmt::Display) {
        let named = self.name(line, problem);
        self.done.differing.push(named);
    }

    fn name(&self, line: u64, problem: &impl fmt::Display) -> NamedLine {
        let problem = problem.to_string();
        self.progress.note(&format!("line {line}: {problem}"));
        NamedLine { line, problem }
    }
}
