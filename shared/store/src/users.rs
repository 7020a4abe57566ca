//! The tables `users` and `usernames`, which are written together. A username belongs to
//! one user, whatever the case of its ASCII letters.
//!
//! Beside users, `users` has an item for each former address, whose `alias_of` is the
//! user's current address.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::expression::{exactly, names, replacing, text};
use super::page::{self, Page, Start};
pub use super::transaction::Written;
use domain::{Email, User, Username, UsernameKey};

use super::{Item, StoreError, batch, incomplete, read, transaction, write};

/// The users that the portal knows.
#[derive(Debug, Clone)]
pub struct Users {
    client: Client,
    users: String,
    usernames: String,
}

#[derive(Deserialize)]
struct Keyed {
    email: Email,
}

#[derive(Serialize, Deserialize)]
struct UsernameItem {
    username_key: UsernameKey,
    /// The username in its original spelling.
    edx_username: Username,
    email: Email,
    user_id: Uuid,
}

#[derive(Deserialize)]
struct Alias {
    email: Email,
}

/// Condition: a username belongs to no user, or to this user.
const FREE_OR_OURS: &str = "attribute_not_exists(#username_key) OR #user_id = :user_id";

/// Condition: an address belongs to nobody, or is an alias of `:email`.
const FREE_OR_LEADS_THERE: &str = "attribute_not_exists(#email) OR #alias_of = :email";

/// The maximum number of aliases that are followed to find a user. Each alias points to
/// the user's current address, unless that changes at this moment.
pub(super) const ALIASES_FOLLOWED: u32 = 4;

/// A user to write, and the user as it was read before.
#[derive(Clone)]
pub struct UserWrite {
    /// The user as it was read, which the write requires unchanged; `None` if there must
    /// be no user yet.
    pub before: Option<User>,
    /// The user to write. Its address and id are those of `before`.
    pub after: User,
}

impl UserWrite {
    /// The number of items that it writes: the user, and each username that is added or
    /// removed.
    pub fn items(&self) -> usize {
        let (new, old) = self.usernames();
        1 + usize::from(old.is_some()) + usize::from(new.is_some())
    }

    /// The username to write, if it changes, and the one to remove. A username that only
    /// changes its spelling is the same item, and is not removed.
    fn usernames(&self) -> (Option<&Username>, Option<UsernameKey>) {
        let before = self.before.as_ref();
        let old = before.and_then(|user| user.edx_username.as_ref());
        let new = self.after.edx_username.as_ref();
        if old == new {
            return (None, None);
        }
        let (key, gone) = (new.map(Username::key), old.map(Username::key));
        if key == gone {
            (new, None)
        } else {
            (new, gone)
        }
    }
}

/// The users and usernames that some rows refer to.
#[derive(Default)]
pub struct FoundUsers {
    /// The existing users by the address asked for. If that address is a former one, the
    /// user now has another one.
    pub by_email: HashMap<Email, User>,
    /// The address of the owner of each username. A username without an owner is not in
    /// the map.
    pub owner_of: HashMap<UsernameKey, Email>,
}

/// The owner of a username.
#[derive(Clone)]
pub struct Owner {
    /// The user's id, which never changes.
    pub user_id: Uuid,
    /// The user's current address.
    pub email: Email,
}

/// Shows only the id. The address is personal data.
impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owner({})", self.user_id)
    }
}

/// The key of a user.
pub(super) fn key(email: &Email) -> Item {
    Item::from([("email".to_owned(), text(email.as_str()))])
}

/// The current address of the user of this item, if the item is a former address;
/// otherwise `None`.
pub(super) fn alias_of(table: &str, item: &Item) -> Result<Option<Email>, StoreError> {
    let Some(target) = item.get("alias_of") else {
        return Ok(None);
    };
    let target = target.as_s().ok().and_then(|text| text.parse().ok());
    target
        .map(Some)
        .ok_or_else(|| StoreError::Corrupt(table.to_owned()))
}

/// The attributes of a user that this program may change, and those of them that a user may
/// lack.
const CHANGEABLE: [&str; 4] = ["email_as_given", "edx_username", "name", "former_emails"];
const OPTIONAL: [&str; 3] = ["edx_username", "name", "former_emails"];

