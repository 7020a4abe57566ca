//! `coursehook enrollments`

use std::process::ExitCode;

use app::enrolling::Set;
use app::{ChangeOutcome, Changed};
use domain::{
    CourseId, CourseRole, Email, Enrollment, History, HistoryEntry, Mode, ModeSource, Setting,
};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use super::find::{self, FindError};
use crate::cli::{self, SetEnrollment};
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::listing::{Listed, Listing, emails_of};
use crate::output::{self, Column, Output, yes_or_no};
use crate::{import, time};

/// Error of a change of an enrollment.
#[derive(Debug, Error)]
enum EnrollmentError {
    #[error(
        "{} is not enrolled in {course_id}; `coursehook enrollments set` with --mode creates an \
         enrollment", .email.as_str()
    )]
    NoEnrollment { email: Email, course_id: CourseId },
    #[error(
        "Open edX is not known to have a mode {}; use one of {}, or --force to set it anyway",
        output::printable(.0.as_str()), Mode::KNOWN.join(", ")
    )]
    UnknownMode(Mode),
}

impl CommandError for EnrollmentError {}

pub async fn run(
    command: cli::Enrollments,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Enrollments::Import(import) => {
            return import::enrollments(import, context, output).await;
        }
        cli::Enrollments::List { run } => list(run, context, output).await?,
        cli::Enrollments::Show { email, history } => show(email, history, context, output).await?,
        cli::Enrollments::Set(set) => change(set, context, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(run: CourseId, context: &Context, output: Output) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let enrollments = tables.enrollments()?;
    find::run(&runs, &run).await?;
    let listing = Listing::new(output);
    let read = async |start| enrollments.of_run(&run, start).await;
    let write = async |listing: &mut Listing, enrollments: Vec<Enrollment>| {
        let ids = enrollments.iter().map(|enrollment| enrollment.user_id);
        let emails = emails_of(&users, ids).await?;
        let listed = enrollments.iter().zip(emails);
        let listed = listed.map(|(enrollment, email)| Listed {
            email,
            record: EnrollmentView::from(enrollment),
        });
        listing.page(
            &Vec::from_iter(listed),
            &[
                ("email", |listed| listed.email.clone().unwrap_or_default()),
                ("mode", |listed| listed.record.mode.to_string()),
                ("active", |listed| yes_or_no(listed.record.active)),
                ("roles", |listed| words(listed.record.roles.iter().copied())),
                ("changed", |listed| time::show(listed.record.changed_at)),
            ],
        )?;
        Ok(())
    };
    listing.pages(read, write).await
}

async fn show(
    email: Email,
    history: bool,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, enrollments) = (tables.users()?, tables.enrollments()?);
    let user = find::user(&users, &email).await?;
    let enrollments = enrollments.of_user(user.user_id).await?;
    let shown: Vec<_> = enrollments.iter().map(EnrollmentView::from).collect();
    output.answer(&shown, || {
        let mut shown = table(&enrollments);
        if history {
            for Enrollment {
                course_id, history, ..
            } in &enrollments
            {
                let heading = output::history_heading(course_id, history);
                output::add_section(&mut shown, &heading, &history_table(history));
            }
        }
        shown
    })?;
    Ok(())
}

