//! A learner is to be forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::adapters::store::StoreError;
use crate::adapters::store::certificates::Certificates;
use crate::adapters::store::enrollments::Enrollments;
use crate::adapters::store::grades::Grades;
use crate::adapters::store::pending_events::PendingEvents;
use crate::adapters::store::users::{Users, Written};
use crate::clock::SharedClock;
use crate::domain::{Email, EventKey, LearnerRef, User};

/// How often a change is made again because somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// How long after the user is gone a delivery may still be under way that has
/// read them: a function is stopped after 28 seconds, and an attempt at a pending
/// event takes no longer.
pub const IN_FLIGHT: Duration = Duration::from_secs(30);

/// Forgets people.
pub struct Erasing {
    users: Users,
    enrollments: Enrollments,
    grades: Grades,
    certificates: Certificates,
    pending_events: PendingEvents,
    clock: SharedClock,
}

/// What was known of a person, and is no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// The user, where there was one.
    pub user: Option<Uuid>,
    /// How many former addresses the user had.
    pub former_emails: usize,
    /// How many enrollments they had.
    pub enrollments: u64,
    /// How many grades they had.
    pub grades: u64,
    /// How many pending events there were for their addresses.
    pub events: u64,
    /// The ids of the certificates, which stay and belong to nobody.
    pub certificates: Vec<String>,
}

/// What there is of a person.
#[derive(Debug, Clone)]
pub struct KnownLearner {
    /// The user, where there is one.
    pub user: Option<User>,
    /// How many pending events there are for their addresses.
    pub events: usize,
}

impl Erasing {
    /// Takes the tables that hold anything of a person. Makes no call.
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

    /// What there is to be erased; the records are not looked at.
    pub async fn known(&self, learner: &LearnerRef) -> Result<KnownLearner, StoreError> {
        let user = self.user(learner).await?;
        let addresses = addresses(learner, user.as_ref());
        let events = self.event_keys(&addresses).await?.len();
        Ok(KnownLearner { user, events })
    }

    /// Erases all that is known of somebody; also where only events are pending
    /// for an address. Certificates stay, so that whoever was shown one can look
    /// it up: without name and history, and each under a user id of its own.
    ///
    /// The user goes last, so that whoever was stopped before does the same
    /// again. What a delivery that was under way has written since goes when
    /// [`IN_FLIGHT`] is over, which is waited for unless `at_once`; `gone` is
    /// told before. Who is stopped there does it again, by the user's id for the
    /// records, and by the address for what is pending for it.
    pub async fn erase(
        &self,
        learner: &LearnerRef,
        at_once: bool,
        gone: impl Fn(Uuid),
    ) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let mut all = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let user = self.user(learner).await?;
            all.extend(addresses(learner, user.as_ref()));
            self.erase_events(&all, &mut erased).await?;
            let Some(user) = user else {
                if let LearnerRef::User(user_id) = learner {
                    self.erase_records(*user_id, &mut erased).await?;
                }
                return Ok(erased);
            };
            self.erase_records(user.user_id, &mut erased).await?;
            if self.users.erase(&user).await? == Written::Done {
                erased.user = Some(user.user_id);
                erased.former_emails = user.former_emails.len();
                if !at_once {
                    gone(user.user_id);
                    self.clock.sleep(IN_FLIGHT).await;
                }
                self.erase_records(user.user_id, &mut erased).await?;
                self.erase_events(&all, &mut erased).await?;
                return Ok(erased);
            }
        }
        Err(StoreError::contended())
    }

    async fn user(&self, learner: &LearnerRef) -> Result<Option<User>, StoreError> {
        match learner {
            LearnerRef::Address(email) => self.users.get(email).await,
            LearnerRef::User(user_id) => {
                let Some(email) = self.users.email_of(*user_id).await? else {
                    return Ok(None);
                };
                // The index may be behind, and the address somebody else's by now.
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

/// The addresses by which somebody goes or went.
fn addresses(learner: &LearnerRef, user: Option<&User>) -> BTreeSet<Email> {
    let asked = match learner {
        LearnerRef::Address(email) => Some(email),
        LearnerRef::User(_) => None,
    };
    let theirs = user.into_iter().flat_map(User::addresses);
    asked.into_iter().chain(theirs).cloned().collect()
}
