//! The identifier of a course run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A course run's id: `course-v1:Org+Course+Run`, or the legacy `Org/Course/Run`.
///
/// Compared byte for byte. The rule is that of the PyPI package
/// edx-opaque-keys for a course without branch or version: letters and digits
/// of any script and `_ - ~ .`, besides `:` in the first form and `%` in the
/// legacy one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CourseId(String);

/// The text cannot be a course run's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a course run id such as course-v1:Org+Course+Run")]
pub struct NotACourseId;

super::text::text!(CourseId, NotACourseId);

impl CourseId {
    /// The longest id in characters: the column of the LMS.
    pub const MAX_CHARS: usize = 255;
}

impl FromStr for CourseId {
    type Err = NotACourseId;

    fn from_str(text: &str) -> Result<Self, NotACourseId> {
        let parts_are_sound = match text.strip_prefix("course-v1:") {
            Some(rest) => three_parts(rest, '+', ':'),
            None => three_parts(text, '/', '%'),
        };
        if parts_are_sound && text.chars().count() <= Self::MAX_CHARS {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotACourseId)
        }
    }
}

/// Whether `text` is three parts joined by `joint`, none empty, each of the
/// letters that ids are made of and `also`.
fn three_parts(text: &str, joint: char, also: char) -> bool {
    let sound = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '~' | '.') || c == also)
    };
    text.split(joint).count() == 3 && text.split(joint).all(sound)
}

impl fmt::Display for CourseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was also given to edx-opaque-keys' `CourseKey.from_string`, with the same answer.
    #[test]
    fn form() {
        for (text, sound) in [
            ("course-v1:Org+Course+Run", true),
            ("course-v1:Ö+é+日本", true),
            ("course-v1:a:b~c.d-e_f+1+2", true),
            ("Org/Course/Run", true),
            ("Org/Course/Run%", true),
            ("None", false),
            ("", false),
            ("course-v1:Org+Course", false),
            ("course-v1:A+B+C+D", false),
            ("course-v1:A++C", false),
            ("course-v1:a b+c+d", false),
            ("course-v1:A+B+C@x", false),
            ("course-v1:a+b+c\n", false),
            ("course-v1:e\u{301}+a+b", false),
            ("course-v2:A+B+C", false),
            ("ccx-v1:a+b+c+ccx@1", false),
            ("x:y/z/w", false),
            ("A/B/C?", false),
            ("Org/C/R/x", false),
            ("/b/c", false),
            ("org/c/r+x", false),
        ] {
            assert_eq!(text.parse::<CourseId>().is_ok(), sound, "{text:?}");
        }
    }
}
