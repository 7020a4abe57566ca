//! `coursehook runs`

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::{CourseId, CourseRun};

use crate::failure::Failure;
use crate::output::{self, Output, yes_or_no};
use crate::stack::Stack;
use crate::{cli, import, time};

pub async fn run(command: cli::Runs, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    match command {
        cli::Runs::Import { file } => import::runs(&file, stack, output).await,
        cli::Runs::Show { course_id } => {
            let runs = stack.tables().await.course_runs()?;
            let found = runs.get_many(std::slice::from_ref(&course_id)).await?.pop();
            show(&found.ok_or(Failure::NoSuchRun(course_id))?, output)?;
            Ok(ExitCode::SUCCESS)
        }
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
