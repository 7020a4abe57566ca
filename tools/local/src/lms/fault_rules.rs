//! Fault rules: faults of the LMS that are set while it runs.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::error::{LmsResponseError, TokenError, bad_client, html};
use super::{LmsCall, Shared};
use crate::faults::lock;

/// A fault, its place, and its number of times. As JSON it is one object, such as `{"do":
/// "throttle", "retry_after": 30, "at": "grades", "after": 2, "times": 3}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// The fault.
    #[serde(flatten)]
    pub what: LmsFault,
    /// The part of the LMS whose requests meet the fault. A fault that only one part can have
    /// applies there, whatever this field says.
    #[serde(default)]
    pub at: At,
    /// The number of requests before the first one that meets the fault.
    #[serde(default)]
    pub after: u32,
    /// The number of requests that meet the fault, whether they are valid or not; if absent, all
    /// until the rule is revoked.
    #[serde(default)]
    pub times: Option<u32>,
}

/// A part of the LMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The grades API.
    #[default]
    Grades,
    /// The list of enrollments.
    Enrollments,
    /// The token endpoint.
    Token,
    /// Every part.
    All,
}

/// A fault of an LMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum LmsFault {
    /// The answer is correct, but late.
    Slow {
        /// The delay in milliseconds.
        delay_ms: u64,
    },
    /// The request is never answered.
    Hang,
    /// The connection is closed before any answer.
    Drop,
    /// The connection is closed in the middle of the answer.
    Half,
    /// 429; at the token endpoint with HTML.
    Throttle {
        /// The seconds in the header `Retry-After`; if absent, there is no such header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// An error of the server, with HTML.
    Fail {
        /// The status, between 500 and 599, 500 by default.
        #[serde(default = "five_hundred", deserialize_with = "server_error")]
        status: u16,
    },
    /// The answer of something in front of the LMS, with HTML: a host check, a login, a firewall, a
    /// maintenance page.
    Page {
        /// The status, between 400 and 599, 403 by default.
        #[serde(default = "forbidden", deserialize_with = "error")]
        status: u16,
        /// The seconds in the header `Retry-After`; if absent, there is no such header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// 403: at the APIs in JSON without a code; at the token endpoint in HTML, with which older
    /// sites throttle.
    Refuse,
    /// 401: at the APIs with this code; at the token endpoint because of the client.
    Deny {
        /// The error of the token, expired by default.
        #[serde(default)]
        error_code: TokenError,
    },
    /// 302 to the same path and query of another origin.
    Redirect {
        /// The origin, `http://other-host.example` by default.
        #[serde(default = "other_host")]
        to: String,
    },
    /// 200 with HTML.
    Html,
    /// The correct answer, followed by 1 MiB of spaces.
    Huge,

    /// Every issued token expires. This happens at once, and leaves no rule: a token that is
    /// fetched afterwards is valid.
    Expire,
    /// A token is issued for another time than an hour.
    Live {
        /// The seconds until it expires.
        seconds: u32,
    },

    /// No learner has passed yet, and each has half the percentage: the announced grade is not
    /// committed yet.
    Lag,
    /// A grader that reports 0 for all: no learner has passed, and none has a letter grade.
    Zero,
    /// `percent` is `null`.
    PercentNull,
    /// `percent` is a text.
    PercentText,
    /// `percent` is 7.5.
    PercentTooHigh,
    /// `passed` is a text.
    PassedText,
    /// `letter_grade` has 256 characters.
    LetterTooLong,
    /// The list of a whole course is a bare array, as old sites return it.
    Bare,

    /// `mode` is a number.
    ModeNumber,
    /// `is_active` is a text.
    ActiveText,

    /// There are no rows.
    NoRow,
    /// Every row is another learner's.
    OtherLearner,
    /// Every row is of another run.
    OtherRun,
    /// A page's `next`, if there is one, has another origin.
    Misdirect {
        /// The origin, `http://other-host.example` by default.
        #[serde(default = "other_host")]
        to: String,
    },
    /// Every page's `next` leads to the first page.
    Repeat,
}

fn five_hundred() -> u16 {
    500
}

fn other_host() -> String {
    "http://other-host.example".into()
}

fn forbidden() -> u16 {
    403
}

fn error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        status @ 400..=599 => Ok(status),
        _ => Err(D::Error::custom("`status` is not between 400 and 599")),
    }
}

fn server_error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        status @ 500..=599 => Ok(status),
        _ => Err(D::Error::custom("`status` is not between 500 and 599")),
    }
}

