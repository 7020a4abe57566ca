//! Checks docs/contract.md, row by row, where all webhooks answer in the same way.

use domain::EventKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::learners::{RUN, about, email};
use crate::failure::{Failure, same};
use crate::portal::{HttpResponse, Portal};

const JSON: &str = "application/json";

/// The tokens of the senders.
pub struct Tokens {
    /// The LMS's token.
    pub staff: String,
    /// A token without the right to call the webhooks.
    other: String,
    /// A revoked token of the LMS.
    revoked: String,
}

/// A request, and the answer that the contract demands.
struct ContractRow<'a> {
    what: &'a str,
    authorization: Option<&'a str>,
    method: Method,
    content_type: Option<&'a str>,
    body: String,
    status: u16,
    /// The name of a header in the answer, and a part of its value.
    header: Option<(&'a str, &'a str)>,
}

impl Tokens {
    /// Issues the tokens as an operator. The function has read no list yet, so none is out of date.
    pub async fn issue(portal: &Portal<'_>) -> Result<Self, Failure> {
        let issue = async |arguments: &[&str]| -> Result<(String, String), Failure> {
            let arguments = [&["tokens", "issue"], arguments].concat();
            let issued = portal.operator.run(&arguments).await?;
            let text = |name: &str| issued[name].as_str().unwrap_or_default().to_owned();
            Ok((text("id"), text("token")))
        };
        let (_, staff) = issue(&["lms", "--staff", "--expires-in", "10d"]).await?;
        let (_, other) = issue(&["other"]).await?;
        let (id, revoked) = issue(&["lms-of-old", "--staff"]).await?;
        portal
            .operator
            .run(&["tokens", "revoke", &id, "--yes"])
            .await?;
        Ok(Self {
            staff,
            other,
            revoked,
        })
    }

    /// Returns all tokens.
    pub fn all(self) -> [String; 3] {
        [self.staff, self.other, self.revoked]
    }
}

/// Row 2: there is no token list yet, so the sender is asked to retry.
pub async fn before_tokens(portal: &Portal<'_>) -> Result<(), Failure> {
    let token = format!("chk_{}", "0".repeat(64));
    for kind in EventKind::ALL {
        let answer = portal.deliver(kind, &token, &json!({})).await?;
        let what = format!("{} before there are tokens", kind.as_str());
        same(&what, &answer.status, &503)?;
        has_header(&what, &answer, "retry-after", "")?;
        is_error(&what, &answer)?;
    }
    Ok(())
}

