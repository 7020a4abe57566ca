//! `coursehook tokens`

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use app::authenticating::KNOWN_EVERYWHERE_AFTER;
use app::issuing_tokens::{Issued, TokenError, TokenRegistry};
use domain::token::{TokenRecord, TokenState};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Serialize;
use thiserror::Error;
use tokio::signal;

use crate::confirm::{ConfirmError, confirm};
use crate::context::Context;
use crate::failure::{CommandError, Failure};
use crate::log::{self, Message};
use crate::output::{self, Column, Output, OutputError, yes_or_no};
use crate::{aws_errors, cli, shell, time};

/// Error of a new token that its user did not get.
#[derive(Debug, Error)]
enum HandOverError {
    #[error(
        "no token was issued, since standard output is closed or /dev/null and the token would be \
         lost; send standard output to a terminal, a file or a variable"
    )]
    NowhereToWrite,
    #[error(
        "the token could not be written to standard output ({problem}), so {id} was revoked at \
         once; {again}, with a standard output that can be written"
    )]
    NotWritten {
        id: String,
        problem: io::Error,
        /// The advice, which depends on the command that issued the token.
        again: &'static str,
    },
    #[error(
        "the token could not be written to standard output ({problem}), and {id} may still be \
         valid, since it could not be revoked ({}); try: coursehook tokens revoke {id}{}",
        aws_errors::describe_token(.why), .old.as_deref().unwrap_or_default()
    )]
    StillInForce {
        id: String,
        problem: io::Error,
        why: TokenError,
        /// The end of the old token, if the new one was to replace one.
        old: Option<String>,
    },
}

impl CommandError for HandOverError {}

