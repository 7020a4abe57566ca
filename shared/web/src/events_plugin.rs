//! The events plugin of the LMS as a source: its requests have a bearer token, and a JSON object
//! as their body.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_bytes::{ByteBuf, Bytes};
use serde_json::value::RawValue;

use super::bearer::{Authentication, BearerCheck};
use super::delivery::{Delivery, MAX_BODY_BYTES};
use super::error::{FieldFault, NotJsonError, WebhookError};
use super::source::Source;

/// The deepest nesting of arrays and objects, which is also serde_json's own limit for
/// values.
const MAX_DEPTH: usize = 128;

/// The events plugin.
pub struct EventsPlugin {
    bearer: BearerCheck,
}

impl EventsPlugin {
    /// Returns the source, whose callers need a staff token.
    pub fn new(bearer: BearerCheck) -> Self {
        Self { bearer }
    }
}

impl Source for EventsPlugin {
    async fn warm_up(&self) {
        self.bearer.warm_up().await;
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Authentication {
        self.bearer.staff(headers).await
    }

    fn parse(&self, headers: &HeaderMap, body: &[u8]) -> Result<Delivery, WebhookError> {
        parse(headers, body)
    }
}

/// Parses a delivery.
///
/// # Errors
/// In this order: the body is too large, its content type is not JSON, it is not JSON, or
/// it has invalid fields.
fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Delivery, WebhookError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(WebhookError::TooLarge);
    }
    if !is_json(headers) {
        return Err(WebhookError::NotJsonType);
    }
    let text = std::str::from_utf8(body).map_err(|_| NotJsonError::NotUtf8)?;
    if depth(text) > MAX_DEPTH {
        return Err(NotJsonError::TooDeep.into());
    }
    // A map, because a struct would reject a repeated key, and here the last one wins.
    // Keys are bytes, because a key that is not valid text is still JSON.
    let values: HashMap<ByteBuf, Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => NotJsonError::NotAnObject,
            _ => NotJsonError::NotJson,
        })?;

    let mut fields = Fields {
        values,
        faults: Vec::new(),
    };
    let email = fields.required("email");
    let course = fields.required("course_id");
    let role = fields.optional("role");
    let mode = fields.optional("mode");
    let is_active = fields.flag("is_active").unwrap_or(true);
    match (email, course) {
        (Some(email), Some(course)) if fields.faults.is_empty() => Ok(Delivery {
            email,
            course,
            role,
            mode,
            is_active,
        }),
        _ => Err(WebhookError::Invalid(fields.faults)),
    }
}

/// The fields of a body, and the errors found in them so far.
struct Fields {
    values: HashMap<ByteBuf, Box<RawValue>>,
    faults: Vec<FieldFault>,
}

impl Fields {
    fn required<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field).unwrap_or(Err("is missing"));
        self.parsed(field, text)
    }

    /// Parses an optional field. Blanks around its text are removed, and a blank text
    /// counts as absent.
    fn optional<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field)?.map(|text| text.trim().to_owned());
        match text {
            Ok(text) if text.is_empty() => None,
            text => self.parsed(field, text),
        }
    }

    /// A field's value as a boolean; `None` if it is absent, null or invalid.
    fn flag(&mut self, field: &'static str) -> Option<bool> {
        match self.values.get(Bytes::new(field.as_bytes()))?.get() {
            "null" => None,
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let what = "is not a boolean".to_owned();
                self.faults.push(FieldFault { field, what });
                None
            }
        }
    }

    /// A field's value as text, or its error; `None` if it is absent or null.
    fn text(&self, field: &str) -> Option<Result<String, &'static str>> {
        let value = self.values.get(Bytes::new(field.as_bytes()))?.get();
        if value == "null" {
            return None;
        }
        // Read as bytes, because serde_json rejects the whole body for a lone surrogate
        // in a string, and the answer must name the field.
        let bytes = match serde_json::from_str::<ByteBuf>(value) {
            Ok(bytes) if value.starts_with('"') => bytes.into_vec(),
            _ => return Some(Err("is not a string")),
        };
        Some(String::from_utf8(bytes).map_err(|_| "has a lone surrogate"))
    }

    fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        field: &'static str,
        text: Result<String, &'static str>,
    ) -> Option<T> {
        let value = match text {
            Ok(text) => text.parse().map_err(|error: T::Err| error.to_string()),
            Err(what) => Err(what.to_owned()),
        };
        value
            .map_err(|what| self.faults.push(FieldFault { field, what }))
            .ok()
    }
}

/// True if the content type is JSON, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    types.peek().is_some()
        && types.all(|value| {
            let value = value.to_str().unwrap_or_default();
            let essence = value.split(';').next().unwrap_or_default().trim();
            let essence = essence.to_ascii_lowercase();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        })
}

/// The nesting depth of arrays and objects in a JSON text. Brackets within strings do not
/// count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn json() -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
    }

    proptest! {
        /// The parser never panics, whatever bytes it reads.
        #[test]
        fn parsing_any_bytes_does_not_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&json(), &body);
        }

        /// The parser never panics on a body like a delivery, and an accepted delivery
        /// has a valid address.
        #[test]
        fn parsing_any_texts_does_not_panic(
            email in any::<String>(),
            course in any::<String>(),
            role in any::<Option<String>>(),
        ) {
            let body = serde_json::json!({"email": email, "course_id": course, "role": role});
            match parse(&json(), body.to_string().as_bytes()) {
                Ok(delivery) => {
                    let email = delivery.email.as_str();
                    prop_assert!(email.contains('@') && email.trim() == email);
                    prop_assert!(!email.chars().any(char::is_control));
                }
                Err(error) => prop_assert!(matches!(error, WebhookError::Invalid(_))),
            }
        }
    }
}
