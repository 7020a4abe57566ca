//! The grades API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::learners::{GradeRow, Rows, is_course_id};
use super::orders::Trouble;
use super::pages::{Fields, Place};
use super::refusal::{Refusal, with_slash};

/// Rows on a page, unless `page_size` says otherwise.
const PAGE_SIZE: usize = 50;

/// `GET /api/grades/v1/courses/{course_id}/`.
pub(super) async fn of_course(
    State(lms): State<Arc<Shared>>,
    trouble: Option<Extension<Trouble>>,
    Path(course): Path<String>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Some(course) = course.strip_suffix('/') else {
        return Ok(with_slash(&uri));
    };
    lms.tokens.admit(&headers)?;
    let trouble = trouble.map(|Extension(trouble)| trouble);
    let learners = lms.learners.rows()?;
    let run = of_run(&learners, course)?;
    let answer = match fields.get("username").filter(|name| !name.is_empty()) {
        Some(username) => {
            let grade = run
                .get(username)
                .ok_or_else(|| not_in_run(&learners, username))?;
            let rows = vec![row(username, course, grade)];
            told(rows, trouble.as_ref()).into()
        }
        None => {
            let list = run.iter();
            let list =
                list.map(|(username, grade)| (username.clone(), row(username, course, grade)));
            whole_course(&lms.url, &uri, &fields, list.collect(), trouble.as_ref())?
        }
    };
    Ok(Json(answer).into_response())
}

fn of_run<'a>(learners: &'a Rows, course: &str) -> Result<&'a BTreeMap<String, GradeRow>, Refusal> {
    if !is_course_id(course) {
        let message = "The provided course key cannot be parsed.";
        return Err(Refusal::not_found("invalid_course_key", message));
    }
    // A run whose last learner was removed is a run still.
    learners.get(course).ok_or_else(|| {
        let message = "The requested grade for that course does not exist.";
        Refusal::not_found("course_does_not_exist", message)
    })
}

/// Why a learner has no grade in a run: somebody who is in any run is known.
fn not_in_run(learners: &Rows, username: &str) -> Refusal {
    if learners.values().any(|run| run.contains_key(username)) {
        let message = "The user matching the requested username is not enrolled in this course.";
        Refusal::not_found("user_not_enrolled", message)
    } else {
        let message = "The user matching the requested username does not exist.";
        Refusal::not_found("user_does_not_exist", message)
    }
}

fn whole_course(
    base: &str,
    uri: &Uri,
    fields: &Fields,
    list: BTreeMap<String, Value>,
    trouble: Option<&Trouble>,
) -> Result<Value, Refusal> {
    if trouble == Some(&Trouble::Bare) {
        return Ok(list.into_values().collect());
    }
    let place = Place::asked(fields, PAGE_SIZE)?;
    let page = place.of(list);
    let (base, next) = match trouble {
        Some(Trouble::Misdirect { to }) => (to.as_str(), page.next),
        Some(Trouble::Repeat) => (base, Some(place.first())),
        _ => (base, page.next),
    };
    let next = next.map(|next| format!("{base}{}?{}", uri.path(), next.query()));
    let results = told(page.items, trouble);
    Ok(json!({"next": next, "previous": null, "results": results}))
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

/// The rows as the LMS tells them, truly unless it was ordered otherwise.
fn told(mut rows: Vec<Value>, trouble: Option<&Trouble>) -> Vec<Value> {
    if trouble == Some(&Trouble::NoRow) {
        rows.clear();
    }
    for row in &mut rows {
        let (field, value) = match trouble {
            Some(Trouble::Lag) => {
                row["passed"] = false.into();
                row["letter_grade"] = Value::Null;
                let percent = row["percent"].as_f64().unwrap_or_default();
                ("percent", json!(percent / 2.0))
            }
            Some(Trouble::OtherLearner) => ("username", json!("somebody-else")),
            Some(Trouble::OtherRun) => ("course_id", json!("course-v1:Other+Course+Run")),
            Some(Trouble::PercentNull) => ("percent", Value::Null),
            Some(Trouble::PercentText) => ("percent", json!("0.93")),
            Some(Trouble::PercentTooHigh) => ("percent", json!(7.5)),
            Some(Trouble::PassedText) => ("passed", json!("yes")),
            Some(Trouble::LetterTooLong) => ("letter_grade", json!("A".repeat(256))),
            _ => continue,
        };
        row[field] = value;
    }
    rows
}
