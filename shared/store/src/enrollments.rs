//! The table `enrollments`.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use domain::{CourseId, Enrollment, EnrollmentChange, Mode, moment};
use uuid::Uuid;

use super::expression::{flag, names, number, text};
use super::page::{self, Page, Start};
use super::transaction::Written;
use super::update::{self, Updated};
use super::{
    Item, StoreError, erase_of_user, key_of, of_keys, of_user, put_new, read, transaction, user_of,
    write_with_roles,
};

/// Learners' enrollments in course runs.
#[derive(Debug, Clone)]
pub struct Enrollments {
    client: Client,
    table: String,
}

/// The attributes that an enrollment may lack.
const OPTIONAL: [&str; 4] = [
    "mode_set_by",
    "inactive_by_operator",
    "roles",
    "change_status",
];

/// Returns the item of an enrollment.
fn item(table: &str, enrollment: &Enrollment) -> Result<Item, StoreError> {
    write_with_roles(table, enrollment, &enrollment.roles)
}

/// An enrollment after a requested change.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The enrollment as the write left it, or as it was found if nothing differed.
    pub enrollment: Enrollment,
    /// The effect of the change: created, updated or unchanged.
    pub outcome: ChangeOutcome,
}

/// The effect of a change on an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// There was no enrollment, and it was created.
    Created,
    /// Something differed, and the enrollment was changed, with one more history entry.
    Updated,
    /// Nothing differed, and nothing was written.
    Unchanged,
}

impl Enrollments {
    /// Returns the enrollments in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Changes the enrollment to what `decide` returns. `decide` returns `None` if
    /// nothing differs. Returns `None` if there is no enrollment and none is needed.
    ///
    /// One UpdateItem if there was no enrollment before, or if nothing differs. If
    /// something differs, one more UpdateItem, and one more for each concurrent write by
    /// somebody else. One more read if `decide` returns `None` for a missing enrollment.
    pub async fn change(
        &self,
        change: &EnrollmentChange,
        decide: impl Fn(Option<&Enrollment>) -> Option<Enrollment>,
    ) -> Result<Option<Changed>, StoreError> {
        /// Fifty concurrent writers that each change something take that many attempts.
        const ATTEMPTS: u32 = 60;
        let mut before: Option<Enrollment> = None;
        let mut is_read = false;
        for _ in 0..ATTEMPTS {
            let Some(after) = decide(before.as_ref()) else {
                if before.is_none() && !is_read {
                    let key = (change.user_id, change.course_id.clone());
                    before = self.get_many(&[key]).await?.pop();
                    is_read = true;
                    continue;
                }
                let outcome = ChangeOutcome::Unchanged;
                return Ok(before.map(|enrollment| Changed {
                    enrollment,
                    outcome,
                }));
            };
            let outcome = match before {
                None => ChangeOutcome::Created,
                Some(_) => ChangeOutcome::Updated,
            };
            before = match self.put(before.as_ref(), &after).await? {
                Updated::Done(_) => {
                    return Ok(Some(Changed {
                        enrollment: after,
                        outcome,
                    }));
                }
                Updated::Refused(found) => found.map(|found| *found),
            };
            is_read = true;
            // A first attempt was successful, but its answer was lost.
            if let Some(enrollment) = before.take_if(|found| found.holds(change.change_id)) {
                let is_new = enrollment.enrollment_id == change.new_enrollment_id;
                let outcome = if is_new {
                    ChangeOutcome::Created
                } else {
                    ChangeOutcome::Updated
                };
                return Ok(Some(Changed {
                    enrollment,
                    outcome,
                }));
            }
        }
        Err(StoreError::contended())
    }

    /// Writes `after` on the condition that the enrollment is unchanged since it was read
    /// as `before`. One UpdateItem.
    pub async fn replace(
        &self,
        change: &EnrollmentChange,
        before: Option<&Enrollment>,
        after: &Enrollment,
    ) -> Result<Written, StoreError> {
        Ok(match self.put(before, after).await? {
            Updated::Done(_) => Written::Done,
            Updated::Refused(Some(found)) if found.holds(change.change_id) => Written::Done,
            Updated::Refused(_) => Written::Moved,
        })
    }

