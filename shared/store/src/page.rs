//! Pages of the entries of an index or a table.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::Select;
use domain::CourseId;
use uuid::Uuid;

use super::expression::{names, text};
use super::{Item, StoreError, batch};

/// A page of the entries of an index or a table, and the start of the next page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The entries, in the order of the index. A table has no order.
    pub entries: Vec<T>,
    /// The start of the next page; `None` at the end.
    pub next: Option<Start>,
}

/// The start of a page.
#[derive(Debug, Clone)]
pub struct Start(pub(super) Item);

impl<T> Page<T> {
    /// Returns the same page with each entry mapped by `make`.
    pub(super) fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page {
            entries: self.entries.into_iter().map(make).collect(),
            next: self.next,
        }
    }
}

/// Reads one page of a table's items, in no order. With `filter`, an expression without
/// values, it returns only the items that match.
pub(super) async fn of_table(
    client: &Client,
    table: &str,
    filter: Option<&str>,
    start: Option<Start>,
) -> Result<Page<Item>, StoreError> {
    some_of_table(client, table, filter, None, start).await
}

/// Like [`of_table`], but reads at most `limit` items, including those that the filter
/// leaves out.
pub(super) async fn some_of_table(
    client: &Client,
    table: &str,
    filter: Option<&str>,
    limit: Option<i32>,
    start: Option<Start>,
) -> Result<Page<Item>, StoreError> {
    let answer = client
        .scan()
        .table_name(table)
        .set_limit(limit)
        .consistent_read(true)
        .set_filter_expression(filter.map(str::to_owned))
        .set_expression_attribute_names(filter.map(|filter| names(&[filter])))
        .set_exclusive_start_key(start.map(|Start(key)| key))
        .send()
        .await?;
    Ok(Page {
        entries: answer.items.unwrap_or_default(),
        next: answer.last_evaluated_key.map(Start),
    })
}

/// Counts the items of a run in a table whose key is user and course run, according to
/// the index.
///
/// One Query for each mebibyte of keys, which is about ten thousand keys.
pub(super) async fn count_of_run(
    client: &Client,
    table: &str,
    course_id: &CourseId,
) -> Result<u64, StoreError> {
    let (mut count, mut start) = (0, None);
    loop {
        let answer = keys_of_run(client, table, course_id)
            .select(Select::Count)
            .set_exclusive_start_key(start)
            .send()
            .await?;
        count += u64::try_from(answer.count).unwrap_or_default();
        start = answer.last_evaluated_key;
        if start.is_none() {
            return Ok(count);
        }
    }
}

/// The query for a run's keys.
fn keys_of_run(client: &Client, table: &str, course_id: &CourseId) -> QueryFluentBuilder {
    const OF_RUN: &str = "#course_id = :course_id";
    client
        .query()
        .table_name(table)
        .index_name("by_course_id")
        .key_condition_expression(OF_RUN)
        .set_expression_attribute_names(Some(names(&[OF_RUN])))
        .expression_attribute_values(":course_id", text(course_id.as_str()))
}

/// Reads the ids of the first users after this one, at most `most`, who have an item of a
/// run in a table whose key is user and course run, ordered by id.
///
/// One Query.
pub(super) async fn users_of_run(
    client: &Client,
    table: &str,
    course_id: &CourseId,
    after: Option<Uuid>,
    most: u16,
) -> Result<Vec<Uuid>, StoreError> {
    const BEHIND: &str = "#course_id = :course_id AND #user_id > :user_id";
    let after = after.unwrap_or(Uuid::nil());
    let answer = keys_of_run(client, table, course_id)
        .key_condition_expression(BEHIND)
        .set_expression_attribute_names(Some(names(&[BEHIND])))
        .expression_attribute_values(":user_id", text(after.to_string()))
        .limit(most.into())
        .send()
        .await?;
    let items = answer.items.unwrap_or_default().into_iter();
    let ids = items.filter_map(|item| item.get("user_id")?.as_s().ok()?.parse().ok());
    Ok(ids.collect())
}

/// Reads one page of a run's items in a table whose key is user and course run, ordered
/// by user. The keys come from the index, and the items from the table.
///
/// One Query of a hundred keys, and one BatchGetItem.
pub(super) async fn of_run(
    client: &Client,
    table: &str,
    course_id: &CourseId,
    start: Option<Start>,
) -> Result<Page<Item>, StoreError> {
    const AT_ONCE: i32 = 100;
    let answer = keys_of_run(client, table, course_id)
        .limit(AT_ONCE)
        .set_exclusive_start_key(start.map(|Start(key)| key))
        .send()
        .await?;
    let keys = answer.items.unwrap_or_default();
    let mut found = batch::get(client, [(table, keys)]).await?;
    let mut entries = found.remove(table).unwrap_or_default();
    let user_id = |item: &Item| item.get("user_id").and_then(|id| id.as_s().ok()).cloned();
    entries.sort_by_key(user_id);
    Ok(Page {
        entries,
        next: answer.last_evaluated_key.map(Start),
    })
}
