//! `coursehook tokens`

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Serialize;
use shared::domain::token::{TokenRecord, TokenState};
use shared::use_cases::issuing_tokens::{Issued, TokenRegistry};

use crate::failure::Failure;
use crate::output::{self, Output, yes_or_no};
use crate::stack::Stack;
use crate::{cli, time};

pub async fn run(command: cli::Tokens, stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let tokens = stack.tokens().await?;
    let now = stack.clock().now();
    match command {
        cli::Tokens::Issue {
            name,
            staff,
            expires_in,
        } => {
            issue(&tokens, &name, staff, expires_in, output).await?;
        }
        cli::Tokens::List => list(tokens.list().await?, now, output)?,
        cli::Tokens::Revoke { id } => {
            let revoked = tokens.revoke(&id).await?;
            let shown = Revoked {
                changed: revoked.changed,
                token: Shown::of(&revoked.record, now),
            };
            output.answer(&shown, || {
                let name = output::printable(&revoked.record.name);
                if revoked.changed {
                    format!("revoked {id} ({name}); within a minute nobody takes it any more")
                } else {
                    let at = time::show_optional(revoked.record.revoked_at);
                    format!("nothing to change: {id} ({name}) was revoked at {at}")
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The token alone goes to standard output, so that a shell can take it. A
/// token that cannot be written there is nobody's, and it is revoked.
async fn issue(
    tokens: &TokenRegistry,
    name: &str,
    staff: bool,
    expires_in: Option<SignedDuration>,
    output: Output,
) -> Result<(), Failure> {
    if output::leads_nowhere() {
        return Err(Failure::NowhereToWrite);
    }
    let Issued { record, token } = tokens.issue(name, staff, expires_in).await?;
    let rights = if staff {
        "staff"
    } else {
        "no rights yet, for want of --staff"
    };
    let end = record.expires_at.map_or("no end".to_owned(), |end| {
        format!("until {}", time::show(end))
    });
    output::note(&format!("issued {} ({name}): {rights}, {end}", record.id));
    output::note("This is the token. It will not be shown again:");
    let shown = IssuedToken {
        id: &record.id,
        name: &record.name,
        staff: record.staff,
        created_at: record.created_at,
        expires_at: record.expires_at,
        token: token.expose_secret(),
    };
    let written = output.answer(&shown, || token.expose_secret().to_owned());
    let Err(Failure::Output(problem)) = written else {
        return written;
    };
    let id = record.id;
    Err(match tokens.revoke(&id).await {
        Ok(_) => Failure::NotHandedOver { id, problem },
        Err(why) => Failure::StillInForce { id, problem, why },
    })
}

fn list(mut tokens: Vec<TokenRecord>, now: Timestamp, output: Output) -> Result<(), Failure> {
    tokens.sort_by_key(|token| token.created_at);
    let shown: Vec<_> = tokens.iter().map(|token| Shown::of(token, now)).collect();
    output.answer(&shown, || {
        output::table(
            [
                "id", "name", "staff", "state", "created", "expires", "revoked",
            ],
            shown.iter().map(|token| {
                [
                    token.id.to_owned(),
                    token.name.to_owned(),
                    yes_or_no(token.staff),
                    word(token.state).to_owned(),
                    time::show(token.created_at),
                    time::show_optional(token.expires_at),
                    time::show_optional(token.revoked_at),
                ]
            }),
        )
    })
}

const fn word(state: TokenState) -> &'static str {
    match state {
        TokenState::Live => "live",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}

/// A token as it may be shown: without its digest.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    staff: bool,
    state: TokenState,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl<'a> Shown<'a> {
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
struct Revoked<'a> {
    changed: bool,
    #[serde(flatten)]
    token: Shown<'a>,
}

#[derive(Serialize)]
struct IssuedToken<'a> {
    id: &'a str,
    name: &'a str,
    staff: bool,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    token: &'a str,
}
