//! Learner's grade in a course run.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{Change, CourseId, History};

/// The share of a course that a learner has achieved: 1 is all of it. Extra credit may raise it
/// to 2 at most.
///
/// Rounded to ten decimals: the LMS itself rounds to two, and DynamoDB cannot store a number
/// that is too close to 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(f64);

/// Error of a number that is not a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a number between 0 and 2")]
pub struct PercentError;

impl Percent {
    /// Returns the number, between 0 and 2.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = PercentError;

    fn try_from(number: f64) -> Result<Self, PercentError> {
        const DECIMALS: f64 = 1e10;
        if (0.0..=2.0).contains(&number) {
            // Adding zero turns the negative zero into the positive one.
            Ok(Self((number * DECIMALS).round() / DECIMALS + 0.0))
        } else {
            Err(PercentError)
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        text.trim()
            .parse::<f64>()
            .map_err(|_| PercentError)?
            .try_into()
    }
}

/// A letter grade, such as `A`, `Pass` or `A (Very Good)`: any text of 1 to 255 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LetterGrade(String);

/// Error of a text that is not a letter grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LetterGradeError {
    /// It has no characters at all.
    #[error("is empty")]
    Empty,
    /// It has more characters than [`LetterGrade::MAX_CHARS`].
    #[error("is longer than {} characters", LetterGrade::MAX_CHARS)]
    TooLong,
}

super::text::text!(LetterGrade, LetterGradeError);

impl LetterGrade {
    /// The greatest number of characters: that of the LMS's column, which takes any text.
    pub const MAX_CHARS: usize = 255;
}

impl FromStr for LetterGrade {
    type Err = LetterGradeError;

    fn from_str(text: &str) -> Result<Self, LetterGradeError> {
        if text.is_empty() {
            Err(LetterGradeError::Empty)
        } else if text.chars().count() > Self::MAX_CHARS {
            Err(LetterGradeError::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// The values of a grade, whether the LMS, an operator or an import gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The share of the whole course.
    pub percent: Percent,
    /// True if that is enough for a pass. The LMS decides where the line is drawn.
    pub passed: bool,
    /// The letter grade; absent if the LMS has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub letter_grade: Option<LetterGrade>,
}

impl Score {
    /// True if it earns a certificate. A grade of 0 never does, even if it is marked as passed.
    pub fn is_pass(&self) -> bool {
        self.passed && self.percent.get() > 0.0
    }

    /// True if it is 0 and not marked as passed.
    pub fn is_zero(&self) -> bool {
        !self.passed && self.percent.get() == 0.0
    }
}

/// One learner's grade in one course run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Together with `course_id` the table's key.
    pub user_id: Uuid,
    /// The run's id, as the LMS has it.
    pub course_id: CourseId,
    /// The current grade.
    #[serde(flatten)]
    pub score: Score,
    /// True if an operator has set it, or an import says so: the LMS's grade never replaces it.
    #[serde(default)]
    pub set_by_admin: bool,
    /// The time at which a sweep first found that the LMS answers 0 while a certificate was in
    /// force; absent once there is another grade. The LMS also answers 0 if it has lost the
    /// grade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_since: Option<Timestamp>,
    /// Grows with every write. A conditional write requires the version that was read.
    pub version: u64,
    /// One entry for each write.
    #[serde(flatten)]
    pub history: History<GradeEntry>,
}

/// One write to a grade: its author, and the grade after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeEntry {
    /// The time at which the delivery or the command came, to the millisecond.
    pub at: Timestamp,
    /// Id of the change, new for each change. A repeated attempt at its write has the same id.
    pub change_id: Uuid,
    /// In JSON its fields stand beside the entry's own.
    #[serde(flatten)]
    pub by: Change,
    /// The grade after the write; its fields also stand beside the others.
    #[serde(flatten)]
    pub score: Score,
    /// True if an operator set it.
    pub set_by_admin: bool,
}

impl Grade {
    /// Returns the grade after a write. `before` is the grade that was read, if there is one.
    pub fn after(
        before: Option<&Self>,
        user_id: Uuid,
        course_id: &CourseId,
        entry: GradeEntry,
    ) -> Self {
        let mut history = before.map_or_else(History::default, |grade| grade.history.clone());
        let (score, set_by_admin) = (entry.score.clone(), entry.set_by_admin);
        history.push(entry);
        Self {
            user_id,
            course_id: course_id.clone(),
            score,
            set_by_admin,
            zero_since: None,
            version: before.map_or(0, |grade| grade.version) + 1,
            history,
        }
    }

    /// The grade after a sweep has found at `moment` that the LMS answers 0.
    #[must_use]
    pub fn found_zero(&self, moment: Timestamp) -> Self {
        Self {
            zero_since: Some(moment),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// True if the history contains the write `change`. This distinguishes our own write, whose
    /// answer was lost, from another writer's.
    pub fn holds(&self, change: Uuid) -> bool {
        self.history.iter().any(|entry| entry.change_id == change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_is_between_0_and_2() {
        for (number, percent) in [
            (0.0, 0.0),
            (-0.0, 0.0),
            (0.87, 0.87),
            (2.0, 2.0),
            (1e-300, 0.0),
        ] {
            let read = Percent::try_from(number).unwrap();
            assert_eq!(read.get().to_bits(), f64::to_bits(percent), "{number}");
        }
        for number in [-0.01, 2.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Percent::try_from(number), Err(PercentError), "{number}");
        }
        assert_eq!("0.5".parse(), Percent::try_from(0.5));
        assert_eq!("half".parse::<Percent>(), Err(PercentError));
    }

    #[test]
    fn a_letter_grade_is_any_text_of_up_to_255_characters() {
        let longest = "é".repeat(255);
        for text in [
            "A",
            "Distinction",
            "A (Very Good)",
            "優",
            " ",
            "B\u{7}",
            &longest,
        ] {
            let read = text.parse::<LetterGrade>();
            assert_eq!(read.as_ref().map(LetterGrade::as_str), Ok(text), "{text:?}");
        }
        let too_long = "é".repeat(256);
        for (text, error) in [
            ("", LetterGradeError::Empty),
            (too_long.as_str(), LetterGradeError::TooLong),
        ] {
            assert_eq!(text.parse::<LetterGrade>(), Err(error), "{text:?}");
        }
    }
}
