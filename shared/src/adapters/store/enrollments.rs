//! The table `enrollments`.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::expression::{flag, moment, number, text};
use super::page::{self, Page, Start};
use super::transaction::Written;
use super::update::update;
use super::{
    Item, StoreError, erase_of_user, key_of, of_keys, of_user, put_new, read, transaction, user_of,
    write,
};
use crate::domain::sweep::Correction;
use crate::domain::{Change, CourseId, CourseRole, Enrollment, HistoryEntry, Mode};

/// Why an enrollment is inactive that was made so without another word.
pub const UNENROLLED: &str = "unenrolled";

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
    #[serde(default)]
    mode_set_by_admin: bool,
    active: bool,
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
    history: Vec<HistoryEntry>,
}

/// An enrollment from its item.
pub(super) fn enrollment(table: &str, item: Item) -> Result<Enrollment, StoreError> {
    let item: EnrollmentItem = read(table, item)?;
    Ok(Enrollment {
        enrollment_id: item.enrollment_id,
        user_id: item.user_id,
        course_id: item.course_id,
        mode: item.mode,
        mode_set_by_admin: item.mode_set_by_admin,
        active: item.active,
        edx_enrolled: item.edx_enrolled,
        roles: item.roles,
        change_status: item.change_status,
        changed_at: item.changed_at,
        history: item.history,
    })
}

/// Updates compare it.
fn as_moment<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&moment(*at))
}

/// The item of an enrollment.
fn item(table: &str, enrollment: &Enrollment) -> Result<Item, StoreError> {
    let Enrollment {
        enrollment_id,
        user_id,
        course_id,
        mode,
        mode_set_by_admin,
        active,
        edx_enrolled,
        roles,
        change_status,
        changed_at,
        history,
    } = enrollment.clone();
    let item = EnrollmentItem {
        user_id,
        course_id,
        enrollment_id,
        mode,
        mode_set_by_admin,
        active,
        edx_enrolled,
        roles,
        change_status,
        changed_at,
        history,
    };
    write(table, item)
}

/// A change to one enrollment, and the names it will be known by.
#[derive(Debug, Clone)]
pub struct EnrollmentChange {
    /// With `course_id` the table's key. That both exist is the caller's affair.
    pub user_id: Uuid,
    /// The run, also where there is no enrollment in it yet.
    pub course_id: CourseId,
    /// The enrollment's id, if this change creates it.
    new_enrollment_id: Uuid,
    /// This change's own id, used for no other.
    change_id: Uuid,
    /// Written into the history entry.
    pub by: Change,
    /// The moment of the history entry, and then `changed_at`.
    pub at: Timestamp,
}

impl EnrollmentChange {
    /// A change with fresh ids of its own, by which it is known again.
    pub fn new(user_id: Uuid, course_id: CourseId, by: Change, at: Timestamp) -> Self {
        Self {
            user_id,
            course_id,
            new_enrollment_id: Uuid::new_v4(),
            change_id: Uuid::new_v4(),
            by,
            at,
        }
    }
}

/// The enrollment after a change was asked for, and whether it took one.
#[derive(Debug, Clone)]
pub struct Changed {
    /// As the write left it, or as it was found where nothing differed.
    pub enrollment: Enrollment,
    /// Whether it is new, changed or as it was.
    pub outcome: Outcome,
}

/// What an enrollment took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was none, and now there is.
    Created,
    /// Something differed: it was changed, with one more history entry.
    Updated,
    /// All was as asked; nothing was written.
    Unchanged,
}

impl Changed {
    /// What two changes come to, one after the other.
    #[must_use]
    pub fn and_then(self, next: Self) -> Self {
        let outcome = match self.outcome {
            Outcome::Unchanged => next.outcome,
            Outcome::Created | Outcome::Updated => self.outcome,
        };
        Self { outcome, ..next }
    }
}

