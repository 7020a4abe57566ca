//! The table `enrollments`.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    CourseId, CourseRole, Enrollment, EnrollmentChange, History, HistoryEntry, Mode, ModeSource,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::expression::{flag, moment, names, number, text};
use super::page::{self, Page, Start};
use super::transaction::Written;
use super::update::{Updated, update};
use super::{
    Item, StoreError, erase_of_user, key_of, of_keys, of_user, put_new, read, transaction, user_of,
    write,
};

/// Learners' enrollments in course runs.
#[derive(Debug, Clone)]
pub struct Enrollments {
    client: Client,
    table: String,
}

#[derive(Serialize, Deserialize)]
struct EnrollmentItem {
    user_id: Uuid,
    course_id: CourseId,
    enrollment_id: Uuid,
    mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode_set_by: Option<ModeSource>,
    active: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    inactive_by_operator: bool,
    edx_enrolled: bool,
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        serialize_with = "serde_dynamo::string_set::serialize"
    )]
    roles: BTreeSet<CourseRole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change_status: Option<String>,
    #[serde(serialize_with = "as_moment")]
    changed_at: Timestamp,
    /// The version; absent if another program wrote the item.
    #[serde(default)]
    version: u64,
    #[serde(flatten)]
    history: History<HistoryEntry>,
}

/// The attributes that an enrollment may lack.
const OPTIONAL: [&str; 4] = [
    "mode_set_by",
    "inactive_by_operator",
    "roles",
    "change_status",
];

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Reads an enrollment from its item.
pub(super) fn enrollment(table: &str, item: Item) -> Result<Enrollment, StoreError> {
    let item: EnrollmentItem = read(table, item)?;
    Ok(Enrollment {
        enrollment_id: item.enrollment_id,
        user_id: item.user_id,
        course_id: item.course_id,
        mode: item.mode,
        mode_set_by: item.mode_set_by,
        active: item.active,
        inactive_by_operator: item.inactive_by_operator,
        edx_enrolled: item.edx_enrolled,
        roles: item.roles,
        change_status: item.change_status,
        changed_at: item.changed_at,
        version: item.version,
        history: item.history,
    })
}

/// Serializes a time in the fixed form of the table, because conditional writes compare
/// it.
fn as_moment<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&moment(*at))
}

/// Returns the item of an enrollment.
fn item(table: &str, enrollment: &Enrollment) -> Result<Item, StoreError> {
    let Enrollment {
        enrollment_id,
        user_id,
        course_id,
        mode,
        mode_set_by,
        active,
        inactive_by_operator,
        edx_enrolled,
        roles,
        change_status,
        changed_at,
        version,
        history,
    } = enrollment.clone();
    let item = EnrollmentItem {
        user_id,
        course_id,
        enrollment_id,
        mode,
        mode_set_by,
        active,
        inactive_by_operator,
        edx_enrolled,
        roles,
        change_status,
        changed_at,
        version,
        history,
    };
    write(table, item)
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
                Put::Done => {
                    return Ok(Some(Changed {
                        enrollment: after,
                        outcome,
                    }));
                }
                Put::Refused(found) => found.map(|found| *found),
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
            Put::Done => Written::Done,
            Put::Refused(Some(found)) if found.holds(change.change_id) => Written::Done,
            Put::Refused(_) => Written::Moved,
        })
    }

    /// Writes with one UpdateItem, which does not touch attributes of other programs.
    async fn put(
        &self,
        before: Option<&Enrollment>,
        after: &Enrollment,
    ) -> Result<Put, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#user_id)";
        // Other programs may leave the version or the time of change as they are.
        const AS_READ: &str = "#enrollment_id = :enrollment_id AND #changed_at = :before \
             AND (#version = :read OR (attribute_not_exists(#version) AND :read = :zero))";
        let mut all = item(&self.table, after)?;
        all.retain(|name, _| name != "user_id" && name != "course_id");
        let set: Vec<_> = all
            .keys()
            .map(|name| format!("#{name} = :{name}"))
            .collect();
        let mut expression = format!("SET {}", set.join(", "));
        let gone = OPTIONAL.iter().filter(|name| !all.contains_key(**name));
        let gone: Vec<_> = gone.map(|name| format!("#{name}")).collect();
        if !gone.is_empty() {
            expression.push_str(&format!(" REMOVE {}", gone.join(", ")));
        }
        let mut values: HashMap<&str, AttributeValue> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        if let Some(before) = before {
            values.insert("before", text(moment(before.changed_at)));
            values.insert("read", number(before.version));
            values.insert("zero", number(0));
        }
        let condition = before.map_or(ABSENT, |_| AS_READ);
        let key = key_of(after.user_id, &after.course_id);
        let expressions = (expression.as_str(), condition);
        match update(&self.client, &self.table, key, expressions, values).await? {
            Updated::Done(_) => Ok(Put::Done),
            Updated::Refused(found) => {
                let found = found
                    .map(|item| enrollment(&self.table, item))
                    .transpose()?;
                Ok(Put::Refused(found.map(Box::new)))
            }
        }
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
        let enrollments = items.map(|item| enrollment(&self.table, item));
        enrollments.collect()
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
            Some((user_id, enrollment(&self.table, item)))
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
        Ok(page.map(|item| enrollment(&self.table, item)))
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
        let enrollments = items.into_iter();
        let enrollments = enrollments.map(|item| enrollment(&self.table, item));
        enrollments.collect()
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

/// The result of a conditional write.
enum Put {
    /// The enrollment was written.
    Done,
    /// The enrollment has changed since it was read. Holds the current one, if there is
    /// one.
    Refused(Option<Box<Enrollment>>),
}
