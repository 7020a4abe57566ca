//! Checks that the webhooks are there, refuse an invalid token, and do not redirect, in
//! either form of the senders' URLs.

use domain::EventKind;
use futures::future::join_all;
use reqwest::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;

use super::finding::Finding;
use crate::context::Context;
use crate::gateway::{Gateway, bearer, describe_no_answer};

const URL: &str = "COURSEHOOK_URL";
const TOKEN: &str = "COURSEHOOK_TOKEN";

pub async fn check(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "webhooks";
    let url = match context.variable(URL) {
        Ok(url) => url,
        Err(missing) if context.deployed().is_some() => {
            return vec![Finding::failed(context, CHECK, missing)];
        }
        Err(_) => {
            return vec![Finding::skip(
                CHECK,
                "COURSEHOOK_URL is not set",
                "set it to the stack's output Url, or name the stack with --stack",
            )];
        }
    };
    let gateway = match Gateway::at(&url) {
        Ok(gateway) => gateway,
        Err(failure) => return vec![Finding::failed(context, URL, failure)],
    };
    let webhooks = EventKind::ALL.map(|kind| without_a_token(&gateway, kind));
    let (mut findings, token) = tokio::join!(join_all(webhooks), with_the_token(context, &gateway));
    findings.push(token);
    findings
}

/// Checks that an invalid token is refused, with and without the last slash.
async fn without_a_token(gateway: &Gateway, kind: EventKind) -> Finding {
    let check = format!("{} webhook", kind.as_str());
    let invalid = HeaderValue::from_static(concat!(
        "Bearer chk_",
        "0000000000000000000000000000000000000000000000000000000000000000"
    ));
    for slash in ["", "/"] {
        let path = format!("{}{slash}", kind.path());
        let request = gateway.request(Method::POST, &path);
        let request = request.header(CONTENT_TYPE, "application/json").body("{}");
        let answer = match request.header(AUTHORIZATION, invalid.clone()).send().await {
            Ok(answer) => WebhookResponse::of(answer).await,
            Err(error) => return no_answer(check, &path, &error),
        };
        if !(answer.status == 401 && answer.is_ours) {
            let (detail, advice) = answer.fault();
            return Finding::fix(check, format!("{path}: {detail}"), advice);
        }
    }
    Finding::ok(
        check,
        "refuses an invalid token, with and without the last slash",
    )
}

/// Checks that a valid token is accepted. The method changes nothing.
async fn with_the_token(context: &Context, gateway: &Gateway) -> Finding {
    let Ok(token) = context.variable(TOKEN) else {
        return Finding::skip(
            TOKEN,
            "it is not set",
            "set it to check whether the webhooks accept it",
        );
    };
    // All webhooks have the same tokens.
    let path = format!("{}/", EventKind::Enrollment.path());
    let bearer = match bearer(&token) {
        Ok(bearer) => bearer,
        Err(error) => return Finding::failed(context, TOKEN, error),
    };
    let request = gateway.request(Method::GET, &path);
    let answer = match request.header(AUTHORIZATION, bearer).send().await {
        Ok(answer) => WebhookResponse::of(answer).await,
        Err(error) => return no_answer(TOKEN, &path, &error),
    };
    match answer.status {
        405 if answer.allows_post => Finding::ok(TOKEN, "the webhooks accept it"),
        401 if answer.is_ours => Finding::fix(
            TOKEN,
            "the webhooks do not accept it: it is not listed, has ended or was revoked",
            "see `coursehook tokens list`, and issue another: coursehook tokens issue NAME --staff",
        ),
        403 if answer.is_ours => Finding::fix(
            TOKEN,
            "it has no staff rights",
            "issue another: coursehook tokens issue NAME --staff",
        ),
        _ => {
            let (detail, advice) = answer.fault();
            Finding::fix(TOKEN, format!("{path}: {detail}"), advice)
        }
    }
}

fn no_answer(check: impl Into<String>, path: &str, error: &reqwest::Error) -> Finding {
    let message = describe_no_answer(error);
    let detail = message.split("; ").next().unwrap_or_default();
    Finding::fix(
        check,
        format!("{path}: {detail}"),
        "check that COURSEHOOK_URL is right and that the stack is deployed, or runs (make run)",
    )
}

struct WebhookResponse {
    status: u16,
    /// True if the answer has an error in Coursehook's form.
    is_ours: bool,
    allows_post: bool,
}

impl WebhookResponse {
    async fn of(answer: Response) -> Self {
        let status = answer.status().as_u16();
        let allows_post = answer
            .headers()
            .get(ALLOW)
            .is_some_and(|allow| allow == "POST");
        let body: Value = answer.json().await.unwrap_or_default();
        Self {
            status,
            is_ours: body["error"].is_string(),
            allows_post,
        }
    }

    /// Describes an unexpected answer, and how to fix it.
    fn fault(&self) -> (String, &'static str) {
        let status = self.status;
        let (detail, advice) = match status {
            200..300 => (
                "the server there accepts an invalid token",
                "check that COURSEHOOK_URL leads to Coursehook, and tell its operators at once",
            ),
            300..=399 => (
                "it redirects, and a sender does not follow",
                "set COURSEHOOK_URL, and the senders' URL, to the target of the redirect: https, \
                 with the stage",
            ),
            401 | 403 => (
                "something in front of Coursehook refuses the request",
                "check that COURSEHOOK_URL has the stage (/prod), and look for an authorizer, a \
                 resource policy or a firewall at the gateway",
            ),
            404 => (
                "there is no webhook",
                "check that COURSEHOOK_URL has the stage (/prod) and nothing after it, and that \
                 the function is deployed",
            ),
            503 if self.is_ours => (
                "it cannot check tokens",
                "see the check of WebhookTokensSecret, and the webhook's log (`reason`)",
            ),
            500.. => (
                "the webhook fails",
                "read the newest lines with the level ERROR in the webhook's log group",
            ),
            _ => (
                "this is not an answer of Coursehook",
                "check that COURSEHOOK_URL leads to Coursehook",
            ),
        };
        (format!("{status}, {detail}"), advice)
    }
}
