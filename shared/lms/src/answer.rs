//! Sends requests and reads the parts that all answers share: the size limit and the
//! meaning of a status.

use std::time::Duration;

use common::calls::LmsRequest;
use jiff::Timestamp;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value};

use crate::enrollments::About;
use crate::error::{ErrorCode, InvalidResponse, LmsApiError, TokenEndpointError};
use crate::http::{HttpClient, broken};

/// The largest answer that is read, in bytes. No answer that we ask for is larger.
const MAX_BYTES: usize = 1024 * 1024;

/// Sends a request and reads its answer with `read`. Counts the request, its duration and
/// whether it failed.
pub(crate) async fn to<T>(
    client: &HttpClient,
    request: RequestBuilder,
    read: impl AsyncFnOnce(Response) -> Result<T, LmsApiError>,
) -> Result<T, LmsApiError> {
    let counted = LmsRequest::begin();
    let result = match client.send(request).await {
        Ok(answer) => read(answer).await,
        Err(error) => Err(error),
    };
    counted.ended(result.as_ref().is_err_and(|error| !error.is_an_answer()));
    result
}

/// Reads the body, up to the size limit.
pub(crate) async fn body(mut answer: Response) -> Result<Vec<u8>, LmsApiError> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(broken)? {
        if body.len() + part.len() > MAX_BYTES {
            return Err(InvalidResponse::TooLarge.into());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// Parses the body of a 200 with `parse`.
pub(crate) async fn parsed<T>(
    answer: Response,
    parse: impl FnOnce(&[u8]) -> Result<T, InvalidResponse>,
) -> Result<T, LmsApiError> {
    let page = is_html(&answer).then(|| unavailable(&answer));
    match (parse(&body(answer).await?), page) {
        // A proxy before the LMS answers with a page of its own: a login, a maintenance
        // page.
        (Err(InvalidResponse::NotJson), Some(page)) => Err(page),
        (parsed, _) => Ok(parsed?),
    }
}

/// The meaning of an answer of the token endpoint other than 200.
///
/// A refusal is a JSON object with an `error` (RFC 6749, 5.2). Any other answer comes
/// from a proxy before the LMS and says nothing about our client.
pub(crate) async fn no_token(answer: Response) -> LmsApiError {
    let retry_after = retry_after(answer.headers());
    let otherwise = match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => return throttled(&answer),
        // Older sites throttle with a 403 page.
        StatusCode::FORBIDDEN if is_html(&answer) => throttled(&answer),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            unavailable(&answer)
        }
        _ => return unavailable(&answer),
    };
    match object(answer).await {
        Ok(Some(said)) => match said.get("error").and_then(Value::as_str) {
            Some(error) => LmsApiError::NoToken {
                why: TokenEndpointError::of(error),
                retry_after,
            },
            None => otherwise,
        },
        Ok(None) => otherwise,
        Err(error) => error,
    }
}

/// The meaning of an answer of the grades endpoint other than 200.
pub(crate) async fn no_grades(answer: Response) -> LmsApiError {
    if answer.status() != StatusCode::NOT_FOUND {
        return refused(answer).await;
    }
    let otherwise = unavailable(&answer);
    let said = match object(answer).await {
        Ok(said) => said.unwrap_or_default(),
        Err(error) => return error,
    };
    match error_code(&said).as_ref().map(ErrorCode::as_str) {
        Some("invalid_course_key" | "course_does_not_exist") => LmsApiError::NoSuchRun,
        Some("user_does_not_exist") => LmsApiError::NoSuchLearner,
        Some("user_not_enrolled") => LmsApiError::NotEnrolled,
        _ => otherwise,
    }
}

/// The meaning of an answer of the enrollments list other than 200, to a request for
/// `about`. The list has no 404 of its own: a run that does not exist has no enrollments.
pub(crate) async fn no_enrollments(answer: Response, about: &About) -> LmsApiError {
    if answer.status() != StatusCode::BAD_REQUEST {
        return refused(answer).await;
    }
    let otherwise = unavailable(&answer);
    let said = match object(answer).await {
        Ok(Some(said)) => said,
        Ok(None) => return otherwise,
        Err(error) => return error,
    };
    // The LMS names each field that it cannot read, with the error of that field.
    let fields = said.get("developer_message").and_then(Value::as_object);
    let fields = fields.unwrap_or(&said);
    let is_name = fields.contains_key("username") && !fields.contains_key("course_id");
    match about.course_id() {
        _ if is_name => LmsApiError::BadUsername,
        Some(_) => LmsApiError::NoSuchRun,
        None => otherwise,
    }
}

