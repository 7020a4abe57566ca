//! The responses of the LMS, with the faults of a rule.

use axum::http::Uri;
use serde_json::{Value, json};

use super::fault_rules::LmsFault;
use super::pages::{Page, Place};

/// Returns a page of a list, with the URL of the next one.
pub(super) fn page(
    base: &str,
    uri: &Uri,
    place: &Place,
    page: Page<Value>,
    fault: Option<&LmsFault>,
) -> Value {
    let (base, next) = match fault {
        Some(LmsFault::Misdirect { to }) => (to.as_str(), page.next),
        Some(LmsFault::Repeat) => (base, Some(place.first())),
        _ => (base, page.next),
    };
    let next = next.map(|next| format!("{base}{}?{}", uri.path(), next.query(uri)));
    let results = rows(page.items, fault);
    json!({"next": next, "previous": null, "results": results})
}

/// Returns the rows of either list with the fault applied.
pub(super) fn rows(mut rows: Vec<Value>, fault: Option<&LmsFault>) -> Vec<Value> {
    if fault == Some(&LmsFault::NoRow) {
        rows.clear();
    }
    for row in &mut rows {
        let (field, value) = match fault {
            Some(LmsFault::Lag) => {
                row["passed"] = false.into();
                row["letter_grade"] = Value::Null;
                let percent = row["percent"].as_f64().unwrap_or_default();
                ("percent", json!(percent / 2.0))
            }
            Some(LmsFault::Zero) => {
                row["passed"] = false.into();
                row["letter_grade"] = Value::Null;
                ("percent", json!(0.0))
            }
            Some(LmsFault::OtherLearner) => {
                // The two lists name the learner's field differently.
                let is_enrollment = row.get("user").is_some();
                let field = if is_enrollment { "user" } else { "username" };
                (field, json!("somebody-else"))
            }
            Some(LmsFault::OtherRun) => ("course_id", json!("course-v1:Other+Course+Run")),
            Some(LmsFault::PercentNull) => ("percent", Value::Null),
            Some(LmsFault::PercentText) => ("percent", json!("0.93")),
            Some(LmsFault::PercentTooHigh) => ("percent", json!(7.5)),
            Some(LmsFault::PassedText) => ("passed", json!("yes")),
            Some(LmsFault::LetterTooLong) => ("letter_grade", json!("A".repeat(256))),
            Some(LmsFault::ModeNumber) => ("mode", json!(7)),
            Some(LmsFault::ActiveText) => ("is_active", json!("yes")),
            _ => continue,
        };
        row[field] = value;
    }
    rows
}
