//! Finds the records that arguments name.

use domain::{CourseId, CourseRun, Email, User};
use store::course_runs::CourseRuns;
use store::users::Users;
use thiserror::Error;
use uuid::Uuid;

use crate::failure::{CommandError, Failure};

/// Error of an argument that names nothing.
#[derive(Debug, Error)]
pub enum FindError {
    #[error("there is no user {}; `coursehook users import` creates users", .0.as_str())]
    User(Email),
    #[error("there is no user with the id {0}; `coursehook users list` lists all users")]
    UserId(Uuid),
    #[error("there is no course run {0}; `coursehook runs import` creates course runs")]
    Run(CourseId),
}

impl CommandError for FindError {}

/// Returns the user with this address.
pub async fn user(users: &Users, email: &Email) -> Result<User, Failure> {
    let found = users.get(email).await?;
    Ok(found.ok_or_else(|| FindError::User(email.clone()))?)
}

/// Returns the course run with this id.
pub async fn run(runs: &CourseRuns, course_id: &CourseId) -> Result<CourseRun, Failure> {
    let found = runs.get_many(std::slice::from_ref(course_id)).await?.pop();
    Ok(found.ok_or_else(|| FindError::Run(course_id.clone()))?)
}
