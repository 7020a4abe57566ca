//! The LMS: the stand-in of local runs, called without a socket.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures::stream;
use lms::{LmsApiError, SendRequest, Sending};
use local::Lms;
use local::lms::GradeRow;
use reqwest::{Request, Response};
use tokio::time::Instant;

use super::op::{self, SharedCounts, latency, lock};
use crate::steps::{Fault, Mode, Mood, Of, Score, Service};

/// The LMS, and its grades as they were before.
pub struct StormLms {
    lms: Lms,
    state: Mutex<State>,
    counts: SharedCounts,
}

struct State {
    mood: Mood,
    grades: BTreeMap<Of, Option<Score>>,
    /// What each grade was before.
    old: BTreeMap<Of, Option<Score>>,
    enrollments: BTreeMap<Of, (Mode, bool)>,
    /// When each request came.
    requests: Vec<Instant>,
}

impl StormLms {
    /// Returns an LMS that knows nobody. Its lists have pages of one, two or many rows, by the seed.
    pub fn new(counts: SharedCounts, seed: u64) -> Self {
        let lms = Lms::in_process();
        if let rows @ (1 | 2) = seed % 4 {
            lms.pages_of(rows as usize);
        }
        Self {
            lms,
            state: Mutex::new(State {
                mood: Mood::Up,
                grades: BTreeMap::new(),
                old: BTreeMap::new(),
                enrollments: BTreeMap::new(),
                requests: Vec::new(),
            }),
            counts,
        }
    }

    /// Changes how it behaves.
    pub fn is(&self, mood: Mood) {
        lock(&self.state).mood = mood;
    }

    /// Returns how it behaves.
    pub fn mood(&self) -> Mood {
        lock(&self.state).mood
    }

    /// Returns the grade if the LMS has one.
    pub fn grade(&self, of: Of) -> Option<Score> {
        lock(&self.state).grades.get(&of).copied().flatten()
    }

    /// Returns the grade that was there before, which a stale answer may have.
    pub fn old_grade(&self, of: Of) -> Option<Score> {
        lock(&self.state).old.get(&of).copied().flatten()
    }

    /// Returns the enrollment, if the LMS has one.
    pub fn enrollment(&self, of: Of) -> Option<(Mode, bool)> {
        lock(&self.state).enrollments.get(&of).copied()
    }

    /// Returns when each request since the last call of this came, in order.
    pub fn requests(&self) -> Vec<Instant> {
        std::mem::take(&mut lock(&self.state).requests)
    }

    /// Changes a grade; `None` removes it.
    pub fn set_grade(&self, of: Of, score: Option<Score>) {
        let mut state = lock(&self.state);
        let before = state.grades.insert(of, score).flatten();
        state.old.insert(of, before);
        drop(state);
        self.show(of, score);
    }

    fn show(&self, of: Of, score: Option<Score>) {
        let (username, run) = (super::username(of.0), super::course_id(of.1));
        match score {
            Some(score) => self.lms.grade(&username, &run, row(score)),
            None => self.lms.remove(&username, &run),
        }
    }

    /// Changes an enrollment.
    pub fn set_enrollment(&self, of: Of, mode: Mode, active: bool) {
        lock(&self.state).enrollments.insert(of, (mode, active));
        let (username, run) = (super::username(of.0), super::course_id(of.1));
        self.lms.enroll(&username, &run, mode.as_str(), active);
    }

    async fn answer(&self, request: Request) -> Result<Response, LmsApiError> {
        let mood = self.mood();
        lock(&self.state).requests.push(Instant::now());
        let fault = op::fault(Service::Lms, &self.counts, |_| mood == Mood::Up);
        latency().await;
        let fault = match mood {
            Mood::Up => fault,
            Mood::Down => Some(Fault::Error),
            Mood::Throttles => Some(Fault::Throttled),
            Mood::Hangs => Some(Fault::Hangs),
            Mood::Maintenance => {
                let page = http::Response::builder()
                    .header("content-type", "text/html")
                    .body(Bytes::from_static(b"<html>back soon</html>"));
                return page.map(Into::into).map_err(|_| LmsApiError::Unreachable);
            }
        };
        match fault {
            Some(Fault::Error) => return response(503, None),
            Some(Fault::Throttled) => return response(429, Some("90")),
            Some(Fault::Broken) => return Err(LmsApiError::Unreachable),
            Some(Fault::Hangs) => return std::future::pending().await,
            _ => {}
        }
        let is_stale = fault == Some(Fault::Stale);
        if is_stale {
            self.show_grades(|state| &state.old);
        }
        let (status, headers, body) = self.fetch(request).await?;
        if is_stale {
            self.show_grades(|state| &state.grades);
        }
        latency().await;
        let mut response = http::Response::builder().status(status);
        if let Some(all) = response.headers_mut() {
            *all = headers;
            all.remove("content-length");
        }
        let body = if fault == Some(Fault::HalfBody) {
            let half = body.slice(..body.len() / 2);
            let parts = [Ok(half), Err(std::io::Error::other("the connection broke"))];
            reqwest::Body::wrap_stream(stream::iter(parts))
        } else {
            body.into()
        };
        let response = response.body(body).map(Response::from);
        response.map_err(|_| LmsApiError::Unreachable)
    }

    fn show_grades(&self, of: impl Fn(&State) -> &BTreeMap<Of, Option<Score>>) {
        let shown: Vec<_> = of(&lock(&self.state))
            .iter()
            .map(|(of, g)| (*of, *g))
            .collect();
        for (of, score) in shown {
            self.show(of, score);
        }
    }

    async fn fetch(
        &self,
        request: Request,
    ) -> Result<(http::StatusCode, http::HeaderMap, Bytes), LmsApiError> {
        let request = http::Request::<reqwest::Body>::try_from(request);
        let request = request.map_err(|_| LmsApiError::Unreachable)?;
        let (parts, body) = request.into_parts();
        let body = Bytes::copy_from_slice(body.as_bytes().unwrap_or_default());
        let request = axum::extract::Request::from_parts(parts, Body::from(body));
        let (parts, body) = self.lms.answer(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await;
        let body = body.map_err(|_| LmsApiError::Unreachable)?;
        Ok((parts.status, parts.headers, body))
    }
}

/// Returns the row of a grade.
fn row(Score(percent, passed): Score) -> GradeRow {
    GradeRow {
        percent: f64::from(percent) / 100.0,
        passed,
        letter_grade: None,
    }
}

fn response(status: u16, retry_after: Option<&str>) -> Result<Response, LmsApiError> {
    let mut response = http::Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    let response = response.body(Bytes::new()).map(Into::into);
    response.map_err(|_| LmsApiError::Unreachable)
}

/// The way to an LMS in this process.
pub struct InProcess(pub Arc<StormLms>);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl SendRequest for InProcess {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(self.0.answer(request))
    }
}
