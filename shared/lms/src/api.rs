//! The LMS's web API: an access token, one learner's grade, the grades of a whole course
//! run, enrollments. Each method makes one request. [`LmsClient`](crate::LmsClient) keeps the
//! token, waits and retries.
//!
//! The rules are those of Open edX's `oauth_dispatch`, `grades` and
//! `enrollment` REST APIs.

use domain::{CourseId, Cursor, Score, Username};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::base_url::BaseUrl;
use crate::enrollments::{About, EnrollmentRow};
use crate::error::{InvalidResponse, LmsApiError};
use crate::grades::GradeRow;
use crate::http::HttpClient;
use crate::pages::Page;
use crate::token::{AccessToken, Authorization};
use crate::{answer, grades, pages};

/// The web API of an Open edX LMS.
#[derive(Debug, Clone)]
pub struct LmsApi {
    client: HttpClient,
    base_url: BaseUrl,
}

impl LmsApi {
    /// Returns the API of the LMS at `base_url`. `client` must follow no redirect, or it
    /// would show our credential to any host that the LMS names; `bootstrap::lms_http::client`
    /// returns such a client. Makes no request.
    pub fn new(client: impl Into<HttpClient>, base_url: BaseUrl) -> Self {
        Self {
            client: client.into(),
            base_url,
        }
    }

    /// Asks for an access token: `POST oauth2/access_token`, client credentials.
    ///
    /// # Errors
    /// [`LmsApiError::NoToken`] if the LMS refuses the client.
    pub async fn access_token(
        &self,
        id: &str,
        secret: &SecretString,
    ) -> Result<AccessToken, LmsApiError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret.expose_secret()),
            ("token_type", "jwt"),
        ];
        let url = self.base_url.with(["oauth2", "access_token"]);
        let request = self.client.requests.post(url).form(&form);
        answer::to(&self.client, request, async |answer| {
            match answer.status() {
                StatusCode::OK => answer::parsed(answer, AccessToken::parse).await,
                _ => Err(answer::no_token(answer).await),
            }
        })
        .await
    }

    /// Asks for the grade of one learner in one course run. The returned row must have
    /// this username, in any spelling, and this run, byte for byte. Its email address is
    /// not checked, because the LMS leaves it empty.
    ///
    /// # Errors
    /// [`LmsApiError::InvalidResponse`] if the answer is anything but that one row.
    pub async fn grade(
        &self,
        authorization: &Authorization,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<Score, LmsApiError> {
        let mut url = self.grades_url(course_id)?;
        // A `Username` is never empty. An empty one would mean the whole run.
        url.query_pairs_mut()
            .append_pair("username", username.as_str());
        self.get(url, authorization, answer::no_grades, |body| {
            grades::of_learner(body, course_id, username)
        })
        .await
    }

    /// Asks for a page of the grades of a course run: the first page, or the page at
    /// `cursor`, which the previous page gave. The LMS may ignore `page_size`. It
    /// silently leaves out learners whose grade it could not compute.
    ///
    /// # Errors
    /// [`LmsApiError::InvalidResponse`] if the answer is not a page. An invalid row is an
    /// error within the page and does not affect the other rows.
    pub async fn grades_page(
        &self,
        authorization: &Authorization,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
        page_size: u32,
    ) -> Result<Page<GradeRow>, LmsApiError> {
        let url = pages::at(self.grades_url(course_id)?, cursor, page_size);
        self.get(url, authorization, answer::no_grades, |body| {
            Page::parse(body, |row| GradeRow::parse(row, course_id))
        })
        .await
    }

    /// Asks for a page of enrollments, including those that have ended: the first page,
    /// or the page at `cursor`, which the previous page gave. The LMS returns at most 100
    /// rows, and none for a run or a learner that it does not know.
    ///
    /// # Errors
    /// As [`LmsApi::grades_page`]. A row of another run or another learner than was asked
    /// for is invalid.
    pub async fn enrollments_page(
        &self,
        authorization: &Authorization,
        about: &About,
        cursor: Option<&Cursor>,
        page_size: u32,
    ) -> Result<Page<EnrollmentRow>, LmsApiError> {
        let mut url = self
            .base_url
            .with(["api", "enrollment", "v1", "enrollments"]);
        let course_id = about.course_id().map(|id| ("course_id", id.as_str()));
        let usernames = about.usernames();
        let usernames = usernames.as_deref().map(|names| ("username", names));
        url.query_pairs_mut()
            .extend_pairs(course_id.into_iter().chain(usernames));
        let url = pages::at(url, cursor, page_size);
        let refused = async |answer| answer::no_enrollments(answer, about).await;
        self.get(url, authorization, refused, |body| {
            Page::parse(body, |row| EnrollmentRow::parse(row, about))
        })
        .await
    }

    fn grades_url(&self, course_id: &CourseId) -> Result<Url, LmsApiError> {
        let parts = || course_id.as_str().split('/');
        // Such a part changes the path in any URL, so the LMS cannot be asked for this
        // run, and no LMS has it.
        if parts().any(|part| part == "." || part == "..") {
            return Err(LmsApiError::NoSuchRun);
        }
        let path = ["api", "grades", "v1", "courses"];
        // The LMS redirects a URL without the last slash.
        Ok(self
            .base_url
            .with(path.into_iter().chain(parts()).chain([""])))
    }

    /// Sends a GET request. `parse` reads the body of a 200, and `refused` maps any other
    /// answer to an error.
    async fn get<T>(
        &self,
        url: Url,
        authorization: &Authorization,
        refused: impl AsyncFnOnce(Response) -> LmsApiError,
        parse: impl FnOnce(&[u8]) -> Result<T, InvalidResponse>,
    ) -> Result<T, LmsApiError> {
        let request = self
            .client
            .requests
            .get(url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, authorization.header());
        answer::to(&self.client, request, async |answer| {
            match answer.status() {
                StatusCode::OK => answer::parsed(answer, parse).await,
                _ => Err(refused(answer).await),
            }
        })
        .await
    }
}
