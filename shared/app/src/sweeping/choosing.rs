//! Choice of the runs to sweep.

use domain::LearnerRef;
use domain::sweep::is_swept;
use domain::{CourseId, SweepOptions, User};
use store::StoreError;

use super::{Kind, Request, SweepError, Sweeping};

/// The request of a caller: a run, a learner, both, or neither for every run that is due.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The run, even if it is not live or is past its window.
    pub run: Option<CourseId>,
    /// The learner; without a run, in all of their runs.
    pub learner: Option<LearnerRef>,
    /// The options of the sweeps.
    pub options: SweepOptions,
}

/// Some of the runs to sweep.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// A request for each run.
    pub requests: Vec<Request>,
    /// The number of runs that are not of the expected shape.
    pub unreadable: u64,
    /// The next position, or `None` at the end.
    pub next: Option<CourseId>,
}

impl<K: Kind> Sweeping<K> {
    /// Returns some of the runs to sweep. For a learner these are all of them. For all due runs
    /// these are the due ones among the next hundred runs in the table; `after` is the `next`
    /// of the answer before.
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

    /// Returns those runs that the portal has, each once, by id.
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

    /// Returns the user to whom `learner` refers.
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
            // The index that gave the address may be behind the table.
            LearnerRef::User(user_id) => user.user_id == *user_id,
        };
        user.filter(is_meant).ok_or(SweepError::NoSuchUser)
    }
}