impl LmsFault {
    /// Returns each fault, for the answer to an invalid rule.
    fn all() -> Vec<Self> {
        let to = other_host();
        vec![
            Self::Slow { delay_ms: 2000 },
            Self::Hang,
            Self::Drop,
            Self::Half,
            Self::Throttle {
                retry_after: Some(30),
            },
            Self::Fail { status: 503 },
            Self::Page {
                status: 403,
                retry_after: Some(30),
            },
            Self::Refuse,
            Self::Deny {
                error_code: TokenError::TokenNonexistent,
            },
            Self::Redirect { to: to.clone() },
            Self::Html,
            Self::Huge,
            Self::Expire,
            Self::Live { seconds: 5 },
            Self::Lag,
            Self::Zero,
            Self::PercentNull,
            Self::PercentText,
            Self::PercentTooHigh,
            Self::PassedText,
            Self::LetterTooLong,
            Self::Bare,
            Self::ModeNumber,
            Self::ActiveText,
            Self::NoRow,
            Self::OtherLearner,
            Self::OtherRun,
            Self::Misdirect { to },
            Self::Repeat,
        ]
    }

    /// Returns the parts of the LMS that can have the fault, or none if every part can.
    fn homes(&self) -> &'static [At] {
        match self {
            Self::Slow { .. }
            | Self::Hang
            | Self::Drop
            | Self::Half
            | Self::Throttle { .. }
            | Self::Fail { .. }
            | Self::Page { .. }
            | Self::Refuse
            | Self::Deny { .. }
            | Self::Redirect { .. }
            | Self::Html
            | Self::Huge => &[],
            Self::Expire | Self::Live { .. } => &[At::Token],
            Self::Lag
            | Self::Zero
            | Self::PercentNull
            | Self::PercentText
            | Self::PercentTooHigh
            | Self::PassedText
            | Self::LetterTooLong
            | Self::Bare => &[At::Grades],
            Self::ModeNumber | Self::ActiveText => &[At::Enrollments],
            Self::NoRow
            | Self::OtherLearner
            | Self::OtherRun
            | Self::Misdirect { .. }
            | Self::Repeat => &[At::Grades, At::Enrollments],
        }
    }
}

impl At {
    /// True if a path belongs to this part.
    pub(super) fn has(self, path: &str) -> bool {
        match self {
            Self::Grades => path.starts_with("/api/grades/"),
            Self::Enrollments => path.starts_with("/api/enrollment/"),
            Self::Token => path == "/oauth2/access_token",
            Self::All => true,
        }
    }
}

impl FaultRule {
    /// Returns a rule for this fault at the grades API, until it is revoked.
    #[must_use]
    pub fn of(what: LmsFault) -> Self {
        Self {
            what,
            at: At::Grades,
            after: 0,
            times: None,
        }
    }

    /// Returns the same rule for another part of the LMS.
    #[must_use]
    pub fn at(self, at: At) -> Self {
        Self { at, ..self }
    }

    /// Returns the same rule, which spares this many requests first.
    #[must_use]
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }

    /// Returns the same rule for this many requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        let times = Some(times);
        Self { times, ..self }
    }

    /// True if the rule applies to requests for this path.
    fn concerns(&self, path: &str) -> bool {
        match self.what.homes() {
            [] => self.at.has(path),
            [home] => home.has(path),
            homes => self.at.has(path) && homes.iter().any(|home| home.has(path)),
        }
    }
}

/// The active rules, oldest first.
#[derive(Debug, Default)]
pub(super) struct FaultRules(Mutex<Vec<FaultRule>>);

impl FaultRules {
    pub(super) fn add(&self, rule: FaultRule) {
        lock(&self.0).push(rule);
    }

    pub(super) fn revoke(&self) {
        lock(&self.0).clear();
    }

    pub(super) fn list(&self) -> Vec<FaultRule> {
        lock(&self.0).clone()
    }

    /// Returns the fault for a request, if any: that of the oldest rule for its path that has
    /// begun.
    fn take(&self, path: &str) -> Option<LmsFault> {
        let mut rules = lock(&self.0);
        rules.retain(|rule| rule.times != Some(0));
        let mut met = None;
        for rule in rules.iter_mut().filter(|rule| rule.concerns(path)) {
            if rule.after > 0 {
                rule.after -= 1;
            } else if met.is_none() {
                rule.times = rule.times.map(|times| times - 1);
                met = Some(rule.what.clone());
            }
        }
        rules.retain(|rule| rule.times != Some(0));
        met
    }
}

