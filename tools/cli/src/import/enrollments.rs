//! `coursehook enrollments import`

use std::cell::Cell;
use std::collections::BTreeSet;
use std::process::ExitCode;

use shared::adapters::store::enrollments::Enrollments;
use shared::adapters::store::kept_events::KeptEvents;
use shared::clock::SharedClock;
use shared::domain::CourseRole;
use shared::use_cases::StoreError;
use shared::use_cases::importing::{
    Answers, EnrollmentRow, RECORDS_AT_ONCE, RecordImport, RowRefused,
};

use super::records::{SeenRecords, about, manner, told};
use super::{Reader, Warning, Writer};
use crate::advice;
use crate::cli::ImportEnrollments;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, Row, RowProblem};
use crate::seen::{Seen, content};
use crate::stack::Stack;

/// Between two roles, whose names may have blanks in them.
const BETWEEN_ROLES: char = ';';

pub async fn import(
    ImportEnrollments { import, force }: ImportEnrollments,
    stack: &Stack,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = stack.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let (enrollments, dry_run) = (tables.enrollments()?, import.dry_run);
    let writer = EnrollmentWriter {
        import: RecordImport::new(users, runs, enrollments, stack.import(), dry_run),
        kept_events: tables.kept_events()?,
        made_due: Cell::new(0),
        clock: stack.clock(),
    };
    let reader = EnrollmentReader {
        force,
        seen: SeenRecords::default(),
        ids: Seen::default(),
    };
    super::import(&import.file, manner(&import), reader, &writer, output).await
}

struct EnrollmentReader {
    /// Takes modes that are not known, too.
    force: bool,
    seen: SeenRecords<6>,
    ids: Seen,
}

impl Reader for EnrollmentReader {
    type Parsed = EnrollmentRow;
    const COLUMNS: Columns = Columns {
        names: &[
            "email",
            "course_id",
            "mode",
            "active",
            "edx_enrolled",
            "roles",
            "change_status",
            "enrollment_id",
        ],
        required: &["email", "course_id", "mode"],
    };
    const AT_ONCE: usize = RECORDS_AT_ONCE;

    fn read(
        &mut self,
        row: &Row,
        line: u64,
        _: &mut Vec<Warning>,
    ) -> Result<EnrollmentRow, RowProblem> {
        let (email, course_id) = about(row)?;
        let mode = row.required("mode")?.parse().map_err(RowProblem::Mode)?;
        let enrollment = EnrollmentRow {
            email,
            course_id,
            mode,
            active: row.flag("active")?.unwrap_or(true),
            edx_enrolled: row.flag("edx_enrolled")?,
            roles: roles(row.text("roles")?.unwrap_or_default())?,
            change_status: row.text("change_status")?.map(str::to_owned),
            enrollment_id: row.uuid("enrollment_id")?,
        };
        if !self.force && !enrollment.mode.is_known() {
            return Err(RowProblem::UnknownMode(enrollment.mode));
        }
        let id = enrollment.enrollment_id.map(|id| id.to_string());
        if let Some(id) = &id
            && let Some(first) = self.ids.line_of(&[id])
        {
            return Err(RowProblem::SameEnrollmentId(first));
        }
        let about = (&enrollment.email, &enrollment.course_id);
        let contents = [
            content("mode", &enrollment.mode),
            content("active", &enrollment.active),
            content("edx_enrolled", &enrollment.edx_enrolled),
            content("roles", &enrollment.roles),
            content("change_status", &enrollment.change_status),
            content("enrollment_id", &enrollment.enrollment_id),
        ];
        self.seen.meet(about, line, &contents)?;
        if let Some(id) = &id {
            self.ids.remember(&[id], line, &[]);
        }
        Ok(enrollment)
    }
}

fn roles(text: &str) -> Result<BTreeSet<CourseRole>, RowProblem> {
    let roles = text.split(BETWEEN_ROLES).map(str::trim);
    let roles = roles.filter(|role| !role.is_empty()).map(str::parse);
    roles.collect::<Result<_, _>>().map_err(RowProblem::Role)
}

struct EnrollmentWriter {
    import: RecordImport<Enrollments>,
    kept_events: KeptEvents,
    /// The kept events that the rows so far have made due.
    made_due: Cell<u64>,
    clock: SharedClock,
}

impl Writer for EnrollmentWriter {
    type Parsed = EnrollmentRow;

    async fn write(&self, rows: &[EnrollmentRow]) -> Result<Answers, StoreError> {
        let now = self.clock.now();
        let imported = self.import.import(&self.kept_events, rows, now);
        let (answers, made_due) = imported.await?;
        self.made_due.update(|due| due + made_due);
        Ok(answers)
    }

    /// Each call has seen to what waited for its rows.
    async fn expect(&self) -> Result<u64, StoreError> {
        Ok(self.made_due.get())
    }

    fn told(row: &EnrollmentRow, why: &RowRefused) -> String {
        told(why, |differences| {
            let can_be_set = |column| matches!(column, "mode" | "active");
            let can_be_set = differences.iter().any(|d| can_be_set(d.column));
            can_be_set.then(|| format!("To set mode and active: {}", set(row)))
        })
    }
}

/// The command that sets the mode of a row, and whether it is active.
fn set(row: &EnrollmentRow) -> String {
    let mut options = vec!["--mode", row.mode.as_str()];
    options.extend((!row.active).then_some("--inactive"));
    options.extend((!row.mode.is_known()).then_some("--force"));
    advice::about("enrollments set", &row.email, &row.course_id, &options)
}
