//! Sending a request, and what every answer has in common: its size, and what
//! a status means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::{ErrorCode, LmsError, Nonsense};
use crate::calls::LmsRequest;

/// No answer that we ask for is larger.
const MAX_BYTES: usize = 1024 * 1024;

/// Sends a request and has its answer read. It is counted, with how long all of
/// that took and whether it failed.
pub(super) async fn to<T>(
    request: RequestBuilder,
    read: impl AsyncFnOnce(Response) -> Result<T, LmsError>,
) -> Result<T, LmsError> {
    let counted = LmsRequest::begin();
    let result = match request.send().await {
        Ok(answer) => read(answer).await,
        Err(error) => Err(broken(error)),
    };
    counted.ended(result.as_ref().is_err_and(|error| !error.is_an_answer()));
    result
}

/// The body, read no further than it may be long.
pub(super) async fn body(mut answer: Response) -> Result<Vec<u8>, LmsError> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(broken)? {
        if body.len() + part.len() > MAX_BYTES {
            return Err(Nonsense::TooLarge.into());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// The error itself names the URL, and that the learner: only its kind is kept.
fn broken(error: reqwest::Error) -> LmsError {
    if error.is_timeout() {
        LmsError::Timeout
    } else {
        LmsError::Unreachable
    }
}

/// What it means that the token endpoint answered this, which is not 200.
pub(super) fn no_token(answer: &Response) -> LmsError {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => throttled(answer),
        // So older sites throttle; a refusal of the client would be JSON.
        StatusCode::FORBIDDEN if is_html(answer) => throttled(answer),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            LmsError::BadClient
        }
        status => unavailable(status),
    }
}

/// What it means that the grades endpoint answered this, which is not 200.
pub(super) async fn no_grades(answer: Response) -> LmsError {
    match answer.status() {
        StatusCode::NOT_FOUND => match error_code(answer).await {
            Ok(code) => match code.as_ref().map(ErrorCode::as_str) {
                Some("invalid_course_key" | "course_does_not_exist") => LmsError::NoSuchRun,
                Some("user_does_not_exist") => LmsError::NoSuchLearner,
                Some("user_not_enrolled") => LmsError::NotEnrolled,
                _ => unavailable(StatusCode::NOT_FOUND),
            },
            Err(error) => error,
        },
        _ => refused(answer).await,
    }
}

/// What it means that the enrollments list answered this, which is not 200.
pub(super) async fn no_enrollments(answer: Response) -> LmsError {
    match answer.status() {
        // It cannot read the id; a run that there is not has no enrollments. In
        // HTML it is Django's word on a host that it does not know.
        StatusCode::BAD_REQUEST if !is_html(&answer) => LmsError::NoSuchRun,
        _ => refused(answer).await,
    }
}

/// What a status means whatever was asked for.
async fn refused(answer: Response) -> LmsError {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => throttled(&answer),
        StatusCode::FORBIDDEN => LmsError::Forbidden,
        StatusCode::UNAUTHORIZED => match error_code(answer).await {
            Ok(error_code) => LmsError::Unauthorized { error_code },
            Err(error) => error,
        },
        status => unavailable(status),
    }
}

fn unavailable(status: StatusCode) -> LmsError {
    LmsError::Unavailable {
        status: status.as_u16(),
    }
}

fn throttled(answer: &Response) -> LmsError {
    LmsError::Throttled {
        retry_after: retry_after(answer.headers()),
    }
}

fn is_html(answer: &Response) -> bool {
    text(answer.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
}

/// The `error_code` of an error's body, where there is a plain one.
async fn error_code(answer: Response) -> Result<Option<ErrorCode>, LmsError> {
    #[derive(Deserialize)]
    struct Refusal {
        error_code: String,
    }
    let body = match body(answer).await {
        Err(LmsError::Nonsense(_)) => return Ok(None),
        body => body?,
    };
    let refusal = serde_json::from_slice::<Refusal>(&body).ok();
    Ok(refusal.and_then(|refusal| ErrorCode::new(&refusal.error_code)))
}

/// How long to wait: seconds, or a date (RFC 9110, 10.2.3), which is reckoned
/// from the answer's own date, so that it is no matter whose clock is wrong.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let when = text(headers, RETRY_AFTER)?;
    let is_a_number = !when.is_empty() && when.bytes().all(|b| b.is_ascii_digit());
    let seconds = if is_a_number {
        // What is too large to be read is too long in any case.
        when.parse().unwrap_or(u64::MAX)
    } else {
        let wait = date(when)?.duration_since(date(text(headers, DATE)?)?);
        u64::try_from(wait.as_secs()).unwrap_or_default()
    };
    Some(Duration::from_secs(seconds).min(LmsError::LONGEST_RETRY_AFTER))
}

fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_its_forms() {
        const NOW: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
        for (given, date, seconds) in [
            ("7", None, Some(7)),
            ("0", None, Some(0)),
            ("43201", None, Some(43_200)),
            ("99999999999999999999999", None, Some(43_200)),
            ("Sun, 22 Nov 2026 09:01:30 GMT", Some(NOW), Some(90)),
            ("Sun, 22 Nov 2026 08:00:00 GMT", Some(NOW), Some(0)),
            ("Mon, 22 Nov 2027 09:00:00 GMT", Some(NOW), Some(43_200)),
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
