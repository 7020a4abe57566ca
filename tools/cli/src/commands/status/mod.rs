//! `coursehook status`

mod diagnosis;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use app::StoreError;
use app::importing::RUNS_AT_ONCE;
use domain::{Certificate, CourseId, CourseRun, Email, Enrollment, SweepEnd, SweepKind, User};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use store::course_runs::CourseRuns;
use store::sweeps::{Sweeps, Which};

use self::diagnosis::Diagnosis;
use super::advice::Advice;
use super::find::FindError;
use super::{certificates, enrollments, events, grades, runs, users};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::time;

pub async fn run(
    email: Email,
    only: Option<CourseId>,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let (enrollments, grades) = (tables.enrollments()?, tables.grades()?);
    let (certificates, pending_events) = (tables.certificates()?, tables.pending_events()?);
    let (sweeps, paid_modes) = (tables.sweeps()?, tables.paid_modes()?);

    let is_selected = |course_id: &CourseId| only.as_ref().is_none_or(|only| only == course_id);
    let user = users.get(&email).await?;
    let is_theirs = |address: &Email| {
        let mut addresses = user.iter().flat_map(User::addresses).chain([&email]);
        addresses.any(|theirs| theirs == address)
    };
    // The events are read before the records: an event that takes effect in between is
    // then seen in the records, and not missed in both.
    let pending = events::all(&pending_events, |event| {
        is_theirs(&event.email) && is_selected(&event.course_id)
    })
    .await?;
    let email = user.as_ref().map_or(&email, |user| &user.email);
    let (enrollments, grades, certificates) = match &user {
        Some(user) => tokio::try_join!(
            enrollments.of_user(user.user_id),
            grades.of_user(user.user_id),
            certificates.of_user(user.user_id),
        )?,
        None if pending.is_empty() => return Err(FindError::User(email.clone()).into()),
        None => Default::default(),
    };

    let ids = enrollments.iter().map(|enrollment| &enrollment.course_id);
    let ids = ids.chain(grades.iter().map(|grade| &grade.course_id));
    let ids = ids.chain(certificates.iter().map(|c| &c.course_id));
    let ids = ids.chain(pending.iter().map(|event| &event.course_id));
    let ids: BTreeSet<_> = ids.filter(|id| is_selected(id)).chain(&only).collect();
    let known = find_runs(&runs, &ids).await?;
    let swept = last_sweeps(&sweeps, &ids).await?;

    let now = context.clock().now();
    let diagnoses = ids.into_iter().map(|course_id| {
        let mut events: Vec<_> = pending
            .iter()
            .filter(|e| e.course_id == *course_id)
            .collect();
        events.sort_by_key(|event| event.kind.as_str());
        let diagnosis = Diagnosis {
            email,
            user: user.as_ref(),
            course_id,
            run: known.iter().find(|run| run.course_id == *course_id),
            enrollment: enrollments.iter().find(|e| e.course_id == *course_id),
            grade: grades.iter().find(|grade| grade.course_id == *course_id),
            certificate: certificates.iter().find(|c| c.course_id == *course_id),
            events,
            swept: swept.get(course_id),
        };
        let advice = diagnosis.advice(&paid_modes, now);
        (diagnosis, advice)
    });
    let diagnoses: Vec<_> = diagnoses.collect();
    let shown = StatusView {
        email: email.as_str(),
        user: user.as_ref().map(users::UserView::from),
        runs: diagnoses.iter().map(InRun::from).collect(),
    };
    output.answer(&shown, || {
        let mut text = match &shown.user {
            Some(user) => user.fields(),
            None => format!(
                "There is no user {}. These events are pending for the address.",
                email.as_str()
            ),
        };
        if diagnoses.is_empty() {
            text.push_str("\n\nThe learner has nothing in any course run.");
        }
        for (diagnosis, advice) in &diagnoses {
            let section = section(diagnosis, advice);
            output::add_section(&mut text, diagnosis.course_id.as_str(), &section);
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns those runs that the portal knows.
async fn find_runs(
    runs: &CourseRuns,
    ids: &BTreeSet<&CourseId>,
) -> Result<Vec<CourseRun>, StoreError> {
    let ids: Vec<_> = ids.iter().copied().cloned().collect();
    let mut known = Vec::new();
    for ids in ids.chunks(RUNS_AT_ONCE) {
        known.extend(runs.get_many(ids).await?);
    }
    Ok(known)
}

/// Returns the end of each run's last sweep of grades.
async fn last_sweeps(
    sweeps: &Sweeps,
    ids: &BTreeSet<&CourseId>,
) -> Result<BTreeMap<CourseId, SweepEnd>, StoreError> {
    const AT_ONCE: usize = 16;
    let last = async |id: &CourseId| {
        let record = sweeps.get(Which::scheduled(id, SweepKind::Grades)).await?;
        Ok(record.last.map(|end| (id.clone(), end)))
    };
    let found = stream::iter(ids.iter().copied()).map(last);
    let found = found.buffer_unordered(AT_ONCE);
    found
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await
}

fn section(diagnosis: &Diagnosis<'_>, advice: &Advice) -> String {
    let or = |cell: Option<String>, none: &str| cell.unwrap_or_else(|| none.to_owned());
    let fields = output::fields([
        ("run", or(diagnosis.run.map(run_cell), "not known")),
        (
            "enrollment",
            or(diagnosis.enrollment.map(enrollment_cell), "none"),
        ),
        ("grade", or(diagnosis.grade.map(grades::in_words), "none")),
        (
            "certificate",
            or(diagnosis.certificate.map(certificate_cell), "none"),
        ),
    ]);
    let mut blocks = vec![fields];
    if !diagnosis.events.is_empty() {
        blocks.push(events::table(diagnosis.events.iter().copied()));
    }
    blocks.push(advice.text());
    blocks.join("\n\n")
}

fn run_cell(run: &CourseRun) -> String {
    let pace = if run.is_self_paced {
        "self-paced"
    } else {
        "not self-paced"
    };
    let date = run.certificate_available_date.map(time::show);
    let date = date.map(|date| format!(", certificates {date}"));
    format!("{}, {pace}{}", run.title, date.unwrap_or_default())
}

fn enrollment_cell(enrollment: &Enrollment) -> String {
    let active = if enrollment.active {
        "active"
    } else {
        "inactive"
    };
    let roles = enrollments::words(&enrollment.roles);
    let mut cell = format!("{}, {active}", enrollment.mode);
    if !roles.is_empty() {
        cell.push_str(&format!(", roles: {roles}"));
    }
    cell
}

fn certificate_cell(certificate: &Certificate) -> String {
    format!(
        "{}, {}, issued {}",
        certificate.certificate_id,
        certificates::words(certificate.state),
        time::show(certificate.issued_at)
    )
}

#[derive(Serialize)]
struct StatusView<'a> {
    email: &'a str,
    user: Option<users::UserView<'a>>,
    runs: Vec<InRun<'a>>,
}

#[derive(Serialize)]
struct InRun<'a> {
    course_id: &'a CourseId,
    run: Option<runs::RunView<'a>>,
    enrollment: Option<enrollments::EnrollmentView<'a>>,
    grade: Option<grades::GradeView<'a>>,
    certificate: Option<certificates::CertificateView<'a>>,
    events: Vec<events::EventView<'a>>,
    #[serde(flatten)]
    advice: &'a Advice,
}

impl<'a> From<&'a (Diagnosis<'a>, Advice)> for InRun<'a> {
    fn from((diagnosis, advice): &'a (Diagnosis<'a>, Advice)) -> Self {
        Self {
            course_id: diagnosis.course_id,
            run: diagnosis.run.map(runs::RunView::from),
            enrollment: diagnosis.enrollment.map(enrollments::EnrollmentView::from),
            grade: diagnosis.grade.map(grades::GradeView::from),
            certificate: diagnosis
                .certificate
                .map(certificates::CertificateView::from),
            events: diagnosis
                .events
                .iter()
                .copied()
                .map(events::EventView::from)
                .collect(),
            advice,
        }
    }
}
