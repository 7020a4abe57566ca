//! The table `course_runs`.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use domain::{CourseId, CourseRun, CourseRunChange};
use serde::Deserialize;

use super::expression::{flag, names, text, values};
use super::page::{self, Page, Start};
use super::{Item, StoreError, batch, read};

/// The course runs that the portal knows.
#[derive(Debug, Clone)]
pub struct CourseRuns {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct Keyed {
    course_id: CourseId,
}

/// The key of a course run.
pub(super) fn key(course_id: &CourseId) -> Item {
    Item::from([("course_id".to_owned(), text(course_id.as_str()))])
}

impl CourseRuns {
    /// Returns the runs in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the existing runs of these ids (at most 100), in no order.
    pub async fn get_many(&self, ids: &[CourseId]) -> Result<Vec<CourseRun>, StoreError> {
        let keys = ids.iter().map(key).collect();
        let mut found = batch::get(&self.client, [(self.table.as_str(), keys)]).await?;
        found
            .remove(&self.table)
            .unwrap_or_default()
            .into_iter()
            .map(|item| read(&self.table, item))
            .collect()
    }

    /// Reads one page of all runs, in no order. A malformed item is an error within the
    /// page.
    pub async fn page(
        &self,
        start: Option<Start>,
    ) -> Result<Page<Result<CourseRun, StoreError>>, StoreError> {
        let page = page::of_table(&self.client, &self.table, None, start).await?;
        Ok(page.map(|item| read(&self.table, item)))
    }

    /// Returns those of these ids (at most 100) that have a run, whatever shape it has,
    /// in no order.
    pub async fn known(&self, ids: &[CourseId]) -> Result<Vec<CourseId>, StoreError> {
        let keys = ids.iter().map(key).collect();
        let mut found = batch::get(&self.client, [(self.table.as_str(), keys)]).await?;
        let items = found.remove(&self.table).unwrap_or_default().into_iter();
        let ids = items.filter_map(|item| read::<Keyed>(&self.table, item).ok());
        Ok(ids.map(|Keyed { course_id }| course_id).collect())
    }

    /// Reads at most a hundred runs after the given one, in the table's own order. Also
    /// returns the id of the last of them if there are more. A malformed item is an
    /// error.
    pub async fn some_after(
        &self,
        course_id: Option<&CourseId>,
    ) -> Result<(Vec<Result<CourseRun, StoreError>>, Option<CourseId>), StoreError> {
        const AT_ONCE: i32 = 100;
        let start = course_id.map(|id| Start(key(id)));
        let (client, table) = (&self.client, &self.table);
        let page = page::some_of_table(client, table, None, Some(AT_ONCE), start).await?;
        let last = page.next.map(|Start(key)| {
            let Keyed { course_id } = read(table, key)?;
            Ok::<_, StoreError>(course_id)
        });
        let runs = page.entries.into_iter().map(|item| read(table, item));
        Ok((runs.collect(), last.transpose()?))
    }

    /// Changes a run, or creates it if there is none. Attributes that the change leaves
    /// out, and attributes that this program does not know, keep the value that they have
    /// at the moment of the write. One UpdateItem.
    pub async fn change(&self, change: &CourseRunChange) -> Result<(), StoreError> {
        let mut set = vec!["#title = :title".to_owned()];
        let mut remove = Vec::new();
        let mut all = HashMap::from([
            ("title", text(change.title.as_str())),
            ("false", flag(false)),
        ]);
        for (name, given) in [
            ("live", change.live),
            ("is_self_paced", change.is_self_paced),
        ] {
            set.push(match given {
                Some(_) => format!("#{name} = :{name}"),
                None => format!("#{name} = if_not_exists(#{name}, :false)"),
            });
            all.extend(given.map(|given| (name, flag(given))));
        }
        for (name, given) in [
            ("start_date", change.start_date),
            ("end_date", change.end_date),
            (
                "certificate_available_date",
                change.certificate_available_date,
            ),
        ] {
            match given {
                Some(Some(at)) => {
                    set.push(format!("#{name} = :{name}"));
                    all.insert(name, text(at.to_string()));
                }
                Some(None) => remove.push(format!("#{name}")),
                None => {}
            }
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(&change.course_id)))
            .set_expression_attribute_names(Some(names(&[&expression])))
            .set_expression_attribute_values(Some(values(&[&expression], all)))
            .update_expression(expression)
            .send()
            .await?;
        Ok(())
    }
}
