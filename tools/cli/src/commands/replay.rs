//! `coursehook replay`

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;
use serde_json::Value;

use crate::cli::exit_code;
use crate::deliveries::{self, Delivery};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::stack::Stack;

/// As long as the LMS waits.
const LIMIT: Duration = Duration::from_secs(30);

pub async fn run(paths: &[PathBuf], stack: &Stack, output: Output) -> Result<ExitCode, Failure> {
    let url = stack.variable("COURSEHOOK_URL")?;
    let (base, is_loopback) = base(&url)?;
    let token = stack.variable("COURSEHOOK_TOKEN")?;
    let mut token =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Failure::Bearer)?;
    token.set_sensitive(true);
    let deliveries = deliveries::read_all(paths)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "startup's client is for the LMS; this one is for our own gateway"
    )]
    let mut client = Client::builder().timeout(LIMIT).redirect(Policy::none());
    if is_loopback {
        // A proxy has a loopback of its own.
        client = client.no_proxy();
    }
    let client = client.build()?;

    let clock = stack.clock();
    let mut answers = Vec::new();
    for delivery in deliveries {
        let start = clock.now();
        let file = output::path(&delivery.path);
        let answered = send(&client, &base, &token, delivery).await;
        let milliseconds = clock.now().duration_since(start).as_millis();
        let answer = Answer::new(file, milliseconds, answered);
        if !output.is_json() {
            output::line(&answer.line())?;
        }
        answers.push(answer);
    }
    if output.is_json() {
        output.answer(&answers, String::new)?;
    }
    // The sample deliveries are for more webhooks than a stack may have, so one
    // that found none is amiss only if none of them found one.
    let all_accepted =
        !answers.iter().any(Answer::is_refusal) && answers.iter().any(Answer::is_from_coursehook);
    Ok(if all_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit_code::DONE_BUT)
    })
}

/// The base URL, stage included, without the last slash, and whether it is one
/// of this machine's loopback.
fn base(url: &str) -> Result<(String, bool), Failure> {
    let parsed: Url = url.parse().map_err(|_| Failure::Url)?;
    let host = parsed.host_str().ok_or(Failure::Url)?;
    if !parsed.scheme().starts_with("http") {
        return Err(Failure::Url);
    }
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
    Ok((url.trim_end_matches('/').to_owned(), is_loopback))
}

async fn send(
    client: &Client,
    base: &str,
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
    let answer = client
        .request(method, format!("{base}{target}"))
        .headers(headers)
        .header(AUTHORIZATION, token)
        .body(body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await?))
}

/// What came back, or that nothing did.
#[derive(Serialize)]
struct Answer {
    file: String,
    milliseconds: i128,
    status: Option<u16>,
    /// JSON where it is JSON, else the text.
    body: Option<Value>,
    /// The body as it came.
    #[serde(skip)]
    text: String,
    /// Why this is no answer of Coursehook's.
    problem: Option<&'static str>,
}

impl Answer {
    fn new(file: String, milliseconds: i128, answered: reqwest::Result<(u16, String)>) -> Self {
        let (status, body, text, problem) = match answered {
            Ok((status, text)) => {
                let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text));
                let problem = foreign(status, &body);
                (Some(status), Some(body), text, problem)
            }
            Err(error) => (None, None, String::new(), Some(silence(&error))),
        };
        Self {
            file,
            milliseconds,
            status,
            body,
            text,
            problem,
        }
    }

    /// Whether Coursehook did not take the delivery. A 202 is no such answer,
    /// nor is a 404 of its own: it has kept the event.
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
            self.milliseconds,
            self.file,
            text.trim()
        )
    }
}

/// Why an answer did not come from Coursehook, if it did not: its own 404 says
/// what it did not find, and it never redirects.
fn foreign(status: u16, body: &Value) -> Option<&'static str> {
    match status {
        404 if !body["error"].is_string() => Some("no webhook here"),
        300..400 => Some("redirected elsewhere; check COURSEHOOK_URL"),
        _ => None,
    }
}

/// Why there is no answer.
fn silence(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "cannot be reached; is the stack running (make run)?"
    } else if error.is_timeout() {
        "no answer within 30 seconds"
    } else {
        "the connection broke before the answer was there"
    }
}
