//! `coursehook grades import`

use std::io::Seek;
use std::path::Path;
use std::process::ExitCode;

use app::StoreError;
use app::importing::{Answers, GradeRow, RECORDS_AT_ONCE, RecordImport, RowRefusedError};
use common::clock::SharedClock;
use domain::LetterGrade;
use store::grades::Grades;

use super::reading::{Input, Reader, open_for_several_passes};
use super::records::{SeenRecords, about, describe, import_mode};
use super::warnings::Warning;
use super::writing::{self, Writer};
use crate::cli::ImportRecords;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, CsvRow, FileError, NamedFileError, RowError, Rows};
use crate::seen::content;
use crate::shell;

pub async fn import(
    import: ImportRecords,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, runs, grades) = (tables.users()?, tables.course_runs()?, tables.grades()?);
    let writer = GradeWriter {
        import: RecordImport::new(users, runs, grades, context.import(), import.dry_run),
        clock: context.clock(),
    };
    let file = &import.file.file;
    let input = open_on_our_scale(file).map_err(|problem| NamedFileError::new(file, problem))?;
    let (reader, mode) = (GradeReader::default(), import_mode(&import));
    writing::import_input(input, &import.file, mode, reader, &writer, output).await
}

/// Opens a file after a check that none of its grades is out of 100. On that scale a 1
/// would be read as the whole course, and a 2 as twice that.
fn open_on_our_scale(path: &Path) -> Result<Input, FileError> {
    let mut file = open_for_several_passes(path)?;
    // An empty file is reported when it is imported.
    let mut rows = Rows::new(Box::new(file.try_clone()?), &GradeReader::COLUMNS, true)?;
    let (mut first, mut more) = (None, 0);
    // If the file breaks off, nothing after that is imported.
    while let Ok(Some(entry)) = rows.next() {
        let percent = entry.row.ok().and_then(|row| row.other_scale("percent"));
        match percent {
            Some(percent) if first.is_none() => first = Some((entry.line, percent)),
            Some(_) => more += 1,
            None => {}
        }
    }
    if let Some((line, percent)) = first {
        return Err(FileError::OtherScale {
            line,
            percent,
            more,
        });
    }
    file.rewind()?;
    Ok(Input::try_from(file)?)
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

    fn read(
        &mut self,
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<GradeRow, RowError> {
        let (email, course_id) = about(row)?;
        let letter_grade = row.text("letter_grade")?.map(str::parse).transpose();
        let grade = GradeRow {
            email,
            course_id,
            percent: row.percent("percent")?,
            passed: row.flag("passed")?.ok_or(RowError::Missing("passed"))?,
            letter_grade: letter_grade?,
            set_by_admin: row.flag("set_by_admin")?,
        };
        if grade.passed && grade.percent.get() == 0.0 {
            return Err(RowError::PassedAtZero);
        }
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
        self.0.add(about, line, &contents)?;
        if grade.percent.get() > 1.0 {
            warnings.push(Warning::PercentAboveOne);
        }
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

    /// No event is blocked on a stored grade: the LMS's grade is asked for.
    async fn expect(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn describe(row: &GradeRow, why: &RowRefusedError) -> String {
        describe(why, |differences| {
            let is_source = |column| column == "set_by_admin" && row.set_by_admin == Some(false);
            Some(if differences.iter().all(|d| is_source(d.column)) {
                let release = shell::release(&row.email, &row.course_id);
                format!("To hand it back to the LMS: {release}")
            } else {
                format!("To set it: {}", override_grade(row))
            })
        })
    }
}

/// Returns the command that sets the grade of a row.
fn override_grade(row: &GradeRow) -> String {
    let percent = row.percent.get().to_string();
    let letter = row.letter_grade.as_ref().map_or("L", LetterGrade::as_str);
    let mut options = vec!["--percent", &percent, "--letter", letter];
    if row.passed {
        options.push("--passed");
    }
    shell::about("grades override", &row.email, &row.course_id, &options)
}
