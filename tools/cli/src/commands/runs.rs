//! `coursehook runs`

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::{CourseId, CourseRun};
use shared::use_cases::importing::{RUNS_AT_ONCE, expect_events_of_runs, import_runs};

use crate::failure::Failure;
use crate::import::{Importable, import};
use crate::output::{self, Output, yes_or_no};
use crate::rows::{Columns, Row, RowProblem};
use crate::seen::Seen;
use crate::stack::Stack;
use crate::{cli, time};

pub async fn run(command: cli::Runs, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let tables = stack.tables().await;
    let runs = tables.course_runs()?;
    match command {
        cli::Runs::Import { file } => {
            let store = async |rows: &[CourseRun]| {
                let imported = import_runs(&runs, rows).await?;
                Ok(imported.into_iter().map(Ok).collect())
            };
            let kept_events = tables.kept_events()?;
            let now = stack.clock().now();
            let expect = async || expect_events_of_runs(&kept_events, &runs, now).await;
            import(&file, output, store, expect).await
        }
        cli::Runs::Show { course_id } => {
            let found = runs.get_many(std::slice::from_ref(&course_id)).await?.pop();
            show(&found.ok_or(Failure::NoSuchRun(course_id))?, output)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Importable for CourseRun {
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
    type Seen = Seen;

    fn read(row: &Row, line: u64, seen: &mut Seen) -> Result<Self, RowProblem> {
        let run = Self {
            course_id: row.required("course_id")?.parse()?,
            title: row.required("title")?.to_owned(),
            live: row.flag("live")?,
            is_self_paced: row.flag("is_self_paced")?,
            start_date: row.moment("start_date")?,
            end_date: row.moment("end_date")?,
            certificate_available_date: row.moment("certificate_available_date")?,
        };
        if let (Some(start), Some(end)) = (run.start_date, run.end_date)
            && end < start
        {
            return Err(RowProblem::EndsBeforeStart);
        }
        if let Some(first) = seen.line_of(run.course_id.as_str()) {
            return Err(RowProblem::SameCourseId(first));
        }
        seen.remember(run.course_id.as_str(), line);
        Ok(run)
    }
}

#[derive(Serialize)]
pub struct Shown<'a> {
    course_id: &'a CourseId,
    title: &'a str,
    live: bool,
    is_self_paced: bool,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    certificate_available_date: Option<Timestamp>,
}

impl<'a> From<&'a CourseRun> for Shown<'a> {
    fn from(run: &'a CourseRun) -> Self {
        Self {
            course_id: &run.course_id,
            title: &run.title,
            live: run.live,
            is_self_paced: run.is_self_paced,
            start_date: run.start_date,
            end_date: run.end_date,
            certificate_available_date: run.certificate_available_date,
        }
    }
}

fn show(run: &CourseRun, output: Output) -> Result<(), Failure> {
    output.answer(&Shown::from(run), || {
        output::fields([
            ("course id", run.course_id.to_string()),
            ("title", run.title.clone()),
            ("live", yes_or_no(run.live)),
            ("self-paced", yes_or_no(run.is_self_paced)),
            ("starts", time::show_optional(run.start_date)),
            ("ends", time::show_optional(run.end_date)),
            (
                "certificates",
                time::show_optional(run.certificate_available_date),
            ),
        ])
    })
}