pub async fn run(
    command: cli::Tokens,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tokens = context.tokens().await?;
    let now = context.clock().now();
    match command {
        cli::Tokens::Issue {
            name,
            staff,
            expires_in,
        } => issue(&tokens, &name, staff, expires_in, context, output).await?,
        cli::Tokens::Rotate {
            id,
            old_ends_in,
            expires_in,
        } => rotate(&tokens, &id, old_ends_in, expires_in, context, output).await?,
        cli::Tokens::List => {
            let tokens = tokens.list().await?;
            let log = context.log();
            if log.is_none() {
                output::note(&on_aws(context.deployed()));
            }
            list(tokens, log.and_then(|log| last_seen(&log)), now, output)?;
        }
        cli::Tokens::Revoke { id, yes } => {
            if !yes {
                ask_about(&id, &tokens.list().await?, context, now)?;
            }
            revoke(&tokens, &id, now, output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn issue(
    tokens: &TokenRegistry,
    name: &str,
    staff: bool,
    expires_in: Option<SignedDuration>,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    if output::is_dead_end() {
        return Err(HandOverError::NowhereToWrite.into());
    }
    let issued = tokens.issue(name, staff, expires_in).await?;
    let undo = async || tokens.revoke(&issued.record.id).await.map(drop);
    let again = "issue another one";
    hand_over(&issued, None, context, output, undo, again).await
}

async fn rotate(
    tokens: &TokenRegistry,
    id: &str,
    old_ends_in: SignedDuration,
    expires_in: Option<SignedDuration>,
    context: &Context,
    output: Output,
) -> Result<(), Failure> {
    if output::is_dead_end() {
        return Err(HandOverError::NowhereToWrite.into());
    }
    let rotated = tokens.rotate(id, old_ends_in, expires_in).await?;
    let undo = async || tokens.undo(&rotated).await;
    let old = Some(TokenView::of(&rotated.old, context.clock().now()));
    let again = "the old one ends when it did before; rotate it again";
    hand_over(&rotated.issued, old, context, output, undo, again).await
}

/// Hands over a new token. Only the token goes to standard output, so that a shell can
/// capture it, and only once every instance of the webhooks accepts it. A token that
/// cannot be written there is not in use, and `undo` revokes it.
async fn hand_over(
    issued: &Issued,
    old: Option<TokenView<'_>>,
    context: &Context,
    output: Output,
    undo: impl AsyncFnOnce() -> Result<(), TokenError>,
    again: &'static str,
) -> Result<(), Failure> {
    let Issued { record, token } = issued;
    let name = output::printable(&record.name);
    let old_ends = old.as_ref().map(|old| {
        let end = time::show_optional(old.expires_at);
        format!("{} ({name}) ends at {end}", old.id)
    });
    let rights = if record.staff {
        "staff"
    } else {
        "no rights, since --staff is missing"
    };
    let end = record.expires_at.map_or("no end".to_owned(), |end| {
        format!("until {}", time::show(end))
    });
    let shown = IssuedToken {
        id: &record.id,
        name: &record.name,
        staff: record.staff,
        created_at: record.created_at,
        expires_at: record.expires_at,
        token: token.expose_secret(),
        old,
    };
    let clock = context.clock();
    let known = async {
        output::note(&format!("issued {} ({name}): {rights}, {end}", record.id));
        if let Some(ends) = &old_ends {
            output::note(ends);
        }
        clock.sleep(KNOWN_EVERYWHERE_AFTER).await;
    };
    let written = tokio::select! {
        // First, so that Ctrl-C takes effect before anything is written.
        biased;
        Ok(()) = signal::ctrl_c() => {
            let problem = io::Error::new(io::ErrorKind::Interrupted, "interrupted");
            Err(OutputError(problem))
        }
        () = known => {
            output::note("This is the token. It will not be shown again:");
            output.answer(&shown, || token.expose_secret().to_owned())
        }
    };
    let Err(OutputError(problem)) = written else {
        return Ok(());
    };
    let id = record.id.clone();
    let error = match undo().await {
        Ok(()) => HandOverError::NotWritten { id, problem, again },
        Err(why) => HandOverError::StillInForce {
            id,
            problem,
            why,
            old: old_ends.map(|ends| format!("\n{ends}: rotate it again before that")),
        },
    };
    Err(error.into())
}

async fn revoke(
    tokens: &TokenRegistry,
    id: &str,
    now: Timestamp,
    output: Output,
) -> Result<(), Failure> {
    let revoked = tokens.revoke(id).await?;
    let shown = Revoked {
        changed: revoked.changed,
        token: TokenView::of(&revoked.record, now),
    };
    output.answer(&shown, || {
        let name = output::printable(&revoked.record.name);
        if revoked.changed {
            format!("revoked {id} ({name}); within a minute no webhook accepts it")
        } else {
            let at = time::show_optional(revoked.record.revoked_at);
            format!("nothing to change: {id} ({name}) was revoked at {at}")
        }
    })?;
    Ok(())
}

/// Asks for confirmation to revoke a token, unless it is no longer valid anyway.
fn ask_about(
    id: &str,
    all: &[TokenRecord],
    context: &Context,
    now: Timestamp,
) -> Result<(), ConfirmError> {
    let mut live = all.iter().filter(|t| t.state(now) == TokenState::Live);
    let Some(token) = live.find(|token| token.id == id) else {
        return Ok(());
    };
    let seen = context.log().and_then(|log| last_seen(&log));
    let seen = seen.map(|seen| match seen.get(id) {
        Some(at) => format!(", last seen at {}", time::show(*at)),
        None => ", which is not in the log".to_owned(),
    });
    let (name, seen) = (&token.name, seen.unwrap_or_default());
    let question = format!("Revoke the token {id} ({name}){seen}, so that no webhook accepts it?");
    confirm(&question, false)
}

/// The time at which each token was last seen, by its id.
type LastSeen = BTreeMap<String, Timestamp>;

fn last_seen(log: &Path) -> Option<LastSeen> {
    let lines = match log::read(log) {
        Ok(lines) => lines,
        Err(error) => {
            let file = output::path(log);
            output::note(&format!(
                "warning: {file} cannot be read ({error}), so it is not known when the tokens \
                 were last seen; COURSEHOOK_LOG must name a file of log lines"
            ));
            return None;
        }
    };
    let mut last = LastSeen::new();
    for line in lines.filter(|line| line.message == Message::DeliveryProcessed) {
        if let (Some(id), Some(at)) = (line.token_id, line.timestamp) {
            let seen = last.entry(id).or_insert(at);
            *seen = at.max(*seen);
        }
    }
    Some(last)
}

/// Describes how to find out when each token was last seen, if there is no local log.
fn on_aws(deployed: Option<&str>) -> String {
    let (why, name) = match deployed {
        Some(name) => (format!("there is no local log of the stack {name}"), name),
        None => ("COURSEHOOK_LOG is not set".to_owned(), "coursehook"),
    };
    let quoted = shell::quoted(name);
    format!(
        r#"note: {why}, so it is not known when the tokens were last seen. On AWS, for the stack {name} and the last 30 days:
  QUERY=$(aws logs start-query --start-time $(( $(date +%s) - 2592000 )) --end-time $(date +%s) --log-group-names $(aws cloudformation describe-stacks --stack-name {quoted} --query "Stacks[0].Outputs[?ends_with(OutputKey, 'WebhookLogGroup')].OutputValue" --output text) --query-string 'filter message = "delivery processed" and ispresent(token_id) | stats max(@timestamp) by token_id' --query queryId --output text)
  sleep 10; aws logs get-query-results --query-id $QUERY --output text"#
    )
}

fn list(
    mut tokens: Vec<TokenRecord>,
    last_seen: Option<LastSeen>,
    now: Timestamp,
    output: Output,
) -> Result<(), OutputError> {
    tokens.sort_by_key(|token| token.created_at);
    let seen = |id: &str| last_seen.as_ref().map(|last| last.get(id).copied());
    let shown: Vec<_> = tokens
        .iter()
        .map(|token| ListedToken {
            last_seen: seen(&token.id),
            token: TokenView::of(token, now),
        })
        .collect();
    let columns: [Column<ListedToken<'_>>; 8] = [
        ("id", |listed| listed.token.id.to_owned()),
        ("name", |listed| listed.token.name.to_owned()),
        ("staff", |listed| yes_or_no(listed.token.staff)),
        ("state", |listed| listed.token.state.as_str().to_owned()),
        ("created", |listed| time::show(listed.token.created_at)),
        ("expires", |listed| {
            time::show_optional(listed.token.expires_at)
        }),
        ("revoked", |listed| {
            time::show_optional(listed.token.revoked_at)
        }),
        ("last seen", |listed| {
            time::show_optional(listed.last_seen.flatten())
        }),
    ];
    let columns = if last_seen.is_some() {
        &columns[..]
    } else {
        &columns[..columns.len() - 1]
    };
    output.answer(&shown, || output::table(columns, &shown))
}

/// A token in the form that may be shown: without its digest.
#[derive(Serialize)]
struct TokenView<'a> {
    id: &'a str,
    name: &'a str,
    staff: bool,
    state: TokenState,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl<'a> TokenView<'a> {
    fn of(token: &'a TokenRecord, now: Timestamp) -> Self {
        Self {
            id: &token.id,
            name: &token.name,
            staff: token.staff,
            state: token.state(now),
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
        }
    }
}

#[derive(Serialize)]
struct ListedToken<'a> {
    #[serde(flatten)]
    token: TokenView<'a>,
    /// Absent if there is no local log, null if the log has no delivery with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Option<Timestamp>>,
}

#[derive(Serialize)]
struct Revoked<'a> {
    changed: bool,
    #[serde(flatten)]
    token: TokenView<'a>,
}

#[derive(Serialize)]
struct IssuedToken<'a> {
    id: &'a str,
    name: &'a str,
    staff: bool,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    token: &'a str,
    /// The token that this one replaces, with its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<TokenView<'a>>,
}