async fn change(set: SetEnrollment, context: &Context, output: Output) -> Result<(), Failure> {
    let SetEnrollment {
        email,
        course_id,
        mode,
        force,
        inactive,
        remove_role,
    } = set;
    if let Some(mode) = mode.as_ref().filter(|mode| !force && !mode.is_known()) {
        return Err(EnrollmentError::UnknownMode(mode.clone()).into());
    }
    let setting = Setting {
        active: mode.is_some().then_some(!inactive),
        mode,
        remove_roles: remove_role.into_iter().collect(),
    };
    let enrolling = context.tables().await.enrolling()?;
    let by = context.operator();
    let now = context.clock().now();
    let set = enrolling.set(&email, &course_id, setting, by, now);
    let Changed {
        enrollment,
        outcome,
    } = match set.await? {
        Set::Stands(changed) => *changed,
        Set::NoSuchUser => return Err(FindError::User(email).into()),
        Set::NoSuchRun => return Err(FindError::Run(course_id).into()),
        Set::NotEnrolled => return Err(EnrollmentError::NoEnrollment { email, course_id }.into()),
    };
    let outcome = match outcome {
        ChangeOutcome::Created => "created",
        ChangeOutcome::Updated => "updated",
        ChangeOutcome::Unchanged => "unchanged",
    };
    let done = Done {
        outcome,
        enrollment: EnrollmentView::from(&enrollment),
    };
    output.answer(&done, || format!("{outcome}\n{}", table([&enrollment])))?;
    Ok(())
}

fn table<'a>(enrollments: impl IntoIterator<Item = &'a Enrollment>) -> String {
    const COLUMNS: [Column<Enrollment>; 7] = [
        ("course", |enrollment| enrollment.course_id.to_string()),
        ("mode", |enrollment| enrollment.mode.to_string()),
        ("active", |enrollment| yes_or_no(enrollment.active)),
        ("edx_enrolled", |enrollment| {
            yes_or_no(enrollment.edx_enrolled)
        }),
        ("roles", |enrollment| words(&enrollment.roles)),
        ("change_status", |enrollment| {
            enrollment.change_status.clone().unwrap_or_default()
        }),
        ("changed", |enrollment| time::show(enrollment.changed_at)),
    ];
    output::table(&COLUMNS, enrollments)
}

fn history_table(history: &[HistoryEntry]) -> String {
    const COLUMNS: [Column<HistoryEntry>; 7] = [
        ("at", |entry| time::show(entry.at)),
        ("by", |entry| output::by(&entry.by)),
        ("active", |entry| yes_or_no(entry.active)),
        ("mode", |entry| word(entry.mode.as_ref())),
        ("announced mode", |entry| {
            word(entry.announced_mode.as_ref())
        }),
        ("announced roles", |entry| words(&entry.announced_roles)),
        ("removed roles", |entry| words(&entry.removed_roles)),
    ];
    output::table(&COLUMNS, history)
}

fn word(mode: Option<&Mode>) -> String {
    mode.map(Mode::to_string).unwrap_or_default()
}

pub fn words<'a>(roles: impl IntoIterator<Item = &'a CourseRole>) -> String {
    let roles: Vec<_> = roles.into_iter().map(CourseRole::as_str).collect();
    roles.join(", ")
}

#[derive(Serialize)]
struct Done<'a> {
    outcome: &'static str,
    enrollment: EnrollmentView<'a>,
}

#[derive(Serialize)]
pub struct EnrollmentView<'a> {
    enrollment_id: String,
    user_id: String,
    course_id: &'a CourseId,
    mode: &'a Mode,
    mode_set_by: Option<ModeSource>,
    active: bool,
    edx_enrolled: bool,
    roles: Vec<&'a CourseRole>,
    change_status: Option<&'a str>,
    changed_at: Timestamp,
    version: u64,
    #[serde(flatten)]
    history: &'a History<HistoryEntry>,
}

impl<'a> From<&'a Enrollment> for EnrollmentView<'a> {
    fn from(enrollment: &'a Enrollment) -> Self {
        Self {
            enrollment_id: enrollment.enrollment_id.to_string(),
            user_id: enrollment.user_id.to_string(),
            course_id: &enrollment.course_id,
            mode: &enrollment.mode,
            mode_set_by: enrollment.mode_set_by,
            active: enrollment.active,
            edx_enrolled: enrollment.edx_enrolled,
            roles: enrollment.roles.iter().collect(),
            change_status: enrollment.change_status.as_deref(),
            changed_at: enrollment.changed_at,
            version: enrollment.version,
            history: &enrollment.history,
        }
    }
}
