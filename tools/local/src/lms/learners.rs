//! Who has which grade in which course run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::faults::lock;

/// What a learner has achieved in a course run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradeRow {
    /// 1 is all of the course, and extra credit leads beyond. What is no
    /// number becomes `null`, as in a broken row of the LMS.
    pub percent: f64,
    /// Whether that is enough.
    pub passed: bool,
    /// `null` where there is none.
    pub letter_grade: Option<String>,
}

/// The rows of each course run, by username.
pub(super) type Rows = BTreeMap<String, BTreeMap<String, GradeRow>>;

/// The learners of a file, and those that tests set beside them.
#[derive(Debug, Default)]
pub(super) struct Learners {
    pub(super) file: Option<PathBuf>,
    pub(super) set: Mutex<Rows>,
}

/// The file cannot be read, or has a line that is no learner's.
#[derive(Debug, thiserror::Error)]
pub(super) enum LearnersError {
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: csv::Error },
    #[error("{}, line {line}: {what}", .path.display())]
    Line {
        path: PathBuf,
        line: u64,
        what: &'static str,
    },
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    username: String,
    course_id: String,
    percent: f64,
    passed: bool,
    letter_grade: Option<String>,
}

impl Learners {
    /// All rows as of now: a file is read anew each time, so that an edit
    /// shows in the next answer.
    pub(super) fn rows(&self) -> Result<Rows, LearnersError> {
        let mut rows = self.of_file()?;
        for (course, learners) in lock(&self.set).iter() {
            let run = rows.entry(course.clone()).or_default();
            run.extend(learners.clone());
        }
        Ok(rows)
    }

    fn of_file(&self) -> Result<Rows, LearnersError> {
        let mut rows = Rows::new();
        let Some(path) = &self.file else {
            return Ok(rows);
        };
        let unreadable = |source| LearnersError::Unreadable {
            path: path.clone(),
            source,
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(unreadable)?;
        let headers = reader.headers().map_err(unreadable)?.clone();
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let read: Line = record.deserialize(Some(&headers)).map_err(unreadable)?;
            let wrong = |what| LearnersError::Line {
                path: path.clone(),
                line: record.position().map_or(0, csv::Position::line),
                what,
            };
            if read.username.is_empty() {
                return Err(wrong("the username is empty"));
            }
            if !is_course_id(&read.course_id) {
                return Err(wrong("the course_id is none"));
            }
            if !read.percent.is_finite() {
                return Err(wrong("the percent is no number"));
            }
            let row = GradeRow {
                percent: read.percent,
                passed: read.passed,
                letter_grade: read.letter_grade,
            };
            let run = rows.entry(read.course_id).or_default();
            if run.insert(read.username, row).is_some() {
                return Err(wrong("this learner has a line in this run already"));
            }
        }
        Ok(rows)
    }
}

/// Whether the text is `course-v1:Org+Course+Run` or the legacy `Org/Course/Run`.
pub(super) fn is_course_id(text: &str) -> bool {
    let (parts, joint, also) = match text.strip_prefix("course-v1:") {
        Some(parts) => (parts, '+', ':'),
        None => (text, '/', '%'),
    };
    let sound = |c: char| c.is_alphanumeric() || "_-~.".contains(c) || c == also;
    let sound = |part: &str| !part.is_empty() && part.chars().all(sound);
    parts.split(joint).count() == 3 && parts.split(joint).all(sound)
}
