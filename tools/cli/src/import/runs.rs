//! `coursehook runs import`

use std::process::ExitCode;

use app::StoreError;
use app::importing::{Answers, RUNS_AT_ONCE, RowRefusedError, import_runs, wake_waiting_of_runs};
use domain::{CourseRunChange, given};
use jiff::Timestamp;
use store::course_runs::CourseRuns;
use store::pending_events::PendingEvents;

use super::doubts;
use super::reading::Reader;
use super::summary::ImportMode;
use super::warnings::Warning;
use super::writing::{self, Writer};
use crate::cli::ImportFile;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, CsvRow, RowError};
use crate::seen::{Seen, content};

pub async fn import(
    file: &ImportFile,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let writer = RunWriter {
        runs: tables.course_runs()?,
        pending_events: tables.pending_events()?,
        now: context.clock().now(),
    };
    let reader = RunReader::default();
    writing::import(file, ImportMode::Replace, reader, &writer, output).await
}

/// The course ids of earlier lines.
#[derive(Default)]
struct RunReader(Seen<6>);

impl Reader for RunReader {
    type Parsed = CourseRunChange;
    const COLUMNS: Columns = Columns {
        names: &[
            "course_id",
            "title",
            "live",
            "is_self_paced",
            "start_date",
            "end_date",
            "certificate_available_date",
        ],
        required: &["course_id", "title"],
    };
    const AT_ONCE: usize = RUNS_AT_ONCE;

    fn read(
        &mut self,
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<CourseRunChange, RowError> {
        let run = CourseRunChange {
            course_id: row.required_given("course_id", given::course_id)?,
            title: row.required_given("title", given::name)?,
            live: if_there(row, "live", flag)?,
            is_self_paced: if_there(row, "is_self_paced", flag)?,
            start_date: if_there(row, "start_date", CsvRow::moment)?,
            end_date: if_there(row, "end_date", CsvRow::moment)?,
            certificate_available_date: if_there(
                row,
                "certificate_available_date",
                CsvRow::moment,
            )?,
        };
        if run.after(None).ends_before_start().is_some() {
            return Err(RowError::EndsBeforeStart);
        }
        let id = [run.course_id.as_str()];
        let contents = [
            content("title", &run.title),
            content("live", &run.live),
            content("is_self_paced", &run.is_self_paced),
            content("start_date", &run.start_date),
            content("end_date", &run.end_date),
            content(
                "certificate_available_date",
                &run.certificate_available_date,
            ),
        ];
        if let Some(repeated) = self.0.repeated(&id, &contents) {
            return Err(RowError::SameCourseId(repeated));
        }
        doubts::of_name("title", Some(&run.title), warnings);
        self.0.remember(&id, line, &contents);
        Ok(run)
    }
}

/// Reads the cell of a column, if the row has one. An absent column leaves the stored
/// value.
fn if_there<T>(
    row: &CsvRow,
    column: &'static str,
    read: fn(&CsvRow, &'static str) -> Result<T, RowError>,
) -> Result<Option<T>, RowError> {
    if row.has(column) {
        Ok(Some(read(row, column)?))
    } else {
        Ok(None)
    }
}

/// Reads a flag; false if the cell is empty.
fn flag(row: &CsvRow, column: &'static str) -> Result<bool, RowError> {
    Ok(row.flag(column)?.unwrap_or(false))
}

struct RunWriter {
    runs: CourseRuns,
    pending_events: PendingEvents,
    now: Timestamp,
}

impl Writer for RunWriter {
    type Parsed = CourseRunChange;

    async fn write(&self, runs: &[CourseRunChange]) -> Result<Answers, StoreError> {
        import_runs(&self.runs, runs).await
    }

    async fn expect(&self) -> Result<u64, StoreError> {
        wake_waiting_of_runs(&self.pending_events, &self.runs, self.now).await
    }

    fn describe(_: &CourseRunChange, why: &RowRefusedError) -> String {
        why.to_string()
    }
}
