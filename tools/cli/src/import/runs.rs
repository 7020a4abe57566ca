//! `coursehook runs import`

use std::process::ExitCode;

use jiff::Timestamp;
use shared::adapters::store::course_runs::CourseRuns;
use shared::adapters::store::kept_events::KeptEvents;
use shared::domain::CourseRun;
use shared::use_cases::StoreError;
use shared::use_cases::importing::{
    Answers, RUNS_AT_ONCE, RowRefused, expect_events_of_runs, import_runs,
};

use super::{Manner, Reader, Warning, Writer};
use crate::cli::ImportFile;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, Row, RowProblem};
use crate::seen::Seen;
use crate::stack::Stack;

pub async fn import(file: &ImportFile, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let tables = stack.tables().await;
    let writer = RunWriter {
        runs: tables.course_runs()?,
        kept_events: tables.kept_events()?,
        now: stack.clock().now(),
    };
    let reader = RunReader::default();
    super::import(file, Manner::Replace, reader, &writer, output).await
}

/// The course ids of the lines before.
#[derive(Default)]
struct RunReader(Seen);

impl Reader for RunReader {
    type Parsed = CourseRun;
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
        row: &Row,
        line: u64,
        _: &mut Vec<Warning>,
    ) -> Result<CourseRun, RowProblem> {
        let run = CourseRun {
            course_id: row.required("course_id")?.parse()?,
            title: row.required("title")?.to_owned(),
            live: row.flag("live")?.unwrap_or(false),
            is_self_paced: row.flag("is_self_paced")?.unwrap_or(false),
            start_date: row.moment("start_date")?,
            end_date: row.moment("end_date")?,
            certificate_available_date: row.moment("certificate_available_date")?,
        };
        if let (Some(start), Some(end)) = (run.start_date, run.end_date)
            && end < start
        {
            return Err(RowProblem::EndsBeforeStart);
        }
        let id = [run.course_id.as_str()];
        if let Some(first) = self.0.line_of(&id) {
            return Err(RowProblem::SameCourseId(first));
        }
        self.0.remember(&id, line);
        Ok(run)
    }
}

struct RunWriter {
    runs: CourseRuns,
    kept_events: KeptEvents,
    now: Timestamp,
}

impl Writer for RunWriter {
    type Parsed = CourseRun;

    async fn write(&self, runs: &[CourseRun]) -> Result<Answers, StoreError> {
        let imported = import_runs(&self.runs, runs).await?;
        Ok(imported.into_iter().map(Ok).collect())
    }

    async fn expect(&self) -> Result<u64, StoreError> {
        expect_events_of_runs(&self.kept_events, &self.runs, self.now).await
    }

    fn told(_: &CourseRun, why: &RowRefused) -> String {
        why.to_string()
    }
}