/// The condition that a user is unchanged since they were read, with its values.
fn as_read(table: &str, user: &User) -> Result<(String, Item), StoreError> {
    let mut item = write(table, user)?;
    let mut conditions = vec!["#user_id = :user_id".to_owned()];
    let mut values = Item::from([(":user_id".to_owned(), text(user.user_id.to_string()))]);
    for name in CHANGEABLE {
        match item.remove(name) {
            Some(value) => {
                conditions.push(format!("#{name} = :old_{name}"));
                values.insert(format!(":old_{name}"), value);
            }
            None => conditions.push(format!("attribute_not_exists(#{name})")),
        }
    }
    Ok((conditions.join(" AND "), values))
}

/// The item of a former address.
fn alias(former: &Email, email: &Email) -> Item {
    let mut item = key(former);
    item.insert("alias_of".to_owned(), text(email.as_str()));
    item
}

fn username_key(username: &UsernameKey) -> Item {
    Item::from([("username_key".to_owned(), text(username.as_str()))])
}

impl Users {
    /// The maximum number of users for one call of [`Users::find`]. DynamoDB reads 100
    /// keys in a call, and each row has two.
    pub const AT_ONCE: usize = 50;

    /// The maximum number of items for one call of [`Users::write`].
    pub const ITEMS_AT_ONCE: usize = 100;

    /// Returns the users in the tables `users` and `usernames` of these names. Makes no
    /// call.
    pub fn new(client: Client, users: String, usernames: String) -> Self {
        Self {
            client,
            users,
            usernames,
        }
    }

    /// Reads the user of this address, or `None` if the portal knows none.
    pub async fn get(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let found = self.find(&[email], &[]).await?;
        Ok(found.by_email.into_values().next())
    }

    /// Finds the owner of each of these usernames (at most 100). A malformed item is an
    /// error for its username. A username without an owner is not in the result.
    ///
    /// One BatchGetItem.
    pub async fn owners(
        &self,
        usernames: &[UsernameKey],
    ) -> Result<HashMap<UsernameKey, Result<Owner, StoreError>>, StoreError> {
        // DynamoDB refuses a call with a repeated key, and a list of the LMS may have one
        // username in two spellings.
        let usernames: BTreeSet<_> = usernames.iter().collect();
        let keys = usernames.into_iter().map(username_key).collect();
        let mut items = batch::get(&self.client, [(self.usernames.as_str(), keys)]).await?;
        let items = items.remove(&self.usernames).unwrap_or_default();
        let owners = items.into_iter().filter_map(|item| {
            let username = item.get("username_key")?.as_s().ok()?.parse().ok()?;
            let owner = read(&self.usernames, item).map(|item: UsernameItem| Owner {
                user_id: item.user_id,
                email: item.email,
            });
            Some((username, owner))
        });
        Ok(owners.collect())
    }

    /// Reads some of the users who have an edX username: those on the first page of a
    /// scan.
    pub async fn with_usernames(&self) -> Result<Vec<User>, StoreError> {
        const HAS_ONE: &str = "attribute_exists(#edx_username)";
        let page = page::of_table(&self.client, &self.users, Some(HAS_ONE), None).await?;
        let items = page.entries.into_iter();
        items.map(|item| read(&self.users, item)).collect()
    }

    /// Finds the users of these addresses and the owners of these usernames, at most 100
    /// in all and none twice.
    ///
    /// One BatchGetItem; one more if some of the addresses are former ones.
    pub async fn find(
        &self,
        emails: &[&Email],
        usernames: &[UsernameKey],
    ) -> Result<FoundUsers, StoreError> {
        let keys = [
            (
                self.users.as_str(),
                emails.iter().copied().map(key).collect(),
            ),
            (
                self.usernames.as_str(),
                usernames.iter().map(username_key).collect(),
            ),
        ];
        let mut items = batch::get(&self.client, keys).await?;
        let mut found = FoundUsers::default();
        for item in items.remove(&self.usernames).unwrap_or_default() {
            let owner: UsernameItem = read(&self.usernames, item)?;
            found.owner_of.insert(owner.username_key, owner.email);
        }
        // Maps the address that is read next to the addresses that were asked for.
        let mut asked: HashMap<Email, BTreeSet<Email>> = HashMap::new();
        for email in emails {
            asked.insert((*email).clone(), BTreeSet::from([(*email).clone()]));
        }
        let mut items = items.remove(&self.users).unwrap_or_default();
        for _ in 0..ALIASES_FOLLOWED {
            let mut targets: HashMap<Email, BTreeSet<Email>> = HashMap::new();
            for item in items {
                match alias_of(&self.users, &item)? {
                    Some(target) => {
                        let Alias { email } = read(&self.users, item)?;
                        let asked = asked.get(&email).cloned().unwrap_or_default();
                        targets.entry(target).or_default().extend(asked);
                    }
                    None => {
                        let user: User = read(&self.users, item)?;
                        for email in asked.get(&user.email).into_iter().flatten() {
                            found.by_email.insert(email.clone(), user.clone());
                        }
                    }
                }
            }
            if targets.is_empty() {
                return Ok(found);
            }
            let keys = targets.keys().map(key).collect();
            let mut answer = batch::get(&self.client, [(self.users.as_str(), keys)]).await?;
            items = answer.remove(&self.users).unwrap_or_default();
            asked = targets;
        }
        Err(StoreError::contended())
    }