/// The condition that the LMS's word has not been taken down yet, or not all of these roles.
fn lacks(roles: &BTreeSet<CourseRole>) -> String {
    let mut condition = "#edx_enrolled = :false".to_owned();
    for n in 0..roles.len() {
        // Writing to a string never fails.
        let _ = write!(condition, " OR NOT contains(#roles, :role{n})");
    }
    condition
}

/// The values of [`lacks`], and of the roles' update.
fn announced_values(roles: &BTreeSet<CourseRole>) -> HashMap<String, AttributeValue> {
    let each = roles.iter().enumerate();
    let mut all: HashMap<_, _> = each
        .map(|(n, role)| (format!("role{n}"), text(role.as_str())))
        .collect();
    let roles = roles.iter().map(|role| role.as_str().to_owned()).collect();
    all.insert("roles".to_owned(), AttributeValue::Ss(roles));
    all
}

impl Enrollments {
    /// The enrollments in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What a delivery does: the enrollment is created, or made active and
    /// `edx_enrolled`, and the roles added; nothing is written where nothing differs.
    ///
    /// One UpdateItem. `mode` counts only at creation. With `yields_to`, an
    /// enrollment that was changed later than that stays as active as it is,
    /// at the cost of a second UpdateItem.
    pub async fn announce(
        &self,
        change: &EnrollmentChange,
        mode: Option<&Mode>,
        roles: &BTreeSet<CourseRole>,
        yields_to: Option<Timestamp>,
    ) -> Result<Changed, StoreError> {
        const ATTEMPTS: u32 = 5;
        let mut update = "SET #enrollment_id = if_not_exists(#enrollment_id, :enrollment_id), \
             #mode = if_not_exists(#mode, :mode), #active = :true, #edx_enrolled = :true, \
             #changed_at = :now, \
             #history = list_append(if_not_exists(#history, :none), :entry) \
             REMOVE #change_status"
            .to_owned();
        let lacks = lacks(roles);
        let mut condition =
            format!("attribute_not_exists(#user_id) OR #active = :false OR {lacks}");
        if yields_to.is_some() {
            condition = format!(
                "({condition}) AND (attribute_not_exists(#user_id) OR #changed_at <= :yields_to)"
            );
        }
        if !roles.is_empty() {
            update.push_str(" ADD #roles :roles");
        }
        let entry = |active: bool| HistoryEntry {
            at: change.at,
            change_id: change.change_id,
            by: change.by.clone(),
            active,
            edx_enrolled: Some(true),
            mode: None,
            announced_mode: mode.cloned(),
            announced_roles: roles.clone(),
        };
        let announced = mode.cloned().unwrap_or_else(Mode::audit);
        let mut all = announced_values(roles);
        all.extend([
            ("mode".to_owned(), text(announced.as_str())),
            (
                "enrollment_id".to_owned(),
                text(change.new_enrollment_id.to_string()),
            ),
        ]);
        all.extend(yields_to.map(|at| ("yields_to".to_owned(), text(moment(at)))));
        let mut changed = self
            .change(change, entry(true), update, condition, all)
            .await?;

        // What is newer says whether the enrollment is active; the rest is added.
        for _ in 0..ATTEMPTS {
            let Changed {
                enrollment,
                outcome,
            } = &changed;
            let is_newer = yields_to.is_some_and(|at| enrollment.changed_at > at);
            let lacks_some = !enrollment.edx_enrolled || !roles.is_subset(&enrollment.roles);
            if *outcome != Outcome::Unchanged || !is_newer || !lacks_some {
                return Ok(changed);
            }
            let mut update = "SET #edx_enrolled = :true, #changed_at = :now, \
                 #history = list_append(#history, :entry)"
                .to_owned();
            if !roles.is_empty() {
                update.push_str(" ADD #roles :roles");
            }
            let active = enrollment.active;
            let condition = format!("#active = :active AND ({lacks})");
            let mut all = announced_values(roles);
            all.insert("active".to_owned(), flag(active));
            changed = self
                .change(change, entry(active), update, condition, all)
                .await?;
        }
        Err(StoreError::contended())
    }

