//! What a 200 of the grades endpoint holds.

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Nonsense;
use crate::domain::{CourseId, Percent, Score, Username};

/// A page of a course run's grades.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Each row, or what is wrong with it.
    pub rows: Vec<Result<Row, Nonsense>>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<Cursor>,
}

/// A learner and their grade.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The learner's name in the LMS.
    pub username: Username,
    /// What the LMS says of them.
    pub score: Score,
}

/// Where in a list a page begins; the LMS's own word, at most 1000 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    pub(super) const PARAMETER: &str = "cursor";
    const MAX_BYTES: usize = 1000;

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The cursor in the query of the URL of the next page. Nothing else of
    /// that URL is heeded: behind its proxy the LMS may not know its own
    /// host, and our credential goes to no other.
    fn of(next: &str) -> Option<Self> {
        let (_, query) = next.split_once('?')?;
        let mut url = Url::parse("http://localhost").ok()?;
        url.set_query(query.split('#').next());
        let (_, cursor) = url
            .query_pairs()
            .find(|(name, _)| name == Self::PARAMETER)?;
        let is_sound = (1..=Self::MAX_BYTES).contains(&cursor.len());
        is_sound.then(|| Self(cursor.into_owned()))
    }
}

/// The one row that there must be.
pub(super) fn of_learner(
    body: &[u8],
    course_id: &CourseId,
    username: &Username,
) -> Result<Score, Nonsense> {
    let rows: Vec<&RawValue> = serde_json::from_slice(body)?;
    let row = match rows.as_slice() {
        [] => return Err(Nonsense::NoRow),
        [row] => parse(row)?,
        _ => return Err(Nonsense::NotAsExpected),
    };
    if row["username"] != username.as_str() {
        return Err(Nonsense::AnotherLearner);
    }
    score(&row, course_id)
}

/// A page of a list; an old site's bare array is the only page.
pub(super) fn page(body: &[u8], course_id: &CourseId) -> Result<Page, Nonsense> {
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        results: Vec<&'a RawValue>,
        next: Option<String>,
    }
    let listed = if body.trim_ascii_start().starts_with(b"[") {
        Listed {
            results: serde_json::from_slice(body)?,
            next: None,
        }
    } else {
        serde_json::from_slice(body)?
    };
    let next = match listed.next.as_deref() {
        None | Some("") => None,
        Some(next) => Some(Cursor::of(next).ok_or(Nonsense::NotAsExpected)?),
    };
    let rows = listed.results.into_iter();
    Ok(Page {
        rows: rows.map(|row| in_page(row, course_id)).collect(),
        next,
    })
}

fn in_page(row: &RawValue, course_id: &CourseId) -> Result<Row, Nonsense> {
    let row = parse(row)?;
    let name = row["username"].as_str().ok_or(Nonsense::NotAsExpected)?;
    let username = name
        .parse::<Username>()
        .ok()
        // Parsing trims, and names are compared byte for byte.
        .filter(|username| username.as_str() == name)
        .ok_or(Nonsense::NotAsExpected)?;
    let score = score(&row, course_id)?;
    Ok(Row { username, score })
}

fn parse(row: &RawValue) -> Result<Value, Nonsense> {
    serde_json::from_str(row.get())
        .ok()
        .filter(Value::is_object)
        .ok_or(Nonsense::NotAsExpected)
}

