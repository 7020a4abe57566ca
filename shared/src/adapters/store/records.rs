//! What one learner has in one course run (enrollment, grade, certificate),
//! read in one call and written in one transaction.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use uuid::Uuid;

use super::expression::{flag, names, text, values};
pub use super::transaction::Written;
use super::{
    StoreError, batch, certificates, enrollments, grades, incomplete, key_of, transaction,
};
use crate::domain::{Certificate, CertificateEntry, CourseId, Enrollment, Grade};

/// Reads and writes enrollment, grade and certificate together.
#[derive(Debug, Clone)]
pub struct Records {
    client: Client,
    enrollments: String,
    grades: String,
    certificates: String,
}

/// What there is of one learner in one run.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Active or not.
    pub enrollment: Option<Enrollment>,
    /// The LMS's, or an operator's.
    pub grade: Option<Grade>,
    /// In whatever state.
    pub certificate: Option<Certificate>,
}

/// What is to become of a grade.
#[derive(Debug, Clone)]
pub enum GradeWrite<'a> {
    /// It is written, if it still is as it was read.
    Put {
        /// As it was read.
        before: Option<&'a Grade>,
        /// As it is to be.
        after: Grade,
    },
    /// It is not written, and must still be as it was read.
    Same(&'a Grade),
}

/// What is to become of a certificate, which rests on an enrollment.
#[derive(Debug, Clone)]
pub enum CertificateWrite<'a> {
    /// There must be none yet.
    Issue(Certificate),
    /// It must still be in the state in which it was read.
    Change {
        /// As it was read.
        before: &'a Certificate,
        /// The entry, which has its new state.
        entry: CertificateEntry,
    },
}

impl Records {
    /// Takes the names of the three tables. Makes no call.
    pub fn new(client: Client, enrollments: String, grades: String, certificates: String) -> Self {
        Self {
            client,
            enrollments,
            grades,
            certificates,
        }
    }

    /// One BatchGetItem.
    pub async fn find(&self, user_id: Uuid, course_id: &CourseId) -> Result<Record, StoreError> {
        let tables = [&self.enrollments, &self.grades, &self.certificates];
        let keys = tables.map(|table| (table.as_str(), vec![key_of(user_id, course_id)]));
        let mut items = batch::get(&self.client, keys).await?;
        let mut one = |table: &String| items.remove(table).and_then(|mut items| items.pop());
        Ok(Record {
            enrollment: one(&self.enrollments)
                .map(|item| enrollments::enrollment(&self.enrollments, item))
                .transpose()?,
            grade: one(&self.grades)
                .map(|item| grades::grade(&self.grades, item))
                .transpose()?,
            certificate: one(&self.certificates)
                .map(|item| certificates::certificate(&self.certificates, item))
                .transpose()?,
        })
    }

    /// One TransactWriteItems of one item: the grade alone.
    pub async fn write_grade(&self, grade: &GradeWrite<'_>) -> Result<Written, StoreError> {
        transaction::write(&self.client, vec![self.grade_item(grade)?]).await
    }

    /// One TransactWriteItems: the grade, the certificate that it earns, and a
    /// check that the enrollment is active and in the mode that was read.
    pub async fn write(
        &self,
        enrollment: &Enrollment,
        grade: &GradeWrite<'_>,
        certificate: &CertificateWrite<'_>,
    ) -> Result<Written, StoreError> {
        let certificate = match certificate {
            CertificateWrite::Issue(certificate) => {
                certificates::issue(&self.certificates, certificate)?
            }
            CertificateWrite::Change { before, entry } => {
                certificates::change(&self.certificates, before, entry)?
            }
        };
        let items = vec![
            self.enrollment_check(enrollment)?,
            self.grade_item(grade)?,
            certificate,
        ];
        transaction::write(&self.client, items).await
    }

    fn grade_item(&self, grade: &GradeWrite<'_>) -> Result<TransactWriteItem, StoreError> {
        match grade {
            GradeWrite::Put { before, after } => grades::put(&self.grades, *before, after),
            GradeWrite::Same(grade) => grades::check(&self.grades, grade),
        }
    }

    fn enrollment_check(&self, enrollment: &Enrollment) -> Result<TransactWriteItem, StoreError> {
        const STANDS: &str = "#active = :true AND #mode = :mode";
        let all = [
            ("true", flag(true)),
            ("mode", text(enrollment.mode.as_str())),
        ];
        let check = ConditionCheck::builder()
            .table_name(&self.enrollments)
            .set_key(Some(key_of(enrollment.user_id, &enrollment.course_id)))
            .condition_expression(STANDS)
            .set_expression_attribute_names(Some(names(&[STANDS])))
            .set_expression_attribute_values(Some(values(&[STANDS], all.into())))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}
