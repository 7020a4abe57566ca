//! The list of enrollments.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::learners::is_course_id;
use super::orders::Trouble;
use super::pages::{Fields, Place, Sizes};
use super::refusal::Refusal;
use super::{Shared, told};

const SIZES: Sizes = Sizes {
    default: 100,
    most: 100,
};

/// How a learner is enrolled in a course run, or was.
#[derive(Debug, Deserialize)]
pub(super) struct EnrollmentRow {
    pub(super) mode: String,
    pub(super) is_active: bool,
}

/// `GET /api/enrollment/v1/enrollments`, of a run, a learner, or both. Without
/// either the LMS lists everybody, which this one does not.
pub(super) async fn list(
    State(lms): State<Arc<Shared>>,
    trouble: Option<Extension<Trouble>>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, Refusal> {
    lms.tokens.admit(&headers)?;
    let given = |field: &str| fields.get(field).filter(|value| !value.is_empty());
    let (course, username) = (given("course_id"), given("username"));
    if course.is_some_and(|course| !is_course_id(course)) {
        return Err(bad_request("The course_id is not valid."));
    }
    let place = Place::asked(&fields, lms.sizes(SIZES))?;
    let enrollments = lms.enrollments.view()?;
    let page = match (course, username) {
        (Some(course), None) => place.page(|after, most| {
            let rows = enrollments.of_run(course, after, most).into_iter();
            rows.map(|(key, username, of)| (key.to_owned(), row(username, course, of)))
                .collect()
        }),
        (None, Some(username)) => place.page(|after, most| {
            let rows = enrollments.of_learner(username, after, most).into_iter();
            rows.map(|(course, username, of)| (course.to_owned(), row(username, course, of)))
                .collect()
        }),
        (Some(course), Some(username)) => place.page(|_, _| {
            let of = enrollments.row(username, course).into_iter();
            of.map(|(username, of)| (username.to_owned(), row(username, course, of)))
                .collect()
        }),
        (None, None) => return Err(bad_request("This LMS needs a course_id or a username.")),
    };
    let trouble = trouble.map(|Extension(trouble)| trouble);
    let answer = told::page(&lms.url, &uri, &place, page, trouble.as_ref());
    Ok(Json(answer))
}

fn bad_request(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, None, message)
}

fn row(username: &str, course: &str, enrollment: &EnrollmentRow) -> Value {
    json!({
        "created": "2026-07-01T00:00:00Z",
        "mode": enrollment.mode,
        "is_active": enrollment.is_active,
        "user": username,
        "course_id": course,
    })
}
