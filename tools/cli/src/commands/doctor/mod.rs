//! `coursehook doctor`

mod lms;
mod modes;
mod secrets;
mod tables;
mod webhooks;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use ::lms::BaseUrl;
use domain::{CourseId, Email, EventState};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::exit_code;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::time;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckResult {
    Ok,
    /// Something may be wrong: the operator decides.
    Warn,
    /// A person has to fix something.
    Fix,
    /// The check could not be made.
    Skip,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Finding {
    /// The object of the check.
    check: String,
    result: CheckResult,
    /// The state that was found.
    detail: String,
    /// The fix, if there is one.
    advice: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            result: CheckResult::Ok,
            detail: detail.into(),
            advice: None,
        }
    }

    fn fix(check: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            result: CheckResult::Fix,
            advice: Some(advice.into()),
            ..Self::ok(check, detail)
        }
    }

    fn warn(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Warn,
            ..Self::fix(check, detail, advice)
        }
    }

    fn skip(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Skip,
            ..Self::fix(check, detail, advice)
        }
    }

    /// Returns a failed check, with the message that any command has for the error: first
    /// the cause, then the fix.
    fn failed(context: &Context, check: impl Into<String>, failure: impl Into<Failure>) -> Self {
        let failure = failure.into().of_stack(context.deployed());
        if context.is_unknown() && matches!(failure, Failure::Variable { .. }) {
            return Self::skip(check, "the stack could not be read", "fix that first");
        }
        let message = failure.to_string();
        match message.split_once("; ") {
            Some((detail, advice)) => Self::fix(check, detail, advice),
            None => Self {
                result: CheckResult::Fix,
                ..Self::ok(check, message)
            },
        }
    }

    fn line(&self, width: usize, is_coloured: bool) -> String {
        let (word, colour) = match self.result {
            CheckResult::Ok => ("OK  ", 32),
            CheckResult::Warn => ("WARN", 33),
            CheckResult::Fix => ("FIX ", 31),
            CheckResult::Skip => ("SKIP", 33),
        };
        let word = if is_coloured {
            format!("\u{1b}[{colour}m{word}\u{1b}[0m")
        } else {
            word.to_owned()
        };
        let (check, detail) = (&self.check, &self.detail);
        let advice = self.advice.as_ref().map(|advice| format!("; {advice}"));
        let message = format!("{check:width$}  {detail}{}", advice.unwrap_or_default());
        format!("{word}  {}", output::printable(&message))
    }
}

/// Makes all checks, whether or not others fail.
pub async fn run(
    learner: Option<(Email, CourseId)>,
    context: &mut Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    context.use_short_timeouts();
    let now = context.clock().now();
    let mut findings = vec![credentials(context, now).await];
    if let Some(name) = context.deployed().map(str::to_owned) {
        let check = format!("stack {name}");
        findings.push(match context.read_deployed().await {
            Ok(lacking) if lacking.is_empty() => {
                Finding::ok(check, "its outputs and parameters are read")
            }
            Ok(lacking) => Finding::fix(
                check,
                format!("it lacks {}", lacking.join(", ")),
                "deploy the template of this version",
            ),
            Err(failure) => Finding::failed(context, check, failure),
        });
    }
    findings.extend(settings(context).await);
    let (tables, secrets, lms, webhooks, events, modes) = tokio::join!(
        tables::check(context),
        secrets::check(context, now),
        lms::check(context, learner),
        webhooks::check(context),
        pending_events(context),
        modes::check(context),
    );
    for more in [tables, secrets, lms, webhooks, events, modes] {
        findings.extend(more);
    }

    let is_coloured = io::stdout().is_terminal() && !context.wants_no_color();
    output.answer(&findings, || {
        let width = findings.iter().map(|finding| finding.check.len()).max();
        let line = |finding: &Finding| finding.line(width.unwrap_or_default(), is_coloured);
        Vec::from_iter(findings.iter().map(line)).join("\n")
    })?;
    let is_well = findings.iter().all(|f| f.result != CheckResult::Fix);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

/// Checks that there are credentials and a region. The other checks show whether AWS
/// accepts the credentials.
async fn credentials(context: &Context, now: Timestamp) -> Finding {
    const CHECK: &str = "credentials";
    let credentials = match context.credentials().await {
        Ok(credentials) => credentials,
        Err(failure) => return Finding::failed(context, CHECK, failure),
    };
    let end = credentials.expiry();
    let end = end.and_then(|end| Timestamp::try_from(end).ok());
    let Some(region) = context.aws().await.region() else {
        return Finding::fix(
            CHECK,
            "no region is set",
            "name one with --region, or set AWS_REGION",
        );
    };
    let id = credentials.access_key_id();
    let shown: String = id
        .chars()
        .skip(id.chars().count().saturating_sub(4))
        .collect();
    let detail = format!("the access key that ends in {shown}, in {region}");
    match end {
        Some(end) if end <= now => Finding::fix(
            CHECK,
            format!("{detail}, expired at {}", time::show(end)),
            "log in to AWS again",
        ),
        Some(end) => Finding::ok(CHECK, format!("{detail}, until {}", time::show(end))),
        None => Finding::ok(CHECK, detail),
    }
}

/// Checks the functions' settings other than the names of tables and secrets.
async fn settings(context: &Context) -> [Finding; 2] {
    let advice = if context.deployed().is_some() {
        "deploy the stack with another one"
    } else {
        "set it as the functions have it, or name the stack with --stack"
    };
    let describe = |name: &'static str, fault: Option<Failure>| match fault {
        None => Finding::ok(name, context.variable(name).unwrap_or_default()),
        Some(Failure::Setting(malformed)) => Finding::fix(name, malformed.to_string(), advice),
        Some(failure) => Finding::failed(context, name, failure),
    };
    let lms_url = context.setting::<BaseUrl>("LMS_URL").err();
    let paid_modes = context.tables().await.paid_modes().err();
    [
        describe("LMS_URL", lms_url),
        describe("PAID_MODES", paid_modes.map(Failure::from)),
    ]
}

/// Checks for dead events: each may be a certificate that is no longer retried.
async fn pending_events(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "pending events";
    let counted = async {
        let events = context.tables().await.pending_events()?;
        let dead = events.count(EventState::Dead).await?;
        let expired = events.count(EventState::Expired).await?;
        Ok::<_, Failure>((dead, expired))
    };
    vec![match counted.await {
        Err(failure) => Finding::failed(context, CHECK, failure),
        Ok((0, expired)) => Finding::ok(CHECK, format!("none dead, {expired} expired")),
        Ok((dead, expired)) => Finding::fix(
            CHECK,
            format!("{dead} dead, {expired} expired"),
            "see `coursehook events list --dead`, and `coursehook events show KEY` for each",
        ),
    }]
}