    /// What an operator does: the mode is set and no longer the LMS's affair,
    /// and the enrollment is active or, as `unenrolled`, inactive.
    ///
    /// One UpdateItem; nothing is written where nothing differs.
    pub async fn set(
        &self,
        change: &EnrollmentChange,
        mode: &Mode,
        active: bool,
    ) -> Result<Changed, StoreError> {
        let mut update = "SET #enrollment_id = if_not_exists(#enrollment_id, :enrollment_id), \
             #mode = :mode, #mode_set_by_admin = :true, #active = :active, \
             #edx_enrolled = if_not_exists(#edx_enrolled, :false), #changed_at = :now, \
             #history = list_append(if_not_exists(#history, :none), :entry)"
            .to_owned();
        update.push_str(if active {
            " REMOVE #change_status"
        } else {
            ", #change_status = :unenrolled"
        });
        let condition = "attribute_not_exists(#user_id) OR #mode <> :mode \
             OR #active <> :active OR attribute_not_exists(#mode_set_by_admin) \
             OR #mode_set_by_admin <> :true"
            .to_owned();
        let entry = HistoryEntry {
            at: change.at,
            change_id: change.change_id,
            by: change.by.clone(),
            active,
            edx_enrolled: None,
            mode: Some(mode.clone()),
            announced_mode: None,
            announced_roles: BTreeSet::new(),
        };
        let all = HashMap::from([
            (
                "enrollment_id".to_owned(),
                text(change.new_enrollment_id.to_string()),
            ),
            ("mode".to_owned(), text(mode.as_str())),
            ("active".to_owned(), flag(active)),
            ("unenrolled".to_owned(), text(UNENROLLED)),
        ]);
        self.change(change, entry, update, condition, all).await
    }

