//! `coursehook enrollments import`

use std::cell::Cell;
use std::collections::BTreeSet;
use std::process::ExitCode;

use app::StoreError;
use app::importing::{Answers, EnrollmentRow, RECORDS_AT_ONCE, RecordImport, RowRefusedError};
use common::clock::SharedClock;
use domain::{CourseRole, Mode};
use store::enrollments::Enrollments;
use store::pending_events::PendingEvents;

use super::reading::Reader;
use super::records::{SeenRecords, about, describe, import_mode};
use super::warnings::Warning;
use super::writing::{self, Writer};
use crate::cli::ImportEnrollments;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, CsvRow, RowError};
use crate::seen::{Seen, content};
use crate::shell;

/// The separator of roles, whose names may have blanks in them.
const BETWEEN_ROLES: char = ';';

/// Separators and brackets of lists in other forms: `staff,instructor`, `["staff"]`,
/// `{staff}`. No role has one of them in its name.
const OF_OTHER_LISTS: [char; 9] = [',', '|', '[', ']', '{', '}', '(', ')', '"'];

pub async fn import(
    ImportEnrollments { import, force }: ImportEnrollments,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let (enrollments, dry_run) = (tables.enrollments()?, import.dry_run);
    let writer = EnrollmentWriter {
        import: RecordImport::new(users, runs, enrollments, context.import(), dry_run),
        pending_events: tables.pending_events()?,
        made_due: Cell::new(0),
        clock: context.clock(),
    };
    let reader = EnrollmentReader {
        force,
        seen: SeenRecords::default(),
        ids: Seen::default(),
    };
    writing::import(&import.file, import_mode(&import), reader, &writer, output).await
}

struct EnrollmentReader {
    /// Also accept unknown modes, and roles that look like lists.
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
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<EnrollmentRow, RowError> {
        let (email, course_id) = about(row)?;
        let mode: Mode = row.required("mode")?.parse().map_err(RowError::Mode)?;
        if !mode.is_known() {
            if !self.force {
                return Err(RowError::UnknownMode(mode));
            }
            warnings.push(Warning::UnknownMode);
        }
        let status = row.text("change_status")?.map(ChangeStatus::from);
        let active = active(row.flag("active")?, status.as_ref(), warnings)?;
        let enrollment = EnrollmentRow {
            email,
            course_id,
            mode,
            active,
            edx_enrolled: row.flag("edx_enrolled")?,
            roles: self.roles(row, warnings)?,
            change_status: status.map(|status| status.text),
            enrollment_id: row.uuid("enrollment_id")?,
        };
        let id = enrollment.enrollment_id.map(|id| id.to_string());
        if let Some(id) = &id
            && let Some(first) = self.ids.line_of(&[id])
        {
            return Err(RowError::SameEnrollmentId(first));
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
        self.seen.add(about, line, &contents)?;
        if let Some(id) = &id {
            self.ids.remember(&[id], line, &[]);
        }
        Ok(enrollment)
    }
}

impl EnrollmentReader {
    fn roles(
        &self,
        row: &CsvRow,
        warnings: &mut Vec<Warning>,
    ) -> Result<BTreeSet<CourseRole>, RowError> {
        let text = row.text("roles").map_err(|problem| match problem {
            RowError::NotText(_) => RowError::RolesNotText,
            other => other,
        })?;
        let mut roles = BTreeSet::new();
        for role in text.unwrap_or_default().split(BETWEEN_ROLES).map(str::trim) {
            if role.is_empty() {
                continue;
            }
            let role: CourseRole = role.parse().map_err(RowError::Role)?;
            let is_a_list = role.as_str().contains(OF_OTHER_LISTS);
            if is_a_list && !self.force {
                return Err(RowError::RoleList(role));
            }
            if !role.is_known() && !warnings.contains(&Warning::UnknownRole) {
                warnings.push(Warning::UnknownRole);
            }
            roles.insert(role);
        }
        Ok(roles)
    }
}

/// The status of another receiver, which says how an enrollment has changed.
struct ChangeStatus {
    text: String,
    /// True if the enrollment is active by the status; `None` if the status is unknown.
    active: Option<bool>,
}

/// Recognises the words of MITx Online (`ENROLL_CHANGE_STATUS_CHOICES`), in any case.
impl From<&str> for ChangeStatus {
    fn from(text: &str) -> Self {
        const KNOWN: [(&str, bool); 5] = [
            ("enrolled", true),
            ("unenrolled", false),
            ("deferred", false),
            ("transferred", false),
            ("refunded", false),
        ];
        let known = KNOWN
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text));
        match known {
            Some((word, active)) => Self {
                text: (*word).to_owned(),
                active: Some(*active),
            },
            None => Self {
                text: text.to_owned(),
                active: None,
            },
        }
    }
}

/// Returns whether an enrollment is active, by the columns `active` and `change_status`.
/// An enrollment that a learner has left earns no certificate, so a contradiction is an
/// error and not a guess.
fn active(
    active: Option<bool>,
    status: Option<&ChangeStatus>,
    warnings: &mut Vec<Warning>,
) -> Result<bool, RowError> {
    let Some(status) = status else {
        return Ok(active.unwrap_or(true));
    };
    match (active, status.active) {
        (Some(active), Some(by_status)) if active != by_status => {
            Err(RowError::StatusContradicts {
                status: status.text.clone(),
                active,
            })
        }
        (None, None) => Err(RowError::UnclearStatus(status.text.clone())),
        (Some(true), None) => {
            warnings.push(Warning::StatusIgnored);
            Ok(true)
        }
        (Some(active), _) | (None, Some(active)) => Ok(active),
    }
}

struct EnrollmentWriter {
    import: RecordImport<Enrollments>,
    pending_events: PendingEvents,
    /// The number of pending events that the rows so far have made due.
    made_due: Cell<u64>,
    clock: SharedClock,
}

impl Writer for EnrollmentWriter {
    type Parsed = EnrollmentRow;

    async fn write(&self, rows: &[EnrollmentRow]) -> Result<Answers, StoreError> {
        let now = self.clock.now();
        let imported = self.import.import(&self.pending_events, rows, now);
        let (answers, made_due) = imported.await?;
        self.made_due.update(|due| due + made_due);
        Ok(answers)
    }

    /// Each call has already made the events due that were blocked on its rows.
    async fn expect(&self) -> Result<u64, StoreError> {
        Ok(self.made_due.get())
    }

    fn describe(row: &EnrollmentRow, why: &RowRefusedError) -> String {
        describe(why, |differences| {
            let can_be_set = |column| matches!(column, "mode" | "active");
            if differences.iter().any(|d| can_be_set(d.column)) {
                Some(format!("To set mode and active: {}", set(row)))
            } else {
                None
            }
        })
    }
}

/// The command that sets the mode of a row, and whether it is active.
fn set(row: &EnrollmentRow) -> String {
    let mut options = vec!["--mode", row.mode.as_str()];
    if !row.active {
        options.push("--inactive");
    }
    if !row.mode.is_known() {
        options.push("--force");
    }
    shell::about("enrollments set", &row.email, &row.course_id, &options)
}
