//! The table `certificates`.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use common::random;
use domain::{Certificate, CourseId};
use serde::Deserialize;
use uuid::Uuid;

use super::expression::{exactly, names, number, text, values};
use super::page::{self, Page, Start};
use super::transaction::Written;
use super::{Item, StoreError, incomplete, of_keys, of_user, put_new, read, transaction, write};

/// Learners' certificates for course runs.
#[derive(Debug, Clone)]
pub struct Certificates {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct Keyed {
    user_id: Uuid,
    course_id: CourseId,
}

/// Returns the write of a new certificate, on the condition that there is none yet.
pub(super) fn issue(
    table: &str,
    certificate: &Certificate,
) -> Result<TransactWriteItem, StoreError> {
    put_new(table, write(table, certificate)?)
}

/// Condition: the certificate is unchanged since it was read.
const AS_READ: &str = "#certificate_id = :certificate_id AND #version = :version";

fn as_read(before: &Certificate) -> HashMap<String, AttributeValue> {
    let id = text(before.certificate_id.to_string());
    let all = [("certificate_id", id), ("version", number(before.version))];
    values(&[AS_READ], all.into())
}

/// Returns the write of a changed certificate, on the condition that it is unchanged
/// since it was read.
pub(super) fn change(
    table: &str,
    before: &Certificate,
    after: &Certificate,
) -> Result<TransactWriteItem, StoreError> {
    let change = Put::builder()
        .table_name(table)
        .set_item(Some(write(table, after)?))
        .condition_expression(AS_READ)
        .set_expression_attribute_names(Some(names(&[AS_READ])))
        .set_expression_attribute_values(Some(as_read(before)))
        .build()
        .map_err(incomplete)?;
    Ok(TransactWriteItem::builder().put(change).build())
}

impl Certificates {
    /// Returns the certificates in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads one page of a run's certificates, ordered by user. A malformed item is an
    /// error within the page.
    pub async fn of_run(
        &self,
        course_id: &CourseId,
        start: Option<Start>,
    ) -> Result<Page<Result<Certificate, StoreError>>, StoreError> {
        let page = page::of_run(&self.client, &self.table, course_id, start).await?;
        Ok(page.map(|item| read(&self.table, item)))
    }

    /// Reads all certificates of a user, ordered by course id.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Certificate>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let items = items.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Reads the existing certificates of these learners in these runs (at most 100), in
    /// no order.
    pub async fn get_many(
        &self,
        keys: &[(Uuid, CourseId)],
    ) -> Result<Vec<Certificate>, StoreError> {
        let items = of_keys(&self.client, &self.table, keys).await?.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Writes some certificates (at most 100), all of them or none, each on the condition
    /// that its learner has none in its run yet.
    pub async fn add(&self, certificates: &[Certificate]) -> Result<Written, StoreError> {
        let items = certificates.iter().map(|new| issue(&self.table, new));
        let items = items.collect::<Result<_, _>>()?;
        transaction::write(&self.client, items).await
    }

    /// Finds the learners and runs that have a certificate of this id, according to the
    /// index, which may lag behind the table.
    pub async fn holders(&self, certificate_id: Uuid) -> Result<Vec<(Uuid, CourseId)>, StoreError> {
        const OF_ID: &str = "#certificate_id = :certificate_id";
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_certificate_id")
            .key_condition_expression(OF_ID)
            .set_expression_attribute_names(Some(names(&[OF_ID])))
            .expression_attribute_values(":certificate_id", text(certificate_id.to_string()))
            .send()
            .await?;
        let items = answer.items.unwrap_or_default().into_iter();
        let holders = items.map(|item| {
            let Keyed { user_id, course_id } = read(&self.table, item)?;
            Ok((user_id, course_id))
        });
        holders.collect()
    }

    /// Writes a certificate if it is unchanged since it was read. Returns the certificate
    /// as it then is. If this call wrote it, its history holds the id of the new entry.
    pub async fn put(
        &self,
        before: &Certificate,
        after: &Certificate,
    ) -> Result<Certificate, StoreError> {
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(write(&self.table, after)?))
            .condition_expression(AS_READ)
            .set_expression_attribute_names(Some(names(&[AS_READ])))
            .set_expression_attribute_values(Some(as_read(before)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else {
            return Ok(after.clone());
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                let found = refused.item().cloned().unwrap_or_default();
                read(&self.table, found)
            }
            _ => Err(error.into()),
        }
    }

    /// Makes all certificates of a user anonymous, whatever shape they have. Each gets a
    /// new user id that no user has, and loses its name and its history. Returns the
    /// certificate ids.
    ///
    /// One transaction for each.
    pub async fn make_anonymous(&self, user_id: Uuid) -> Result<Vec<String>, StoreError> {
        const ATTEMPTS: u32 = 5;
        /// The attributes that are kept. Any other attribute may be personal data.
        const KEPT: [&str; 5] = [
            "course_id",
            "certificate_id",
            "state",
            "issued_at",
            "run_title",
        ];
        let mut done = Vec::new();
        for _ in 0..ATTEMPTS {
            let items = of_user(&self.client, &self.table, user_id).await?;
            if items.is_empty() {
                return Ok(done);
            }
            for item in items {
                let kept = item.iter();
                let kept = kept.filter(|(name, _)| KEPT.contains(&name.as_str()));
                let mut anonymous: Item = kept.map(|(n, v)| (n.clone(), v.clone())).collect();
                anonymous.insert("user_id".to_owned(), text(random::id().to_string()));
                // The times in the history would show which certificates belonged to one
                // person.
                anonymous.insert("history".to_owned(), AttributeValue::L(Vec::new()));
                anonymous.insert("version".to_owned(), number(1));

                let (is_as_read, names, values) = exactly(&item);
                let id = anonymous.get("certificate_id");
                let id = id.and_then(|id| id.as_s().ok()).cloned();
                let mut key = item;
                key.retain(|name, _| name == "user_id" || name == "course_id");
                let delete = Delete::builder()
                    .table_name(&self.table)
                    .set_key(Some(key))
                    .condition_expression(is_as_read)
                    .set_expression_attribute_names(Some(names))
                    .set_expression_attribute_values(Some(values))
                    .build()
                    .map_err(incomplete)?;
                let items = vec![
                    TransactWriteItem::builder().delete(delete).build(),
                    put_new(&self.table, anonymous)?,
                ];
                // A certificate that has changed meanwhile is read again.
                if transaction::write(&self.client, items).await? == Written::Done {
                    done.push(id.unwrap_or_default());
                }
            }
        }
        Err(StoreError::contended())
    }
}