    /// Reads one page of all users, in no order. A malformed item is an error within the
    /// page. An alias item (`alias_of`) is not a user.
    pub async fn page(
        &self,
        start: Option<Start>,
    ) -> Result<Page<Result<User, StoreError>>, StoreError> {
        const IS_USER: &str = "attribute_not_exists(#alias_of)";
        let page = page::of_table(&self.client, &self.users, Some(IS_USER), start).await?;
        Ok(page.map(|item| read(&self.users, item)))
    }

    /// Returns the address of the user of this id, according to the index, which may lag
    /// behind the table; `None` if there is no such user. A caller that decides by it
    /// must read the user and compare the id.
    pub async fn email_of(&self, user_id: Uuid) -> Result<Option<Email>, StoreError> {
        const OF_USER: &str = "#user_id = :user_id";
        let answer = self
            .client
            .query()
            .table_name(&self.users)
            .index_name("by_user_id")
            .key_condition_expression(OF_USER)
            .set_expression_attribute_names(Some(names(&[OF_USER])))
            .expression_attribute_values(":user_id", text(user_id.to_string()))
            .send()
            .await?;
        let item = answer.items.unwrap_or_default().pop();
        let keyed = item.map(|item| read(&self.users, item));
        Ok(keyed.transpose()?.map(|Keyed { email }| email))
    }

    /// Writes some users with their usernames, at most [`Users::ITEMS_AT_ONCE`] items,
    /// all of them or none, each on the condition that it is unchanged since it was read.
    pub async fn write(&self, writes: &[UserWrite]) -> Result<Written, StoreError> {
        let mut items = Vec::new();
        for write in writes {
            items.extend(self.items_of(write)?);
        }
        transaction::write(&self.client, items).await
    }

