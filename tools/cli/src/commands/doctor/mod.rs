//! `coursehook doctor`

mod finding;
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
use store::pending_events::COUNTED;

use self::finding::{CheckResult, Finding};
use crate::cli::exit_code;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::time;

const EVENTS: &str = "pending events";

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
    for more in [tables, secrets, lms, webhooks] {
        findings.extend(more);
    }
    findings.push(Finding::of(context, EVENTS, events));
    findings.push(Finding::of(context, modes::CHECK, modes));

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

/// Returns a number of events as text.
fn number(counted: u64) -> String {
    if counted < COUNTED {
        counted.to_string()
    } else {
        format!("{COUNTED} or more")
    }
}

/// Checks for dead events: each may be a certificate that is no longer retried.
async fn pending_events(context: &Context) -> Result<Finding, Failure> {
    let events = context.tables().await.pending_events()?;
    let dead = events.count(EventState::Dead).await?;
    let expired = number(events.count(EventState::Expired).await?);
    Ok(if dead == 0 {
        Finding::ok(EVENTS, format!("none dead, {expired} expired"))
    } else {
        Finding::fix(
            EVENTS,
            format!("{} dead, {expired} expired", number(dead)),
            "see `coursehook events list --dead`, and `coursehook events show KEY` for each",
        )
    })
}
