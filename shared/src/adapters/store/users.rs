//! The tables `users` and `usernames`, written together: a username belongs to
//! one user.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::expression::{names, text};
pub use super::transaction::Written;
use super::{Item, StoreError, batch, incomplete, read, transaction};
use crate::domain::{Email, User, Username};

/// The users that the portal knows.
#[derive(Debug, Clone)]
pub struct Users {
    client: Client,
    users: String,
    usernames: String,
}

#[derive(Serialize, Deserialize)]
struct UserItem {
    email: Email,
    user_id: Uuid,
    email_as_given: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    edx_username: Option<Username>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct UsernameItem {
    edx_username: Username,
    email: Email,
    user_id: Uuid,
}

/// A user to be written, and the one that was read in its place.
#[derive(Clone)]
pub struct UserWrite {
    /// As it was read, which the write insists on; `None` where there must be no user yet.
    pub before: Option<User>,
    /// As it is to be; the address and the id are those of `before`.
    pub after: User,
}

/// The users and usernames that some rows speak of.
#[derive(Default)]
pub struct FoundUsers {
    /// The users that exist, of the addresses asked for.
    pub by_email: HashMap<Email, User>,
    /// Whose each username is; one that nobody has is not in here.
    pub owner_of: HashMap<Username, Email>,
}

/// The key of a user.
pub(super) fn key(email: &Email) -> Item {
    Item::from([("email".to_owned(), text(email.as_str()))])
}

/// A user from their item.
fn user(table: &str, item: Item) -> Result<User, StoreError> {
    let item: UserItem = read(table, item)?;
    Ok(User {
        user_id: item.user_id,
        email: item.email,
        email_as_given: item.email_as_given,
        edx_username: item.edx_username,
        name: item.name,
    })
}

fn username_key(username: &Username) -> Item {
    Item::from([("edx_username".to_owned(), text(username.as_str()))])
}

impl Users {
    /// The most users that [`Users::find`] takes at once: DynamoDB reads 100
    /// keys a call, and each row has two.
    pub const AT_ONCE: usize = 50;

    /// Takes the names of the tables `users` and `usernames`. Makes no call.
    pub fn new(client: Client, users: String, usernames: String) -> Self {
        Self {
            client,
            users,
            usernames,
        }
    }

    /// The user of this address, where the portal knows one.
    pub async fn get(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let found = self.find(&[email], &[]).await?;
        Ok(found.by_email.into_values().next())
    }

    /// The users of these addresses and the owners of these usernames, at most
    /// 100 in all and none twice.
    pub async fn find(
        &self,
        emails: &[&Email],
        usernames: &[&Username],
    ) -> Result<FoundUsers, StoreError> {
        let keys = [
            (
                self.users.as_str(),
                emails.iter().copied().map(key).collect(),
            ),
            (
                self.usernames.as_str(),
                usernames.iter().copied().map(username_key).collect(),
            ),
        ];
        let mut items = batch::get(&self.client, keys).await?;
        let mut found = FoundUsers::default();
        for item in items.remove(&self.users).unwrap_or_default() {
            let user = user(&self.users, item)?;
            found.by_email.insert(user.email.clone(), user);
        }
        for item in items.remove(&self.usernames).unwrap_or_default() {
            let owner: UsernameItem = read(&self.usernames, item)?;
            found.owner_of.insert(owner.edx_username, owner.email);
        }
        Ok(found)
    }

    /// Writes some users (at most 33) with their usernames, all of them or
    /// none, each on the condition that it still is as it was read.
    pub async fn write(&self, writes: &[UserWrite]) -> Result<Written, StoreError> {
        let mut items = Vec::new();
        for write in writes {
            items.extend(self.items_of(write)?);
        }
        transaction::write(&self.client, items).await
    }

    fn items_of(&self, write: &UserWrite) -> Result<Vec<TransactWriteItem>, StoreError> {
        const FREE_OR_OURS: &str = "attribute_not_exists(#edx_username) OR #user_id = :user_id";

        let after = &write.after;
        let user_id = text(after.user_id.to_string());
        let mut items = vec![match &write.before {
            None => self.creation(after)?,
            Some(before) => self.change(before, after)?,
        }];

        let old_username = write
            .before
            .as_ref()
            .and_then(|user| user.edx_username.as_ref());
        if after.edx_username.as_ref() != old_username {
            if let Some(new) = &after.edx_username {
                let item = UsernameItem {
                    edx_username: new.clone(),
                    email: after.email.clone(),
                    user_id: after.user_id,
                };
                let put = Put::builder()
                    .table_name(&self.usernames)
                    .set_item(Some(super::write(&self.usernames, item)?))
                    .condition_expression(FREE_OR_OURS)
                    .set_expression_attribute_names(Some(names(&[FREE_OR_OURS])))
                    .expression_attribute_values(":user_id", user_id.clone())
                    .build()
                    .map_err(incomplete)?;
                items.push(TransactWriteItem::builder().put(put).build());
            }
            if let Some(old) = old_username {
                let delete = Delete::builder()
                    .table_name(&self.usernames)
                    .set_key(Some(username_key(old)))
                    .condition_expression(FREE_OR_OURS)
                    .set_expression_attribute_names(Some(names(&[FREE_OR_OURS])))
                    .expression_attribute_values(":user_id", user_id)
                    .build()
                    .map_err(incomplete)?;
                items.push(TransactWriteItem::builder().delete(delete).build());
            }
        }
        Ok(items)
    }

    /// A user where there is none.
    fn creation(&self, user: &User) -> Result<TransactWriteItem, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#email)";
        let item = UserItem {
            email: user.email.clone(),
            user_id: user.user_id,
            email_as_given: user.email_as_given.clone(),
            edx_username: user.edx_username.clone(),
            name: user.name.clone(),
        };
        let put = Put::builder()
            .table_name(&self.users)
            .set_item(Some(super::write(&self.users, item)?))
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(&[ABSENT])))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A user whose attributes, those that we know, still are as they were
    /// read; others are left alone.
    fn change(&self, before: &User, after: &User) -> Result<TransactWriteItem, StoreError> {
        let attributes = |user: &User| {
            [
                ("email_as_given", Some(user.email_as_given.clone())),
                ("edx_username", user.edx_username.clone().map(String::from)),
                ("name", user.name.clone()),
            ]
        };
        let mut conditions = vec!["#user_id = :user_id".to_owned()];
        let mut changes = Vec::new();
        let mut values = Item::from([(":user_id".to_owned(), text(before.user_id.to_string()))]);
        for ((name, old), (_, new)) in attributes(before).into_iter().zip(attributes(after)) {
            match &old {
                Some(value) => {
                    conditions.push(format!("#{name} = :old_{name}"));
                    values.insert(format!(":old_{name}"), text(value));
                }
                None => conditions.push(format!("attribute_not_exists(#{name})")),
            }
            if let Some(value) = new.as_ref().filter(|_| new != old) {
                changes.push(format!("#{name} = :new_{name}"));
                values.insert(format!(":new_{name}"), text(value));
            }
        }
        let condition = conditions.join(" AND ");
        let update = format!("SET {}", changes.join(", "));
        let update = Update::builder()
            .table_name(&self.users)
            .set_key(Some(key(&before.email)))
            .set_expression_attribute_names(Some(names(&[&condition, &update])))
            .set_expression_attribute_values(Some(values))
            .update_expression(update)
            .condition_expression(condition)
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