    /// Changes the address of a user to that of `after`. The new item keeps all
    /// attributes that this program does not know. The previous address and all former
    /// ones become aliases of the new one.
    ///
    /// A read and one transaction, on the condition that the user is unchanged since it
    /// was read and that nobody else has the new address.
    pub async fn rename(&self, before: &User, after: &User) -> Result<Written, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.users)
            .set_key(Some(key(&before.email)))
            .consistent_read(true)
            .send()
            .await?;
        let Some(stored) = answer.item else {
            return Ok(Written::Moved);
        };
        let is_alias = alias_of(&self.users, &stored)?.is_some();
        if is_alias || read::<User>(&self.users, stored.clone())? != *before {
            return Ok(Written::Moved);
        }
        let mut renamed = stored.clone();
        renamed.extend(write(&self.users, after)?);
        let (is_as_read, names, values) = exactly(&stored);
        let alias_until_now = Put::builder()
            .table_name(&self.users)
            .set_item(Some(alias(&before.email, &after.email)))
            .condition_expression(is_as_read)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(incomplete)?;
        let mut items = vec![
            self.put_where_free(&before.email, renamed)?,
            TransactWriteItem::builder().put(alias_until_now).build(),
        ];
        for former in before.former_emails.intersection(&after.former_emails) {
            items.push(self.put_where_free(&before.email, alias(former, &after.email))?);
        }
        if let Some(username) = &after.edx_username {
            items.push(self.username_of(username, after)?);
        }
        transaction::write(&self.client, items).await
    }

    /// Removes a former address of a user, because it was not theirs.
    pub async fn forget(&self, before: &User, former: &Email) -> Result<Written, StoreError> {
        let mut after = before.clone();
        after.former_emails.remove(former);
        let items = vec![
            self.change(before, &after)?,
            self.alias_gone(former, &before.email)?,
        ];
        transaction::write(&self.client, items).await
    }

    /// Removes a user, the username, and all former addresses in one transaction, on the
    /// condition that the user is unchanged since it was read.
    pub async fn erase(&self, user: &User) -> Result<Written, StoreError> {
        let (condition, values) = as_read(&self.users, user)?;
        let own = Delete::builder()
            .table_name(&self.users)
            .set_key(Some(key(&user.email)))
            .set_expression_attribute_names(Some(names(&[&condition])))
            .set_expression_attribute_values(Some(values))
            .condition_expression(condition)
            .build()
            .map_err(incomplete)?;
        let mut items = vec![TransactWriteItem::builder().delete(own).build()];
        for former in &user.former_emails {
            items.push(self.alias_gone(former, &user.email)?);
        }
        if let Some(username) = &user.edx_username {
            items.push(self.username_gone(&username.key(), user)?);
        }
        transaction::write(&self.client, items).await
    }

    fn items_of(&self, write: &UserWrite) -> Result<Vec<TransactWriteItem>, StoreError> {
        let after = &write.after;
        let mut items = vec![match &write.before {
            None => self.creation(after)?,
            Some(before) => self.change(before, after)?,
        }];
        let (new, old) = write.usernames();
        if let Some(new) = new {
            items.push(self.username_of(new, after)?);
        }
        if let Some(old) = old {
            items.push(self.username_gone(&old, after)?);
        }
        Ok(items)
    }

    /// Returns the write that gives a username to this user, on the condition that nobody
    /// else has it.
    fn username_of(
        &self,
        username: &Username,
        user: &User,
    ) -> Result<TransactWriteItem, StoreError> {
        let item = UsernameItem {
            username_key: username.key(),
            edx_username: username.clone(),
            email: user.email.clone(),
            user_id: user.user_id,
        };
        let put = Put::builder()
            .table_name(&self.usernames)
            .set_item(Some(write(&self.usernames, item)?))
            .condition_expression(FREE_OR_OURS)
            .set_expression_attribute_names(Some(names(&[FREE_OR_OURS])))
            .expression_attribute_values(":user_id", text(user.user_id.to_string()))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns the removal of a username of this user, on the condition that nobody else
    /// has it.
    fn username_gone(
        &self,
        username: &UsernameKey,
        user: &User,
    ) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.usernames)
            .set_key(Some(username_key(username)))
            .condition_expression(FREE_OR_OURS)
            .set_expression_attribute_names(Some(names(&[FREE_OR_OURS])))
            .expression_attribute_values(":user_id", text(user.user_id.to_string()))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Returns the removal of a former address, on the condition that it is an alias of
    /// `email` or does not exist.
    fn alias_gone(&self, former: &Email, email: &Email) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.users)
            .set_key(Some(key(former)))
            .condition_expression(FREE_OR_LEADS_THERE)
            .set_expression_attribute_names(Some(names(&[FREE_OR_LEADS_THERE])))
            .expression_attribute_values(":email", text(email.as_str()))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Returns the write of an item, on the condition that there is none, or one that is
    /// an alias of `email`.
    fn put_where_free(&self, email: &Email, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.users)
            .set_item(Some(item))
            .condition_expression(FREE_OR_LEADS_THERE)
            .set_expression_attribute_names(Some(names(&[FREE_OR_LEADS_THERE])))
            .expression_attribute_values(":email", text(email.as_str()))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns the write of a new user, on the condition that there is none.
    fn creation(&self, user: &User) -> Result<TransactWriteItem, StoreError> {
        const ABSENT: &str = "attribute_not_exists(#email)";
        let put = Put::builder()
            .table_name(&self.users)
            .set_item(Some(write(&self.users, user)?))
            .condition_expression(ABSENT)
            .set_expression_attribute_names(Some(names(&[ABSENT])))
            .build()
            .map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns the change of a user, on the condition that the attributes that we know
    /// are unchanged since they were read. Other attributes are not touched.
    fn change(&self, before: &User, after: &User) -> Result<TransactWriteItem, StoreError> {
        let (condition, mut values) = as_read(&self.users, before)?;
        let mut item = write(&self.users, after)?;
        item.retain(|name, _| CHANGEABLE.contains(&name.as_str()));
        let update = replacing(&item, &OPTIONAL);
        values.extend(
            item.into_iter()
                .map(|(name, value)| (format!(":{name}"), value)),
        );
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
