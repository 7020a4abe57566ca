//! Erasure of a learner's personal data.

use std::collections::BTreeSet;
use std::time::Duration;

use common::clock::SharedClock;
use domain::{Email, EventKey, LearnerRef, User};
use store::StoreError;
use store::certificates::Certificates;
use store::enrollments::Enrollments;
use store::grades::Grades;
use store::pending_events::PendingEvents;
use store::users::{Users, Written};
use uuid::Uuid;

use super::{ChangeAttempt, retry_on_conflict};

/// The time after the removal of a user within which a delivery that has read the user may
/// still write: a function is stopped after 28 seconds, and an attempt at a pending event takes
/// no longer.
pub const IN_FLIGHT: Duration = Duration::from_secs(30);

/// Erases learners.
pub struct Erasing {
    users: Users,
    enrollments: Enrollments,
    grades: Grades,
    certificates: Certificates,
    pending_events: PendingEvents,
    clock: SharedClock,
}

/// The data of a person that was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// The user's id, if there was a user.
    pub user: Option<Uuid>,
    /// The number of former addresses of the user.
    pub former_emails: usize,
    /// The number of enrollments of the user.
    pub enrollments: u64,
    /// The number of grades of the user.
    pub grades: u64,
    /// The number of pending events for the user's addresses.
    pub events: u64,
    /// The ids of the certificates, which stay without an owner.
    pub certificates: Vec<String>,
}

/// The data of a person that would be erased.
#[derive(Debug, Clone)]
pub struct KnownLearner {
    /// The user, if there is one.
    pub user: Option<User>,
    /// The number of pending events for their addresses.
    pub events: usize,
}

impl Erasing {
    /// Takes the tables that hold personal data. Makes no call.
    pub fn new(
        users: Users,
        enrollments: Enrollments,
        grades: Grades,
        certificates: Certificates,
        pending_events: PendingEvents,
        clock: SharedClock,
    ) -> Self {
        Self {
            users,
            enrollments,
            grades,
            certificates,
            pending_events,
            clock,
        }
    }

    /// Returns the data that would be erased; the records are not read.
    pub async fn known(&self, learner: &LearnerRef) -> Result<KnownLearner, StoreError> {
        let user = self.user(learner).await?;
        let addresses = addresses(learner, user.as_ref());
        let events = self.event_keys(&addresses).await?.len();
        Ok(KnownLearner { user, events })
    }

    /// Erases all data of a learner, also if there are only pending events for an address.
    /// Certificates stay, so that anybody who was shown one can look it up; each loses its name
    /// and history, and gets a user id of its own.
    ///
    /// The user is removed last, so that an erasure that was interrupted can be repeated. A
    /// delivery that was in progress may have written since; those writes are erased after
    /// [`IN_FLIGHT`], which is awaited unless `at_once` is set. `gone` is called before that
    /// wait. If the erasure is interrupted there, it can be repeated with the user's id for the
    /// records, and with the address for its pending events.
    pub async fn erase(
        &self,
        learner: &LearnerRef,
        at_once: bool,
        gone: impl Fn(Uuid),
    ) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let mut all = BTreeSet::new();
        retry_on_conflict(async || {
            let user = self.user(learner).await?;
            all.extend(addresses(learner, user.as_ref()));
            self.erase_events(&all, &mut erased).await?;
            let Some(user) = user else {
                if let LearnerRef::User(user_id) = learner {
                    self.erase_records(*user_id, &mut erased).await?;
                }
                return Ok(ChangeAttempt::Done(()));
            };
            self.erase_records(user.user_id, &mut erased).await?;
            if self.users.erase(&user).await? == Written::Moved {
                return Ok(ChangeAttempt::Conflict);
            }
            erased.user = Some(user.user_id);
            erased.former_emails = user.former_emails.len();
            if !at_once {
                gone(user.user_id);
                self.clock.sleep(IN_FLIGHT).await;
            }
            self.erase_records(user.user_id, &mut erased).await?;
            self.erase_events(&all, &mut erased).await?;
            Ok::<_, StoreError>(ChangeAttempt::Done(()))
        })
        .await?;
        Ok(erased)
    }

    async fn user(&self, learner: &LearnerRef) -> Result<Option<User>, StoreError> {
        match learner {
            LearnerRef::Address(email) => self.users.get(email).await,
            LearnerRef::User(user_id) => {
                let Some(email) = self.users.email_of(*user_id).await? else {
                    return Ok(None);
                };
                // The index may be behind the table, and the address may have another owner
                // now.
                let user = self.users.get(&email).await?;
                Ok(user.filter(|user| user.user_id == *user_id))
            }
        }
    }

    async fn event_keys(&self, all: &BTreeSet<Email>) -> Result<Vec<EventKey>, StoreError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        self.pending_events.keys_of(&Vec::from_iter(all)).await
    }

    async fn erase_events(
        &self,
        all: &BTreeSet<Email>,
        erased: &mut Erased,
    ) -> Result<(), StoreError> {
        for key in self.event_keys(all).await? {
            self.pending_events.erase(&key).await?;
            erased.events += 1;
        }
        Ok(())
    }

    async fn erase_records(&self, user_id: Uuid, erased: &mut Erased) -> Result<(), StoreError> {
        erased.enrollments += self.enrollments.erase(user_id).await?;
        erased.grades += self.grades.erase(user_id).await?;
        let certificates = self.certificates.make_anonymous(user_id).await?;
        erased.certificates.extend(certificates);
        Ok(())
    }
}

/// Returns the current and former addresses of a learner.
fn addresses(learner: &LearnerRef, user: Option<&User>) -> BTreeSet<Email> {
    let asked = match learner {
        LearnerRef::Address(email) => Some(email),
        LearnerRef::User(_) => None,
    };
    let theirs = user.into_iter().flat_map(User::addresses);
    asked.into_iter().chain(theirs).cloned().collect()
}
