//! What a delivery's body says, parsed into what cannot be wrong.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_bytes::{ByteBuf, Bytes};
use serde_json::value::RawValue;
use thiserror::Error;

use super::error::{FieldFault, NotJsonError, WebhookError};
use crate::domain::{CourseId, CourseRole, Email, Mode};

/// The largest body, in bytes, once decoded.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The deepest nesting of arrays and objects; serde_json's own limit where it builds values.
const MAX_DEPTH: usize = 128;

/// What the LMS sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The field `email`, in its normal form.
    pub email: Email,
    /// The field `course_id`, trimmed.
    pub course: Course,
    /// The field `role`, trimmed; absent where it is missing, null or blank.
    pub role: Option<CourseRole>,
    /// The field `mode`, trimmed; absent where it is missing, null or blank.
    pub mode: Option<Mode>,
    /// The field `is_active`, true where it is missing or null: false says that
    /// the learner was un-enrolled (openedx-events-sender posts it).
    pub is_active: bool,
}

/// The course run that a delivery names.
#[derive(Clone, PartialEq, Eq)]
pub enum Course {
    /// Of a course id's form; whether the portal knows the run is not asked here.
    Run(CourseId),
    /// No course id at all; up to version 0.4 the sender names an org-wide
    /// role's course with the word `None`.
    NotAnId(String),
}

/// What is no course id could be anything, an address too.
impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(id) => write!(f, "Run({id})"),
            Self::NotAnId(_) => f.write_str("NotAnId(..)"),
        }
    }
}

impl Course {
    /// The id, where it is one.
    pub fn id(&self) -> Option<&CourseId> {
        match self {
            Self::Run(id) => Some(id),
            Self::NotAnId(_) => None,
        }
    }
}

/// Parses a delivery.
///
/// # Errors
/// Too large, not JSON by its type or by its content, or with faulty fields, in this order.
pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Delivery, WebhookError> {
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
    // Into a map first: a struct would refuse a repeated key, and here the last
    // one wins. Keys are bytes because a key that is no text is still JSON.
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

/// Why a text names no course at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CourseError {
    /// Nothing is left after trimming.
    #[error("is blank")]
    Blank,
    /// One of Unicode's category Cc is in it, after trimming.
    #[error("has a control character")]
    ControlCharacter,
    /// After trimming it has more than [`CourseId::MAX_CHARS`] characters.
    #[error("is longer than {} characters", CourseId::MAX_CHARS)]
    TooLong,
}

impl FromStr for Course {
    type Err = CourseError;

    fn from_str(text: &str) -> Result<Self, CourseError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(CourseError::Blank);
        }
        if text.chars().any(char::is_control) {
            return Err(CourseError::ControlCharacter);
        }
        if text.chars().count() > CourseId::MAX_CHARS {
            return Err(CourseError::TooLong);
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::NotAnId(text.to_owned()), Self::Run))
    }
}

/// The fields of a body, and what was found wrong with them so far.
struct Fields {
    values: HashMap<ByteBuf, Box<RawValue>>,
    faults: Vec<FieldFault>,
}

impl Fields {
    fn required<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field).unwrap_or(Err("is missing"));
        self.parsed(field, text)
    }

    /// The blanks around a text are removed, and a blank text counts as absent.
    fn optional<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field)?.map(|text| text.trim().to_owned());
        match text {
            Ok(text) if text.is_empty() => None,
            text => self.parsed(field, text),
        }
    }

    /// A field's value as a boolean; `None` where absent, null or at fault.
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

    /// A field's value as text, or what is wrong with it; `None` where absent or null.
    fn text(&self, field: &str) -> Option<Result<String, &'static str>> {
        let value = self.values.get(Bytes::new(field.as_bytes()))?.get();
        if value == "null" {
            return None;
        }
        // As bytes, since serde_json refuses lone surrogates in a string
        // outright, and the answer is to name the field.
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

/// Whether the content type is JSON, whatever its parameters.
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

/// How deep arrays and objects nest in a JSON text, brackets within strings left out.
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
        /// Nothing that is sent makes the parser panic.
        #[test]
        fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&json(), &body);
        }

        /// Nor does anything that looks like a delivery; what is taken is as it should be.
        #[test]
        fn any_texts(email in any::<String>(), course in any::<String>(), role in any::<Option<String>>()) {
            let body = serde_json::json!({"email": email, "course_id": course, "role": role});
            match parse(&json(), body.to_string().as_bytes()) {
                Ok(delivery) => {
                    let known = delivery.email.as_str();
                    prop_assert!(known.contains('@') && known.trim() == known);
                    prop_assert!(!known.chars().any(char::is_control));
                }
                Err(refusal) => prop_assert!(matches!(refusal, WebhookError::Invalid(_))),
            }
        }
    }
}
