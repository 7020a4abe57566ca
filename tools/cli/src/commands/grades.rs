//! `coursehook grades`

use std::process::ExitCode;

use app::certifying::{BlockedBy, CertifyOutcome, Certifying, Pass, Source};
use app::operator::{Corrected, override_grade, release_grade};
use app::retry::ATTEMPT_TIME;
use domain::{
    CertificateState, Change, CourseId, Email, Grade, GradeEntry, History, LetterGrade, Score,
};
use jiff::Timestamp;
use serde::Serialize;
use store::StoreError;
use thiserror::Error;
use tokio::time::Instant;

use super::advice::lacking;
use super::find;
use crate::cli::{self, OverrideGrade};
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::output::{self, Column, Output, yes_or_no};
use crate::{aws_errors, import, shell, time};

/// Error of a change of a grade.
#[derive(Debug, Error)]
enum GradeError {
    #[error("a grade of 0 earns no certificate: leave out --passed, or set a --percent above 0")]
    PassOfZero,
    #[error(
        "{} has no grade in {course_id}; `coursehook grades override` sets one",
        .email.as_str()
    )]
    NoGrade { email: Email, course_id: CourseId },
    #[error(
        "the grade is set, but Coursehook could not decide whether it earns the certificate: \
         DynamoDB: {}; run the same command again to decide it",
        aws_errors::describe_store(.0)
    )]
    NotCertified(StoreError),
}

impl CommandError for GradeError {}

pub async fn run(
    command: cli::Grades,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Grades::Import(import) => return import::grades(import, context, output).await,
        cli::Grades::Show { email, history } => show(email, history, context, output).await?,
        cli::Grades::Override(grade) => set(grade, context, output).await?,
        cli::Grades::Release { email, course_id } => {
            release(email, course_id, context, output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    email: Email,
    history: bool,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, grades) = (tables.users()?, tables.grades()?);
    let user = find::user(&users, &email).await?;
    let grades = grades.of_user(user.user_id).await?;
    let shown: Vec<_> = grades.iter().map(GradeView::from).collect();
    output.answer(&shown, || {
        let mut shown = table(&grades);
        if history {
            for Grade {
                course_id, history, ..
            } in &grades
            {
                let heading = output::history_heading(course_id, history);
                output::add_section(&mut shown, &heading, &history_table(history));
            }
        }
        shown
    })?;
    Ok(())
}

async fn set(grade: OverrideGrade, context: &Context, output: Output) -> Result<(), Failure> {
    let OverrideGrade {
        email,
        course_id,
        percent,
        letter,
        passed,
    } = grade;
    let tables = context.tables().await;
    let (users, runs, records) = (tables.users()?, tables.course_runs()?, tables.records()?);
    // Before anything is written, so that a missing setting is reported first.
    let certifying = tables.certifying()?;
    let user = find::user(&users, &email).await?;
    find::run(&runs, &course_id).await?;
    let score = Score {
        percent,
        passed,
        letter_grade: Some(letter),
    };
    if passed && !score.is_pass() {
        return Err(GradeError::PassOfZero.into());
    }
    let (by, at) = (context.operator(), context.clock().now());
    let set = override_grade(&records, user.user_id, &course_id, &score, &by, at);
    let Corrected { now, changed } = set.await?;
    let pass = Pass {
        email,
        course_id: Some(course_id.clone()),
        by,
        at,
    };
    let outcome = match (changed, now.history.count()) {
        (false, _) => "unchanged",
        (true, 1) => "created",
        (true, _) => "updated",
    };
    let result = certify(&certifying, &pass, &course_id, passed).await?;
    let done = Done {
        outcome,
        grade: GradeView::from(&now),
        certificate: &result,
    };
    output.answer(&done, || {
        format!("{outcome}\n{}\n\n{}", table([&now]), result.message)
    })?;
    Ok(())
}

async fn release(
    email: Email,
    course_id: CourseId,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, records) = (tables.users()?, tables.records()?);
    let user = find::user(&users, &email).await?;
    let (by, at) = (context.operator(), context.clock().now());
    let released = release_grade(&records, user.user_id, &course_id, &by, at).await?;
    let Some(Corrected { now, changed }) = released else {
        return Err(GradeError::NoGrade { email, course_id }.into());
    };
    let record = records.find(user.user_id, &course_id).await?;
    let in_force = record
        .certificate
        .filter(|c| c.state == CertificateState::InForce);
    let (outcome, message) = if changed {
        (
            "released",
            "The grade stays until the LMS gives another one.",
        )
    } else {
        ("unchanged", "The grade was the LMS's before.")
    };
    let then = match in_force {
        // A certificate in force is not withdrawn, and the LMS is not asked.
        Some(certificate) => format!(
            "The certificate {} stays in force.",
            certificate.certificate_id
        ),
        None => format!(
            "To ask the LMS at once:\n  {}",
            shell::issue(&email, &course_id)
        ),
    };
    let done = Released {
        outcome,
        grade: GradeView::from(&now),
    };
    output.answer(&done, || {
        format!("{outcome}\n{}\n\n{message} {then}", table([&now]))
    })?;
    Ok(())
}

