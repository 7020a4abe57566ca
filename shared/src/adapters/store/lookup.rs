//! What a delivery is about, read from three tables in one call.

use aws_sdk_dynamodb::Client;
use serde::Deserialize;
use uuid::Uuid;

use super::{StoreError, batch, course_runs, kept_events, read, users};
use crate::domain::{CourseId, Email, EventKey, KeptEvent};

/// Reads user, course run and kept event together.
#[derive(Debug, Clone)]
pub struct Lookup {
    client: Client,
    users: String,
    course_runs: String,
    kept_events: String,
}

/// What exists of what a delivery speaks of. Users and runs may be written by
/// other programs than ours: no more of them is read than is needed.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// `None` where no user has the address.
    pub user_id: Option<Uuid>,
    /// False, too, where no run was asked for.
    pub run_exists: bool,
    /// The event of the same key, whatever its state; `None`, too, where no run was asked for.
    pub kept: Option<KeptEvent>,
}

#[derive(Deserialize)]
struct UserIdItem {
    user_id: Uuid,
}

impl Lookup {
    /// Takes the names of the three tables. Makes no call.
    pub fn new(client: Client, users: String, course_runs: String, kept_events: String) -> Self {
        Self {
            client,
            users,
            course_runs,
            kept_events,
        }
    }

    /// One BatchGetItem. Without a run to look for, only the user is read.
    pub async fn find(
        &self,
        email: &Email,
        run: Option<(&CourseId, &EventKey)>,
    ) -> Result<Found, StoreError> {
        let run_keys = run.map(|(course_id, _)| course_runs::key(course_id));
        let kept_keys = run.map(|(_, event_key)| kept_events::key(event_key));
        let keys = [
            (self.users.as_str(), vec![users::key(email)]),
            (self.course_runs.as_str(), run_keys.into_iter().collect()),
            (self.kept_events.as_str(), kept_keys.into_iter().collect()),
        ];
        let mut items = batch::get(&self.client, keys).await?;
        let mut one = |table: &String| items.remove(table).and_then(|mut items| items.pop());
        Ok(Found {
            user_id: one(&self.users)
                .map(|item| read::<UserIdItem>(&self.users, item))
                .transpose()?
                .map(|item| item.user_id),
            run_exists: one(&self.course_runs).is_some(),
            kept: one(&self.kept_events)
                .map(|item| kept_events::kept_event(&self.kept_events, item))
                .transpose()?,
        })
    }

    /// Opens the connection: reads a key that cannot exist (no address is without an @).
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
