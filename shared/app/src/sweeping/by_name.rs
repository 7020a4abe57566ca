//! Sweep of a run whose list cannot be read to its end: the LMS is asked for learners by name.
//!
//! The LMS's cursors are times of enrollment, and it cannot page through more than a thousand
//! learners who were enrolled at the same time: the page then names itself as the next one
//! (`OFFSET_CUTOFF` of Django REST framework's `CursorPagination`).

use std::collections::HashSet;

use domain::{ByName, CourseRun, Effect, Names, PageCursor, Username};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lms::{InvalidResponse, LmsApiError};
use store::StoreError;
use uuid::Uuid;

use super::{AGAIN_AFTER, Kind, LmsError, Recorder, SweepError, Sweeping};

/// The greatest number of bytes of usernames in one request: many servers accept lines of
/// 4,094.
const MAX_BYTES: usize = 2_000;

/// The number of users looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// The result of one step of a sweep by name.
pub(super) struct Step<R> {
    /// The time at which the LMS was first asked.
    pub(super) asked_at: Timestamp,
    /// The rows that the LMS returned.
    pub(super) rows: Vec<Result<R, InvalidResponse>>,
    /// The next step, or `None` at the end.
    pub(super) next: Option<ByName>,
}

/// Error of asking the LMS for learners and of reading the tables for it.
pub(super) enum AskingError {
    Lms(LmsError),
    Store(StoreError),
}

impl From<StoreError> for AskingError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<LmsError> for AskingError {
    fn from(error: LmsError) -> Self {
        Self::Lms(error)
    }
}

impl From<AskingError> for SweepError {
    fn from(error: AskingError) -> Self {
        match error {
            AskingError::Lms(error) => error.into(),
            AskingError::Store(error) => error.into(),
        }
    }
}

impl<K: Kind> Sweeping<K> {
    /// Returns the rows of some learners: first of those who have an enrollment here, then of
    /// the others in the LMS's list of grades.
    pub(super) async fn by_name(
        &self,
        run: &CourseRun,
        by_name: &ByName,
        recorder: &Recorder<'_>,
    ) -> Result<Step<K::Row>, AskingError> {
        let asked_at = self.clock.now();
        let (usernames, next) = match &by_name.names {
            Names::Enrolled(after) => self.enrolled(run, *after).await?,
            Names::Graded(cursor) => self.graded(run, cursor).await?,
        };
        let rows = self.rows_by_name(run, usernames, recorder).await?;
        Ok(Step {
            asked_at,
            rows,
            next: next.map(|names| ByName {
                pages: by_name.pages + 1,
                names,
            }),
        })
    }

    async fn rows_by_name(
        &self,
        run: &CourseRun,
        usernames: Vec<Username>,
        recorder: &Recorder<'_>,
    ) -> Result<Vec<Result<K::Row, InvalidResponse>>, LmsError> {
        let mut rows = Vec::new();
        for some in requests(usernames, K::NAMES_AT_ONCE) {
            match self.ask_by_name(run, &some).await {
                Ok(found) => rows.extend(found),
                Err(error) if error.is_lms_wide() => return Err(error),
                // A learner missing in the LMS is left unchanged, like a learner who is not
                // in a list.
                Err(LmsError::Api(LmsApiError::NoSuchLearner | LmsApiError::NotEnrolled)) => {}
                Err(error) => {
                    let failed = Effect::Failed(error.code());
                    for username in &some {
                        recorder.record(None, Some(username), &failed);
                    }
                }
            }
        }
        Ok(rows)
    }

    /// Asks for learners, and retries if the LMS gives no answer.
    async fn ask_by_name(
        &self,
        run: &CourseRun,
        usernames: &[Username],
    ) -> Result<Vec<Result<K::Row, InvalidResponse>>, LmsError> {
        let mut waits = AGAIN_AFTER.into_iter();
        loop {
            let rows = self.kind.rows_by_name(&self.lms, &run.course_id, usernames);
            let error = match rows.await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            match waits.next() {
                Some(wait) if error.is_retryable() => self.clock.sleep(wait).await,
                _ => return Err(error),
            }
        }
    }

    /// Returns the usernames of some learners who have an enrollment here, and the next
    /// position.
    async fn enrolled(
        &self,
        run: &CourseRun,
        after: Option<Uuid>,
    ) -> Result<(Vec<Username>, Option<Names>), StoreError> {
        let enrollments = self.kind.enrollments();
        let ids = enrollments.users_of_run(&run.course_id, after, K::LEARNERS_AT_ONCE);
        let ids = ids.await?;
        let next = match ids.last() {
            Some(last) => Names::Enrolled(Some(*last)),
            None => Names::Graded(PageCursor::default()),
        };
        Ok((self.usernames(&ids).await?, Some(next)))
    }

