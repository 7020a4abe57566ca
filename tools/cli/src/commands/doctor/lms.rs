//! Checks that the LMS accepts our credential, and lets us read grades and list
//! enrollments.

use domain::{CourseId, Email, User, Username};
use lms::{About, LmsApiError, LmsClient, LmsError};

use super::finding::Finding;
use crate::commands::credential::{self, LIMIT};
use crate::context::Context;
use crate::failure::Failure;
use crate::{lms_errors, output};

pub async fn check(context: &Context, learner: Option<(Email, CourseId)>) -> Vec<Finding> {
    let learner = learner.as_ref();
    let (token, grade, enrollments) = tokio::join!(
        token(context),
        of_learner(context, "LMS grades", learner, grade),
        of_learner(context, "LMS enrollments", learner, enrollments)
    );
    vec![token, grade, enrollments]
}

/// Checks that the LMS gives an access token; a static token is checked only by reading a
/// grade.
async fn token(context: &Context) -> Finding {
    const CHECK: &str = "LMS token";
    let asked = async {
        let secret = context.credential_for_the_lms().await?;
        // The check of the secret itself reports its errors.
        match secret.read().await.ok().flatten() {
            Some(known) => credential::token(context, &known).await.map(Some),
            None => Ok(None),
        }
    };
    match asked.await {
        Err(failure) => Finding::failed(context, CHECK, failure),
        Ok(None) => no_credential(CHECK),
        Ok(Some(None)) => Finding::ok(CHECK, "a static token, for which the LMS is not asked"),
        Ok(Some(Some(Ok(_)))) => Finding::ok(CHECK, "the LMS gives our client a token"),
        Ok(Some(Some(Err(error)))) => lms_finding(CHECK, lms_errors::explain(&error.code())),
    }
}

/// Asks the LMS about the learner who is named, or about any learner.
async fn of_learner(
    context: &Context,
    check: &'static str,
    learner: Option<&(Email, CourseId)>,
    ask: impl AsyncFn(&LmsClient, &Learner) -> Finding,
) -> Finding {
    let found = match learner.cloned() {
        Some((email, course_id)) => named(context, email, course_id).await,
        None => any(context).await,
    };
    let learner = match found {
        Ok(Ok(learner)) => learner,
        Ok(Err(why)) => {
            let ask = "name a learner: coursehook doctor EMAIL COURSE_ID";
            return Finding::skip(check, why, ask);
        }
        Err(failure) => return Finding::failed(context, check, failure),
    };
    let client = async { context.lms_client(&context.tables().await).await };
    match client.await {
        Ok(client) => ask(&client, &learner).await,
        Err(failure) => Finding::failed(context, check, failure),
    }
}

/// Checks that a grade can be read.
async fn grade(client: &LmsClient, (email, username, course_id): &Learner) -> Finding {
    const CHECK: &str = "LMS grades";
    let whose = format!("{} in {course_id}", email.as_str());
    match client.grade(course_id, username, LIMIT).await {
        Ok(_) => Finding::ok(CHECK, format!("the grade of {whose} was read")),
        Err(LmsError::NoCredential(_)) => no_credential(CHECK),
        // The LMS looked the grade up, so the credential may read grades.
        Err(
            ref error @ LmsError::Api(
                LmsApiError::NoSuchRun | LmsApiError::NoSuchLearner | LmsApiError::NotEnrolled,
            ),
        ) => {
            let (cause, _) = lms_errors::explain(&error.code());
            let cause = within_a_line(&cause);
            Finding::ok(CHECK, format!("the credential works; for {whose}: {cause}"))
        }
        Err(error) => lms_finding(CHECK, lms_errors::explain(&error.code())),
    }
}

/// Checks that enrollments can be listed, which only global staff may do.
async fn enrollments(client: &LmsClient, (email, username, course_id): &Learner) -> Finding {
    const CHECK: &str = "LMS enrollments";
    let about = About::LearnerInRun(username.clone(), course_id.clone());
    match client.enrollments_page(&about, None).await {
        Ok(_) => Finding::ok(CHECK, "can be listed"),
        Err(LmsError::NoCredential(_)) => no_credential(CHECK),
        Err(LmsError::Api(LmsApiError::NoSuchRun)) => {
            Finding::ok(CHECK, "can be listed, though not for this run")
        }
        Err(ref error @ LmsError::Api(LmsApiError::BadUsername)) => {
            let (cause, _) = lms_errors::of_enrollments(&error.code());
            let cause = within_a_line(&cause);
            Finding::ok(
                CHECK,
                format!("can be listed; for {}: {cause}", email.as_str()),
            )
        }
        Err(error) => lms_finding(CHECK, lms_errors::of_enrollments(&error.code())),
    }
}

type Learner = (Email, Username, CourseId);

async fn named(
    context: &Context,
    email: Email,
    course_id: CourseId,
) -> Result<Result<Learner, String>, Failure> {
    let user = context.tables().await.users()?.get(&email).await?;
    let shown = output::printable(email.as_str());
    Ok(match user {
        None => Err(format!("there is no user {shown}")),
        Some(User {
            edx_username: None, ..
        }) => Err(format!("{shown} has no edX username")),
        Some(User {
            edx_username: Some(username),
            ..
        }) => Ok((email, username, course_id)),
    })
}

/// Returns a learner whose grade a webhook could ask for.
async fn any(context: &Context) -> Result<Result<Learner, String>, Failure> {
    const USERS_CHECKED: usize = 20;
    let tables = context.tables().await;
    let (users, enrollments) = (tables.users()?, tables.enrollments()?);
    for user in users
        .with_usernames()
        .await?
        .into_iter()
        .take(USERS_CHECKED)
    {
        let of_user = enrollments.of_user(user.user_id).await?;
        let active = of_user.into_iter().find(|enrollment| enrollment.active);
        if let (Some(enrollment), Some(username)) = (active, user.edx_username) {
            return Ok(Ok((user.email, username, enrollment.course_id)));
        }
    }
    Ok(Err(
        "no user was found who has an edX username and an active enrollment".to_owned(),
    ))
}

fn lms_finding(check: &str, (cause, fix): (String, String)) -> Finding {
    Finding::fix(check, within_a_line(&cause), within_a_line(&fix))
}

/// Returns a sentence as a part of a line.
fn within_a_line(sentence: &str) -> String {
    let mut rest = sentence.trim_end_matches('.').chars();
    let first = rest.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(rest).collect()
}

fn no_credential(check: &str) -> Finding {
    Finding::skip(
        check,
        "there is no credential",
        "fix OpenedxApiSecret first",
    )
}