/// Records each request, and applies the fault rules to it.
pub(super) async fn obey(
    State(lms): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    lock(&lms.calls).push(LmsCall::of(&request));
    let path = request.uri().path();
    let at_token = At::Token.has(path);
    let Some(fault) = lms.rules.take(path) else {
        return next.run(request).await;
    };
    match fault {
        LmsFault::Slow { delay_ms } => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            next.run(request).await
        }
        LmsFault::Hang => std::future::pending().await,
        LmsFault::Drop => drop_connection(),
        LmsFault::Half => half(next.run(request).await).await,
        LmsFault::Throttle { retry_after } if at_token => {
            with_retry_after(html(StatusCode::TOO_MANY_REQUESTS), retry_after)
        }
        LmsFault::Throttle { retry_after } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let answer = LmsResponseError::new(status, None, "Request was throttled.");
            with_retry_after(answer.into_response(), retry_after)
        }
        LmsFault::Fail { status } => page(status),
        LmsFault::Page {
            status,
            retry_after,
        } => with_retry_after(page(status), retry_after),
        LmsFault::Refuse if at_token => html(StatusCode::FORBIDDEN),
        LmsFault::Refuse => LmsResponseError::forbidden().into_response(),
        LmsFault::Deny { .. } if at_token => bad_client(),
        LmsFault::Deny { error_code } => LmsResponseError::from(error_code).into_response(),
        LmsFault::Redirect { to } => {
            let same = request.uri().path_and_query();
            let location = format!("{to}{}", same.map_or("/", |same| same.as_str()));
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        }
        LmsFault::Html => Html("<!DOCTYPE html><title>Maintenance</title>\n").into_response(),
        LmsFault::Huge => huge(next.run(request).await).await,
        // The other faults need the content of the answer.
        rest => {
            request.extensions_mut().insert(rest);
            next.run(request).await
        }
    }
}

/// Returns an HTML page of this status.
fn page(status: u16) -> Response {
    html(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

fn with_retry_after(mut answer: Response, seconds: Option<u32>) -> Response {
    if let Some(seconds) = seconds {
        let headers = answer.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// Returns a response that closes the connection without any bytes: the server sends the head
/// together with the beginning of the body, and there is none.
fn drop_connection() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(closed())])).into_response()
}

/// Returns the first half of an answer whose headers promise all of it.
async fn half(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let promised = HeaderValue::from(body.len());
    parts.headers.insert(header::CONTENT_LENGTH, promised);
    let half = stream::iter([Ok(body.slice(..body.len() / 2))]);
    let end = stream::once(async {
        // The server sends the first half while it waits for more.
        tokio::task::yield_now().await;
        Err(closed())
    });
    (parts, Body::from_stream(half.chain(end))).into_response()
}

fn closed() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Appends spaces to the answer, which JSON allows, so that only a client that counts the bytes
/// rejects it. No header gives the length.
async fn huge(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    let spaces = Bytes::from(vec![b' '; 1 << 20]);
    let both = [body, spaces].map(Ok::<_, io::Error>);
    (parts, Body::from_stream(stream::iter(both))).into_response()
}

/// `GET /_local/fault-rules`: returns the active rules.
pub(super) async fn list(State(lms): State<Arc<Shared>>) -> Json<Vec<FaultRule>> {
    Json(lms.rules.list())
}

/// `POST /_local/fault-rules`: adds a rule, and returns the active ones.
pub(super) async fn give(State(lms): State<Arc<Shared>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(rule) => {
            lms.add_fault(rule);
            (StatusCode::CREATED, list(State(lms)).await).into_response()
        }
        Err(error) => {
            let body = json!({
                "developer_message": error.to_string(),
                "allowed": LmsFault::all(),
                "and": {
                    "at": [At::Grades, At::Enrollments, At::Token, At::All],
                    "after": 2,
                    "times": 3,
                },
            });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

/// `DELETE /_local/fault-rules`: revokes all rules.
pub(super) async fn revoke(State(lms): State<Arc<Shared>>) -> Json<Vec<FaultRule>> {
    lms.rules.revoke();
    list(State(lms)).await
}

/// Parses a rule, and rejects unknown fields: a misspelt `times` must not make the rule permanent.
fn read(body: &[u8]) -> serde_json::Result<FaultRule> {
    let given: Value = serde_json::from_slice(body)?;
    let rule = FaultRule::deserialize(&given)?;
    let known = serde_json::to_value(&rule)?;
    let mut fields = given.as_object().into_iter().flat_map(|given| given.keys());
    match fields.find(|field| known.get(field).is_none()) {
        None => Ok(rule),
        Some(field) => Err(serde_json::Error::custom(format!(
            "{} has no `{field}`",
            known["do"]
        ))),
    }
}
