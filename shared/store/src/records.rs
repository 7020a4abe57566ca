//! A learner's records in one course run (enrollment, grade, certificate), read in one
//! call and written in one transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use uuid::Uuid;

use super::expression::{flag, names, text, values};
pub use super::transaction::Written;
use domain::{Certificate, CourseId, Enrollment, Grade};

use super::{
    Item, StoreError, batch, certificates, grades, incomplete, key_of, read, transaction, user_of,
};

/// Reads and writes enrollment, grade and certificate together.
#[derive(Debug, Clone)]
pub struct Records {
    client: Client,
    enrollments: String,
    grades: String,
    certificates: String,
}

/// The records of one learner in one run.
#[derive(Debug, Clone, Default)]
pub struct LearnerRecords {
    /// The enrollment, active or not.
    pub enrollment: Option<Enrollment>,
    /// The grade, set by the LMS or by an operator.
    pub grade: Option<Grade>,
    /// The certificate, in any state.
    pub certificate: Option<Certificate>,
}

/// The write of a grade within a transaction.
#[derive(Debug, Clone)]
pub enum GradeWrite<'a> {
    /// Writes the grade if it is unchanged since it was read.
    Put {
        /// The grade as it was read.
        before: Option<&'a Grade>,
        /// The grade to write.
        after: Grade,
    },
    /// Does not write the grade, but requires that it is unchanged since it was read.
    Same(&'a Grade),
}

/// The write of a certificate within a transaction.
#[derive(Debug, Clone)]
pub enum CertificateWrite<'a> {
    /// Writes a new certificate. There must be none yet.
    Issue(Certificate),
    /// Changes a certificate. It must be unchanged since it was read.
    Change {
        /// The certificate as it was read.
        before: &'a Certificate,
        /// The certificate to write.
        after: Certificate,
    },
}

impl Records {
    /// Returns the records in the tables of these names. Makes no call.
    pub fn new(client: Client, enrollments: String, grades: String, certificates: String) -> Self {
        Self {
            client,
            enrollments,
            grades,
            certificates,
        }
    }

    /// Reads the records of one learner in a run with one BatchGetItem.
    pub async fn find(
        &self,
        user_id: Uuid,
        course_id: &CourseId,
    ) -> Result<LearnerRecords, StoreError> {
        let mut found = self.find_many(course_id, &[user_id]).await?;
        found
            .remove(&user_id)
            .unwrap_or_else(|| Ok(LearnerRecords::default()))
    }

    /// Reads the records of each of these learners in a run. A malformed item is an error
    /// for its learner. The result has an entry for every learner, including those
    /// without any record.
    ///
    /// One BatchGetItem for every 33 learners, all of them concurrent.
    pub async fn find_many(
        &self,
        course_id: &CourseId,
        user_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Result<LearnerRecords, StoreError>>, StoreError> {
        /// DynamoDB reads 100 keys in a call, and each learner has three.
        const AT_ONCE: usize = 33;
        let tables = [&self.enrollments, &self.grades, &self.certificates];
        let reads = user_ids.chunks(AT_ONCE).map(|user_ids| {
            let keys = user_ids.iter().map(|user_id| key_of(*user_id, course_id));
            let keys = Vec::from_iter(keys);
            let keys = tables.map(|table| (table.as_str(), keys.clone()));
            batch::get(&self.client, keys)
        });
        let answers = futures::future::try_join_all(reads).await?;
        let nothing = user_ids
            .iter()
            .map(|id| (*id, Ok(LearnerRecords::default())));
        let mut found: HashMap<Uuid, Result<LearnerRecords, StoreError>> = nothing.collect();
        for mut items in answers {
            for table in tables {
                for item in items.remove(table).unwrap_or_default() {
                    let Some(of_user) = user_of(&item).and_then(|id| found.get_mut(&id)) else {
                        continue;
                    };
                    let Ok(record) = of_user else { continue };
                    if let Err(error) = self.add(record, table, item) {
                        *of_user = Err(error);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Adds an item of a table to a learner's records.
    fn add(&self, record: &mut LearnerRecords, table: &str, item: Item) -> Result<(), StoreError> {
        if table == self.enrollments {
            record.enrollment = Some(read(table, item)?);
        } else if table == self.grades {
            record.grade = Some(read(table, item)?);
        } else {
            record.certificate = Some(read(table, item)?);
        }
        Ok(())
    }

    /// Writes the grade alone with one PutItem, on the condition that it is unchanged
    /// since it was read.
    pub async fn write_grade(
        &self,
        before: Option<&Grade>,
        after: &Grade,
    ) -> Result<Written, StoreError> {
        grades::put_alone(&self.client, &self.grades, before, after).await
    }

    /// Writes the grade and the certificate that it earns or loses with one
    /// TransactWriteItems. If `enrollment` is given, the transaction checks that it is
    /// still active and in the mode that was read: a certificate is earned only then. A
    /// certificate is lost whatever the enrollment is.
    pub async fn write(
        &self,
        enrollment: Option<&Enrollment>,
        grade: &GradeWrite<'_>,
        certificate: &CertificateWrite<'_>,
    ) -> Result<Written, StoreError> {
        let certificate = match certificate {
            CertificateWrite::Issue(certificate) => {
                certificates::issue(&self.certificates, certificate)?
            }
            CertificateWrite::Change { before, after } => {
                certificates::change(&self.certificates, before, after)?
            }
        };
        let mut items = vec![self.grade_item(grade)?, certificate];
        if let Some(enrollment) = enrollment {
            items.push(self.enrollment_check(enrollment)?);
        }
        transaction::write(&self.client, items).await
    }

    fn grade_item(&self, grade: &GradeWrite<'_>) -> Result<TransactWriteItem, StoreError> {
        match grade {
            GradeWrite::Put { before, after } => grades::put(&self.grades, *before, after),
            GradeWrite::Same(grade) => grades::check(&self.grades, grade),
        }
    }

    fn enrollment_check(&self, enrollment: &Enrollment) -> Result<TransactWriteItem, StoreError> {
        const ACTIVE_IN_MODE: &str = "#active = :true AND #mode = :mode";
        let all = [
            ("true", flag(true)),
            ("mode", text(enrollment.mode.as_str())),
        ];
        let check = ConditionCheck::builder()
            .table_name(&self.enrollments)
            .set_key(Some(key_of(enrollment.user_id, &enrollment.course_id)))
            .condition_expression(ACTIVE_IN_MODE)
            .set_expression_attribute_names(Some(names(&[ACTIVE_IN_MODE])))
            .set_expression_attribute_values(Some(values(&[ACTIVE_IN_MODE], all.into())))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}
