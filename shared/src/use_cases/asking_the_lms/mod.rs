//! Asking the LMS: with a token that all share, again where a connection broke,
//! and no more than the LMS bears.

mod error;
mod login;
mod pace;

use std::time::Duration;

pub use error::{AskError, NoCredential};
use login::{Login, NEW_FOR};
pub use pace::LmsLimits;
use pace::{Endpoint, Pace, Turn};

pub use crate::adapters::lms::{About, EnrollmentRow, GradeRow, Page};
use crate::adapters::lms::{Authorization, Lms, LmsError};
use crate::adapters::secrets::CredentialSecret;
use crate::clock::SharedClock;
use crate::domain::{CourseId, Cursor, Score, Username};

/// How long a page of a list may take, with token and retries.
pub const PAGE_TIME: Duration = Duration::from_secs(15);

/// How many rows a page is asked to have, the most that the LMS gives of enrollments.
const PAGE_SIZE: u32 = 100;

/// What is asked of the LMS, by all of a process.
///
/// The credential is kept for a minute, and served for up to a quarter of an
/// hour while Secrets Manager is away. An access token is kept until shortly
/// before its end, and obtained by one caller for all who wait. A request
/// whose connection breaks is made once more, since a function's connections
/// die while its machine is frozen; one that is answered is not. A token that
/// the LMS refuses is renewed once, and the credential is read anew for it; one
/// that is younger than a second is first tried again after one.
/// Where the LMS says how long to wait, nothing is asked until then.
pub struct LmsClient {
    lms: Lms,
    login: Login,
    pace: Pace,
    clock: SharedClock,
}

impl LmsClient {
    /// Makes no request: [`LmsClient::warm_up`] does, or the first question.
    pub fn new(lms: Lms, secret: CredentialSecret, clock: SharedClock, limits: LmsLimits) -> Self {
        Self {
            login: Login::new(lms.clone(), secret, clock.clone()),
            pace: Pace::new(clock.clone(), limits),
            lms,
            clock,
        }
    }

    /// Obtains a token ahead of the first request, and opens a connection
    /// thereby; a static token is only read. A failure is no matter: the first request tries again.
    pub async fn warm_up(&self) {
        if let Ok(turn) = self.pace.turn(Endpoint::Grades).await {
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
        self.call(Endpoint::Grades, within, |authorization| async move {
            self.lms.grade(&authorization, course_id, username).await
        })
        .await
    }

    /// The page of a course run's grades at `cursor`, or the first; a
    /// [`Trail`](crate::domain::Trail) leads from one to the next. Learners whose grade the LMS could not
    /// compute are in none.
    ///
    /// # Errors
    /// As [`LmsClient::of_learner`]; the page can be asked for again.
    pub async fn grades_page(
        &self,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<GradeRow>, AskError> {
        self.call(Endpoint::Grades, PAGE_TIME, |authorization| async move {
            self.lms
                .grades_page(&authorization, course_id, cursor, PAGE_SIZE)
                .await
        })
        .await
    }

    /// The page of enrollments at `cursor`, or the first, those too that have
    /// ended; a
    /// [`Trail`](crate::domain::Trail) leads from one to the next.
    ///
    /// # Errors
    /// As [`LmsClient::of_learner`]; the page can be asked for again.
    pub async fn enrollments_page(
        &self,
        about: &About,
        cursor: Option<&Cursor>,
    ) -> Result<Page<EnrollmentRow>, AskError> {
        self.call(
            Endpoint::Enrollments,
            PAGE_TIME,
            |authorization| async move {
                self.lms
                    .enrollments_page(&authorization, about, cursor, PAGE_SIZE)
                    .await
            },
        )
        .await
    }

    /// Makes one call in its turn, with a token, and once more with a new one
    /// where the LMS refuses the first.
    async fn call<T, A>(
        &self,
        endpoint: Endpoint,
        within: Duration,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        let turn = self.pace.turn(endpoint).await?;
        // In a box: whoever asks would be as large, and is moved often.
        let work = Box::pin(async {
            let first = self.login.authorization(&turn, None).await?;
            let refused = match self.show(&turn, &first, &request).await {
                Err(refused) if is_unauthorized(&refused) => refused,
                result => return result,
            };
            let second = self.login.authorization(&turn, Some(&first)).await?;
            if second == first {
                return Err(refused);
            }
            self.show(&turn, &second, &request).await
        });
        let result = tokio::time::timeout(within, work)
            .await
            .unwrap_or(Err(LmsError::Timeout.into()));
        self.pace.ended(result.as_ref().err());
        result
    }

    /// Makes one request with this authorization, and once more after a second
    /// where the LMS refuses a token that it has only just issued.
    async fn show<T, A>(
        &self,
        turn: &Turn<'_>,
        authorization: &Authorization,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, AskError>
    where
        A: Future<Output = Result<T, LmsError>>,
    {
        let is_new = self.login.is_new(authorization).await;
        let result = turn.ask(|| request(authorization.clone())).await;
        match &result {
            Err(refused) if is_new && is_unauthorized(refused) => {
                self.clock.sleep(NEW_FOR).await;
                turn.ask(|| request(authorization.clone())).await
            }
            _ => result,
        }
    }
}

fn is_unauthorized(error: &AskError) -> bool {
    matches!(error, AskError::Lms(LmsError::Unauthorized { .. }))
}