/// Issues the certificate if the new grade earns it. It does not matter if a pending
/// event could not be removed: its next attempt finds the certificate issued.
async fn certify(
    certifying: &Certifying,
    pass: &Pass,
    course_id: &CourseId,
    passed: bool,
) -> Result<CertificateResult, Failure> {
    let until = Instant::now() + ATTEMPT_TIME;
    // A pass that earns no certificate yet becomes a pending event, as the LMS's does.
    let certified = if passed {
        let certified = certifying.certify(pass, Source::Record, until).await;
        certified.map_err(|failed| failed.error)
    } else {
        certifying.attempt(pass, Source::Record, until).await
    };
    let outcome = certified.map_err(GradeError::NotCertified)?.outcome;
    let result = |status, message: String| CertificateResult {
        status,
        certificate_id: None,
        reason: None,
        message,
    };
    Ok(match outcome {
        CertifyOutcome::Created(id) => CertificateResult {
            certificate_id: Some(id.to_string()),
            ..result("created", format!("The certificate {id} is in force now."))
        },
        CertifyOutcome::Exists(id) => {
            let message = if passed {
                format!("The certificate {id} was in force before.")
            } else {
                format!(
                    "The certificate {id} stays in force, although the grade is not a pass. \
                     To revoke it:\n  {}",
                    shell::revoke(&pass.email, course_id)
                )
            };
            CertificateResult {
                certificate_id: Some(id.to_string()),
                ..result("exists", message)
            }
        }
        CertifyOutcome::Revoked => {
            let message = format!(
                "An operator has revoked the certificate, and it stays revoked. \
                 To restore it:\n  {}",
                shell::restore(&pass.email, course_id)
            );
            result("revoked", message)
        }
        CertifyOutcome::Blocked(BlockedBy::NotPassed) => {
            let message = "There is no certificate, since the grade is not a pass; \
                 --passed makes it one.";
            result("not_passed", message.to_owned())
        }
        CertifyOutcome::Blocked(BlockedBy::NotEligible(why)) => {
            let message = format!(
                "There is no certificate, since the learner {}. \
                 It is issued automatically, within two minutes, once they are in a paid mode. \
                 If they have paid, set a paid mode:\n  {}",
                lacking(Some(why)),
                shell::enroll(&pass.email, course_id)
            );
            CertificateResult {
                reason: Some(why.as_str()),
                ..result("not_eligible", message)
            }
        }
        // The user or the run was deleted in the meantime; the LMS was not asked.
        CertifyOutcome::Blocked(
            BlockedBy::NoSuchUser
            | BlockedBy::NoSuchRun
            | BlockedBy::NoUsername
            | BlockedBy::Lms(_),
        ) => {
            let message = "The user or the course run was deleted in the meantime: import them, \
                 and then run the same command again.";
            result("pending", message.to_owned())
        }
    })
}

fn table<'a>(grades: impl IntoIterator<Item = &'a Grade>) -> String {
    const COLUMNS: [Column<Grade>; 7] = [
        ("course", |grade| grade.course_id.to_string()),
        ("percent", |grade| grade.score.percent.get().to_string()),
        ("passed", |grade| yes_or_no(grade.score.passed)),
        ("letter", |grade| letter(&grade.score)),
        ("set by", |grade| whose(grade).to_owned()),
        ("version", |grade| grade.version.to_string()),
        ("changed", |grade| time::show_optional(changed_at(grade))),
    ];
    output::table(&COLUMNS, grades)
}

