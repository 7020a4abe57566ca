//! The client of the LMS that a process shares.

use std::time::Duration;

use common::clock::SharedClock;
use domain::{CourseId, Cursor, Score, Username};
use secrets::CredentialSecret;

use crate::api::LmsApi;
use crate::enrollments::{About, EnrollmentRow};
use crate::error::{LmsApiError, LmsError};
use crate::grades::GradeRow;
use crate::oauth::Login;
use crate::pages::Page;
use crate::rate_limit::{Endpoint, LmsLimits, RateLimiter};
use crate::token::Authorization;

/// The time limit for a page of a list, with token and retries.
pub const PAGE_TIME: Duration = Duration::from_secs(15);

/// The number of rows requested in a page, the most that the LMS returns of enrollments.
const PAGE_SIZE: u32 = 100;

/// The client for all requests of a process to the LMS.
///
/// The credential is cached for a minute, and is used for up to a quarter of an hour while
/// Secrets Manager is unavailable. An access token is cached until shortly before it expires;
/// one caller obtains it for all who wait. A request whose connection breaks is made once more,
/// because a function's connections die while its machine is frozen; a request that is answered
/// is not repeated. If the LMS refuses a token, the token is renewed once, and the credential
/// is read again for that. A refused token that is younger than a second is first tried again
/// after one second. If the LMS says how long to wait, no request is made until then.
pub struct LmsClient {
    lms: LmsApi,
    login: Login,
    rate_limiter: RateLimiter,
}

impl LmsClient {
    /// Makes no request: [`LmsClient::warm_up`] makes the first one, or else the first call
    /// does.
    pub fn new(
        lms: LmsApi,
        secret: CredentialSecret,
        clock: SharedClock,
        limits: LmsLimits,
    ) -> Self {
        Self {
            login: Login::new(lms.clone(), secret, clock.clone()),
            rate_limiter: RateLimiter::new(clock, limits),
            lms,
        }
    }

    /// Obtains a token ahead of the first request, which also opens a connection; a static
    /// token is only read. A failure is ignored: the first request tries again.
    pub async fn warm_up(&self) {
        if let Ok(permit) = self.rate_limiter.permit(Endpoint::Grades).await {
            let _ = self.login.authorization(&permit, None).await;
        }
    }

    /// Begins an invocation: resets the count of failures, so that the circuit breaker is
    /// closed. A pause that the LMS asked for still holds.
    pub fn begin_invocation(&self) {
        self.rate_limiter.begin();
    }

    /// True if requests to the LMS are paused, because it failed too often in a row or asked
    /// for a pause.
    pub fn is_paused(&self) -> bool {
        self.rate_limiter.paused().is_some()
    }

    /// Returns the grade of one learner in one course run.
    ///
    /// `within` is the time limit for all of it, tokens and second attempts included. The wait
    /// for the permit that [`LmsLimits`] gives is not included.
    ///
    /// # Errors
    /// [`LmsApiError::Timeout`] if `within` has passed; else as the variants say.
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

    /// Returns the page of a course run's grades at `cursor`, or the first page; a
    /// [`PageCursor`](domain::PageCursor) leads from one page to the next. No page
    /// contains learners whose grade the LMS could not compute.
    ///
    /// # Errors
    /// The same as of [`LmsClient::grade`]; the page can be requested again.
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

    /// Returns the page of enrollments at `cursor`, or the first page, including enrollments
    /// that have ended; a [`PageCursor`](domain::PageCursor) leads from one page to the
    /// next.
    ///
    /// # Errors
    /// The same as of [`LmsClient::grade`]; the page can be requested again.
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

    /// Makes one call under its permit.
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
        // Boxed because otherwise the caller's future would be as large, and it is moved often.
        let work = Box::pin(self.login.call(&permit, request));
        let result = tokio::time::timeout(within, work)
            .await
            .unwrap_or(Err(LmsApiError::Timeout.into()));
        self.rate_limiter.ended(result.as_ref().err());
        result
    }
}