    /// Returns the usernames of some learners in the LMS's list of grades, and the next
    /// position.
    async fn graded(
        &self,
        run: &CourseRun,
        cursor: &PageCursor,
    ) -> Result<(Vec<Username>, Option<Names>), AskingError> {
        let page = match self.kind.graded(&self.lms, &run.course_id, cursor).await {
            Ok(Some(page)) => page,
            // A credential that may list enrollments may lack the right to read grades.
            Ok(None) | Err(LmsError::Api(LmsApiError::Forbidden | LmsApiError::NoSuchRun)) => {
                return Ok((Vec::new(), None));
            }
            Err(error) => return Err(error.into()),
        };
        // If the list cannot be read to its end, the rest of it is left out.
        let next = cursor.follow(page.next).unwrap_or(None);
        let usernames = page.rows.into_iter().flatten().map(|row| row.username);
        let usernames = self.others(run, usernames.collect()).await?;
        Ok((usernames, next.map(Names::Graded)))
    }

    /// Returns the usernames of those users who have one.
    async fn usernames(&self, ids: &[Uuid]) -> Result<Vec<Username>, StoreError> {
        let emails = stream::iter(ids).map(|id| self.users.email_of(*id));
        let emails: Vec<_> = emails.buffered(LOOKUPS_AT_ONCE).try_collect().await?;
        let emails: HashSet<_> = emails.into_iter().flatten().collect();
        let found = self.users.find(&Vec::from_iter(&emails), &[]).await?;
        let users = found.by_email.into_values();
        Ok(users.filter_map(|user| user.edx_username).collect())
    }

    /// Returns those learners who are users and have no enrollment here. The others have
    /// already been asked for.
    async fn others(
        &self,
        run: &CourseRun,
        usernames: Vec<Username>,
    ) -> Result<Vec<Username>, StoreError> {
        let mut others = Vec::new();
        for some in usernames.chunks(100) {
            let keys: Vec<_> = some.iter().map(Username::key).collect();
            let mut owners = self.users.owners(&keys).await?;
            let ids = owners.values().flatten().map(|owner| owner.user_id);
            let ids = Vec::from_iter(ids);
            let enrolled = self.kind.enrollments().in_run(&run.course_id, &ids).await?;
            others.extend(some.iter().filter_map(|username| {
                let owner = owners.remove(&username.key())?.ok()?;
                (!enrolled.contains_key(&owner.user_id)).then(|| username.clone())
            }));
        }
        Ok(others)
    }
}

/// Distributes the names over as few requests as possible. The LMS refuses a whole request if
/// it does not accept one of its names, so each name with unusual characters gets a request of
/// its own.
fn requests(usernames: Vec<Username>, at_once: usize) -> Vec<Vec<Username>> {
    let is_plain = |name: &Username| {
        let mut bytes = name.as_str().bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let (plain, others): (Vec<_>, Vec<_>) = usernames.into_iter().partition(is_plain);
    let mut requests: Vec<Vec<_>> = Vec::new();
    let mut bytes = MAX_BYTES;
    for username in plain {
        let length = username.as_str().len() + 1;
        match requests.last_mut() {
            Some(last) if last.len() < at_once && bytes + length <= MAX_BYTES => {
                bytes += length;
                last.push(username);
            }
            _ => {
                bytes = length;
                requests.push(vec![username]);
            }
        }
    }
    requests.extend(others.into_iter().map(|username| vec![username]));
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_as_many_names_as_it_can() {
        let short = |n: usize| format!("user-{n:03}");
        let long = |n: usize| format!("{n:0>148}");
        let cases = [
            (Vec::from_iter((0..250).map(short)), 100, vec![100, 100, 50]),
            (Vec::from_iter((0..3).map(short)), 1, vec![1, 1, 1]),
            (Vec::from_iter((0..30).map(long)), 100, vec![13, 13, 4]),
            (vec![], 100, vec![]),
            (
                ["a", "b.c", "d", "e@f", "é", "g,h"]
                    .map(str::to_owned)
                    .to_vec(),
                100,
                vec![2, 1, 1, 1, 1],
            ),
        ];
        for (names, at_once, sizes) in cases {
            let usernames = names.iter().map(|name| name.parse().unwrap()).collect();
            let requests = requests(usernames, at_once);
            let found: Vec<_> = requests.iter().map(Vec::len).collect();
            assert_eq!(found, sizes, "{names:?}");
            let mut all: Vec<_> = requests.iter().flatten().map(Username::as_str).collect();
            all.sort_unstable();
            let mut names: Vec<_> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(all, names, "{sizes:?}");
        }
    }
}