fn score(row: &Value, course_id: &CourseId) -> Result<Score, Nonsense> {
    if row["course_id"] != course_id.as_str() {
        return Err(Nonsense::AnotherRun);
    }
    let percent = row["percent"].as_f64().ok_or(Nonsense::Percent)?;
    let letter_grade = match &row["letter_grade"] {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.parse().map_err(|_| Nonsense::LetterGrade)?),
        _ => return Err(Nonsense::LetterGrade),
    };
    Ok(Score {
        percent: Percent::try_from(percent).map_err(|_| Nonsense::Percent)?,
        passed: row["passed"].as_bool().ok_or(Nonsense::Passed)?,
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

    /// A row with one field changed, or taken away.
    fn with(field: &str, value: Option<Value>) -> Value {
        let mut row = row();
        match value {
            Some(value) => row[field] = value,
            None => drop(row.as_object_mut().unwrap().remove(field)),
        }
        row
    }

    fn read(body: &str) -> Result<Score, Nonsense> {
        of_learner(
            body.as_bytes(),
            &RUN.parse().unwrap(),
            &"ada".parse().unwrap(),
        )
    }

    fn good(percent: f64, passed: bool, letter: &str) -> Result<Score, Nonsense> {
        Ok(Score {
            percent: percent.try_into().unwrap(),
            passed,
            letter_grade: letter.parse().ok(),
        })
    }

    #[test]
    fn a_row_and_what_may_be_odd_about_it() {
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
            ("percent", Some(json!(1)), good(1.0, true, "B")),
            ("percent", Some(json!(2)), good(2.0, true, "B")),
            ("percent", Some(json!(0)), good(0.0, true, "B")),
            ("passed", Some(json!(false)), good(0.87, false, "B")),
            ("percent", Some(json!(null)), Err(Nonsense::Percent)),
            ("percent", Some(json!("0.5")), Err(Nonsense::Percent)),
            ("percent", Some(json!(2.01)), Err(Nonsense::Percent)),
            ("percent", Some(json!(-0.1)), Err(Nonsense::Percent)),
            ("percent", None, Err(Nonsense::Percent)),
            ("passed", Some(json!(null)), Err(Nonsense::Passed)),
            ("passed", Some(json!(1)), Err(Nonsense::Passed)),
            ("passed", None, Err(Nonsense::Passed)),
            (
                "letter_grade",
                Some(json!("elevenchars")),
                Err(Nonsense::LetterGrade),
            ),
            ("letter_grade", Some(json!(1)), Err(Nonsense::LetterGrade)),
            (
                "username",
                Some(json!("Ada")),
                Err(Nonsense::AnotherLearner),
            ),
            (
                "username",
                Some(json!("ada ")),
                Err(Nonsense::AnotherLearner),
            ),
            ("username", None, Err(Nonsense::AnotherLearner)),
            (
                "course_id",
                Some(json!("course-v1:Org+Course+run")),
                Err(Nonsense::AnotherRun),
            ),
            ("course_id", None, Err(Nonsense::AnotherRun)),
        ] {
            let row = with(field, value);
            assert_eq!(read(&json!([row]).to_string()), score, "{row}");
        }
    }

    #[test]
    fn one_row_and_nothing_else() {
        let two = json!([row(), with("username", Some(json!("eve")))]).to_string();
        let paged = json!({"next": null, "results": [row()]}).to_string();
        let half = json!([row()]).to_string()[..50].to_owned();
        for (body, nonsense) in [
            ("[]", Nonsense::NoRow),
            (two.as_str(), Nonsense::NotAsExpected),
            (&paged, Nonsense::NotAsExpected),
            ("[null]", Nonsense::NotAsExpected),
            ("null", Nonsense::NotAsExpected),
            (&half, Nonsense::NotJson),
            ("", Nonsense::NotJson),
            ("<html></html>", Nonsense::NotJson),
        ] {
            assert_eq!(read(body), Err(nonsense), "{body}");
        }
    }

    #[test]
    fn a_broken_row_leaves_the_others() {
        let results = [
            row(),
            with("percent", Some(json!(null))),
            with("username", Some(json!(" ada"))),
            with("username", Some(json!(""))),
            with("course_id", Some(json!("course-v1:A+B+C"))),
            json!(null),
            with("username", Some(json!("eve"))),
        ];
        // Two more that serde_json itself refuses: a number beyond all
        // numbers, half a character.
        let text = json!(results).to_string();
        let text = format!(
            r#"{},{{"username": "x", "percent": 1e999}},{{"username": "\ud800"}}]"#,
            text.strip_suffix(']').unwrap()
        );
        let course_id = RUN.parse().unwrap();
        for body in [
            format!(r#"{{"results": {text}, "next": null}}"#),
            format!(" {text}"),
        ] {
            let page = page(body.as_bytes(), &course_id).unwrap();
            let rows: Vec<_> = page
                .rows
                .iter()
                .map(|row| {
                    row.as_ref()
                        .map(|row| row.username.as_str())
                        .map_err(|e| *e)
                })
                .collect();
            let unexpected = Err(Nonsense::NotAsExpected);
            assert_eq!(
                rows,
                [
                    Ok("ada"),
                    Err(Nonsense::Percent),
                    unexpected,
                    unexpected,
                    Err(Nonsense::AnotherRun),
                    unexpected,
                    Ok("eve"),
                    unexpected,
                    unexpected,
                ]
            );
            assert_eq!(page.next, None);
        }
    }

    #[test]
    fn of_next_only_the_cursor_is_heeded() {
        let long = format!("?cursor={}", "a".repeat(1001));
        for (next, cursor) in [
            ("https://lms/api/?cursor=cD0y&page_size=50", Some("cD0y")),
            (
                "http://other.example.org/?page_size=50&cursor=cD0y%3D#x",
                Some("cD0y="),
            ),
            ("/api/?cursor=a+b", Some("a b")),
            ("https://lms/api/", None),
            ("https://lms/api/?page=2", None),
            ("https://lms/api/?cursor=", None),
            ("nonsense", None),
            (&long, None),
        ] {
            let body = json!({"next": next, "results": []}).to_string();
            let page = page(body.as_bytes(), &RUN.parse().unwrap());
            let found = page.map(|page| page.next.map(|cursor| cursor.0));
            let cursor = cursor.map(|cursor| Some(cursor.to_owned()));
            assert_eq!(found, cursor.ok_or(Nonsense::NotAsExpected), "{next}");
        }
        for body in [
            "{}",
            r#"{"results": {}}"#,
            r#"{"results": [], "next": 1}"#,
            "null",
        ] {
            let page = page(body.as_bytes(), &RUN.parse().unwrap());
            assert_eq!(page, Err(Nonsense::NotAsExpected), "{body}");
        }
    }
}
