//! Reads everything that a delivery refers to from three tables in one call.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use domain::{CourseId, Email, EventKey, EventKind, PendingEvent, Username};
use serde::Deserialize;
use uuid::Uuid;

use super::{StoreError, batch, course_runs, pending_events, read, users};

/// Reads user, course run and pending events together.
#[derive(Debug, Clone)]
pub struct Lookup {
    client: Client,
    users: String,
    course_runs: String,
    pending_events: String,
}

/// The existing user, run and pending events of a delivery.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The user; `None` if no user has the address.
    pub user: Option<FoundUser>,
    /// The run; `None` if it does not exist or was not asked for.
    pub run: Option<FoundRun>,
    /// The pending events that were asked for and exist, in any state. There may be two
    /// of one kind if the address is a former one of the user's.
    pub pending: Vec<PendingEvent>,
}

/// The part of a user that a delivery needs. Other programs may write users and runs too.
/// A malformed optional attribute counts as absent.
#[derive(Clone, Deserialize)]
pub struct FoundUser {
    /// The user's current address. It differs from the one asked for if that is a former
    /// one.
    pub email: Email,
    /// The user's id.
    pub user_id: Uuid,
    /// The username in the LMS. Without it the LMS cannot be asked for a grade.
    #[serde(default, deserialize_with = "super::if_sound")]
    pub edx_username: Option<Username>,
    /// The name on the certificate.
    #[serde(default, deserialize_with = "super::if_sound")]
    pub name: Option<String>,
}

/// Shows only the id. The rest is personal data.
impl std::fmt::Debug for FoundUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FoundUser({})", self.user_id)
    }
}

/// The part of a run that a delivery needs.
#[derive(Debug, Clone, Deserialize)]
pub struct FoundRun {
    /// The title on the certificate.
    #[serde(default, deserialize_with = "super::if_sound")]
    pub title: Option<String>,
}

impl Found {
    /// The pending events of this kind, if that kind was asked for.
    pub fn pending(&self, kind: EventKind) -> impl Iterator<Item = &PendingEvent> {
        self.pending.iter().filter(move |event| event.kind == kind)
    }
}

impl Lookup {
    /// Returns a lookup in the tables of these names. Makes no call.
    pub fn new(client: Client, users: String, course_runs: String, pending_events: String) -> Self {
        Self {
            client,
            users,
            course_runs,
            pending_events,
        }
    }

    /// Finds the user, the run and the pending events of these kinds. The pending event
    /// of the first kind must be readable; unreadable events of other kinds are left out.
    /// Without a run, only the user is read.
    ///
    /// One BatchGetItem, and one more if the address is a former one: events that are
    /// pending under the current address are found as well.
    pub async fn find(
        &self,
        email: &Email,
        course_id: Option<&CourseId>,
        kinds: &[EventKind],
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let mut address = email.clone();
        let mut runs: Vec<_> = course_id.into_iter().map(course_runs::key).collect();
        for _ in 0..users::ALIASES_FOLLOWED {
            let events = course_id
                .into_iter()
                .flat_map(|course_id| kinds.iter().map(move |kind| (kind, course_id)))
                .map(|(kind, course_id)| EventKey::of(*kind, &address, course_id));
            let events: Vec<_> = events.map(|event| pending_events::key(&event)).collect();
            let own = events.first().cloned();
            let keys = [
                (self.users.as_str(), vec![users::key(&address)]),
                (self.course_runs.as_str(), std::mem::take(&mut runs)),
                (self.pending_events.as_str(), events),
            ];
            let mut items = batch::get(&self.client, keys).await?;
            let mut all = |table: &String| items.remove(table).unwrap_or_default();
            for item in all(&self.pending_events) {
                let is_own = own
                    .as_ref()
                    .is_some_and(|own| *own == pending_events::key_of(&item));
                match read(&self.pending_events, item) {
                    Ok(event) => found.pending.push(event),
                    Err(error) if is_own => return Err(error),
                    // An unreadable event of another kind is no reason to refuse this
                    // delivery.
                    Err(_) => {}
                }
            }
            if let Some(item) = all(&self.course_runs).pop() {
                found.run = Some(read(&self.course_runs, item)?);
            }
            let Some(item) = all(&self.users).pop() else {
                return Ok(found);
            };
            match users::alias_of(&self.users, &item)? {
                Some(email) => address = email,
                None => {
                    found.user = Some(read(&self.users, item)?);
                    return Ok(found);
                }
            }
        }
        Err(StoreError::contended())
    }

    /// Finds the users of these addresses (at most 100, all of them current) and the
    /// events of this kind that are pending for them and a run. Unreadable items are left
    /// out.
    ///
    /// Two concurrent BatchGetItems.
    pub async fn find_many(
        &self,
        emails: &[&Email],
        course_id: &CourseId,
        kind: EventKind,
    ) -> Result<HashMap<Email, Found>, StoreError> {
        let of_email: HashMap<_, _> = emails
            .iter()
            .map(|email| (EventKey::of(kind, email, course_id), *email))
            .collect();
        let users = emails.iter().copied().map(users::key).collect();
        let events = of_email.keys().map(pending_events::key).collect();
        let (mut users, mut events) = futures::future::try_join(
            batch::get(&self.client, [(self.users.as_str(), users)]),
            batch::get(&self.client, [(self.pending_events.as_str(), events)]),
        )
        .await?;
        let mut found: HashMap<Email, Found> = HashMap::new();
        for item in users.remove(&self.users).unwrap_or_default() {
            // The item is a former address, or a user who cannot be read.
            let Ok(user) = read::<FoundUser>(&self.users, item) else {
                continue;
            };
            let email = user.email.clone();
            found.entry(email).or_default().user = Some(user);
        }
        for item in events.remove(&self.pending_events).unwrap_or_default() {
            let Ok(event) = read::<PendingEvent>(&self.pending_events, item) else {
                continue;
            };
            if let Some(email) = of_email.get(&event.event_key) {
                let found = found.entry((*email).clone()).or_default();
                found.pending.push(event);
            }
        }
        Ok(found)
    }

    /// Opens the connection by reading a key that cannot exist, because every address has
    /// an @.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.client
            .get_item()
            .table_name(&self.users)
            .key("email", super::expression::text("warm-up"))
            .send()
            .await?;
        Ok(())
    }
}
