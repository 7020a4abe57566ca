//! The LMS's web API: an access token, one learner's grade, the grades of a
//! whole course run. One request each; who keeps the token, waits and tries
//! again is `use_cases::asking_the_lms`.
//!
//! The rules are those of Open edX's `oauth_dispatch` and `grades` REST APIs.

mod answer;
mod authorization;
mod base_url;
mod error;
mod rows;

use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

pub use authorization::{AccessToken, Authorization};
pub use base_url::{BaseUrl, BaseUrlError};
pub use error::{ErrorCode, LmsError, Nonsense};
pub use rows::{Cursor, Page, Row};

use crate::domain::{CourseId, Score, Username};

/// An Open edX LMS.
#[derive(Debug, Clone)]
pub struct Lms {
    client: Client,
    base_url: BaseUrl,
}

impl Lms {
    /// `client` must follow no redirect, or it would show our credential to
    /// whomever the LMS names; `startup::lms::client` makes such a one. Makes
    /// no request.
    pub fn new(client: Client, base_url: BaseUrl) -> Self {
        Self { client, base_url }
    }

    /// Asks for an access token: `POST oauth2/access_token`, client credentials.
    ///
    /// # Errors
    /// [`LmsError::BadClient`] where the LMS does not take the client.
    pub async fn access_token(
        &self,
        id: &str,
        secret: &SecretString,
    ) -> Result<AccessToken, LmsError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret.expose_secret()),
            ("token_type", "jwt"),
        ];
        let url = self.base_url.with(["oauth2", "access_token"]);
        let answer = answer::to(self.client.post(url).form(&form)).await?;
        match answer.status() {
            StatusCode::OK => Ok(AccessToken::parse(&answer::body(answer).await?)?),
            _ => Err(answer::no_token(&answer)),
        }
    }

    /// Asks for the grade of one learner in one course run. The row that comes
    /// back must be of this username and this run, byte for byte; the LMS
    /// leaves the address empty, so that it says nothing.
    ///
    /// # Errors
    /// [`LmsError::Nonsense`] where the answer is anything but that one row.
    pub async fn grade(
        &self,
        authorization: &Authorization,
        course_id: &CourseId,
        username: &Username,
    ) -> Result<Score, LmsError> {
        let mut url = self.grades_url(course_id)?;
        // A `Username` is never empty: an empty one would mean the whole run.
        url.query_pairs_mut()
            .append_pair("username", username.as_str());
        let body = self.grades(url, authorization).await?;
        Ok(rows::of_learner(&body, course_id, username)?)
    }

    /// Asks for a page of the grades of a course run: the first one, or the
    /// one that `cursor`, of the page before it, says. The LMS need not heed
    /// `page_size`. It leaves out, without a word, whose grade it could not
    /// compute.
    ///
    /// # Errors
    /// [`LmsError::Nonsense`] where the answer is no page. A row that is at
    /// fault is an error in the page and leaves the other rows as they are.
    pub async fn grades_page(
        &self,
        authorization: &Authorization,
        course_id: &CourseId,
        cursor: Option<&Cursor>,
        page_size: u32,
    ) -> Result<Page, LmsError> {
        let mut url = self.grades_url(course_id)?;
        url.query_pairs_mut()
            .append_pair("page_size", &page_size.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut()
                .append_pair(Cursor::PARAMETER, cursor.as_str());
        }
        let body = self.grades(url, authorization).await?;
        Ok(rows::page(&body, course_id)?)
    }

    fn grades_url(&self, course_id: &CourseId) -> Result<Url, LmsError> {
        let parts = || course_id.as_str().split('/');
        // Such a part is a step to another path in any URL, so the LMS cannot
        // be asked for this run, and no LMS has it.
        if parts().any(|part| part == "." || part == "..") {
            return Err(LmsError::NoSuchRun);
        }
        let path = ["api", "grades", "v1", "courses"];
        // Without the last slash the LMS redirects.
        Ok(self
            .base_url
            .with(path.into_iter().chain(parts()).chain([""])))
    }

    async fn grades(&self, url: Url, authorization: &Authorization) -> Result<Vec<u8>, LmsError> {
        let request = self
            .client
            .get(url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, authorization.header());
        let answer = answer::to(request).await?;
        match answer.status() {
            StatusCode::OK => answer::body(answer).await,
            _ => Err(answer::no_grades(answer).await),
        }
    }
}