/// The meaning of a status that is the same for all endpoints. A refusal by the API
/// itself is a JSON object.
async fn refused(answer: Response) -> LmsApiError {
    let otherwise = unavailable(&answer);
    let status = answer.status();
    match status {
        StatusCode::TOO_MANY_REQUESTS => return throttled(&answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {}
        _ => return otherwise,
    }
    match object(answer).await {
        Ok(Some(_)) if status == StatusCode::FORBIDDEN => LmsApiError::Forbidden,
        Ok(Some(said)) => LmsApiError::Unauthorized {
            error_code: error_code(&said),
        },
        Ok(None) => otherwise,
        Err(error) => error,
    }
}

fn unavailable(answer: &Response) -> LmsApiError {
    LmsApiError::Unavailable {
        status: answer.status().as_u16(),
        retry_after: retry_after(answer.headers()),
    }
}

fn throttled(answer: &Response) -> LmsApiError {
    LmsApiError::Throttled {
        retry_after: retry_after(answer.headers()),
    }
}

fn is_html(answer: &Response) -> bool {
    text(answer.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
}

/// The JSON object in the body, regardless of the content type; `None` if the body is
/// anything else.
async fn object(answer: Response) -> Result<Option<Map<String, Value>>, LmsApiError> {
    match body(answer).await {
        Err(LmsApiError::InvalidResponse(_)) => Ok(None),
        body => Ok(serde_json::from_slice(&body?).ok()),
    }
}

/// The `error_code` of an error, or `None` if there is no plain one. An error of the
/// token check has it inside of `developer_message`.
fn error_code(said: &Map<String, Value>) -> Option<ErrorCode> {
    let inner = said.get("developer_message").and_then(Value::as_object);
    let code = inner.and_then(|inner| inner.get("error_code"));
    let code = code.or_else(|| said.get("error_code"));
    ErrorCode::new(code?.as_str()?)
}

/// The time to wait before the next request: a number of seconds, or a date (RFC 9110,
/// 10.2.3). A date is compared with the answer's own date, so that a wrong clock on
/// either side does no harm.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let when = text(headers, RETRY_AFTER)?;
    let is_a_number = !when.is_empty() && when.bytes().all(|b| b.is_ascii_digit());
    let seconds = if is_a_number {
        // A number too large to parse exceeds the maximum anyway.
        when.parse().unwrap_or(u64::MAX)
    } else {
        let wait = date(when)?.duration_since(date(text(headers, DATE)?)?);
        u64::try_from(wait.as_secs()).unwrap_or_default()
    };
    Some(Duration::from_secs(seconds).min(LmsApiError::LONGEST_RETRY_AFTER))
}

/// Parses a date in any of the three forms of RFC 9110, 5.6.7: the current one, that of
/// RFC 850 and that of C's `asctime`.
fn date(text: &str) -> Option<Timestamp> {
    let obsolete = |form| {
        let date = strtime::parse(form, text).ok()?.to_datetime().ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    date.or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        const NOW: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
        for (given, date, seconds) in [
            ("7", None, Some(7)),
            ("0", None, Some(0)),
            ("43201", None, Some(43_200)),
            ("99999999999999999999999", None, Some(43_200)),
            ("Sun, 22 Nov 2026 09:01:30 GMT", Some(NOW), Some(90)),
            ("Sun, 22 Nov 2026 08:00:00 GMT", Some(NOW), Some(0)),
            ("Mon, 22 Nov 2027 09:00:00 GMT", Some(NOW), Some(43_200)),
            ("Sunday, 22-Nov-26 09:01:30 GMT", Some(NOW), Some(90)),
            ("Monday, 22-Nov-27 09:00:00 GMT", Some(NOW), Some(43_200)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(NOW), Some(0)),
            ("Sunday, 22-Nov-26 09:01:30 CET", Some(NOW), None),
            ("Sun Nov 22 09:01:30 2026", Some(NOW), Some(90)),
            ("Sun Nov  1 09:01:30 2026", Some(NOW), Some(0)),
            (
                "Sun Nov  1 09:01:30 2026",
                Some("Sun Nov  1 09:00:00 2026"),
                Some(90),
            ),
            ("90", Some("neither of the two needs it"), Some(90)),
            ("Sun, 22 Nov 2026 09:01:30 GMT", None, None),
            ("-1", Some(NOW), None),
            ("soon", Some(NOW), None),
            ("", Some(NOW), None),
        ] {
            let headers = [(RETRY_AFTER, Some(given)), (DATE, date)];
            let headers: HeaderMap = headers
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?.parse().ok()?)))
                .collect();
            let found = retry_after(&headers).map(|wait| wait.as_secs());
            assert_eq!(found, seconds, "{given} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
