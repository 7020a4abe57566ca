//! Which runs are swept.

use super::{Kind, Request, SweepError, Sweeping};
use crate::adapters::store::StoreError;
use crate::domain::LearnerRef;
use crate::domain::sweep::is_swept;
use crate::domain::{CourseId, SweepOptions, User};

/// What is to be swept: a run, a learner, both, or else every run that is due.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// This run, also where it is not live or past its window.
    pub run: Option<CourseId>,
    /// This learner; alone, in all of their runs.
    pub learner: Option<LearnerRef>,
    /// What the sweeps may do.
    pub options: SweepOptions,
}

/// Some of the runs that are to be swept.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// A request for each.
    pub requests: Vec<Request>,
    /// How many there are that are not of the expected shape.
    pub unreadable: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<CourseId>,
}

impl<K: Kind> Sweeping<K> {
    /// Some of the runs that are wanted: of all that are due those among the next
    /// hundred that there are; of a learner all. `after` is where the answer
    /// before says to go on.
    pub async fn choose(
        &self,
        wanted: &Wanted,
        after: Option<&CourseId>,
    ) -> Result<Chosen, SweepError> {
        let (mut unreadable, mut next) = (0, None);
        let runs = match (&wanted.run, &wanted.learner) {
            (Some(run), _) => vec![run.clone()],
            (None, Some(learner)) => {
                let user = self.user(learner).await?;
                self.known(self.kind.runs_of(&self.lms, &user).await?)
                    .await?
            }
            (None, None) => {
                let now = self.clock.now();
                let (found, last) = self.runs.some_after(after).await?;
                next = last;
                let mut runs = Vec::new();
                for run in found {
                    match run {
                        Ok(run) if wanted.options.force || is_swept(&run, self.window, now) => {
                            runs.push(run.course_id);
                        }
                        Ok(_) => {}
                        Err(_) => unreadable += 1,
                    }
                }
                runs
            }
        };
        let request = |run| Request {
            run,
            learner: wanted.learner.clone(),
            options: wanted.options,
            operator: None,
        };
        Ok(Chosen {
            requests: runs.into_iter().map(request).collect(),
            unreadable,
            next,
        })
    }

    /// Those of these runs that the portal knows, each once, by id.
    async fn known(&self, mut runs: Vec<CourseId>) -> Result<Vec<CourseId>, StoreError> {
        const AT_ONCE: usize = 100;
        runs.sort();
        runs.dedup();
        let mut known = Vec::new();
        for some in runs.chunks(AT_ONCE) {
            known.extend(self.runs.known(some).await?);
        }
        known.sort();
        Ok(known)
    }

    /// The user who is meant.
    pub(super) async fn user(&self, learner: &LearnerRef) -> Result<User, SweepError> {
        let email = match learner {
            LearnerRef::Address(email) => Some(email.clone()),
            LearnerRef::User(user_id) => self.users.email_of(*user_id).await?,
        };
        let user = match &email {
            Some(email) => self.users.get(email).await?,
            None => None,
        };
        let is_meant = |user: &User| match learner {
            LearnerRef::Address(_) => true,
            // The index that told the address may be behind.
            LearnerRef::User(user_id) => user.user_id == *user_id,
        };
        user.filter(is_meant).ok_or(SweepError::NoSuchUser)
    }
}
