//! Import of grades from another receiver.

use common::random;
use domain::{CourseId, Email, Grade, GradeEntry, LetterGrade, Percent, Score};
use jiff::Timestamp;
use store::StoreError;
use store::grades::Grades;
use store::records::Written;
use uuid::Uuid;

use super::records::{Owner, RecordKey, RecordTable};
use super::{Answers, Difference, RecordImport};

/// A grade as a file contains it.
#[derive(Clone)]
pub struct GradeRow {
    /// The learner's address; there must be a user with it.
    pub email: Email,
    /// The run; the portal must have it.
    pub course_id: CourseId,
    /// The share of the whole course.
    pub percent: Percent,
    /// True if that is enough for a pass.
    pub passed: bool,
    /// The letter grade. If it is absent, it is not compared.
    pub letter_grade: Option<LetterGrade>,
    /// True if an operator had set it. If it is absent, it counts as false and is not compared.
    pub set_by_admin: Option<bool>,
}

impl RecordTable for Grades {
    type Row = GradeRow;
    type Record = Grade;
    const WHAT: &'static str = "a grade";

    fn about(row: &GradeRow) -> (&Email, &CourseId) {
        (&row.email, &row.course_id)
    }

    fn record(row: &GradeRow, owner: &Owner<'_>) -> Grade {
        let entry = GradeEntry {
            at: owner.at,
            change_id: random::id(),
            by: owner.by.clone(),
            score: Score {
                percent: row.percent,
                passed: row.passed,
                letter_grade: row.letter_grade.clone(),
            },
            set_by_admin: row.set_by_admin.unwrap_or_default(),
        };
        Grade::after(None, owner.user.user_id, &row.course_id, entry)
    }

    fn differences(row: &GradeRow, there: &Grade) -> Vec<Difference> {
        let Score {
            percent,
            passed,
            letter_grade,
        } = &there.score;
        let letter = row.letter_grade.as_ref();
        let by_admin = row.set_by_admin.as_ref();
        [
            Difference::between("percent", Some(&percent.get()), &row.percent.get()),
            Difference::between("passed", Some(passed), &row.passed),
            letter.and_then(|letter| {
                let here = letter_grade.as_ref().map(LetterGrade::as_str);
                Difference::between("letter_grade", here.as_ref(), &letter.as_str())
            }),
            by_admin.and_then(|by_admin| {
                Difference::between("set_by_admin", Some(&there.set_by_admin), by_admin)
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn key(grade: &Grade) -> RecordKey {
        (grade.user_id, grade.course_id.clone())
    }

    fn made_by(grade: &Grade) -> Option<Uuid> {
        grade.history.first().map(|entry| entry.change_id)
    }

    async fn get_many(&self, keys: &[RecordKey]) -> Result<Vec<Grade>, StoreError> {
        Self::get_many(self, keys).await
    }

    async fn add(&self, grades: &[Grade]) -> Result<Written, StoreError> {
        Self::add(self, grades).await
    }
}

impl RecordImport<Grades> {
    /// Imports some grades (at most [`super::RECORDS_AT_ONCE`]). The answers are in the order
    /// of the rows.
    pub async fn import(&self, rows: &[GradeRow], at: Timestamp) -> Result<Answers, StoreError> {
        let decisions = self.decide(rows, at).await?;
        self.carry_out(rows, decisions).await
    }
}