/// Checks the rows that all webhooks answer in the same way.
pub async fn hold(portal: &Portal<'_>, tokens: &Tokens) -> Result<(), Failure> {
    let [staff, other, revoked] =
        [&tokens.staff, &tokens.other, &tokens.revoked].map(|token| format!("Bearer {token}"));
    let unknown = format!("Bearer chk_{}", "0".repeat(64));
    let stranger = about("stranger").to_string();
    // A caller without a token learns nothing about the body.
    let refused = |what, authorization, status, says| ContractRow {
        what,
        authorization,
        method: Method::POST,
        content_type: Some(JSON),
        body: "no JSON".to_owned(),
        status,
        header: Some(("www-authenticate", says)),
    };
    let answered = |what, body: &str, status| ContractRow {
        what,
        authorization: Some(&staff),
        method: Method::POST,
        content_type: Some(JSON),
        body: body.to_owned(),
        status,
        header: None,
    };
    let no_address = json!({"email": "nobody", "course_id": RUN}).to_string();
    let no_run = json!({"email": email("annie"), "course_id": "course-v1:E2E+No+Run"});
    let rows = [
        refused("no token", None, 401, "Bearer realm=\"api\""),
        refused(
            "another scheme",
            Some("Basic YTpi"),
            401,
            "Bearer realm=\"api\"",
        ),
        refused("a malformed token", Some("Bearer x"), 401, "invalid_token"),
        refused("an unknown token", Some(&unknown), 401, "invalid_token"),
        refused("a revoked token", Some(&revoked), 401, "invalid_token"),
        refused(
            "a token without staff rights",
            Some(&other),
            403,
            "insufficient_scope",
        ),
        ContractRow {
            method: Method::GET,
            header: Some(("allow", "POST")),
            ..answered("GET", "", 405)
        },
        ContractRow {
            method: Method::DELETE,
            header: Some(("allow", "POST")),
            ..answered("DELETE", "", 405)
        },
        answered("a body over 64 KiB", &" ".repeat(65 * 1024), 413),
        ContractRow {
            content_type: None,
            ..answered("no content type", &stranger, 415)
        },
        ContractRow {
            content_type: Some("text/plain"),
            ..answered("plain text", &stranger, 415)
        },
        answered("no JSON", "{", 400),
        answered("no object", "[]", 400),
        answered("no course id", r#"{"email": "a@b.c"}"#, 400),
        answered("no address", &no_address, 400),
        answered("no such user", &stranger, 404),
        answered("no such run", &no_run.to_string(), 404),
    ];
    for kind in EventKind::ALL {
        let with_slash = format!("{}/", kind.path());
        for path in [with_slash.as_str(), kind.path()] {
            for row in &rows {
                hold_row(portal, path, row).await?;
            }
        }
    }
    Ok(())
}

async fn hold_row(portal: &Portal<'_>, path: &str, row: &ContractRow<'_>) -> Result<(), Failure> {
    let headers = [
        ("authorization", row.authorization),
        ("content-type", row.content_type),
    ];
    let headers: Vec<_> = headers
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    let method = row.method.clone();
    let answer = portal
        .request(method, path, &headers, row.body.clone())
        .await?;
    let what = format!("{path}, {}: {:?}", row.what, answer.body);
    same(&what, &answer.status, &row.status)?;
    if let Some((name, value)) = row.header {
        has_header(&what, &answer, name, value)?;
    }
    is_error(&what, &answer)
}

/// Checks that each webhook gave every status of the contract, those of the gateway included.
pub fn is_whole(portal: &Portal<'_>) -> Result<(), Failure> {
    let shared = [400, 401, 403, 404, 405, 413, 415, 429, 500, 503];
    for kind in EventKind::ALL {
        let own: &[u16] = match kind {
            EventKind::Enrollment => &[200, 201],
            EventKind::Certificate => &[200, 202],
        };
        let path = format!("{}/", kind.path());
        let mut seen = portal.statuses(&path);
        // The status of a function that does not start; the gateway of AWS may give another one.
        seen.retain(|status| *status != 502);
        let expected = [own, &shared].concat();
        same(&format!("all statuses of {path}"), &seen, &expected)?;
    }
    Ok(())
}

/// Checks that the answer has this header, also under API Gateway's name for it, with this in its
/// value.
pub fn has_header(
    what: &str,
    answer: &HttpResponse,
    name: &str,
    value: &str,
) -> Result<(), Failure> {
    let renamed = format!("x-amzn-remapped-{name}");
    let headers = &answer.headers;
    let found = headers.get(name).or_else(|| headers.get(&renamed));
    let found = found.and_then(|found| found.to_str().ok());
    if found.is_some_and(|found| found.contains(value)) {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: format!("{what}: {name}"),
        expected: format!("{value:?}"),
        came: format!("{found:?}"),
    })
}

/// Checks that the body is `{"error": "<one sentence>"}`, and nothing else.
pub fn is_error(what: &str, answer: &HttpResponse) -> Result<(), Failure> {
    let fields = answer.body.as_object();
    let fields: Vec<_> = fields.into_iter().flatten().collect();
    let [(name, Value::String(text))] = fields.as_slice() else {
        return same(what, &answer.body, &json!({"error": "..."}));
    };
    same(what, &name.as_str(), &"error")?;
    same(what, &text.trim().is_empty(), &false)
}
