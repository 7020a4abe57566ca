//! A page of a list, for rows of any type.

use domain::{Cursor, Username};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::InvalidResponse;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Each row, or its defect.
    pub rows: Vec<Result<T, InvalidResponse>>,
    /// The cursor of the next page; `None` if this is the last page.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Parses a page. The bare array of an older site is the only page. Each row is
    /// parsed by itself, so that an invalid row does not affect the others.
    pub(crate) fn parse(
        body: &[u8],
        row: impl Fn(&Value) -> Result<T, InvalidResponse>,
    ) -> Result<Self, InvalidResponse> {
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
            Some(next) => Some(cursor(next).ok_or(InvalidResponse::NotAsExpected)?),
        };
        let rows = listed.results.into_iter();
        Ok(Self {
            rows: rows.map(|given| row(&object(given)?)).collect(),
            next,
        })
    }
}

/// The name of the cursor's query parameter.
const CURSOR: &str = "cursor";

/// The cursor in the query of the next page's URL. The rest of that URL is ignored:
/// behind its proxy the LMS may not know its own host, and our credential is sent to no
/// other host.
fn cursor(next: &str) -> Option<Cursor> {
    let (_, query) = next.split_once('?')?;
    let mut url = Url::parse("http://localhost").ok()?;
    url.set_query(query.split('#').next());
    let (_, cursor) = url.query_pairs().find(|(name, _)| name == CURSOR)?;
    cursor.parse().ok()
}

/// Returns the URL of the page at `cursor`, or of the first page.
pub(crate) fn at(mut list: Url, cursor: Option<&Cursor>, size: u32) -> Url {
    list.query_pairs_mut()
        .append_pair("page_size", &size.to_string())
        .extend_pairs(cursor.map(|cursor| (CURSOR, cursor.as_str())));
    list
}

/// Parses a row, which must be a JSON object.
pub(crate) fn object(row: &RawValue) -> Result<Value, InvalidResponse> {
    serde_json::from_str(row.get())
        .ok()
        .filter(Value::is_object)
        .ok_or(InvalidResponse::NotAsExpected)
}

/// Parses the username in a field of a row.
pub(crate) fn username(value: &Value) -> Result<Username, InvalidResponse> {
    let name = value.as_str().ok_or(InvalidResponse::NotAsExpected)?;
    name.parse::<Username>()
        .ok()
        // Parsing trims, and a name with blanks around it is a different name.
        .filter(|username| username.as_str() == name)
        .ok_or(InvalidResponse::NotAsExpected)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Parses a list whose rows hold a text under `name`.
    fn read(body: &str) -> Result<Page<String>, InvalidResponse> {
        Page::parse(body.as_bytes(), |row| {
            let name = row["name"].as_str().ok_or(InvalidResponse::NoRow)?;
            Ok(name.to_owned())
        })
    }

    #[test]
    fn an_invalid_row_does_not_affect_the_others() {
        // serde_json itself rejects the last two: a number out of range, half a surrogate
        // pair.
        let rows = r#"[
            {"name": "a"}, {"name": null}, null, {"name": "b"},
            {"name": "x", "more": 1e999}, {"name": "\ud800"}
        ]"#;
        for body in [
            format!(r#"{{"results": {rows}, "next": null}}"#),
            format!(" {rows}"),
        ] {
            let unexpected = Err(InvalidResponse::NotAsExpected);
            let page = Page {
                rows: vec![
                    Ok("a".to_owned()),
                    Err(InvalidResponse::NoRow),
                    unexpected.clone(),
                    Ok("b".to_owned()),
                    unexpected.clone(),
                    unexpected,
                ],
                next: None,
            };
            assert_eq!(read(&body), Ok(page), "{body}");
        }
    }

    #[test]
    fn only_the_cursor_of_the_next_url_is_used() {
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
            ("invalid", None),
            (&long, None),
        ] {
            let page = read(&json!({"next": next, "results": []}).to_string());
            let found = page.map(|page| page.next.map(String::from));
            let cursor = cursor.map(|cursor| Some(cursor.to_owned()));
            assert_eq!(
                found,
                cursor.ok_or(InvalidResponse::NotAsExpected),
                "{next}"
            );
        }
        for body in [
            "{}",
            r#"{"results": {}}"#,
            r#"{"results": [], "next": 1}"#,
            "null",
        ] {
            assert_eq!(read(body), Err(InvalidResponse::NotAsExpected), "{body}");
        }
    }

    #[test]
    fn a_stored_cursor_is_validated_too() {
        let (longest, too_long) = ("é".repeat(500), "é".repeat(501));
        for (text, is_one) in [
            ("", false),
            ("a", true),
            (&longest, true),
            (&too_long, false),
        ] {
            let read = serde_json::from_value::<Cursor>(json!(text));
            assert_eq!(read.is_ok(), is_one, "{text}");
            if let Ok(cursor) = read {
                assert_eq!(serde_json::to_value(cursor).unwrap(), json!(text), "{text}");
            }
        }
    }
}
