//! What the LMS tells, truly unless it was ordered otherwise.

use axum::http::Uri;
use serde_json::{Value, json};

use super::orders::Trouble;
use super::pages::{Page, Place};

/// A page of a list, with the way to the next one.
pub(super) fn page(
    base: &str,
    uri: &Uri,
    place: &Place,
    page: Page<Value>,
    trouble: Option<&Trouble>,
) -> Value {
    let (base, next) = match trouble {
        Some(Trouble::Misdirect { to }) => (to.as_str(), page.next),
        Some(Trouble::Repeat) => (base, Some(place.first())),
        _ => (base, page.next),
    };
    let next = next.map(|next| format!("{base}{}?{}", uri.path(), next.query(uri)));
    let results = rows(page.items, trouble);
    json!({"next": next, "previous": null, "results": results})
}

/// The rows of either list.
pub(super) fn rows(mut rows: Vec<Value>, trouble: Option<&Trouble>) -> Vec<Value> {
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
            Some(Trouble::Zero) => {
                row["passed"] = false.into();
                row["letter_grade"] = Value::Null;
                ("percent", json!(0.0))
            }
            Some(Trouble::OtherLearner) => {
                // The lists name the learner differently.
                let is_enrollment = row.get("user").is_some();
                let field = if is_enrollment { "user" } else { "username" };
                (field, json!("somebody-else"))
            }
            Some(Trouble::OtherRun) => ("course_id", json!("course-v1:Other+Course+Run")),
            Some(Trouble::PercentNull) => ("percent", Value::Null),
            Some(Trouble::PercentText) => ("percent", json!("0.93")),
            Some(Trouble::PercentTooHigh) => ("percent", json!(7.5)),
            Some(Trouble::PassedText) => ("passed", json!("yes")),
            Some(Trouble::LetterTooLong) => ("letter_grade", json!("A".repeat(256))),
            Some(Trouble::ModeNumber) => ("mode", json!(7)),
            Some(Trouble::ActiveText) => ("is_active", json!("yes")),
            _ => continue,
        };
        row[field] = value;
    }
    rows
}
