//! Import of certificates that another receiver had issued. They keep their ids.

use std::collections::BTreeSet;

use common::random;
use domain::{Certificate, CertificateEntry, CertificateState, CourseId, Email, History};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use store::StoreError;
use store::certificates::Certificates;
use store::records::Written;
use uuid::Uuid;

use super::records::{Decision, Owner, RecordKey, RecordTable};
use super::{Answers, Difference, RecordImport, RowRefusedError};

/// The number of certificate ids of one call that are looked up at the same time.
const IDS_AT_ONCE: usize = 8;

/// A certificate as a file contains it.
#[derive(Clone)]
pub struct CertificateRow {
    /// The learner's address; there must be a user with it.
    pub email: Email,
    /// The run; the portal must have it.
    pub course_id: CourseId,
    /// The id, which is kept because people show it.
    pub certificate_id: Uuid,
    /// The time at which the other receiver issued it.
    pub issued_at: Timestamp,
    /// The state. A revoked certificate counts as having been in force before.
    pub state: CertificateState,
    /// The learner's name. If it is absent, it is the user's current name, and is not compared.
    pub learner_name: Option<String>,
    /// The run's title. If it is absent, it is the run's current title, and is not compared.
    pub run_title: Option<String>,
}

impl RecordTable for Certificates {
    type Row = CertificateRow;
    type Record = Certificate;
    const WHAT: &'static str = "a certificate";

    fn about(row: &CertificateRow) -> (&Email, &CourseId) {
        (&row.email, &row.course_id)
    }

    fn record(row: &CertificateRow, owner: &Owner<'_>) -> Certificate {
        let entry = CertificateEntry {
            at: owner.at,
            change_id: random::id(),
            by: owner.by.clone(),
            state: row.state,
            renamed: None,
        };
        let learner_name = row.learner_name.clone();
        let run_title = row.run_title.clone();
        Certificate {
            certificate_id: row.certificate_id,
            user_id: owner.user.user_id,
            course_id: row.course_id.clone(),
            state: row.state,
            issued_at: row.issued_at,
            learner_name: learner_name.or_else(|| owner.user.name.clone()),
            run_title: run_title.or_else(|| Some(owner.run.title.clone())),
            version: 1,
            history: History::new(entry),
        }
    }

    fn differences(row: &CertificateRow, there: &Certificate) -> Vec<Difference> {
        let (name, title) = (row.learner_name.as_ref(), row.run_title.as_ref());
        let id = Some(&there.certificate_id);
        let (state, issued_at) = (there.state.as_str(), Some(&there.issued_at));
        [
            Difference::between("certificate_id", id, &row.certificate_id),
            Difference::between("issued_at", issued_at, &row.issued_at),
            Difference::between("state", Some(&state), &row.state.as_str()),
            name.and_then(|name| {
                Difference::between("learner_name", there.learner_name.as_ref(), name)
            }),
            title.and_then(|title| {
                Difference::between("run_title", there.run_title.as_ref(), title)
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn key(certificate: &Certificate) -> RecordKey {
        (certificate.user_id, certificate.course_id.clone())
    }

    fn made_by(certificate: &Certificate) -> Option<Uuid> {
        certificate.history.first().map(|entry| entry.change_id)
    }

    async fn get_many(&self, keys: &[RecordKey]) -> Result<Vec<Certificate>, StoreError> {
        Self::get_many(self, keys).await
    }

    async fn add(&self, certificates: &[Certificate]) -> Result<Written, StoreError> {
        Self::add(self, certificates).await
    }
}

impl RecordImport<Certificates> {
    /// Imports some certificates (at most [`super::RECORDS_AT_ONCE`]), no two with the same id.
    /// The answers are in the order of the rows. Each new certificate costs one more query, for
    /// its id.
    pub async fn import(
        &self,
        rows: &[CertificateRow],
        at: Timestamp,
    ) -> Result<Answers, StoreError> {
        let decisions = self.decide(rows, at).await?;
        let decisions = stream::iter(decisions).map(|decision| self.unless_taken(decision));
        let decisions = decisions.buffered(IDS_AT_ONCE).try_collect().await?;
        self.carry_out(rows, decisions).await
    }

    /// Returns the decision, unless another learner or run has the certificate's id. An index
    /// finds the candidates, and the table decides.
    async fn unless_taken(
        &self,
        decision: Decision<Certificate>,
    ) -> Result<Decision<Certificate>, StoreError> {
        let Decision::Add(addition) = &decision else {
            return Ok(decision);
        };
        let id = addition.record.certificate_id;
        let holders = BTreeSet::from_iter(self.table.holders(id).await?);
        if holders.is_empty() {
            return Ok(decision);
        }
        let holders = self.table.get_many(&Vec::from_iter(holders)).await?;
        Ok(
            if holders.iter().any(|holder| holder.certificate_id == id) {
                Decision::Settled(Err(RowRefusedError::CertificateIdTaken))
            } else {
                decision
            },
        )
    }
}
