//! A learner's grade in a course run.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{Change, CourseId, History};

/// How much of a course a learner has achieved: 1 is all of it. Extra credit
/// may lead beyond, up to 2.
///
/// Held to ten decimals: the LMS itself rounds to two, and a number that is
/// next to nothing is beyond what DynamoDB can hold.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(f64);

/// The number is no percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a number between 0 and 2")]
pub struct PercentError;

impl Percent {
    /// The number, between 0 and 2.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = PercentError;

    fn try_from(number: f64) -> Result<Self, PercentError> {
        const DECIMALS: f64 = 1e10;
        if (0.0..=2.0).contains(&number) {
            // Adding zero makes the negative zero a plain one.
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

/// A grade as people read it, `A`, `Pass` or `A (Very Good)` for instance: any
/// text of 1 to 255 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LetterGrade(String);

/// Why a text is no letter grade.
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
    /// The longest one in characters: the column of the LMS, which takes any text.
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

/// What a grade says, whoever gave it: the LMS, an operator, or an import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Of the whole course.
    pub percent: Percent,
    /// Whether that is enough; where the line is drawn is the LMS's affair.
    pub passed: bool,
    /// Absent where the LMS has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub letter_grade: Option<LetterGrade>,
}

impl Score {
    /// Whether it earns a certificate: a grade of 0 never does, whatever is said of it.
    pub fn is_pass(&self) -> bool {
        self.passed && self.percent.get() > 0.0
    }

    /// Whether it is 0, and no pass.
    pub fn is_zero(&self) -> bool {
        !self.passed && self.percent.get() == 0.0
    }
}

/// One learner's grade in one course run.
#[derive(Debug, Clone, PartialEq)]
pub struct Grade {
    /// With `course_id` the table's key.
    pub user_id: Uuid,
    /// The run's id, as the LMS has it.
    pub course_id: CourseId,
    /// The grade in force.
    pub score: Score,
    /// An operator has set it, or an import says so, and the LMS's never replaces it.
    pub set_by_admin: bool,
    /// When a sweep first found that the LMS answers 0, while a certificate was
    /// in force; absent once there is another grade. The LMS answers 0 as well
    /// where it has lost the grade.
    pub zero_since: Option<Timestamp>,
    /// Grows with every write; a change rests on the version that was read.
    pub version: u64,
    /// One entry for each write.
    pub history: History<GradeEntry>,
}

/// One write to a grade: by whom, and the grade after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeEntry {
    /// When the delivery or the command came, to the millisecond.
    pub at: Timestamp,
    /// New for each change; a second attempt at its write bears it again.
    pub change_id: Uuid,
    /// In JSON its fields stand beside the entry's own.
    #[serde(flatten)]
    pub by: Change,
    /// The grade that the write made it; its fields stand beside the others, too.
    #[serde(flatten)]
    pub score: Score,
    /// Whether an operator set it.
    pub set_by_admin: bool,
}

impl Grade {
    /// The grade after a write, where `before` is the one that was read.
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

    /// The grade once a sweep has found at `moment` that the LMS answers 0.
    #[must_use]
    pub fn found_zero(&self, moment: Timestamp) -> Self {
        Self {
            zero_since: Some(moment),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// Whether the write named `change` is the one that made the grade what it is.
    pub fn is_made_by(&self, change: Uuid) -> bool {
        self.history
            .last()
            .is_some_and(|entry| entry.change_id == change)
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
