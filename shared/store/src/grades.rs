//! The table `grades`.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use domain::{CourseId, Grade};
use uuid::Uuid;

use super::expression::{flag, names, number, values};
use super::transaction::Written;
use super::{
    Item, StoreError, erase_of_user, incomplete, of_keys, of_user, read, transaction, write,
};

/// Learners' grades in course runs.
#[derive(Debug, Clone)]
pub struct Grades {
    client: Client,
    table: String,
}

/// The parts of a write of `after`: the item, and the condition that the grade is
/// unchanged since it was read, with its values.
fn as_put(
    table: &str,
    before: Option<&Grade>,
    after: &Grade,
) -> Result<(Item, &'static str, Option<Item>), StoreError> {
    const ABSENT: &str = "attribute_not_exists(#user_id)";
    let condition = before.map_or(ABSENT, as_read_condition);
    let values = before.map(|before| values(&[condition], as_read(before).into()));
    Ok((write(table, after)?, condition, values))
}

/// Returns the write of `after` in a transaction, on the condition that the grade is
/// unchanged since it was read.
pub(super) fn put(
    table: &str,
    before: Option<&Grade>,
    after: &Grade,
) -> Result<TransactWriteItem, StoreError> {
    let (item, condition, values) = as_put(table, before, after)?;
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression(condition)
        .set_expression_attribute_names(Some(names(&[condition])))
        .set_expression_attribute_values(values)
        .build()
        .map_err(incomplete)?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Writes `after` by itself, on the same condition, at half of a transaction's price. If
/// a first attempt was successful but its answer was lost, it is recognized by the
/// change's id.
pub(super) async fn put_alone(
    client: &Client,
    table: &str,
    before: Option<&Grade>,
    after: &Grade,
) -> Result<Written, StoreError> {
    let (item, condition, values) = as_put(table, before, after)?;
    let answer = client
        .put_item()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression(condition)
        .set_expression_attribute_names(Some(names(&[condition])))
        .set_expression_attribute_values(values)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    let Err(error) = answer else {
        return Ok(Written::Done);
    };
    let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.as_service_error()
    else {
        return Err(error.into());
    };
    let found = refused
        .item()
        .cloned()
        .map(|item| read::<Grade>(table, item));
    let ours = after.history.last().map(|entry| entry.change_id);
    let is_ours = matches!((found, ours), (Some(Ok(found)), Some(ours)) if found.holds(ours));
    Ok(if is_ours {
        Written::Done
    } else {
        Written::Moved
    })
}

/// Returns a check that the grade is unchanged since it was read.
pub(super) fn check(table: &str, grade: &Grade) -> Result<TransactWriteItem, StoreError> {
    let condition = as_read_condition(grade);
    let check = ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(super::key_of(grade.user_id, &grade.course_id)))
        .condition_expression(condition)
        .set_expression_attribute_names(Some(names(&[condition])))
        .set_expression_attribute_values(Some(values(&[condition], as_read(grade).into())))
        .build()
        .map_err(incomplete)?;
    Ok(TransactWriteItem::builder().condition_check(check).build())
}

/// The condition that a grade is unchanged since it was read. It compares both
/// attributes, because another program that sets a grade by hand, or returns it to the
/// LMS, may not increase the version.
const fn as_read_condition(grade: &Grade) -> &'static str {
    if grade.set_by_admin {
        "#version = :version AND #set_by_admin = :set_by_admin"
    } else {
        "#version = :version AND \
         (attribute_not_exists(#set_by_admin) OR #set_by_admin = :set_by_admin)"
    }
}

fn as_read(grade: &Grade) -> [(&'static str, AttributeValue); 2] {
    [
        ("version", number(grade.version)),
        ("set_by_admin", flag(grade.set_by_admin)),
    ]
}

impl Grades {
    /// Returns the grades in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads all grades of a user, ordered by course id.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Grade>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let items = items.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Removes all grades of a user with their histories, whatever shape they have, and
    /// returns their number.
    pub async fn erase(&self, user_id: Uuid) -> Result<u64, StoreError> {
        erase_of_user(&self.client, &self.table, user_id).await
    }

    /// Reads the existing grades of these learners in these runs (at most 100), in no
    /// order.
    pub async fn get_many(&self, keys: &[(Uuid, CourseId)]) -> Result<Vec<Grade>, StoreError> {
        let items = of_keys(&self.client, &self.table, keys).await?;
        let items = items.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Writes some grades (at most 100), all of them or none, each on the
    /// condition that its learner has none in its run yet.
    pub async fn add(&self, grades: &[Grade]) -> Result<Written, StoreError> {
        let items = grades.iter().map(|new| put(&self.table, None, new));
        let items = items.collect::<Result<_, _>>()?;
        transaction::write(&self.client, items).await
    }
}
