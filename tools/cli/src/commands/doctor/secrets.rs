//! That the two secrets hold what they are for.

use jiff::{SignedDuration, Timestamp};
use shared::adapters::secrets::SecretError;
use shared::domain::Credential;
use shared::domain::token::{TokenRecord, TokenState};

use super::Finding;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::time;

/// How long before its end a token is to be replaced: there is time to tell
/// whoever bears it.
const BEFORE_ITS_END: SignedDuration = SignedDuration::from_hours(14 * 24);

pub async fn check(context: &Context, now: Timestamp) -> Vec<Finding> {
    let (mut tokens, credential) = tokio::join!(tokens(context, now), credential(context));
    tokens.push(credential);
    tokens
}

/// The list of tokens, and each that is about to end or has ended.
async fn tokens(context: &Context, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "WebhookTokensSecret";
    let listed = async { Ok::<_, Failure>(context.tokens().await?.list().await?) };
    let listed = match listed.await {
        Ok(listed) => listed,
        Err(failure) => return vec![Finding::failed(context, CHECK, failure)],
    };
    let staff = || listed.iter().filter(|token| token.staff);
    let live = staff().filter(|token| token.state(now) == TokenState::Live);
    let live: Vec<_> = live.collect();
    let mut findings = vec![if live.is_empty() {
        Finding::fix(
            CHECK,
            "there is no live token with staff rights, so that no delivery is taken",
            "coursehook tokens issue NAME --staff, and give it to the LMS",
        )
    } else {
        Finding::ok(
            CHECK,
            format!("live tokens with staff rights: {}", live.len()),
        )
    }];
    let near = now.saturating_add(BEFORE_ITS_END).unwrap_or(Timestamp::MAX);
    for token in staff().filter(|token| token.state(now) != TokenState::Revoked) {
        if let Some(end) = token.expires_at.filter(|end| *end <= near) {
            let mut live = live.iter();
            let successor = live.find(|other| {
                other.name == token.name && other.expires_at.is_none_or(|later| later > end)
            });
            findings.push(about_end(token, end, successor.copied(), now));
        }
    }
    findings
}

/// About a token that has ended or soon will, and the live one, if there is
/// one, that its bearer has by now or can be given.
fn about_end(
    token: &TokenRecord,
    end: Timestamp,
    successor: Option<&TokenRecord>,
    now: Timestamp,
) -> Finding {
    let TokenRecord { id, name, .. } = token;
    let check = format!("token {id}");
    let has_ended = end <= now;
    let ends = if has_ended { "ended" } else { "ends" };
    let ends = format!("{name} {ends} at {}", time::show(end));
    match successor {
        Some(other) => Finding::ok(check, format!("{ends}; {} takes its place", other.id)),
        None if has_ended => {
            let issue = output::command("tokens issue", &[name], &["--staff"]);
            Finding::fix(
                check,
                format!("{ends}, and whoever bears it is refused"),
                format!("{issue}, or where nobody does: coursehook tokens revoke {id}"),
            )
        }
        None => Finding::fix(check, ends, format!("coursehook tokens rotate {id}")),
    }
}

async fn credential(context: &Context) -> Finding {
    const CHECK: &str = "OpenedxApiSecret";
    const ADVICE: &str = "coursehook credential set";
    let read = async { Ok::<_, Failure>(context.credential_for_the_lms().await?.read().await) };
    match read.await {
        Err(failure) => Finding::failed(context, CHECK, failure),
        Ok(Ok(Some(Credential::Client { .. }))) => Finding::ok(CHECK, "an OAuth2 client"),
        Ok(Ok(Some(Credential::Static { .. }))) => Finding::ok(CHECK, "a static token"),
        Ok(Ok(None)) => Finding::fix(CHECK, "it has no value yet", ADVICE),
        Ok(Err(error @ SecretError::Malformed)) => Finding::fix(CHECK, error.to_string(), ADVICE),
        Ok(Err(error)) => Finding::failed(context, CHECK, Failure::Secret(error)),
    }
}
