//! Checks that the two secrets hold valid values.

use domain::Credential;
use domain::token::{TokenRecord, TokenState};
use jiff::{SignedDuration, Timestamp};
use secrets::SecretError;

use super::finding::Finding;
use crate::context::Context;
use crate::failure::Failure;
use crate::{shell, time};

/// The time before its end at which a token should be replaced, so that its users can be
/// informed.
const BEFORE_ITS_END: SignedDuration = SignedDuration::from_hours(14 * 24);

const CREDENTIAL: &str = "OpenedxApiSecret";

pub async fn check(context: &Context, now: Timestamp) -> Vec<Finding> {
    let (mut tokens, credential) = tokio::join!(tokens(context, now), credential(context));
    tokens.push(Finding::of(context, CREDENTIAL, credential));
    tokens
}

/// Checks the list of tokens, and each token that has ended or ends soon.
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
            "there is no live token with staff rights, so no delivery is accepted",
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

/// Reports a token that has ended or ends soon, and the live token that replaces it, if
/// there is one.
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
        Some(other) => Finding::ok(check, format!("{ends}; {} replaces it", other.id)),
        None if has_ended => {
            let issue = shell::command("tokens issue", &[name], &["--staff"]);
            Finding::fix(
                check,
                format!("{ends}, and deliveries with it are refused"),
                format!("{issue}, or if it is not in use: coursehook tokens revoke {id}"),
            )
        }
        None => Finding::fix(check, ends, format!("coursehook tokens rotate {id}")),
    }
}

async fn credential(context: &Context) -> Result<Finding, Failure> {
    const ADVICE: &str = "coursehook credential set";
    let secret = context.credential_for_the_lms().await?;
    Ok(match secret.read().await {
        Ok(Some(Credential::Client { .. })) => Finding::ok(CREDENTIAL, "an OAuth2 client"),
        Ok(Some(Credential::Static { .. })) => Finding::ok(CREDENTIAL, "a static token"),
        Ok(None) => Finding::fix(CREDENTIAL, "it has no value yet", ADVICE),
        Err(error @ SecretError::Malformed) => Finding::fix(CREDENTIAL, error.to_string(), ADVICE),
        Err(error) => return Err(error.into()),
    })
}
