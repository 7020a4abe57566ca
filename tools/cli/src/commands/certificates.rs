//! `coursehook certificates`

use std::process::ExitCode;

use app::certifying::{BlockedBy, CertifyOutcome, Pass, Source};
use app::operator::{CertificateAction, CertificateActionError, Corrected, correct_certificate};
use app::retry::ATTEMPT_TIME;
use domain::{
    Blocked, BlockedReason, Certificate, CertificateEntry, CertificateState, CourseId, Email,
    Grade, History, Renaming,
};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;
use uuid::Uuid;

use super::advice::{self, Advice};
use super::find::{self, FindError};
use super::grades;
use crate::cli::exit_code;
use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::listing::{Listed, Listing, emails_of};
use crate::lms_errors::Remedy;
use crate::output::{self, Column, Output};
use crate::{cli, import, shell, time};

/// Error of a change of a certificate.
#[derive(Debug, Error)]
enum CertificateError {
    #[error(
        "{} has no certificate for {course_id}; `coursehook grades override` sets a grade that earns one",
        .email.as_str()
    )]
    NoCertificate { email: Email, course_id: CourseId },
    #[error(
        "the certificate was withdrawn, since the grade became 0, and a pass restores it: \
         wait for the LMS to announce one, or set the grade: {}",
        shell::pass(.email, .course_id)
    )]
    Withdrawn { email: Email, course_id: CourseId },
}

impl CommandError for CertificateError {}

