//! Checks that the LMS accepts our credential, and lets us read grades and list
//! enrollments.

use domain::{CourseId, Email, Username};
use lms::{About, LmsApiError, LmsClient, LmsError};

use super::finding::Finding;
use crate::commands::credential::{self, Check, LIMIT};
use crate::context::Context;
use crate::failure::Failure;
use crate::{lms_errors, output};

const TOKEN: &str = "LMS token";
const GRADES: &str = "LMS grades";
const ENROLLMENTS: &str = "LMS enrollments";

pub async fn check(context: &Context, learner: Option<(Email, CourseId)>) -> Vec<Finding> {
    let (token, grade, enrollments) = tokio::join!(
        token(context),
        of_learner(context, GRADES, learner.clone(), grade),
        of_learner(context, ENROLLMENTS, learner.clone(), enrollments)
    );
    vec![
        Finding::of(context, TOKEN, token),
        Finding::of(context, GRADES, grade),
        Finding::of(context, ENROLLMENTS, enrollments),
    ]
}

/// Checks that the LMS gives an access token; a static token is checked only by reading a
/// grade.
async fn token(context: &Context) -> Result<Finding, Failure> {
    let secret = context.credential_for_the_lms().await?;
    // The check of the secret itself reports its errors.
    let Ok(Some(known)) = secret.read().await else {
        return Ok(no_credential(TOKEN));
    };
    Ok(match credential::check(context, &known).await? {
        Check::NotAsked => Finding::ok(TOKEN, "a static token, for which the LMS is not asked"),
        Check::Accepted => Finding::ok(TOKEN, "the LMS gives our client a token"),
        Check::Refused(error) => lms_finding(TOKEN, lms_errors::explain(&error.code())),
    })
}

/// Asks the LMS about the learner who is named, or about any learner.
async fn of_learner(
    context: &Context,
    check: &str,
    learner: Option<(Email, CourseId)>,
    ask: impl AsyncFn(&LmsClient, &Learner) -> Finding,
) -> Result<Finding, Failure> {
    let found = match learner {
        Some((email, course_id)) => named(context, email, course_id).await?,
        None => any(context).await?,
    };
    let learner = match found {
        Found::Learner(learner) => learner,
        Found::None(why) => {
            let ask = "name a learner: coursehook doctor EMAIL COURSE_ID";
            return Ok(Finding::skip(check, why, ask));
        }
    };
    let client = context.lms_client(&context.tables().await).await?;
    Ok(ask(&client, &learner).await)
}

/// Checks that a grade can be read.
async fn grade(client: &LmsClient, (email, username, course_id): &Learner) -> Finding {
    let whose = format!("{} in {course_id}", email.as_str());
    match client.grade(course_id, username, LIMIT).await {
        Ok(_) => Finding::ok(GRADES, format!("the grade of {whose} was read")),
        Err(LmsError::NoCredential(_)) => no_credential(GRADES),
        // The LMS looked the grade up, so the credential may read grades.
        Err(
            ref error @ LmsError::Api(
                LmsApiError::NoSuchRun | LmsApiError::NoSuchLearner | LmsApiError::NotEnrolled,
            ),
        ) => {
            let (cause, _) = lms_errors::explain(&error.code());
            let cause = within_a_line(&cause);
            Finding::ok(
                GRADES,
                format!("the credential works; for {whose}: {cause}"),
            )
        }
        Err(error) => lms_finding(GRADES, lms_errors::explain(&error.code())),
    }
}

/// Checks that enrollments can be listed, which only global staff may do.
async fn enrollments(client: &LmsClient, (email, username, course_id): &Learner) -> Finding {
    let about = About::LearnerInRun(username.clone(), course_id.clone());
    match client.enrollments_page(&about, None).await {
        Ok(_) => Finding::ok(ENROLLMENTS, "can be listed"),
        Err(LmsError::NoCredential(_)) => no_credential(ENROLLMENTS),
        Err(LmsError::Api(LmsApiError::NoSuchRun)) => {
            Finding::ok(ENROLLMENTS, "can be listed, though not for this run")
        }
        Err(ref error @ LmsError::Api(LmsApiError::BadUsername)) => {
            let (cause, _) = lms_errors::of_enrollments(&error.code());
            let cause = within_a_line(&cause);
            Finding::ok(
                ENROLLMENTS,
                format!("can be listed; for {}: {cause}", email.as_str()),
            )
        }
        Err(error) => lms_finding(ENROLLMENTS, lms_errors::of_enrollments(&error.code())),
    }
}

type Learner = (Email, Username, CourseId);

/// The learner that the LMS requests name.
enum Found {
    Learner(Learner),
    /// There is none, for this reason.
    None(String),
}

async fn named(context: &Context, email: Email, course_id: CourseId) -> Result<Found, Failure> {
    let user = context.tables().await.users()?.get(&email).await?;
    let shown = output::printable(email.as_str());
    let Some(user) = user else {
        return Ok(Found::None(format!("there is no user {shown}")));
    };
    Ok(match user.edx_username {
        Some(username) => Found::Learner((email, username, course_id)),
        None => Found::None(format!("{shown} has no edX username")),
    })
}

/// Returns a learner whose grade a webhook could ask for.
async fn any(context: &Context) -> Result<Found, Failure> {
    const USERS_ENROLLMENTSED: usize = 20;
    let tables = context.tables().await;
    let (users, enrollments) = (tables.users()?, tables.enrollments()?);
    for user in users
        .with_usernames()
        .await?
        .into_iter()
        .take(USERS_ENROLLMENTSED)
    {
        let of_user = enrollments.of_user(user.user_id).await?;
        let active = of_user.into_iter().find(|enrollment| enrollment.active);
        if let (Some(enrollment), Some(username)) = (active, user.edx_username) {
            let learner = (user.email, username, enrollment.course_id);
            return Ok(Found::Learner(learner));
        }
    }
    Ok(Found::None(
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
