//! The LMS: what of its API the functions call, and what can go wrong with it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use local::Lms;
//! use local::lms::{At, GradeRow, FaultRule, LmsFault};
//!
//! let lms = Lms::start(0).await?;
//! let passed = GradeRow { percent: 0.93, passed: true, letter_grade: Some("A".into()) };
//! lms.grade("ada", "course-v1:Demo+RustOnLambda+2026_T3", passed);
//! // Two requests for grades are throttled, then the next one hangs.
//! lms.add_fault(FaultRule::of(LmsFault::Throttle { retry_after: Some(1) }).times(2));
//! lms.add_fault(FaultRule::of(LmsFault::Hang).times(1));
//! // ... ask, and see how often the token endpoint was asked.
//! assert_eq!(lms.count(At::Token), 1);
//! # Ok(())
//! # }
//! ```

mod enrollments;
mod error;
mod fault_rules;
mod grades;
mod learners;
mod oauth;
mod pages;
mod response;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, middleware};
use serde::Serialize;

use crate::background::{Background, listen};
use crate::faults::lock;

use enrollments::EnrollmentRow;
use error::LmsResponseError;
use fault_rules::FaultRules;
use learners::Learners;
use oauth::Tokens;
use pages::{Fields, Sizes};

pub use fault_rules::{At, FaultRule, LmsFault};
pub use grades::GradeRow;
pub use oauth::{CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TokenError};

/// The sample grades, the text of a file for [`Lms::on_files`].
pub const SAMPLE_GRADES: &str = include_str!("../../samples/grades.csv");

/// The sample enrollments, the text of the other one.
pub const SAMPLE_ENROLLMENTS: &str = include_str!("../../samples/lms-enrollments.csv");

/// A stand-in for an Open edX LMS, gone when dropped.
#[derive(Debug)]
pub struct Lms {
    /// Base URL, `http://127.0.0.1:PORT`, without a slash at its end.
    pub url: String,
    shared: Arc<Shared>,
    _server: Background,
}

/// One request that was made of the LMS. Nothing in it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LmsCall {
    /// `GET` for instance.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The query as it was sent.
    pub query: Option<String>,
    /// The query's `username`, decoded.
    pub username: Option<String>,
    /// The first word of the header `Authorization`: `JWT`, `Bearer`.
    pub scheme: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    url: String,
    grades: Learners<GradeRow>,
    enrollments: Learners<EnrollmentRow>,
    tokens: Tokens,
    rules: FaultRules,
    calls: Mutex<Vec<LmsCall>>,
    /// How many requests are being answered, and the most that ever were.
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// The most rows that a page has; 0 where only `page_size` says how many.
    rows_of_a_page: AtomicUsize,
}

/// One request that is being answered, or whose sender has gone.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn begin(shared: &Arc<Shared>) -> Self {
        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts the requests that are under way.
async fn count(State(lms): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let _in_flight = InFlight::begin(&lms);
    next.run(request).await
}

impl Lms {
    /// Starts one on a port, any free one if `port` is 0. It knows nobody
    /// but those of [`Lms::grade`] and [`Lms::enroll`].
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn start(port: u16) -> io::Result<Self> {
        Self::with(Learners::default(), Learners::default(), port).await
    }