pub async fn run(
    command: cli::Certificates,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    match command {
        cli::Certificates::Import(import) => {
            return import::certificates(import, context, output).await;
        }
        cli::Certificates::List { run, state } => list(run, state, context, output).await?,
        cli::Certificates::Show { email, history } => show(email, history, context, output).await?,
        cli::Certificates::Issue { email, course_id } => {
            return issue(email, course_id, context, output).await;
        }
        cli::Certificates::Revoke {
            email,
            course_id,
            yes,
        } => {
            correct(
                email,
                course_id,
                &CertificateAction::Revoke,
                yes,
                context,
                output,
            )
            .await?
        }
        // These two lose no data, so no confirmation is needed.
        cli::Certificates::Restore { email, course_id } => {
            correct(
                email,
                course_id,
                &CertificateAction::Restore,
                true,
                context,
                output,
            )
            .await?;
        }
        cli::Certificates::Rename {
            email,
            course_id,
            name,
        } => {
            let action = CertificateAction::Rename(name);
            correct(email, course_id, &action, true, context, output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    run: CourseId,
    only: Option<CertificateState>,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let certificates = tables.certificates()?;
    find::run(&runs, &run).await?;
    let listing = Listing::new(output);
    let read = async |start| certificates.of_run(&run, start).await;
    let write = async |listing: &mut Listing, mut certificates: Vec<Certificate>| {
        certificates.retain(|certificate| only.is_none_or(|state| certificate.state == state));
        let ids = certificates.iter().map(|certificate| certificate.user_id);
        let emails = emails_of(&users, ids).await?;
        let listed = certificates.iter().zip(emails);
        let listed = listed.map(|(certificate, email)| Listed {
            email,
            record: CertificateView::from(certificate),
        });
        listing.page(
            &Vec::from_iter(listed),
            &[
                ("email", |listed| listed.email.clone().unwrap_or_default()),
                ("state", |listed| listed.record.state.as_str().to_owned()),
                ("issued", |listed| time::show(listed.record.issued_at)),
                ("certificate id", |listed| {
                    listed.record.certificate_id.clone()
                }),
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
    let (users, certificates) = (tables.users()?, tables.certificates()?);
    let user = find::user(&users, &email).await?;
    let certificates = certificates.of_user(user.user_id).await?;
    let shown: Vec<_> = certificates.iter().map(CertificateView::from).collect();
    output.answer(&shown, || {
        let mut shown = table(&certificates);
        if history {
            for Certificate {
                course_id, history, ..
            } in &certificates
            {
                let heading = output::history_heading(course_id, history);
                output::add_section(&mut shown, &heading, &history_table(history));
            }
        }
        for certificate in certificates.iter().filter(|c| c.learner_name.is_none()) {
            let (id, course_id) = (certificate.certificate_id, &certificate.course_id);
            let command = shell::rename(&user.email, course_id);
            shown.push_str(&format!(
                "\n\nThe certificate {id} has no name. To give it one:\n  {command}"
            ));
        }
        shown
    })?;
    Ok(())
}

async fn issue(
    email: Email,
    course_id: CourseId,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, runs, records) = (tables.users()?, tables.course_runs()?, tables.records()?);
    let user = find::user(&users, &email).await?;
    find::run(&runs, &course_id).await?;
    let before = records.find(user.user_id, &course_id).await?;
    let state = before.certificate.map(|certificate| certificate.state);
    // No grade restores a revoked certificate, so the LMS is not asked.
    if state == Some(CertificateState::Revoked) {
        let grade = before.grade.as_ref();
        let advice = about_revoked(&email, &course_id);
        return Issued::refused("revoked", None, advice).answer(grade, grade, output);
    }
    let certifying = tables.certifying()?;
    let by_operator = before
        .grade
        .as_ref()
        .is_some_and(|grade| grade.set_by_admin);
    // If the LMS is not asked, its URL and credential need not be set.
    let is_asked = !by_operator && state != Some(CertificateState::InForce);
    let lms = if is_asked {
        Some(context.lms_client(&tables).await?)
    } else {
        None
    };
    let source = match &lms {
        Some(lms) => Source::Lms {
            lms,
            asking: &|_| {},
        },
        None => Source::Record,
    };
    let pass = Pass {
        email: email.clone(),
        course_id: Some(course_id.clone()),
        by: context.operator(),
        at: context.clock().now(),
    };
    let until = Instant::now() + ATTEMPT_TIME;
    let certified = certifying.attempt(&pass, source, until).await?;
    let issued = match certified.outcome {
        CertifyOutcome::Created(id) if state.is_some() => Issued::in_force("restored", id),
        CertifyOutcome::Created(id) => Issued::in_force("created", id),
        CertifyOutcome::Exists(id) => Issued::in_force("exists", id),
        // An operator has revoked it in the meantime.
        CertifyOutcome::Revoked => {
            Issued::refused("revoked", None, about_revoked(&email, &course_id))
        }
        // The user or the run was deleted in the meantime.
        CertifyOutcome::Blocked(BlockedBy::NoSuchUser) => {
            return Err(FindError::User(email).into());
        }
        CertifyOutcome::Blocked(BlockedBy::NoSuchRun) => {
            return Err(FindError::Run(course_id).into());
        }
        CertifyOutcome::Blocked(why) => {
            let blocked = why.blocked(pass.at);
            let advice = about_attempt(&email, &course_id, &blocked, by_operator);
            Issued::refused(blocked.reason.as_str(), blocked.error, advice)
        }
    };
    let now = records.find(user.user_id, &course_id).await?.grade;
    issued.answer(before.grade.as_ref(), now.as_ref(), output)
}

async fn correct(
    email: Email,
    course_id: CourseId,
    action: &CertificateAction,
    yes: bool,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    let tables = context.tables().await;
    let (users, records) = (tables.users()?, tables.records()?);
    let certificates = tables.certificates()?;
    let user = find::user(&users, &email).await?;
    // No confirmation is asked for a change that is impossible or already made.
    let before = records.find(user.user_id, &course_id).await?.certificate;
    if let Some(before) = before.filter(|before| before.state != CertificateState::Revoked) {
        let (id, email) = (before.certificate_id, email.as_str());
        let question = format!(
            "Revoke the certificate {id} of {email} for {course_id}, so that no pass restores it?"
        );
        confirm(&question, yes)?;
    }
    let (by, at) = (context.operator(), context.clock().now());
    let about = (user.user_id, &course_id);
    let corrected = correct_certificate(&records, &certificates, about, action, &by, at);
    let Corrected { now, changed } = match corrected.await {
        Ok(corrected) => corrected,
        Err(CertificateActionError::NoCertificate) => {
            return Err(CertificateError::NoCertificate { email, course_id }.into());
        }
        Err(CertificateActionError::Withdrawn) => {
            return Err(CertificateError::Withdrawn { email, course_id }.into());
        }
        Err(CertificateActionError::Store(error)) => return Err(error.into()),
    };
    let done = Done {
        changed,
        certificate: CertificateView::from(&now),
    };
    output.answer(&done, || match action {
        CertificateAction::Rename(name) => describe_name(&now, name, changed),
        CertificateAction::Revoke | CertificateAction::Restore => describe(&now, changed),
    })?;
    Ok(())
}

/// Explains why an attempt to issue a certificate was blocked, for which no event is
/// pending.
fn about_attempt(
    email: &Email,
    course_id: &CourseId,
    blocked: &Blocked,
    by_operator: bool,
) -> Advice {
    let (why, remedy) = match blocked.reason {
        BlockedReason::NotPassed if by_operator => (
            "The grade is not a pass, and since an operator has set it, the LMS was not asked."
                .to_owned(),
            Remedy::unnoticed("Hand the grade back to the LMS")
                .by(shell::release(email, course_id)),
        ),
        reason => advice::cause(email, course_id, reason, blocked.error.as_deref()),
    };
    let Remedy { fix, command, .. } = remedy;
    let commands = command.into_iter().chain([shell::issue(email, course_id)]);
    Advice {
        why: format!("No certificate was issued. {why}"),
        help: format!("{fix}, and then try again:"),
        commands: commands.collect(),
    }
}

/// Explains a certificate that no pass restores.
fn about_revoked(email: &Email, course_id: &CourseId) -> Advice {
    Advice {
        why: "An operator has revoked the certificate, and no pass restores it.".to_owned(),
        help: "To restore it:".to_owned(),
        commands: vec![shell::restore(email, course_id)],
    }
}

/// Describes the current name on a certificate, and the one before.
fn describe_name(certificate: &Certificate, name: &str, changed: bool) -> String {
    let (id, name) = (certificate.certificate_id, output::printable(name));
    if !changed {
        return format!("nothing to change: the name on {id} is {name}");
    }
    let entry = certificate.history.last();
    let before = entry.and_then(|entry| entry.renamed.as_ref()?.from.as_deref());
    let before = before.map_or_else(
        || "there was none".to_owned(),
        |before| format!("it was {}", output::printable(before)),
    );
    format!("the name on {id} is {name}; {before}")
}

/// Describes the change, or says that there was nothing to change.
fn describe(certificate: &Certificate, changed: bool) -> String {
    let id = certificate.certificate_id;
    match (changed, certificate.state) {
        (true, CertificateState::Revoked) => {
            format!("revoked {id}; no pass restores it, `coursehook certificates restore` does")
        }
        (true, CertificateState::Withdrawn) => format!(
            "restored {id} to its earlier state: withdrawn, since the grade became 0; \
             a pass puts it in force"
        ),
        (true, CertificateState::InForce) => format!("restored {id}; it is in force"),
        (false, _) => format!("nothing to change: {id} is {}", stands(certificate)),
    }
}

/// Describes a certificate's state, since when it has it, and who set it.
pub fn stands(certificate: &Certificate) -> String {
    let since = certificate.last_of_state().map(|entry| {
        let (at, by) = (time::show(entry.at), output::by(&entry.by));
        format!(", since {at}, by {}", output::printable(&by))
    });
    words(certificate.state) + &since.unwrap_or_default()
}

/// Returns a state in words.
pub fn words(state: CertificateState) -> String {
    state.as_str().replace('_', " ")
}

fn table(certificates: &[Certificate]) -> String {
    const COLUMNS: [Column<Certificate>; 6] = [
        ("course", |certificate| certificate.course_id.to_string()),
        ("certificate id", |certificate| {
            certificate.certificate_id.to_string()
        }),
        ("state", |certificate| certificate.state.as_str().to_owned()),
        ("issued", |certificate| time::show(certificate.issued_at)),
        ("name", |certificate| {
            certificate.learner_name.clone().unwrap_or_default()
        }),
        ("title", |certificate| {
            certificate.run_title.clone().unwrap_or_default()
        }),
    ];
    output::table(&COLUMNS, certificates)
}

fn history_table(history: &[CertificateEntry]) -> String {
    let renamed = |entry: &CertificateEntry| match &entry.renamed {
        Some(Renaming { from, to }) => {
            let from = from.as_deref().unwrap_or("no name");
            format!("from {from} to {to}")
        }
        None => String::new(),
    };
    let columns: [Column<CertificateEntry>; 4] = [
        ("at", |entry| time::show(entry.at)),
        ("by", |entry| output::by(&entry.by)),
        ("state", |entry| entry.state.as_str().to_owned()),
        ("renamed", renamed),
    ];
    output::table(&columns, history)
}

/// The outcome of an attempt to issue a certificate.
#[derive(Serialize)]
struct Issued<'a> {
    /// `created`, `restored`, `exists` or `revoked`; otherwise the reason for which an
    /// event would be pending.
    outcome: &'static str,
    certificate_id: Option<String>,
    /// Details of the reason, as in a pending event.
    error: Option<String>,
    /// The current grade, and whether it differs from the one before: the LMS may have
    /// given another one.
    grade: Option<grades::GradeView<'a>>,
    grade_changed: bool,
    /// The [`Advice`], if there is no certificate.
    why: Option<String>,
    help: Option<String>,
    commands: Vec<String>,
}

impl<'a> Issued<'a> {
    fn in_force(outcome: &'static str, id: Uuid) -> Self {
        Self {
            outcome,
            certificate_id: Some(id.to_string()),
            error: None,
            grade: None,
            grade_changed: false,
            why: None,
            help: None,
            commands: Vec::new(),
        }
    }

    fn refused(outcome: &'static str, error: Option<String>, advice: Advice) -> Self {
        let Advice {
            why,
            help,
            commands,
        } = advice;
        Self {
            outcome,
            certificate_id: None,
            error,
            grade: None,
            grade_changed: false,
            why: Some(why),
            help: Some(help),
            commands,
        }
    }

    /// Writes the outcome, and the grade before and after.
    fn answer(
        mut self,
        before: Option<&Grade>,
        now: Option<&'a Grade>,
        output: Output,
    ) -> Result<ExitCode, Failure> {
        self.grade = now.map(grades::GradeView::from);
        self.grade_changed = before.map(|grade| grade.version) != now.map(|grade| grade.version);
        output.answer(&self, || {
            let id = self.certificate_id.as_deref().unwrap_or_default();
            let done = match self.outcome {
                "exists" => format!("nothing to change: {id} is in force"),
                outcome => format!("{outcome} {id}; it is in force"),
            };
            let grade = match (now.map(grades::in_words), before.map(grades::in_words)) {
                (None, _) => "There is no grade.".to_owned(),
                (Some(now), _) if !self.grade_changed => {
                    format!("The grade is {now}, and was not changed.")
                }
                (Some(now), Some(before)) => format!("The grade is now {now}; it was {before}."),
                (Some(now), None) => format!("The grade is now {now}; there was none."),
            };
            let first = self.why.clone().unwrap_or(done);
            let lines = [first, grade].into_iter().chain(self.help.clone());
            let commands = self.commands.iter().map(|command| format!("  {command}"));
            Vec::from_iter(lines.chain(commands)).join("\n")
        })?;
        Ok(if self.certificate_id.is_some() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(exit_code::DONE_BUT)
        })
    }
}

#[derive(Serialize)]
struct Done<'a> {
    changed: bool,
    certificate: CertificateView<'a>,
}

#[derive(Serialize)]
pub struct CertificateView<'a> {
    certificate_id: String,
    user_id: String,
    course_id: &'a CourseId,
    state: CertificateState,
    issued_at: Timestamp,
    learner_name: Option<&'a str>,
    run_title: Option<&'a str>,
    version: u64,
    #[serde(flatten)]
    history: &'a History<CertificateEntry>,
}

impl<'a> From<&'a Certificate> for CertificateView<'a> {
    fn from(certificate: &'a Certificate) -> Self {
        Self {
            certificate_id: certificate.certificate_id.to_string(),
            user_id: certificate.user_id.to_string(),
            course_id: &certificate.course_id,
            state: certificate.state,
            issued_at: certificate.issued_at,
            learner_name: certificate.learner_name.as_deref(),
            run_title: certificate.run_title.as_deref(),
            version: certificate.version,
            history: &certificate.history,
        }
    }
}