    /// Writes with one UpdateItem, which does not touch attributes of other programs.
    async fn put(
        &self,
        before: Option<&Enrollment>,
        after: &Enrollment,
    ) -> Result<Updated<Enrollment>, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#user_id)";
        // Other programs may leave the version or the time of change as they are.
        const AS_READ: &str = "#enrollment_id = :enrollment_id AND #changed_at = :before \
             AND (#version = :read OR (attribute_not_exists(#version) AND :read = :zero))";
        let (condition, read) = match before {
            None => (ABSENT, Vec::new()),
            Some(before) => (
                AS_READ,
                vec![
                    ("before", text(moment::text(before.changed_at))),
                    ("read", number(before.version)),
                    ("zero", number(0)),
                ],
            ),
        };
        let key = key_of(after.user_id, &after.course_id);
        let item = item(&self.table, after)?;
        let (client, table) = (&self.client, &self.table);
        update::replace(client, table, key, item, &OPTIONAL, condition, read).await
    }

    /// Counts the enrollments of a run, according to the index, which may lag behind the
    /// table.
    pub async fn count_of_run(&self, course_id: &CourseId) -> Result<u64, StoreError> {
        page::count_of_run(&self.client, &self.table, course_id).await
    }

    /// Reads the existing enrollments of these learners in these runs (at most 100), in
    /// no order.
    pub async fn get_many(&self, keys: &[(Uuid, CourseId)]) -> Result<Vec<Enrollment>, StoreError> {
        let items = of_keys(&self.client, &self.table, keys).await?.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Reads the existing enrollments of these learners (at most 100) in a run. A
    /// malformed item is an error for its learner.
    pub async fn in_run(
        &self,
        course_id: &CourseId,
        user_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Result<Enrollment, StoreError>>, StoreError> {
        let keys = user_ids.iter().map(|user_id| (*user_id, course_id.clone()));
        let items = of_keys(&self.client, &self.table, &Vec::from_iter(keys)).await?;
        let enrollments = items.into_iter().filter_map(|item| {
            let user_id = user_of(&item)?;
            Some((user_id, read(&self.table, item)))
        });
        Ok(enrollments.collect())
    }

    /// Writes some enrollments (at most 100), all of them or none, each on the condition
    /// that its learner has none in its run yet.
    pub async fn add(&self, enrollments: &[Enrollment]) -> Result<Written, StoreError> {
        let items = enrollments
            .iter()
            .map(|new| put_new(&self.table, item(&self.table, new)?));
        let items = items.collect::<Result<_, _>>()?;
        transaction::write(&self.client, items).await
    }

    /// Reads one page of a run's enrollments, ordered by user. A malformed item is an
    /// error within the page.
    pub async fn of_run(
        &self,
        course_id: &CourseId,
        start: Option<Start>,
    ) -> Result<Page<Result<Enrollment, StoreError>>, StoreError> {
        let page = page::of_run(&self.client, &self.table, course_id, start).await?;
        Ok(page.map(|item| read(&self.table, item)))
    }

    /// Reads the modes of the active ones among the first enrollments that a scan finds,
    /// up to `most` enrollments. An enrollment with an unreadable mode is left out.
    ///
    /// One Scan for each mebibyte of items.
    pub async fn modes_of_some(&self, most: i32) -> Result<Vec<Mode>, StoreError> {
        const ACTIVE: &str = "#active = :true";
        const MODE: &str = "#mode";
        let (mut modes, mut left, mut start) = (Vec::new(), most, None);
        while left > 0 {
            let answer = self
                .client
                .scan()
                .table_name(&self.table)
                .limit(left)
                .filter_expression(ACTIVE)
                .projection_expression(MODE)
                .set_expression_attribute_names(Some(names(&[ACTIVE, MODE])))
                .expression_attribute_values(":true", flag(true))
                .set_exclusive_start_key(start)
                .send()
                .await?;
            let items = answer.items.unwrap_or_default();
            let read = items
                .iter()
                .filter_map(|item| item.get("mode")?.as_s().ok()?.parse().ok());
            modes.extend(read);
            left -= answer.scanned_count;
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(modes)
    }

    /// Reads the ids of the first users (at most `most`) after this one who have an
    /// enrollment in a run, ordered by id, according to the index, which may lag behind
    /// the table.
    ///
    /// One Query.
    pub async fn users_of_run(
        &self,
        course_id: &CourseId,
        after: Option<Uuid>,
        most: u16,
    ) -> Result<Vec<Uuid>, StoreError> {
        page::users_of_run(&self.client, &self.table, course_id, after, most).await
    }

    /// Reads all enrollments of a user, ordered by course id.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Enrollment>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let items = items.into_iter();
        items.map(|item| read(&self.table, item)).collect()
    }

    /// Returns the runs in which a user has an enrollment, whatever shape it has.
    pub async fn runs_of(&self, user_id: Uuid) -> Result<Vec<CourseId>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let ids = items.into_iter().filter_map(|mut item| {
            let id = item.remove("course_id")?;
            id.as_s().ok()?.parse().ok()
        });
        Ok(ids.collect())
    }

    /// Removes all enrollments of a user with their histories, whatever shape they have,
    /// and returns their number.
    pub async fn erase(&self, user_id: Uuid) -> Result<u64, StoreError> {
        erase_of_user(&self.client, &self.table, user_id).await
    }
}