    /// Starts one with the learners of two CSV files, which have the columns of
    /// [`SAMPLE_GRADES`] and [`SAMPLE_ENROLLMENTS`] and may be edited
    /// meanwhile. A file that cannot be read is answered 500, with a message
    /// that names the line.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn on_files(
        grades: impl Into<PathBuf>,
        enrollments: impl Into<PathBuf>,
        port: u16,
    ) -> io::Result<Self> {
        let grades = Learners::on_file(grades.into());
        Self::with(grades, Learners::on_file(enrollments.into()), port).await
    }

    async fn with(
        grades: Learners<GradeRow>,
        enrollments: Learners<EnrollmentRow>,
        port: u16,
    ) -> io::Result<Self> {
        let (listener, url) = listen(port).await?;
        let shared = Arc::new(Shared {
            url: url.clone(),
            grades,
            enrollments,
            ..Shared::default()
        });
        let obey = middleware::from_fn_with_state(Arc::clone(&shared), fault_rules::obey);
        let rules = get(fault_rules::list)
            .post(fault_rules::give)
            .delete(fault_rules::revoke);
        let router = axum::Router::new()
            .route("/oauth2/access_token", post(oauth::access_token))
            .route(
                "/api/grades/v1/courses/{*course}",
                get(grades::of_course).fallback(nothing),
            )
            .route(
                "/api/enrollment/v1/enrollments",
                get(enrollments::list).fallback(nothing),
            )
            .fallback(nothing)
            .layer(obey)
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), count))
            // What comes after the layer is neither written down nor disturbed.
            .route("/_local/fault-rules", rules)
            .route("/_local/calls", get(calls))
            .with_state(Arc::clone(&shared));
        Ok(Self {
            url,
            shared,
            _server: Background::serve(listener, router),
        })
    }

    /// Gives a learner a grade in a run, in place of any other there. Usernames
    /// ignore the case of letters, and answers spell them as this does.
    pub fn grade(&self, username: &str, course_id: &str, row: GradeRow) {
        self.shared.grades.set(username, course_id, row);
    }

    /// Takes back what [`Lms::grade`] gave: the learner was never enrolled.
    /// The run stays one that the LMS knows.
    pub fn remove(&self, username: &str, course_id: &str) {
        self.shared.grades.remove(username, course_id);
    }

    /// Enrolls a learner in a run, in place of any other enrollment there. The
    /// two lists know nothing of each other: who has a grade is not listed
    /// among the enrollments by that, nor the other way round.
    pub fn enroll(&self, username: &str, course_id: &str, mode: &str, is_active: bool) {
        let mode = mode.to_owned();
        let row = EnrollmentRow { mode, is_active };
        self.shared.enrollments.set(username, course_id, row);
    }

    /// Takes back what [`Lms::enroll`] gave: the row vanishes from the list.
    pub fn unlist(&self, username: &str, course_id: &str) {
        self.shared.enrollments.remove(username, course_id);
    }

    /// FaultRules it to misbehave. Of several rules for a request the oldest counts.
    pub fn add_fault(&self, rule: FaultRule) {
        self.shared.add_fault(rule);
    }

    /// The rules that stand, oldest first.
    #[must_use]
    pub fn rules(&self) -> Vec<FaultRule> {
        self.shared.rules.list()
    }

    /// Revokes all rules.
    pub fn revoke(&self) {
        self.shared.rules.revoke();
    }

    /// Has pages of lists have at most so many rows, whatever `page_size` asks
    /// for: an LMS need not heed it.
    pub fn pages_of(&self, rows: usize) {
        self.shared.rows_of_a_page.store(rows, Ordering::SeqCst);
    }

    /// The most requests that were ever under way at once.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    /// The requests so far, those too that were never answered.
    #[must_use]
    pub fn calls(&self) -> Vec<LmsCall> {
        lock(&self.shared.calls).clone()
    }

    /// How many requests there were at a part of the LMS.
    #[must_use]
    pub fn count(&self, at: At) -> usize {
        let calls = lock(&self.shared.calls);
        calls.iter().filter(|call| at.has(&call.path)).count()
    }
}

impl Shared {
    /// How many rows a page has where the API itself has these sizes.
    fn sizes(&self, sizes: Sizes) -> Sizes {
        match self.rows_of_a_page.load(Ordering::SeqCst) {
            0 => sizes,
            most => Sizes { most, ..sizes },
        }
    }

    fn add_fault(&self, rule: FaultRule) {
        match rule.what {
            LmsFault::Expire => self.tokens.expire(),
            _ => self.rules.add(rule),
        }
    }
}

impl LmsCall {
    fn of(request: &Request) -> Self {
        let uri = request.uri();
        let fields = Query::<Fields>::try_from_uri(uri).unwrap_or_default();
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        // A header without a scheme may be a bare secret.
        let scheme = given.and_then(|given| given.split_once(' '));
        Self {
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            username: fields.get("username").cloned(),
            scheme: scheme.map(|(scheme, _)| scheme.to_owned()),
        }
    }
}

/// `GET /_local/calls`.
async fn calls(State(lms): State<Arc<Shared>>) -> Json<Vec<LmsCall>> {
    Json(lock(&lms.calls).clone())
}

async fn nothing(uri: Uri) -> Response {
    let message = format!("There is nothing at {}.", uri.path());
    LmsResponseError::new(StatusCode::NOT_FOUND, None, message).into_response()
}

#[cfg(test)]
mod tests;
