//! The grades API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::error::{LmsResponseError, with_slash};
use super::fault_rules::LmsFault;
use super::learners::{View, is_course_id};
use super::pages::{Fields, Place, Sizes};
use super::{Shared, response};

const SIZES: Sizes = Sizes {
    default: 50,
    most: usize::MAX,
};

/// A learner's grade in a course run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeRow {
    /// The part of the course, 1 for all of it; extra credit leads beyond 1. A value that is no
    /// number becomes `null`, as in a broken row of the LMS.
    #[serde(deserialize_with = "number")]
    pub percent: f64,
    /// True if the grade is a pass.
    pub passed: bool,
    /// The letter grade, or `None`, which is `null` in JSON.
    pub letter_grade: Option<String>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let percent = f64::deserialize(deserializer)?;
    let is_one = percent.is_finite();
    is_one
        .then_some(percent)
        .ok_or_else(|| D::Error::custom("the percent is no number"))
}

/// `GET /api/grades/v1/courses/{course_id}/`.
pub(super) async fn of_course(
    State(lms): State<Arc<Shared>>,
    fault: Option<Extension<LmsFault>>,
    Path(course): Path<String>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, LmsResponseError> {
    let Some(course) = course.strip_suffix('/') else {
        return Ok(with_slash(&uri));
    };
    lms.tokens.admit(&headers)?;
    let fault = fault.map(|Extension(fault)| fault);
    let grades = lms.grades.view()?;
    has_run(&grades, course)?;
    let answer = match fields.get("username").filter(|name| !name.is_empty()) {
        Some(username) => {
            let (username, grade) = grades
                .row(username, course)
                .ok_or_else(|| not_in_run(&grades, username))?;
            let rows = vec![row(username, course, grade)];
            response::rows(rows, fault.as_ref()).into()
        }
        None => whole_course(&lms, &uri, &fields, &grades, course, fault.as_ref())?,
    };
    Ok(Json(answer).into_response())
}

fn has_run(grades: &View<GradeRow>, course: &str) -> Result<(), LmsResponseError> {
    if !is_course_id(course) {
        let message = "The provided course key cannot be parsed.";
        return Err(LmsResponseError::not_found("invalid_course_key", message));
    }
    // A run whose last learner was removed is still known.
    if !grades.has_run(course) {
        let message = "The requested grade for that course does not exist.";
        return Err(LmsResponseError::not_found(
            "course_does_not_exist",
            message,
        ));
    }
    Ok(())
}

/// Returns the error for a learner without a grade in a run: a learner in any run is known.
fn not_in_run(grades: &View<GradeRow>, username: &str) -> LmsResponseError {
    if grades.has_learner(username) {
        let message = "The user matching the requested username is not enrolled in this course.";
        LmsResponseError::not_found("user_not_enrolled", message)
    } else {
        let message = "The user matching the requested username does not exist.";
        LmsResponseError::not_found("user_does_not_exist", message)
    }
}

fn whole_course(
    lms: &Shared,
    uri: &Uri,
    fields: &Fields,
    grades: &View<GradeRow>,
    course: &str,
    fault: Option<&LmsFault>,
) -> Result<Value, LmsResponseError> {
    let rows = |after: &str, most| {
        let rows = grades.of_run(course, after, most).into_iter();
        let rows =
            rows.map(|(key, username, grade)| (key.to_owned(), row(username, course, grade)));
        rows.collect::<Vec<_>>()
    };
    if fault == Some(&LmsFault::Bare) {
        let all = rows("", usize::MAX).into_iter();
        return Ok(all.map(|(_, row)| row).collect());
    }
    let place = Place::asked(fields, lms.sizes(SIZES))?;
    let page = place.page(rows);
    Ok(response::page(&lms.url, uri, &place, page, fault))
}

fn row(username: &str, course: &str, grade: &GradeRow) -> Value {
    json!({
        "username": username,
        "email": "",
        "course_id": course,
        "passed": grade.passed,
        "percent": grade.percent,
        "letter_grade": grade.letter_grade,
    })
}
