//! Rows of the grades endpoint.

use domain::{CourseId, Percent, Score, Username};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::InvalidResponse;
use crate::pages;

/// A learner and their grade.
#[derive(Debug, Clone, PartialEq)]
pub struct GradeRow {
    /// The learner's username as the LMS spells it.
    pub username: Username,
    /// The learner's score.
    pub score: Score,
}

impl GradeRow {
    pub(crate) fn parse(row: &Value, course_id: &CourseId) -> Result<Self, InvalidResponse> {
        Ok(Self {
            username: pages::username(&row["username"])?,
            score: score(row, course_id)?,
        })
    }
}

/// Parses the answer for one learner, which must hold exactly one row.
pub(crate) fn of_learner(
    body: &[u8],
    course_id: &CourseId,
    username: &Username,
) -> Result<Score, InvalidResponse> {
    let rows: Vec<&RawValue> = serde_json::from_slice(body)?;
    let row = match rows.as_slice() {
        [] => return Err(InvalidResponse::NoRow),
        [row] => pages::object(row)?,
        _ => return Err(InvalidResponse::NotAsExpected),
    };
    // The LMS's own spelling may differ from ours.
    let found = pages::username(&row["username"]);
    if found.map_err(|_| InvalidResponse::AnotherLearner)?.key() != username.key() {
        return Err(InvalidResponse::AnotherLearner);
    }
    score(&row, course_id)
}

