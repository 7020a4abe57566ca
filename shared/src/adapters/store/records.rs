//! What one learner has in one course run (enrollment, grade, certificate),
//! read in one call and written in one transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use uuid::Uuid;

use super::expression::{flag, names, text, values};
pub use super::transaction::Written;
use super::{
    Item, StoreError, batch, certificates, enrollments, grades, incomplete, key_of, transaction,
    user_of,
};
use crate::domain::{Certificate, CourseId, Enrollment, Grade};

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
pub struct LearnerRecords {
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
    /// It must still be as it was read.
    Change {
        /// As it was read.
        before: &'a Certificate,
        /// As it is to be.
        after: Certificate,
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

    /// What each of these learners has in a run, or that an item of theirs is not
    /// of the expected shape. Everybody is in there, also who has nothing.
    ///
    /// One BatchGetItem for each 33 learners, side by side.
    pub async fn find_many(
        &self,
        course_id: &CourseId,
        user_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Result<LearnerRecords, StoreError>>, StoreError> {
        /// DynamoDB reads 100 keys a call, and each learner has three.
        const AT_ONCE: usize = 33;
        let tables = [&self.enrollments, &self.grades, &self.certificates];
        let reads = user_ids.chunks(AT_ONCE).map(|user_ids| {
            let keys = user_ids.iter().map(|user_id| key_of(*user_id, course_id));
            let keys = Vec::from_iter(keys);
            let keys = tables.map(|table| (table.as_str(), keys.clone()));
            batch::get(&self.client, keys)
        });
        let read = futures::future::try_join_all(reads).await?;
        let nothing = user_ids
            .iter()
            .map(|id| (*id, Ok(LearnerRecords::default())));
        let mut found: HashMap<Uuid, Result<LearnerRecords, StoreError>> = nothing.collect();
        for mut items in read {
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

    /// Takes an item of a table into a record.
    fn add(&self, record: &mut LearnerRecords, table: &str, item: Item) -> Result<(), StoreError> {
        if table == self.enrollments {
            record.enrollment = Some(enrollments::enrollment(table, item)?);
        } else if table == self.grades {
            record.grade = Some(grades::grade(table, item)?);
        } else {
            record.certificate = Some(certificates::certificate(table, item)?);
        }
        Ok(())
    }

    /// One PutItem: the grade alone, on the condition that it still is as it was read.
    pub async fn write_grade(
        &self,
        before: Option<&Grade>,
        after: &Grade,
    ) -> Result<Written, StoreError> {
        grades::put_alone(&self.client, &self.grades, before, after).await
    }

    /// One TransactWriteItems: the grade, the certificate that it earns or loses,
    /// and a check that the enrollment that it is earned in is active and in the
    /// mode that was read; it is lost in whatever enrollment.
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