fn history_table(history: &[GradeEntry]) -> String {
    let before = [None].into_iter().chain(history.iter().map(Some));
    let rows: Vec<_> = before.zip(history).collect();
    let columns: [Column<(Option<&GradeEntry>, &GradeEntry)>; 6] = [
        ("at", |(_, entry)| time::show(entry.at)),
        ("by", |(_, entry)| output::by(&entry.by)),
        ("percent", |(_, entry)| {
            entry.score.percent.get().to_string()
        }),
        ("passed", |(_, entry)| yes_or_no(entry.score.passed)),
        ("letter", |(_, entry)| letter(&entry.score)),
        ("set by", |(before, entry)| {
            set_by(*before, entry).to_owned()
        }),
    ];
    output::table(&columns, &rows)
}

fn letter(score: &Score) -> String {
    let letter = score.letter_grade.as_ref().map(LetterGrade::as_str);
    letter.unwrap_or_default().to_owned()
}

/// Returns a grade as a part of a sentence.
pub fn in_words(grade: &Grade) -> String {
    let score = &grade.score;
    let passed = if score.is_pass() {
        "a pass"
    } else {
        "not a pass"
    };
    let letter = score.letter_grade.as_ref().map(LetterGrade::as_str);
    let letter = letter.map(|letter| format!(", {}", output::printable(letter)));
    format!(
        "{}, {passed}{}, by the {}",
        score.percent.get(),
        letter.unwrap_or_default(),
        whose(grade)
    )
}

/// Returns whose grade it is, in words.
pub fn whose(grade: &Grade) -> &'static str {
    let before = grade.history.iter().rev().nth(1);
    match grade.history.last() {
        Some(last) => set_by(before, last),
        None if grade.set_by_admin => "operator",
        None => "LMS",
    }
}

/// Returns the source of a grade. Deliveries, retries, sweeps and operators who ask the
/// LMS store the LMS's grade. A released grade is still the operator's until the LMS
/// gives another one.
fn set_by(before: Option<&GradeEntry>, entry: &GradeEntry) -> &'static str {
    let is_released = before.is_some_and(|b| b.set_by_admin && b.score == entry.score);
    match &entry.by {
        _ if entry.set_by_admin => "operator",
        Change::Operator { .. } if is_released => "operator, released",
        Change::Import { .. } => "import",
        Change::Operator { .. }
        | Change::Delivery { .. }
        | Change::PendingEvent { .. }
        | Change::Sweep { .. } => "LMS",
    }
}

fn changed_at(grade: &Grade) -> Option<Timestamp> {
    grade.history.last().map(|entry| entry.at)
}

#[derive(Serialize)]
struct Done<'a> {
    outcome: &'static str,
    grade: GradeView<'a>,
    certificate: &'a CertificateResult,
}

#[derive(Serialize)]
struct Released<'a> {
    outcome: &'static str,
    grade: GradeView<'a>,
}

/// The result for the certificate, in the words of the webhook's answers.
#[derive(Serialize)]
struct CertificateResult {
    status: &'static str,
    certificate_id: Option<String>,
    reason: Option<&'static str>,
    /// The same for people, with how to continue.
    #[serde(skip)]
    message: String,
}

#[derive(Serialize)]
pub struct GradeView<'a> {
    user_id: String,
    course_id: &'a CourseId,
    percent: f64,
    passed: bool,
    letter_grade: Option<&'a LetterGrade>,
    set_by_admin: bool,
    version: u64,
    changed_at: Option<Timestamp>,
    #[serde(flatten)]
    history: &'a History<GradeEntry>,
}

impl<'a> From<&'a Grade> for GradeView<'a> {
    fn from(grade: &'a Grade) -> Self {
        Self {
            user_id: grade.user_id.to_string(),
            course_id: &grade.course_id,
            percent: grade.score.percent.get(),
            passed: grade.score.passed,
            letter_grade: grade.score.letter_grade.as_ref(),
            set_by_admin: grade.set_by_admin,
            version: grade.version,
            changed_at: changed_at(grade),
            history: &grade.history,
        }
    }
}
