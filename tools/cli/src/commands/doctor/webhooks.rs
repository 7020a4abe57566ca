//! That the webhooks are there, let nobody in without a token, and redirect
//! nobody, whichever way the senders write their URLs.

use futures::future::join_all;
use reqwest::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;

use super::Finding;
use crate::context::Context;
use crate::failure::Failure;
use crate::gateway::{Gateway, bearer, silence};

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
                "set it to the URL that the stack puts out, or name the stack with --stack",
            )];
        }
    };
    let gateway = match Gateway::at(&url) {
        Ok(gateway) => gateway,
        Err(failure) => return vec![Finding::failed(context, URL, failure)],
    };
    let webhooks = ["enrollment", "certificate"].map(|kind| without_a_token(&gateway, kind));
    let (mut findings, token) = tokio::join!(join_all(webhooks), with_the_token(context, &gateway));
    findings.push(token);
    findings
}

/// A token that nobody has must be refused, with the last slash and without.
async fn without_a_token(gateway: &Gateway, kind: &str) -> Finding {
    let check = format!("{kind} webhook");
    let nobodys = HeaderValue::from_static(concat!(
        "Bearer chk_",
        "0000000000000000000000000000000000000000000000000000000000000000"
    ));
    for slash in ["", "/"] {
        let path = format!("/api/openedx_webhook/{kind}{slash}");
        let request = gateway.request(Method::POST, &path);
        let request = request.header(CONTENT_TYPE, "application/json").body("{}");
        let answer = match request.header(AUTHORIZATION, nobodys.clone()).send().await {
            Ok(answer) => WebhookResponse::of(answer).await,
            Err(error) => return unheard(check, &path, &error),
        };
        if !(answer.status == 401 && answer.is_ours) {
            let (detail, advice) = answer.fault();
            return Finding::fix(check, format!("{path}: {detail}"), advice);
        }
    }
    Finding::ok(
        check,
        "refuses a token that is none, with the last slash and without",
    )
}

/// A token of ours must be taken. The method is one that changes nothing.
async fn with_the_token(context: &Context, gateway: &Gateway) -> Finding {
    let Ok(token) = context.variable(TOKEN) else {
        return Finding::skip(
            TOKEN,
            "it is not set",
            "where it is, it is seen whether the webhooks take it",
        );
    };
    let path = "/api/openedx_webhook/enrollment/";
    let asked = async {
        let request = gateway
            .request(Method::GET, path)
            .header(AUTHORIZATION, bearer(&token)?);
        Ok::<_, Failure>(request.send().await)
    };
    let answer = match asked.await {
        Ok(Ok(answer)) => WebhookResponse::of(answer).await,
        Ok(Err(error)) => return unheard(TOKEN, path, &error),
        Err(failure) => return Finding::failed(context, TOKEN, failure),
    };
    match answer.status {
        405 if answer.allows_post => Finding::ok(TOKEN, "the webhooks take it"),
        401 if answer.is_ours => Finding::fix(
            TOKEN,
            "the webhooks do not take it: it is not listed, has ended or was revoked",
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

fn unheard(check: impl Into<String>, path: &str, error: &reqwest::Error) -> Finding {
    let message = silence(error);
    let detail = message.split("; ").next().unwrap_or_default();
    Finding::fix(
        check,
        format!("{path}: {detail}"),
        "see that COURSEHOOK_URL is right and that the stack is deployed, or runs (make run)",
    )
}

struct WebhookResponse {
    status: u16,
    /// It has an error in the form of ours.
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

    /// What is wrong where this is not the answer that there should be, and what to do.
    fn fault(&self) -> (String, &'static str) {
        let status = self.status;
        let (detail, advice) = match status {
            200..300 => (
                "what is there takes a token that is none",
                "see that COURSEHOOK_URL leads to Coursehook, and tell whoever keeps it at once",
            ),
            300..=399 => (
                "it redirects, and a sender does not follow",
                "give COURSEHOOK_URL, and the senders, the URL that is led to: https, with the stage",
            ),
            401 | 403 => (
                "somebody before Coursehook refuses",
                "see that COURSEHOOK_URL has the stage (/prod), and look for an authorizer, a \
                 resource policy or a firewall at the gateway",
            ),
            404 => (
                "no webhook is there",
                "see that COURSEHOOK_URL has the stage (/prod) and nothing behind it, and that \
                 the function is deployed",
            ),
            503 if self.is_ours => (
                "it cannot check tokens",
                "see what is said of WebhookTokensSecret, and the webhook's log (`reason`)",
            ),
            500.. => (
                "the webhook fails",
                "read the newest lines with the level ERROR in the webhook's log group",
            ),
            _ => (
                "this is no answer of Coursehook's",
                "see that COURSEHOOK_URL leads to Coursehook",
            ),
        };
        (format!("{status}, {detail}"), advice)
    }
}
