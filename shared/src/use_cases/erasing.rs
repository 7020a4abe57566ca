//! A learner is to be forgotten.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use crate::adapters::store::StoreError;
use crate::adapters::store::certificates::{Certificates, Written};
use crate::adapters::store::enrollments::Enrollments;
use crate::adapters::store::grades::Grades;
use crate::adapters::store::kept_events::KeptEvents;
use crate::adapters::store::users::Users;
use crate::domain::{Certificate, CertificateEntry, Change, Email, User};

/// How often a change is made anew because somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// The tables that hold anything of a person.
pub struct Erasing {
    /// Who they are.
    pub users: Users,
    /// What they were enrolled in.
    pub enrollments: Enrollments,
    /// What they achieved.
    pub grades: Grades,
    /// What they were given.
    pub certificates: Certificates,
    /// What was announced of them and waits.
    pub kept_events: KeptEvents,
}

/// What was known of a person, and is no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Whether there was a user of the address.
    pub user: bool,
    /// How many former addresses the user had.
    pub former_emails: usize,
    /// How many enrollments they had.
    pub enrollments: u64,
    /// How many grades they had.
    pub grades: u64,
    /// How many events were kept for their addresses.
    pub events: u64,
    /// The certificates, which stay and belong to nobody.
    pub certificates: Vec<Uuid>,
}

impl Erasing {
    /// Erases all that is known of whoever has this address, or had it before;
    /// also where only events are kept for it. Certificates stay, so that
    /// whoever was shown one can look it up: without name and history, and
    /// under a user id that nobody has and no two of them share.
    ///
    /// The user goes last: whoever was stopped before does the same again. What
    /// a delivery that was under way has written meanwhile goes after that.
    pub async fn erase(
        &self,
        email: &Email,
        by: &Change,
        at: Timestamp,
    ) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let mut addresses = BTreeSet::from([email.clone()]);
        for _ in 0..ATTEMPTS {
            let user = self.users.get(email).await?;
            addresses.extend(user.iter().flat_map(User::addresses).cloned());
            self.erase_events(&addresses, &mut erased).await?;
            let Some(user) = user else {
                return Ok(erased);
            };
            self.erase_records(user.user_id, by, at, &mut erased)
                .await?;
            if self.users.erase(&user).await? == Written::Done {
                erased.user = true;
                erased.former_emails = user.former_emails.len();
                self.erase_events(&addresses, &mut erased).await?;
                self.erase_records(user.user_id, by, at, &mut erased)
                    .await?;
                return Ok(erased);
            }
        }
        Err(StoreError::contended())
    }

    async fn erase_events(
        &self,
        addresses: &BTreeSet<Email>,
        erased: &mut Erased,
    ) -> Result<(), StoreError> {
        let addresses = Vec::from_iter(addresses);
        for key in self.kept_events.keys_of(&addresses).await? {
            self.kept_events.erase(&key).await?;
            erased.events += 1;
        }
        Ok(())
    }

    async fn erase_records(
        &self,
        user_id: Uuid,
        by: &Change,
        at: Timestamp,
        erased: &mut Erased,
    ) -> Result<(), StoreError> {
        erased.enrollments += self.enrollments.erase(user_id).await?;
        erased.grades += self.grades.erase(user_id).await?;
        for _ in 0..ATTEMPTS {
            let certificates = self.certificates.of_user(user_id).await?;
            if certificates.is_empty() {
                return Ok(());
            }
            for certificate in certificates {
                let anonymous = anonymous(&certificate, by, at);
                let replaced = self.certificates.replace(&certificate, &anonymous);
                // One that has changed meanwhile is read again.
                if replaced.await? == Written::Done {
                    erased.certificates.push(certificate.certificate_id);
                }
            }
        }
        Err(StoreError::contended())
    }
}

/// The certificate without a word of whose it was. The history may have the key
/// of an event, from which an address can be guessed.
fn anonymous(certificate: &Certificate, by: &Change, at: Timestamp) -> Certificate {
    Certificate {
        user_id: Uuid::new_v4(),
        learner_name: None,
        history: vec![CertificateEntry {
            at,
            change_id: Uuid::new_v4(),
            by: by.clone(),
            state: certificate.state,
        }],
        ..certificate.clone()
    }
}
