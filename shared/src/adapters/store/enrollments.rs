//! The table `enrollments`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::expression::{flag, moment, names, text};
use super::{Item, StoreError, read, write};
use crate::domain::{Change, CourseId, CourseRole, Enrollment, HistoryEntry, Mode};

/// Learners' enrollments in course runs.
#[derive(Debug, Clone)]
pub struct Enrollments {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct EnrollmentItem {
    user_id: Uuid,
    course_id: CourseId,
    enrollment_id: Uuid,
    mode: Mode,
    #[serde(default)]
    mode_set_by_admin: bool,
    active: bool,
    edx_enrolled: bool,
    #[serde(default)]
    roles: BTreeSet<CourseRole>,
    #[serde(default)]
    change_status: Option<String>,
    changed_at: Timestamp,
    history: Vec<HistoryEntry>,
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

impl Enrollments {
    /// The enrollments in the table of this name. Makes no call.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What a delivery does: the enrollment is created, or made active and
    /// `edx_enrolled`, and the roles added; nothing is written where nothing differs.
    ///
    /// One UpdateItem. `mode` counts only at creation.
    pub async fn announce(
        &self,
        change: &EnrollmentChange,
        mode: Option<&Mode>,
        roles: &BTreeSet<CourseRole>,
    ) -> Result<Changed, StoreError> {
        let mut update = "SET #enrollment_id = if_not_exists(#enrollment_id, :enrollment_id), \
             #mode = if_not_exists(#mode, :mode), #active = :true, #edx_enrolled = :true, \
             #changed_at = :now, \
             #history = list_append(if_not_exists(#history, :none), :entry) \
             REMOVE #change_status"
            .to_owned();
        let mut condition =
            "attribute_not_exists(#user_id) OR #active = :false OR #edx_enrolled = :false"
                .to_owned();
        if !roles.is_empty() {
            update.push_str(" ADD #roles :roles");
        }
        for n in 0..roles.len() {
            // Writing to a string never fails.
            let _ = write!(condition, " OR NOT contains(#roles, :role{n})");
        }
        let entry = HistoryEntry {
            at: change.at,
            change_id: change.change_id,
            by: change.by.clone(),
            active: true,
            edx_enrolled: Some(true),
            mode: None,
            announced_mode: mode.cloned(),
            announced_roles: roles.clone(),
        };
        let mode = mode.cloned().unwrap_or_else(Mode::audit);
        let mut request = self
            .request(change, entry, update, condition)?
            .expression_attribute_values(":mode", text(mode.as_str()))
            .expression_attribute_values(":true", flag(true))
            .expression_attribute_values(":false", flag(false));
        for (n, role) in roles.iter().enumerate() {
            request = request.expression_attribute_values(format!(":role{n}"), text(role.as_str()));
        }
        if !roles.is_empty() {
            let roles = roles.iter().map(|role| role.as_str().to_owned()).collect();
            request = request.expression_attribute_values(":roles", AttributeValue::Ss(roles));
        }
        self.send(change, request).await
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
        let mut request = self
            .request(change, entry, update, condition)?
            .expression_attribute_values(":mode", text(mode.as_str()))
            .expression_attribute_values(":active", flag(active))
            .expression_attribute_values(":true", flag(true))
            .expression_attribute_values(":false", flag(false));
        if !active {
            request = request.expression_attribute_values(":unenrolled", text("unenrolled"));
        }
        self.send(change, request).await
    }

    fn request(
        &self,
        change: &EnrollmentChange,
        entry: HistoryEntry,
        update: String,
        condition: String,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        let entry = AttributeValue::M(write(&self.table, entry)?);
        Ok(self
            .client
            .update_item()
            .table_name(&self.table)
            .key("user_id", text(change.user_id.to_string()))
            .key("course_id", text(change.course_id.as_str()))
            .set_expression_attribute_names(Some(names(&[&update, &condition])))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_values(
                ":enrollment_id",
                text(change.new_enrollment_id.to_string()),
            )
            .expression_attribute_values(":now", text(moment(change.at)))
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":entry", AttributeValue::L(vec![entry]))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld))
    }

    /// Sends a change. Whether it created or changed the enrollment is told by
    /// our own ids in the item, also where a first attempt did its work, its
    /// answer was lost, and a second attempt met the condition.
    async fn send(
        &self,
        change: &EnrollmentChange,
        request: UpdateItemFluentBuilder,
    ) -> Result<Changed, StoreError> {
        let item = match request.send().await {
            Ok(answer) => answer.attributes,
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    failed.item().cloned()
                }
                _ => return Err(error.into()),
            },
        };
        let enrollment = self.enrollment(item.unwrap_or_default())?;
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

    /// All enrollments of a user, by course id.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Enrollment>, StoreError> {
        const OF_USER: &str = "#user_id = :user_id";
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression(OF_USER)
            .set_expression_attribute_names(Some(names(&[OF_USER])))
            .expression_attribute_values(":user_id", text(user_id.to_string()))
            .into_paginator()
            .items()
            .send();
        let mut enrollments = Vec::new();
        while let Some(item) = pages.next().await {
            enrollments.push(self.enrollment(item?)?);
        }
        Ok(enrollments)
    }

    fn enrollment(&self, item: Item) -> Result<Enrollment, StoreError> {
        let item: EnrollmentItem = read(&self.table, item)?;
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
}
