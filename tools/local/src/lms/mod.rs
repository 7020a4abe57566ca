//! The LMS: the part of its API that the functions call, and its possible faults.
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
//! // ... make requests, then check how many reached the token endpoint.
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
use axum::{Json, Router, middleware};
use enrollments::EnrollmentRow;
use error::LmsResponseError;
use fault_rules::FaultRules;
use learners::Learners;
use oauth::Tokens;
use pages::{Fields, Sizes};
use serde::Serialize;
use tower::ServiceExt;

use crate::background::{Background, listen};
use crate::faults::lock;

pub use error::TokenError;
pub use fault_rules::{At, FaultRule, LmsFault};
pub use grades::GradeRow;
pub use oauth::{CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN};

/// The sample grades, as the text of a file for [`Lms::on_files`].
pub const SAMPLE_GRADES: &str = include_str!("../../samples/grades.csv");

/// The sample enrollments, as the text of a file for [`Lms::on_files`].
pub const SAMPLE_ENROLLMENTS: &str = include_str!("../../samples/lms-enrollments.csv");

/// A stand-in for an Open edX LMS, gone when dropped.
#[derive(Debug)]
pub struct Lms {
    /// The base URL, `http://127.0.0.1:PORT`, without a slash at its end.
    pub url: String,
    shared: Arc<Shared>,
    router: Router,
    _server: Option<Background>,
}

/// A request that the LMS received. It holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LmsCall {
    /// The method, for instance `GET`.
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
    /// The number of requests being answered, and the highest that ever was.
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// The largest number of rows in a page; 0 if only `page_size` decides.
    rows_of_a_page: AtomicUsize,
}

/// A request that is being answered, or whose sender has gone.
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

/// Counts the requests in flight.
async fn count(State(lms): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let _in_flight = InFlight::begin(&lms);
    next.run(request).await
}

impl Lms {
    /// Starts an LMS on a port, any free one if `port` is 0. It knows only the learners of
    /// [`Lms::grade`] and [`Lms::enroll`].
    ///
    /// # Errors
    /// The port is in use.
    pub async fn start(port: u16) -> io::Result<Self> {
        Self::with(Learners::default(), Learners::default(), port).await
    }

    /// Starts an LMS with the learners of two CSV files, which have the columns of
    /// [`SAMPLE_GRADES`] and [`SAMPLE_ENROLLMENTS`] and may be edited while it runs. If a file
    /// cannot be read, requests are answered 500, with a message that names the line.
    ///
    /// # Errors
    /// The port is in use.
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
        let lms = Self::at(url, grades, enrollments);
        let server = Background::serve(listener, lms.router.clone());
        Ok(Self {
            _server: Some(server),
            ..lms
        })
    }

    /// Returns an LMS without a port: only [`Lms::answer`] reaches it. It knows what that of
    /// [`Lms::start`] does.
    #[must_use]
    pub fn in_process() -> Self {
        let url = "http://lms.test".to_owned();
        Self::at(url, Learners::default(), Learners::default())
    }

    /// Answers one request, as the server does.
    pub async fn answer(&self, request: Request) -> Response {
        let Ok(answer) = self.router.clone().oneshot(request).await;
        answer
    }

    fn at(url: String, grades: Learners<GradeRow>, enrollments: Learners<EnrollmentRow>) -> Self {
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
        let router = Router::new()
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
            // The routes after the layer are neither recorded nor subject to faults.
            .route("/_local/fault-rules", rules)
            .route("/_local/calls", get(calls))
            .with_state(Arc::clone(&shared));
        Self {
            url,
            shared,
            router,
            _server: None,
        }
    }

    /// Sets a learner's grade in a run, replacing any other. Usernames ignore the case of letters,
    /// and answers spell them as given here.
    pub fn grade(&self, username: &str, course_id: &str, row: GradeRow) {
        self.shared.grades.set(username, course_id, row);
    }

    /// Removes a grade set by [`Lms::grade`]: the learner was never enrolled. The run stays known
    /// to the LMS.
    pub fn remove(&self, username: &str, course_id: &str) {
        self.shared.grades.remove(username, course_id);
    }

    /// Enrolls a learner in a run, replacing any other enrollment there. The two lists are
    /// independent: a learner with a grade is not listed among the enrollments, and a
    /// learner with an enrollment has no grade.
    pub fn enroll(&self, username: &str, course_id: &str, mode: &str, is_active: bool) {
        let mode = mode.to_owned();
        let row = EnrollmentRow { mode, is_active };
        self.shared.enrollments.set(username, course_id, row);
    }

    /// Removes an enrollment set by [`Lms::enroll`]: the row disappears from the list.
    pub fn unlist(&self, username: &str, course_id: &str) {
        self.shared.enrollments.remove(username, course_id);
    }

    /// Adds a fault rule. If several rules apply to a request, the oldest counts.
    pub fn add_fault(&self, rule: FaultRule) {
        self.shared.add_fault(rule);
    }

    /// Returns the active rules, oldest first.
    #[must_use]
    pub fn rules(&self) -> Vec<FaultRule> {
        self.shared.rules.list()
    }

    /// Revokes all rules.
    pub fn revoke(&self) {
        self.shared.rules.revoke();
    }

    /// Limits the pages of lists to this many rows, whatever `page_size` asks for: an LMS need not
    /// respect it.
    pub fn pages_of(&self, rows: usize) {
        self.shared.rows_of_a_page.store(rows, Ordering::SeqCst);
    }

    /// Returns the highest number of requests that were ever in flight at once.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    /// Returns the requests so far, including those that were never answered.
    #[must_use]
    pub fn calls(&self) -> Vec<LmsCall> {
        lock(&self.shared.calls).clone()
    }

    /// Returns the number of requests to a part of the LMS.
    #[must_use]
    pub fn count(&self, at: At) -> usize {
        let calls = lock(&self.shared.calls);
        calls.iter().filter(|call| at.has(&call.path)).count()
    }
}

impl Shared {
    /// Returns the sizes of pages, given those of the API itself.
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

/// `GET /_local/calls`: returns the requests so far.
async fn calls(State(lms): State<Arc<Shared>>) -> Json<Vec<LmsCall>> {
    Json(lock(&lms.calls).clone())
}

async fn nothing(uri: Uri) -> Response {
    let message = format!("There is nothing at {}.", uri.path());
    LmsResponseError::new(StatusCode::NOT_FOUND, None, message).into_response()
}

#[cfg(test)]
mod tests;
