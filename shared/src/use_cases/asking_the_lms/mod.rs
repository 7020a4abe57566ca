//! Asking the LMS: with a token that all share, again where a connection broke,
//! and no more than the LMS bears.

mod error;
mod login;
mod pace;

use std::collections::HashSet;
use std::time::Duration;

pub use error::{AskError, NoCredential};
use login::Login;
pub use pace::LmsLimits;
use pace::Pace;

use crate::adapters::lms::{Authorization, Cursor, GradeRow, Lms, LmsError, Nonsense};
use crate::adapters::secrets::CredentialSecret;
use crate::clock::SharedClock;
use crate::domain::{CourseId, Score, Username};

/// How long a page of a course run's grades may take, with token and retries.
const PAGE_TIME: Duration = Duration::from_secs(15);

/// How many rows a page is asked to have.
const PAGE_SIZE: u32 = 100;

/// The most pages that a course run can have; a million learners.
const MAX_PAGES: usize = 10_000;

/// What is asked of the LMS, by all of a process.
///
/// The credential is kept for a minute, and served for up to a quarter of an
/// hour while Secrets Manager is away. An access token is kept until shortly
/// before its end, and obtained by one caller for all who wait. A request
/// whose connection breaks is made once more, since a function's connections
/// die while its machine is frozen; one that is answered is not. A token that
/// the LMS refuses is renewed once, and the credential is read anew for it.
/// Where the LMS says how long to wait, nothing is asked until then.
pub struct LmsClient {
    lms: Lms,
    login: Login,
    pace: Pace,
}

impl LmsClient {
    /// Makes no request: [`LmsClient::warm_up`] does, or the first question.
    pub fn new(lms: Lms, secret: CredentialSecret, clock: SharedClock, limits: LmsLimits) -> Self {
        Self {
            login: Login::new(lms.clone(), secret, clock.clone()),
            pace: Pace::new(clock, limits),
            lms,
        }
    }

    /// Obtains a token ahead of the first request, and opens a connection
    /// thereby; a static token is only read. A failure is no matter: the first request tries again.
    pub async fn warm_up(&self) {
        if let Ok(turn) = self.pace.turn().await {
            let _ = self.login.authorization(&turn, None).await;
        }
    }

    /// Begins an invocation: failures before it do not count, and the LMS is
    /// not left alone any more. What it said of when to ask again still holds.
    pub fn begin(&self) {
        self.pace.begin();
    }

    /// Whether the LMS is left alone, since it failed too often in a row or asked for it.
    pub fn is_resting(&self) -> bool {
        self.pace.rest().is_some()
    }

    /// The grade of one learner in one course run.
    ///
    /// `within` is the time for the whole of it, tokens and second attempts
    /// included; the wait for the turn that [`LmsLimits`] gives comes on top.
    ///
    /// # Errors
    /// [`LmsError::Timeout`] where `within` has passed; else as the variants say.
    pub async fn of_learner(
        &self,
        course_id: &CourseId,
        username: &Username,
        within: Duration,
    ) -> Result<Score, AskError> {
        self.call(within, |authorization| async move {
            self.lms.grade(&authorization, course_id, username).await
        })
        .await
    }

    /// The grades of a course run, page by page. Asks for nothing yet.
    pub fn of_run(&self, course_id: CourseId) -> RunGrades<'_> {
        RunGrades {
            client: self,
            course_id,
            next: Next::Page(None),
            seen: HashSet::new(),
        }
    }

    /// Makes one call in its turn, with a token, and once more with a new one
    /// where the LMS refuses the first.
    async fn call<T, A>(
        &self,
        within: Duration,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        let turn = self.pace.turn().await?;
        let work = async {
            let first = self.login.authorization(&turn, None).await?;
            let refused = match turn.ask(|| request(first.clone())).await {
                Err(refused @ AskError::Lms(LmsError::Unauthorized { .. })) => refused,
                result => return result,
            };
            let second = self.login.authorization(&turn, Some(&first)).await?;
            if second == first {
                return Err(refused);
            }
            turn.ask(|| request(second.clone())).await
        };
        let result = tokio::time::timeout(within, work)
            .await
            .unwrap_or(Err(LmsError::Timeout.into()));
        self.pace.ended(result.as_ref().err());
        result
    }
}

/// The grades of one course run on their way, a page at a time.
pub struct RunGrades<'a> {
    client: &'a LmsClient,
    course_id: CourseId,
    next: Next,
    /// The cursors of the pages that were announced so far.
    seen: HashSet<Cursor>,
}

enum Next {
    /// The page of this cursor, or the first.
    Page(Option<Cursor>),
    /// No page: the list leads nowhere.
    Nonsense(Nonsense),
    /// No page: the last one has come.
    End,
}

impl RunGrades<'_> {
    /// The rows of the next page, each or what is wrong with it; `None` after
    /// the last. Learners whose grade the LMS could not compute are in none.
    ///
    /// # Errors
    /// Whatever [`LmsClient::of_learner`] fails with; the next call then
    /// asks for the same page again. Also, and from then on, [`Nonsense::Circle`]
    /// where the LMS announces a page that it announced before, and
    /// [`Nonsense::TooManyPages`] after ten thousand.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Result<GradeRow, Nonsense>>>, AskError> {
        let cursor = match &self.next {
            Next::Page(cursor) => cursor.as_ref(),
            Next::Nonsense(nonsense) => return Err((*nonsense).into()),
            Next::End => return Ok(None),
        };
        let (client, course_id) = (self.client, &self.course_id);
        let page = client
            .call(PAGE_TIME, |authorization| async move {
                client
                    .lms
                    .grades_page(&authorization, course_id, cursor, PAGE_SIZE)
                    .await
            })
            .await?;
        self.next = match page.next {
            None => Next::End,
            Some(_) if self.seen.len() + 1 >= MAX_PAGES => Next::Nonsense(Nonsense::TooManyPages),
            Some(cursor) if !self.seen.insert(cursor.clone()) => Next::Nonsense(Nonsense::Circle),
            Some(cursor) => Next::Page(Some(cursor)),
        };
        Ok(Some(page.rows))
    }
}
