//! What a delivery is about, read from three tables in one call.

use aws_sdk_dynamodb::Client;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::{StoreError, batch, course_runs, kept_events, read, users};
use crate::domain::{CourseId, Email, EventKey, EventKind, KeptEvent, Username};

/// Reads user, course run and kept events together.
#[derive(Debug, Clone)]
pub struct Lookup {
    client: Client,
    users: String,
    course_runs: String,
    kept_events: String,
}

/// What exists of what a delivery speaks of.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// `None` where no user has the address.
    pub user: Option<FoundUser>,
    /// `None`, too, where no run was asked for.
    pub run: Option<FoundRun>,
    /// Those that were asked for and exist, whatever their state.
    pub kept: Vec<KeptEvent>,
}

/// A user, as far as a delivery needs them. Users and runs may be written by
/// other programs than ours: what is not as it should be, and can be done
/// without, counts as absent.
#[derive(Clone, Deserialize)]
pub struct FoundUser {
    /// Who has the address.
    pub user_id: Uuid,
    /// Without it the LMS cannot be asked for a grade.
    #[serde(default, deserialize_with = "if_sound")]
    pub edx_username: Option<Username>,
    /// For the certificate.
    #[serde(default, deserialize_with = "if_sound")]
    pub name: Option<String>,
}

/// By the id alone; the rest is personal.
impl std::fmt::Debug for FoundUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FoundUser({})", self.user_id)
    }
}

/// A run, as far as a delivery needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct FoundRun {
    /// For the certificate.
    #[serde(default, deserialize_with = "if_sound")]
    pub title: Option<String>,
}

fn if_sound<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Sound(T),
        Other(IgnoredAny),
    }
    Ok(match Either::deserialize(from)? {
        Either::Sound(value) => Some(value),
        Either::Other(_) => None,
    })
}

impl Found {
    /// The kept event of this kind, where it was asked for and there is one.
    pub fn kept(&self, kind: EventKind) -> Option<&KeptEvent> {
        self.kept.iter().find(|event| event.kind == kind)
    }
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

    /// One BatchGetItem, for the kept events of these kinds. Without a run to
    /// look for, only the user is read.
    pub async fn find(
        &self,
        email: &Email,
        course_id: Option<&CourseId>,
        kinds: &[EventKind],
    ) -> Result<Found, StoreError> {
        let events = course_id.into_iter().flat_map(|course_id| {
            kinds
                .iter()
                .map(move |kind| EventKey::of(*kind, email, course_id))
        });
        let keys = [
            (self.users.as_str(), vec![users::key(email)]),
            (
                self.course_runs.as_str(),
                course_id.into_iter().map(course_runs::key).collect(),
            ),
            (
                self.kept_events.as_str(),
                events.map(|key| kept_events::key(&key)).collect(),
            ),
        ];
        let mut items = batch::get(&self.client, keys).await?;
        let mut all = |table: &String| items.remove(table).unwrap_or_default();
        let kept = all(&self.kept_events).into_iter();
        let kept = kept.map(|item| kept_events::kept_event(&self.kept_events, item));
        Ok(Found {
            kept: kept.collect::<Result<_, _>>()?,
            user: all(&self.users)
                .pop()
                .map(|item| read(&self.users, item))
                .transpose()?,
            run: all(&self.course_runs)
                .pop()
                .map(|item| read(&self.course_runs, item))
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
