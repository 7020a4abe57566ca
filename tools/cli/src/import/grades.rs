//! `coursehook grades import`

use std::process::ExitCode;

use shared::adapters::store::grades::Grades;
use shared::clock::SharedClock;
use shared::domain::LetterGrade;
use shared::use_cases::StoreError;
use shared::use_cases::importing::{Answers, GradeRow, RECORDS_AT_ONCE, RecordImport, RowRefused};

use super::records::{SeenRecords, about, manner, told};
use super::{Reader, Warning, Writer};
use crate::advice;
use crate::cli::ImportRecords;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, Row, RowProblem};
use crate::seen::content;
use crate::stack::Stack;

pub async fn import(
    import: ImportRecords,
    stack: &Stack,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = stack.tables().await;
    let (users, runs, grades) = (tables.users()?, tables.course_runs()?, tables.grades()?);
    let writer = GradeWriter {
        import: RecordImport::new(users, runs, grades, stack.import(), import.dry_run),
        clock: stack.clock(),
    };
    let (reader, manner) = (GradeReader::default(), manner(&import));
    super::import(&import.file, manner, reader, &writer, output).await
}

#[derive(Default)]
struct GradeReader(SeenRecords<4>);

impl Reader for GradeReader {
    type Parsed = GradeRow;
    const COLUMNS: Columns = Columns {
        names: &[
            "email",
            "course_id",
            "percent",
            "passed",
            "letter_grade",
            "set_by_admin",
        ],
        required: &["email", "course_id", "percent", "passed"],
    };
    const AT_ONCE: usize = RECORDS_AT_ONCE;

    fn read(&mut self, row: &Row, line: u64, _: &mut Vec<Warning>) -> Result<GradeRow, RowProblem> {
        let (email, course_id) = about(row)?;
        let letter_grade = row.text("letter_grade")?.map(str::parse).transpose();
        let grade = GradeRow {
            email,
            course_id,
            percent: row.percent("percent")?,
            passed: row.flag("passed")?.ok_or(RowProblem::Missing("passed"))?,
            letter_grade: letter_grade?,
            set_by_admin: row.flag("set_by_admin")?,
        };
        let contents = [
            content("percent", &grade.percent.get().to_bits()),
            content("passed", &grade.passed),
            content(
                "letter_grade",
                &grade.letter_grade.as_ref().map(LetterGrade::as_str),
            ),
            content("set_by_admin", &grade.set_by_admin),
        ];
        let about = (&grade.email, &grade.course_id);
        self.0.meet(about, line, &contents)?;
        Ok(grade)
    }
}

struct GradeWriter {
    import: RecordImport<Grades>,
    clock: SharedClock,
}

impl Writer for GradeWriter {
    type Parsed = GradeRow;

    async fn write(&self, rows: &[GradeRow]) -> Result<Answers, StoreError> {
        self.import.import(rows, self.clock.now()).await
    }

    /// No event waits for a grade of ours: the LMS's is asked for.
    async fn expect(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn told(row: &GradeRow, why: &RowRefused) -> String {
        told(why, |differences| {
            let by_whom = |column| column == "set_by_admin" && row.set_by_admin == Some(false);
            Some(if differences.iter().all(|d| by_whom(d.column)) {
                let release = advice::release(&row.email, &row.course_id);
                format!("To hand it back to the LMS: {release}")
            } else {
                format!("To set it: {}", override_grade(row))
            })
        })
    }
}

/// The command that sets the grade of a row.
fn override_grade(row: &GradeRow) -> String {
    let percent = row.percent.get().to_string();
    let letter = row.letter_grade.as_ref().map_or("L", LetterGrade::as_str);
    let mut options = vec!["--percent", &percent, "--letter", letter];
    options.extend(row.passed.then_some("--passed"));
    advice::about("grades override", &row.email, &row.course_id, &options)
}