    /// What a sweep does: the enrollment is created, or made what the LMS's list
    /// has it be, on the condition that it still is as it was read.
    ///
    /// One UpdateItem.
    pub async fn correct(
        &self,
        change: &EnrollmentChange,
        before: Option<&Enrollment>,
        correction: &Correction,
    ) -> Result<Written, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#user_id)";
        // A moment alone could be that of two changes.
        const AS_READ: &str = "#enrollment_id = :enrollment_id AND #changed_at = :before \
             AND size(#history) = :entries";
        let mode = correction.mode.as_ref();
        let before_active = before.is_some_and(|before| before.active);
        let active = correction.active.unwrap_or(before_active);
        // Who is active in the LMS's list is enrolled there.
        let mut update = "SET #active = :active, #changed_at = :now, \
             #history = list_append(if_not_exists(#history, :none), :entry)"
            .to_owned();
        if before.is_none() {
            update.push_str(", #enrollment_id = :enrollment_id");
        }
        if mode.is_some() {
            update.push_str(", #mode = :mode");
        }
        update.push_str(if active {
            ", #edx_enrolled = :true REMOVE #change_status"
        } else {
            ", #change_status = :unenrolled"
        });
        let entry = HistoryEntry {
            at: change.at,
            change_id: change.change_id,
            by: change.by.clone(),
            active,
            edx_enrolled: active.then_some(true),
            mode: mode.cloned(),
            announced_mode: None,
            announced_roles: BTreeSet::new(),
        };
        let enrollment_id = before.map_or(change.new_enrollment_id, |before| before.enrollment_id);
        let mut all = HashMap::from([
            ("enrollment_id".to_owned(), text(enrollment_id.to_string())),
            ("active".to_owned(), flag(active)),
            ("unenrolled".to_owned(), text(UNENROLLED)),
        ]);
        all.extend(mode.map(|mode| ("mode".to_owned(), text(mode.as_str()))));
        all.extend(before.into_iter().flat_map(|before| {
            [
                ("before".to_owned(), text(moment(before.changed_at))),
                ("entries".to_owned(), number(before.history.len())),
            ]
        }));
        let condition = before.map_or(ABSENT, |_| AS_READ).to_owned();
        let changed = self.change(change, entry, update, condition, all).await;
        match changed {
            Ok(changed) if changed.outcome == Outcome::Unchanged => Ok(Written::Moved),
            Ok(_) => Ok(Written::Done),
            // It was removed since it was read, and nothing was handed back.
            Err(StoreError::Corrupt(_)) if before.is_some() => Ok(Written::Moved),
            Err(error) => Err(error),
        }
    }

    /// How many enrollments a run has, as the index has it, which may be behind.
    pub async fn count_of_run(&self, course_id: &CourseId) -> Result<u64, StoreError> {
        page::count_of_run(&self.client, &self.table, course_id).await
    }

    /// One UpdateItem. Whether it created or changed the enrollment is told by
    /// our own ids in the item, also where a first attempt did its work, its
    /// answer was lost, and a second attempt met the condition.
    async fn change(
        &self,
        change: &EnrollmentChange,
        entry: HistoryEntry,
        set: String,
        condition: String,
        all: HashMap<String, AttributeValue>,
    ) -> Result<Changed, StoreError> {
        let entry = AttributeValue::M(write(&self.table, entry)?);
        let mut all: HashMap<_, _> = all.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        all.extend([
            ("now", text(moment(change.at))),
            ("none", AttributeValue::L(Vec::new())),
            ("entry", AttributeValue::L(vec![entry])),
            ("true", flag(true)),
            ("false", flag(false)),
        ]);
        let key = key_of(change.user_id, &change.course_id);
        let updated = update(&self.client, &self.table, key, (&set, &condition), all).await?;
        let enrollment = enrollment(&self.table, updated.item())?;
        let outcome = if enrollment.enrollment_id == change.new_enrollment_id {
            Outcome::Created
        } else if enrollment.holds(change.change_id) {
            Outcome::Updated
        } else {
            Outcome::Unchanged
        };
        Ok(Changed {
            enrollment,
            outcome,
        })
    }

    /// The enrollments of these learners in these runs (at most 100) that
    /// exist, in no order.
    pub async fn get_many(&self, keys: &[(Uuid, CourseId)]) -> Result<Vec<Enrollment>, StoreError> {
        let items = of_keys(&self.client, &self.table, keys).await?.into_iter();
        let enrollments = items.map(|item| enrollment(&self.table, item));
        enrollments.collect()
    }

    /// The enrollments of these learners (at most 100) in a run that exist; each,
    /// or that it is not of the expected shape.
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

    /// Writes some enrollments (at most 100), all of them or none, each on the
    /// condition that its learner has none in its run yet.
    pub async fn add(&self, enrollments: &[Enrollment]) -> Result<Written, StoreError> {
        let items = enrollments
            .iter()
            .map(|new| put_new(&self.table, item(&self.table, new)?));
        let items = items.collect::<Result<_, _>>()?;
        transaction::write(&self.client, items).await
    }

    /// One page of a run's enrollments, by user; those that are not of the expected
    /// shape as errors.
    pub async fn of_run(
        &self,
        course_id: &CourseId,
        start: Option<Start>,
    ) -> Result<Page<Result<Enrollment, StoreError>>, StoreError> {
        let page = page::of_run(&self.client, &self.table, course_id, start).await?;
        Ok(page.map(|item| enrollment(&self.table, item)))
    }

    /// All enrollments of a user, by course id.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Enrollment>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let enrollments = items.into_iter();
        let enrollments = enrollments.map(|item| enrollment(&self.table, item));
        enrollments.collect()
    }

    /// The runs in which a user has an enrollment, whatever shape it has.
    pub async fn runs_of(&self, user_id: Uuid) -> Result<Vec<CourseId>, StoreError> {
        let items = of_user(&self.client, &self.table, user_id).await?;
        let ids = items.into_iter().filter_map(|mut item| {
            let id = item.remove("course_id")?;
            id.as_s().ok()?.parse().ok()
        });
        Ok(ids.collect())
    }

    /// Removes all enrollments of a user with their histories, whatever shape they
    /// have; how many.
    pub async fn erase(&self, user_id: Uuid) -> Result<u64, StoreError> {
        erase_of_user(&self.client, &self.table, user_id).await
    }
}