fn score(row: &Value, course_id: &CourseId) -> Result<Score, InvalidResponse> {
    if row["course_id"] != course_id.as_str() {
        return Err(InvalidResponse::AnotherRun);
    }
    let percent = row["percent"].as_f64().ok_or(InvalidResponse::Percent)?;
    // Only people read the letter grade, so an unreadable one never costs the learner the
    // grade.
    let letter_grade = row["letter_grade"].as_str();
    let letter_grade = letter_grade.and_then(|text| text.trim().parse().ok());
    Ok(Score {
        percent: Percent::try_from(percent).map_err(|_| InvalidResponse::Percent)?,
        passed: row["passed"].as_bool().ok_or(InvalidResponse::Passed)?,
        letter_grade,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUN: &str = "course-v1:Org+Course+Run";

    fn row() -> Value {
        json!({
            "username": "ada", "email": "", "course_id": RUN,
            "passed": true, "percent": 0.87, "letter_grade": "B",
        })
    }

    /// A row with one field changed or removed.
    fn with(field: &str, value: Option<Value>) -> Value {
        let mut row = row();
        match value {
            Some(value) => row[field] = value,
            None => drop(row.as_object_mut().unwrap().remove(field)),
        }
        row
    }

    fn read(body: &str) -> Result<Score, InvalidResponse> {
        of_learner(
            body.as_bytes(),
            &RUN.parse().unwrap(),
            &"ada".parse().unwrap(),
        )
    }

    fn good(percent: f64, passed: bool, letter: &str) -> Result<Score, InvalidResponse> {
        Ok(Score {
            percent: percent.try_into().unwrap(),
            passed,
            letter_grade: letter.parse().ok(),
        })
    }

    #[test]
    fn a_row_is_parsed_or_rejected_by_its_fields() {
        let (longest, too_long) = ("é".repeat(255), "é".repeat(256));
        for (field, value, score) in [
            (
                "email",
                Some(json!("eve@example.org")),
                good(0.87, true, "B"),
            ),
            ("email", None, good(0.87, true, "B")),
            ("letter_grade", Some(json!(null)), good(0.87, true, "")),
            ("letter_grade", Some(json!("")), good(0.87, true, "")),
            ("letter_grade", None, good(0.87, true, "")),
            ("letter_grade", Some(json!(" \t")), good(0.87, true, "")),
            ("letter_grade", Some(json!(too_long)), good(0.87, true, "")),
            ("letter_grade", Some(json!(1)), good(0.87, true, "")),
            ("letter_grade", Some(json!(["A"])), good(0.87, true, "")),
            (
                "letter_grade",
                Some(json!(longest)),
                good(0.87, true, &longest),
            ),
            (
                "letter_grade",
                Some(json!("Distinction")),
                good(0.87, true, "Distinction"),
            ),
            (
                "letter_grade",
                Some(json!(" A (Very Good)\n")),
                good(0.87, true, "A (Very Good)"),
            ),
            (
                "letter_grade",
                Some(json!("B\u{7}+")),
                good(0.87, true, "B\u{7}+"),
            ),
            ("percent", Some(json!(1)), good(1.0, true, "B")),
            ("percent", Some(json!(2)), good(2.0, true, "B")),
            ("percent", Some(json!(0)), good(0.0, true, "B")),
            ("passed", Some(json!(false)), good(0.87, false, "B")),
            ("percent", Some(json!(null)), Err(InvalidResponse::Percent)),
            ("percent", Some(json!("0.5")), Err(InvalidResponse::Percent)),
            ("percent", Some(json!(2.01)), Err(InvalidResponse::Percent)),
            ("percent", Some(json!(-0.1)), Err(InvalidResponse::Percent)),
            ("percent", None, Err(InvalidResponse::Percent)),
            ("passed", Some(json!(null)), Err(InvalidResponse::Passed)),
            ("passed", Some(json!(1)), Err(InvalidResponse::Passed)),
            ("passed", None, Err(InvalidResponse::Passed)),
            ("username", Some(json!("Ada")), good(0.87, true, "B")),
            ("username", Some(json!("ADA")), good(0.87, true, "B")),
            (
                "username",
                Some(json!("ada2")),
                Err(InvalidResponse::AnotherLearner),
            ),
            (
                "username",
                Some(json!("Áda")),
                Err(InvalidResponse::AnotherLearner),
            ),
            (
                "username",
                Some(json!("ada ")),
                Err(InvalidResponse::AnotherLearner),
            ),
            ("username", None, Err(InvalidResponse::AnotherLearner)),
            (
                "course_id",
                Some(json!("course-v1:Org+Course+run")),
                Err(InvalidResponse::AnotherRun),
            ),
            ("course_id", None, Err(InvalidResponse::AnotherRun)),
        ] {
            let row = with(field, value);
            assert_eq!(read(&json!([row]).to_string()), score, "{row}");
        }
    }

    #[test]
    fn an_answer_for_one_learner_has_exactly_one_row() {
        let two = json!([row(), with("username", Some(json!("eve")))]).to_string();
        let paged = json!({"next": null, "results": [row()]}).to_string();
        let half = json!([row()]).to_string()[..50].to_owned();
        for (body, invalid) in [
            ("[]", InvalidResponse::NoRow),
            (two.as_str(), InvalidResponse::NotAsExpected),
            (&paged, InvalidResponse::NotAsExpected),
            ("[null]", InvalidResponse::NotAsExpected),
            ("null", InvalidResponse::NotAsExpected),
            (&half, InvalidResponse::NotJson),
            ("", InvalidResponse::NotJson),
            ("<html></html>", InvalidResponse::NotJson),
        ] {
            assert_eq!(read(body), Err(invalid), "{body}");
        }
    }

    #[test]
    fn a_row_in_a_page_is_parsed_or_rejected_by_its_fields() {
        for (field, value, invalid) in [
            ("username", json!("eve"), None),
            ("percent", json!(null), Some(InvalidResponse::Percent)),
            (
                "username",
                json!(" ada"),
                Some(InvalidResponse::NotAsExpected),
            ),
            ("username", json!(""), Some(InvalidResponse::NotAsExpected)),
            ("username", json!(7), Some(InvalidResponse::NotAsExpected)),
            (
                "course_id",
                json!("course-v1:A+B+C"),
                Some(InvalidResponse::AnotherRun),
            ),
        ] {
            let row = with(field, Some(value));
            let read = GradeRow::parse(&row, &RUN.parse().unwrap());
            assert_eq!(read.as_ref().err(), invalid.as_ref(), "{row}");
            if let Ok(read) = read {
                assert_eq!(read.username.as_str(), row["username"], "{row}");
            }
        }
    }
}
