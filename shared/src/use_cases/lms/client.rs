//! The client of the LMS that a process shares.

use std::time::Duration;

use super::login::{Login, NEW_FOR};
use super::rate_limiter::{Endpoint, Permit, RateLimiter};
use super::{About, EnrollmentRow, GradeRow, LmsError, LmsLimits, Page};
use crate::adapters::lms::{Authorization, LmsApi, LmsApiError};
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
/// the LMS refuses is renewed once, and the credential is read again for it; one
/// that is younger than a second is first tried again after one.
/// Where the LMS says how long to wait, nothing is asked until then.
pub struct LmsClient {
    lms: LmsApi,
    login: Login,
    rate_limiter: RateLimiter,
    clock: SharedClock,
}

impl LmsClient {
    /// Makes no request: [`LmsClient::warm_up`] does, or the first question.
    pub fn new(
        lms: LmsApi,
        secret: CredentialSecret,
        clock: SharedClock,
        limits: LmsLimits,
    ) -> Self {
        Self {
            login: Login::new(lms.clone(), secret, clock.clone()),
            rate_limiter: RateLimiter::new(clock.clone(), limits),
            lms,
            clock,
        }
    }

    /// Obtains a token ahead of the first request, and opens a connection
    /// thereby; a static token is only read. A failure is no matter: the first request tries again.
    pub async fn warm_up(&self) {
        if let Ok(permit) = self.rate_limiter.permit(Endpoint::Grades).await {
            let _ = self.login.authorization(&permit, None).await;
        }
    }

    /// Begins an invocation: failures before it do not count, and the LMS is
    /// not left alone any more. What it said of when to ask again still holds.
    pub fn begin_invocation(&self) {
        self.rate_limiter.begin();
    }

    /// Whether requests to the LMS are paused, since it failed too often in a row or asked for it.
    pub fn is_paused(&self) -> bool {
        self.rate_limiter.paused().is_some()
    }

    /// The grade of one learner in one course run.
    ///
    /// `within` is the time for the whole of it, tokens and second attempts
    /// included; the wait for the permit that [`LmsLimits`] gives comes on top.
    ///
    /// # Errors
    /// [`LmsApiError::Timeout`] where `within` has passed; else as the variants say.
    pub async fn grade(
        &self,
        course_id: &CourseId,
        username: &Username,
        within: Duration,
    ) -> Result<Score, LmsError> {
        self.call(Endpoint::Grades, within, |authorization| async move {
            self.lms.grade(&authorization, course_id, username).await
        })
        .await
    }

    /// The page of a course run's grades at `cursor`, or the first; a
    /// [`PageCursor`](crate::domain::PageCursor) leads from one to the next. Learners whose grade the LMS could not
    /// compute are in none.
    ///
    /// # Errors
    /// As [`LmsClient::grade`]; the page can be asked for again.
    pub async fn grades_page(
        &self,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<GradeRow>, LmsError> {
        self.call(Endpoint::Grades, PAGE_TIME, |authorization| async move {
            self.lms
                .grades_page(&authorization, course_id, cursor, PAGE_SIZE)
                .await
        })
        .await
    }

    /// The page of enrollments at `cursor`, or the first, those too that have
    /// ended; a
    /// [`PageCursor`](crate::domain::PageCursor) leads from one to the next.
    ///
    /// # Errors
    /// As [`LmsClient::grade`]; the page can be asked for again.
    pub async fn enrollments_page(
        &self,
        about: &About,
        cursor: Option<&Cursor>,
    ) -> Result<Page<EnrollmentRow>, LmsError> {
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

    /// Makes one call in its permit, with a token, and once more with a new one
    /// where the LMS refuses the first.
    async fn call<T, A>(
        &self,
        endpoint: Endpoint,
        within: Duration,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, LmsError>
    where
        A: Future<Output = Result<T, LmsApiError>>,
    {
        let permit = self.rate_limiter.permit(endpoint).await?;
        // In a box: whoever asks would be as large, and is moved often.
        let work = Box::pin(async {
            let first = self.login.authorization(&permit, None).await?;
            let refused = match self.send_with(&permit, &first, &request).await {
                Err(refused) if is_unauthorized(&refused) => refused,
                result => return result,
            };
            let second = self.login.authorization(&permit, Some(&first)).await?;
            if second == first {
                return Err(refused);
            }
            self.send_with(&permit, &second, &request).await
        });
        let result = tokio::time::timeout(within, work)
            .await
            .unwrap_or(Err(LmsApiError::Timeout.into()));
        self.rate_limiter.ended(result.as_ref().err());
        result
    }

    /// Makes one request with this authorization, and once more after a second
    /// where the LMS refuses a token that it has only just issued.
    async fn send_with<T, A>(
        &self,
        permit: &Permit<'_>,
        authorization: &Authorization,
        request: impl Fn(Authorization) -> A,
    ) -> Result<T, LmsError>
    where
        A: Future<Output = Result<T, LmsApiError>>,
    {
        let is_new = self.login.is_new(authorization).await;
        let result = permit.send(|| request(authorization.clone())).await;
        match &result {
            Err(refused) if is_new && is_unauthorized(refused) => {
                self.clock.sleep(NEW_FOR).await;
                permit.send(|| request(authorization.clone())).await
            }
            _ => result,
        }
    }
}

fn is_unauthorized(error: &LmsError) -> bool {
    matches!(error, LmsError::Api(LmsApiError::Unauthorized { .. }))
}
