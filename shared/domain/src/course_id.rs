//! Identifier of a course run.

use std::fmt;
use std::str::FromStr;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A course run's id: `course-v1:Org+Course+Run`, or the legacy form `Org/Course/Run`.
///
/// Ids are compared byte for byte. The rule is that of the PyPI package edx-opaque-keys for a
/// course without branch or version: letters and digits of any script (Unicode's general
/// categories L* and N*, as in Python's `\w`) and `_ - .`; the first form also allows `~` and
/// `:`, the legacy one `%`. `make peers` compares the two implementations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CourseId(String);

/// Error of a text that cannot be a course run's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a course run id such as course-v1:Org+Course+Run")]
pub struct CourseIdError;

super::text::text!(CourseId, CourseIdError);

impl CourseId {
    /// The greatest number of characters: that of the LMS's column.
    pub const MAX_CHARS: usize = 255;
}

impl FromStr for CourseId {
    type Err = CourseIdError;

    fn from_str(text: &str) -> Result<Self, CourseIdError> {
        let parts_are_sound = match text.strip_prefix("course-v1:") {
            Some(rest) => three_parts(rest, '+', &['~', ':']),
            None => three_parts(text, '/', &['%']),
        };
        if parts_are_sound && text.chars().count() <= Self::MAX_CHARS {
            Ok(Self(text.to_owned()))
        } else {
            Err(CourseIdError)
        }
    }
}

/// True if `text` consists of three parts joined by `joint`, none of them empty, and each made
/// of the characters allowed in ids and those in `also`.
fn three_parts(text: &str, joint: char, also: &[char]) -> bool {
    let may_stand = |c| is_letter_or_digit(c) || matches!(c, '_' | '-' | '.') || also.contains(&c);
    let sound = |part: &str| !part.is_empty() && part.chars().all(may_stand);
    text.split(joint).count() == 3 && text.split(joint).all(sound)
}

/// True if the general category is a letter's or a number's. `char::is_alphanumeric` uses
/// another property, Alphabetic, which vowel signs and circled letters have too.
fn is_letter_or_digit(c: char) -> bool {
    const LETTERS_AND_NUMBERS: GeneralCategoryGroup =
        GeneralCategoryGroup::Letter.union(GeneralCategoryGroup::Number);
    LETTERS_AND_NUMBERS.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

impl fmt::Display for CourseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was also given to edx-opaque-keys' `CourseKey.from_string`, which gave the same
    /// answer.
    #[test]
    fn course_ids_are_accepted_as_by_edx_opaque_keys() {
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
            // One of each category of letters and numbers: Lu Ll Lt Lm Lo Nd Nl No.
            ("course-v1:Ωωǅʰ+ไทย+٣Ⅷ½", true),
            // SARA I and CANDRABINDU (Mn), AA (Mc), which are Alphabetic, and circled letters
            // (So).
            ("course-v1:ทดส\u{e34}+a+b", false),
            ("course-v1:क\u{901}+a+b", false),
            ("course-v1:कक\u{93e}+a+b", false),
            ("course-v1:Ⓐ+a+b", false),
            ("Org/ⓩ/Run", false),
            // A circled number is a number (No).
            ("course-v1:①+a+b", true),
            // Other punctuation that joins words (Pc), which is not a letter.
            ("course-v1:a‿b+a+b", false),
            ("course-v2:A+B+C", false),
            ("ccx-v1:a+b+c+ccx@1", false),
            ("x:y/z/w", false),
            ("A/B/C?", false),
            ("Org/C/R/x", false),
            ("/b/c", false),
            ("org/c/r+x", false),
            ("Org/C~x/Run", false),
        ] {
            assert_eq!(text.parse::<CourseId>().is_ok(), sound, "{text:?}");
        }
    }
}
