//! `coursehook replay`

use std::path::PathBuf;
use std::process::ExitCode;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use crate::cli::exit_code;
use crate::context::Context;
use crate::failure::Failure;
use crate::gateway::{Gateway, bearer, describe_no_answer};
use crate::output::{self, Output};
use crate::samples::{self, Delivery};

pub async fn run(
    paths: &[PathBuf],
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let gateway = Gateway::at(&context.variable("COURSEHOOK_URL")?)?;
    let token = bearer(&context.variable("COURSEHOOK_TOKEN")?)?;
    let deliveries = samples::read_all(paths)?;

    let clock = context.clock();
    let mut answers = Vec::new();
    for delivery in deliveries {
        let start = clock.now();
        let file = output::path(&delivery.path);
        let answered = send(&gateway, &token, delivery).await;
        let duration_ms = clock.now().duration_since(start).as_millis();
        let answer = ReplayResult::new(file, duration_ms, answered);
        if !output.is_json() {
            output::line(&answer.line())?;
        }
        answers.push(answer);
    }
    if output.is_json() {
        output.answer(&answers, String::new)?;
    }
    // The sample deliveries are for more webhooks than a stack may have, so the command
    // fails only if none of them reached a webhook.
    let all_accepted = !answers.iter().any(ReplayResult::is_refusal)
        && answers.iter().any(ReplayResult::is_from_coursehook);
    Ok(if all_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

async fn send(
    gateway: &Gateway,
    token: &HeaderValue,
    delivery: Delivery,
) -> reqwest::Result<(u16, String)> {
    let Delivery {
        method,
        target,
        headers,
        body,
        ..
    } = delivery;
    let answer = gateway
        .request(method, &target)
        .headers(headers)
        .header(AUTHORIZATION, token)
        .body(body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await?))
}

/// The answer to a delivery, or that there was none.
#[derive(Serialize)]
struct ReplayResult {
    file: String,
    duration_ms: i128,
    status: Option<u16>,
    /// The body: JSON if it is JSON, otherwise the text.
    body: Option<Value>,
    /// The body as it came.
    #[serde(skip)]
    text: String,
    /// The reason why this is not an answer of Coursehook.
    problem: Option<&'static str>,
}

impl ReplayResult {
    fn new(file: String, duration_ms: i128, answered: reqwest::Result<(u16, String)>) -> Self {
        let (status, body, text, problem) = match answered {
            Ok((status, text)) => {
                let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text));
                let problem = foreign(status, &body);
                (Some(status), Some(body), text, problem)
            }
            Err(error) => (None, None, String::new(), Some(describe_no_answer(&error))),
        };
        Self {
            file,
            duration_ms,
            status,
            body,
            text,
            problem,
        }
    }

    /// True if Coursehook did not accept the delivery. A 202, and a 404 of its own, are
    /// not refusals: it has stored the event as a pending event.
    fn is_refusal(&self) -> bool {
        self.status
            .is_none_or(|status| matches!(status, 401 | 403 | 500..))
    }

    const fn is_from_coursehook(&self) -> bool {
        self.problem.is_none()
    }

    fn line(&self) -> String {
        let status = self
            .status
            .map_or("---".to_owned(), |status| status.to_string());
        let text = self.problem.unwrap_or(&self.text);
        let text = output::printable(&text.replace(['\r', '\n'], " "));
        format!(
            "{status} {:>6} ms  {}  {}",
            self.duration_ms,
            self.file,
            text.trim()
        )
    }
}

/// Returns why an answer did not come from Coursehook, if it did not: Coursehook's own
/// 404 says what it did not find, and it never redirects.
fn foreign(status: u16, body: &Value) -> Option<&'static str> {
    match status {
        404 if !body["error"].is_string() => Some("no webhook here"),
        300..400 => Some("redirected elsewhere; check COURSEHOOK_URL"),
        _ => None,
    }
}
