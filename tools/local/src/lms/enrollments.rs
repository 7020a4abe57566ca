//! The API of enrollments.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::LmsResponseError;
use super::fault_rules::LmsFault;
use super::learners::is_course_id;
use super::pages::{Fields, Place, Sizes};
use super::{Shared, response};

const SIZES: Sizes = Sizes {
    default: 100,
    most: 100,
};

/// The largest number of usernames in one request.
const USERNAMES: usize = 100;

/// A learner's present or former enrollment in a course run.
#[derive(Debug, Deserialize)]
pub(super) struct EnrollmentRow {
    pub(super) mode: String,
    pub(super) is_active: bool,
}

/// `GET /api/enrollment/v1/enrollments`, of a run, a learner, or some learners in a run. Without
/// either the LMS lists all enrollments, which this stand-in does not.
pub(super) async fn list(
    State(lms): State<Arc<Shared>>,
    fault: Option<Extension<LmsFault>>,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, LmsResponseError> {
    lms.tokens.admit(&headers)?;
    let given = |field: &str| fields.get(field).filter(|value| !value.is_empty());
    let (course, usernames) = (given("course_id"), given("username"));
    let usernames: Vec<_> = usernames
        .iter()
        .flat_map(|names| names.split(','))
        .collect();
    let mut faults = serde_json::Map::new();
    if let Some(course) = course.filter(|course| !is_course_id(course)) {
        let fault = format!("'{course}' is not a valid course id.");
        faults.insert("course_id".to_owned(), json!([fault]));
    }
    if usernames.len() > USERNAMES {
        let fault = format!(
            "Too many usernames in a single request - {}. A maximum of {USERNAMES} is allowed",
            usernames.len()
        );
        faults.insert("username".to_owned(), json!([fault]));
    } else if !usernames.iter().all(|name| is_username(name)) {
        let fault = "Enter a valid \u{201c}slug\u{201d} consisting of letters, numbers, \
                     underscores or hyphens.";
        faults.insert("username".to_owned(), json!([fault]));
    }
    if !faults.is_empty() {
        return Err(bad_request(faults));
    }
    let place = Place::asked(&fields, lms.sizes(SIZES))?;
    let enrollments = lms.enrollments.view()?;
    let page = match (course, usernames.as_slice()) {
        (Some(course), []) => place.page(|after, most| {
            let rows = enrollments.of_run(course, after, most).into_iter();
            rows.map(|(key, username, of)| (key.to_owned(), row(username, course, of)))
                .collect()
        }),
        (None, [username]) => place.page(|after, most| {
            let rows = enrollments.of_learner(username, after, most).into_iter();
            rows.map(|(course, username, of)| (course.to_owned(), row(username, course, of)))
                .collect()
        }),
        (Some(course), usernames) => place.page(|after, most| {
            // Each learner appears once, in any spelling of the username.
            let keys = usernames.iter().map(|name| name.to_ascii_lowercase());
            let keys = BTreeSet::from_iter(keys).into_iter();
            let rows = keys.filter(|key| key.as_str() > after).filter_map(|key| {
                let (username, of) = enrollments.row(&key, course)?;
                Some((key, row(username, course, of)))
            });
            rows.take(most).collect()
        }),
        (None, _) => {
            return Err(bad_request("This LMS needs a course_id, or one username."));
        }
    };
    let fault = fault.map(|Extension(fault)| fault);
    let answer = response::page(&lms.url, &uri, &place, page, fault.as_ref());
    Ok(Json(answer))
}

fn bad_request(message: impl Into<Value>) -> LmsResponseError {
    LmsResponseError::new(StatusCode::BAD_REQUEST, None, message)
}

/// True if the list accepts a username, with the LMS's default settings.
fn is_username(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.chars().all(is_part)
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
