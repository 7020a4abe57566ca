//! `coursehook runs`

use std::process::ExitCode;

use domain::{CourseId, CourseRun};
use jiff::Timestamp;
use serde::Serialize;
use store::course_runs::CourseRuns;

use super::find;
use crate::context::Context;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::output::{self, Column, Output, OutputError, yes_or_no};
use crate::{cli, import, time};

pub async fn run(
    command: cli::Runs,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Runs::Import(file) => import::runs(&file, context, output).await,
        cli::Runs::List => {
            list(&context.tables().await.course_runs()?, output).await?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Runs::Show { course_id } => {
            let runs = context.tables().await.course_runs()?;
            show(&find::run(&runs, &course_id).await?, output)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(runs: &CourseRuns, output: Output) -> Result<(), Failure> {
    let listing = Listing::new(output);
    let read = async |start| runs.page(start).await;
    let write = async |listing: &mut Listing, runs: Vec<CourseRun>| {
        let rows: Vec<_> = runs.iter().map(RunView::from).collect();
        listing.page(&rows, &columns("course"))?;
        Ok(())
    };
    listing.pages(read, write).await
}

#[derive(Serialize)]
pub struct RunView<'a> {
    course_id: &'a CourseId,
    title: &'a str,
    live: bool,
    is_self_paced: bool,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    certificate_available_date: Option<Timestamp>,
}

impl<'a> From<&'a CourseRun> for RunView<'a> {
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

/// Returns the columns of a run, the first with this heading.
fn columns<'a>(course_id: &'static str) -> [Column<RunView<'a>>; 7] {
    [
        (course_id, |run| run.course_id.to_string()),
        ("title", |run| run.title.to_owned()),
        ("live", |run| yes_or_no(run.live)),
        ("self-paced", |run| yes_or_no(run.is_self_paced)),
        ("starts", |run| time::show_optional(run.start_date)),
        ("ends", |run| time::show_optional(run.end_date)),
        ("certificates", |run| {
            time::show_optional(run.certificate_available_date)
        }),
    ]
}

fn show(run: &CourseRun, output: Output) -> Result<(), OutputError> {
    let row = RunView::from(run);
    output.answer(&row, || output::record(&columns("course id"), &row))
}
