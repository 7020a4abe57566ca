//! `coursehook certificates import`

use std::process::ExitCode;

use app::StoreError;
use app::importing::{
    Answers, CertificateRow, Difference, RECORDS_AT_ONCE, RecordImport, RowRefusedError,
};
use common::clock::SharedClock;
use domain::{CertificateState, given};
use jiff::Timestamp;
use store::certificates::Certificates;

use super::doubts;
use super::reading::Reader;
use super::records::{SeenRecords, about, describe, import_mode};
use super::warnings::Warning;
use super::writing::{self, Writer};
use crate::cli::ImportRecords;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::{Columns, CsvRow, RowError};
use crate::seen::{Seen, content};
use crate::shell;

pub async fn import(
    import: ImportRecords,
    context: &Context,
    output: Output,
) -> Result<ExitCode, Failure> {
    let tables = context.tables().await;
    let (users, runs) = (tables.users()?, tables.course_runs()?);
    let (certificates, dry_run) = (tables.certificates()?, import.dry_run);
    let writer = CertificateWriter {
        import: RecordImport::new(users, runs, certificates, context.import(), dry_run),
        clock: context.clock(),
    };
    let reader = CertificateReader {
        seen: SeenRecords::default(),
        ids: Seen::default(),
        now: context.clock().now(),
    };
    writing::import(&import.file, import_mode(&import), reader, &writer, output).await
}

struct CertificateReader {
    seen: SeenRecords<5>,
    ids: Seen,
    now: Timestamp,
}

impl Reader for CertificateReader {
    type Parsed = CertificateRow;
    const COLUMNS: Columns = Columns {
        names: &[
            "email",
            "course_id",
            "certificate_id",
            "issued_at",
            "state",
            "is_revoked",
            "learner_name",
            "run_title",
        ],
        required: &["email", "course_id", "certificate_id", "issued_at"],
    };
    const AT_ONCE: usize = RECORDS_AT_ONCE;

    fn read(
        &mut self,
        row: &CsvRow,
        line: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<CertificateRow, RowError> {
        let (email, course_id) = about(row)?;
        let certificate_id = row.uuid("certificate_id")?;
        let issued_at = row.moment("issued_at")?;
        let certificate = CertificateRow {
            email,
            course_id,
            certificate_id: certificate_id.ok_or(RowError::Missing("certificate_id"))?,
            issued_at: issued_at.ok_or(RowError::Missing("issued_at"))?,
            state: state(row)?,
            learner_name: row.given("learner_name", given::name)?,
            run_title: row.given("run_title", given::name)?,
        };
        if certificate.issued_at > self.now {
            return Err(RowError::InTheFuture("issued_at"));
        }
        let id = certificate.certificate_id.to_string();
        if let Some(first) = self.ids.line_of(&[&id]) {
            return Err(RowError::SameCertificateId(first));
        }
        let about = (&certificate.email, &certificate.course_id);
        let contents = [
            content("certificate_id", &certificate.certificate_id),
            content("issued_at", &certificate.issued_at),
            content("state", &certificate.state.as_str()),
            content("learner_name", &certificate.learner_name),
            content("run_title", &certificate.run_title),
        ];
        doubts::of_name("learner_name", certificate.learner_name.as_ref(), warnings);
        doubts::of_name("run_title", certificate.run_title.as_ref(), warnings);
        self.seen.add(about, line, &contents)?;
        self.ids.remember(&[&id], line, &[]);
        Ok(certificate)
    }
}

/// Reads the state, which another receiver may have as a flag.
fn state(row: &CsvRow) -> Result<CertificateState, RowError> {
    use CertificateState::{InForce, Revoked};
    let state: Option<CertificateState> = row.text("state")?.map(str::parse).transpose()?;
    match (state, row.flag("is_revoked")?) {
        (None, Some(true)) => Ok(Revoked),
        (Some(state), Some(is_revoked)) if is_revoked != (state == Revoked) => {
            Err(RowError::Contradiction("is_revoked", "state"))
        }
        (state, _) => Ok(state.unwrap_or(InForce)),
    }
}

struct CertificateWriter {
    import: RecordImport<Certificates>,
    clock: SharedClock,
}

impl Writer for CertificateWriter {
    type Parsed = CertificateRow;

    async fn write(&self, rows: &[CertificateRow]) -> Result<Answers, StoreError> {
        self.import.import(rows, self.clock.now()).await
    }

    /// An event that needs a certificate finds it at its next attempt.
    async fn expect(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn describe(row: &CertificateRow, why: &RowRefusedError) -> String {
        describe(why, |differences| fix(row, differences))
    }
}

/// Returns how to make a certificate match the row, if a command can.
fn fix(row: &CertificateRow, differences: &[Difference]) -> Option<String> {
    use CertificateState::{InForce, Revoked, Withdrawn};
    let column = |column| differences.iter().find(|d| d.column == column);
    if column("certificate_id").is_some() {
        let message = "It was issued here before this import, and keeps its id";
        return Some(message.to_owned());
    }
    let here: CertificateState = column("state")?.here.parse().ok()?;
    let (email, course_id) = (&row.email, &row.course_id);
    match (here, row.state) {
        (_, Revoked) => Some(format!("To revoke it: {}", shell::revoke(email, course_id))),
        (Revoked, _) => {
            let restore = shell::restore(email, course_id);
            Some(format!("To restore it: {restore}"))
        }
        (Withdrawn, InForce) => {
            let pass = shell::pass(email, course_id);
            Some(format!("A pass restores it: {pass}"))
        }
        (InForce | Withdrawn, _) => None,
    }
}
