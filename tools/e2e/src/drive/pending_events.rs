//! Pending events, and their outcomes.

use domain::EventKind;
use local::lms::{FaultRule, LmsFault};
use serde_json::{Value, json};

use super::learners::{RUN, about, email, username, users};
use crate::failure::{Failure, same};
use crate::portal::{Portal, grade};

/// More attempts than are needed until nothing is due: the effect of one attempt makes more events
/// due.
const ATTEMPTS: usize = 10;

/// A time so long ago that an event pending since then has expired.
const LONG_AGO: &str = "2026-01-01T00:00:00.000Z";

pub async fn drive(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    // A pass that was blocked on its enrollment, and one blocked on the LMS.
    retry(portal).await?;
    for name in ["hedy", "frances"] {
        is_certified(portal, name).await?;
    }
    imported(portal, token).await?;
    restored(portal, token).await?;
    moved(portal, token).await?;
    ended(portal, token).await
}

/// The import of a user who was unknown, or had no username, makes their events due.
async fn imported(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let mut body = about("xavier");
    body["mode"] = json!("verified");
    for kind in EventKind::ALL {
        let answer = portal.deliver(kind, token, &body).await?;
        same(
            &format!("{} of xavier", kind.as_str()),
            &answer.status,
            &404,
        )?;
    }
    super::certificates::set_mode(portal, "whitfield").await?;
    let known = ["xavier", "whitfield"];
    for name in known {
        portal.lms.grade(&username(name), RUN, grade(0.7));
    }
    portal
        .import("users", &users(known.map(str::to_owned)))
        .await?;
    retry_all(portal).await?;
    for name in known {
        is_certified(portal, name).await?;
    }
    Ok(())
}

/// A withdrawn certificate is restored by a pass that was pending.
async fn restored(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let row = format!(
        "email,course_id,certificate_id,issued_at,state\n\
         {},{RUN},00000000-0000-4000-8000-0000000000aa,2026-01-01T00:00:00Z,withdrawn\n",
        email("joan")
    );
    portal.import("certificates", &row).await?;
    add_pending(portal, token, "joan").await?;
    retry(portal).await?;
    is_certified(portal, "joan").await
}

/// Deliveries that ran while their user's address was changed have stored pending events under the
/// former one: a pass, and a role in a run that is not imported.
async fn moved(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let (former, new) = (email("karen"), email("karen-again"));
    add_pending(portal, token, "karen").await?;
    let mut role = about("karen");
    role["course_id"] = json!("course-v1:Not+Imported+2026");
    let answer = portal.deliver(EventKind::Enrollment, token, &role).await?;
    same("a role in an unknown run", &answer.status, &404)?;
    let pending = portal.pending(&former).await?;
    let rename = ["users", "rename-email", &former, &new];
    portal.operator.run(&rename).await?;
    for mut item in pending {
        item["next_attempt_at"] = json!({"S": LONG_AGO});
        item["due_order"] = json!({"S": format!("1{LONG_AGO}")});
        put(portal, item).await?;
    }
    retry_while_unavailable(portal).await?;
    portal.has_pending(&former, &[]).await?;
    let reasons = ["lms_unavailable", "no_such_run"];
    portal.has_pending(&new, &reasons).await
}

/// Events that have been pending too long; their times are set in the table, since days cannot pass
/// here.
async fn ended(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    add_pending(portal, token, "lynn").await?;
    let answer = portal
        .deliver(EventKind::Enrollment, token, &about("zoe"))
        .await?;
    same("an enrollment of zoe", &answer.status, &404)?;
    for (name, end) in [("lynn", "dead"), ("zoe", "expired")] {
        let long_ago = json!({"S": LONG_AGO});
        for mut item in portal.pending(&email(name)).await? {
            for (_, waited) in item["waited"]["M"].as_object_mut().into_iter().flatten() {
                waited["M"]["since"] = long_ago.clone();
            }
            for moment in ["pending_since", "delivered_at", "next_attempt_at"] {
                item[moment] = long_ago.clone();
            }
            item["due_order"] = json!({"S": format!("1{LONG_AGO}")});
            put(portal, item).await?;
        }
        retry_while_unavailable(portal).await?;
        portal.has_pending(&email(name), &[end]).await?;
    }
    Ok(())
}

/// Adds a pending pass, blocked by an unavailable LMS.
async fn add_pending(portal: &Portal<'_>, token: &str, name: &str) -> Result<(), Failure> {
    super::certificates::set_mode(portal, name).await?;
    portal.lms.grade(&username(name), RUN, grade(0.8));
    portal
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }));
    let answer = portal
        .deliver(EventKind::Certificate, token, &about(name))
        .await?;
    portal.lms.revoke();
    same(&format!("a pass of {name}"), &answer.status, &202)
}

/// Makes all pending events due, and retries them.
async fn retry(portal: &Portal<'_>) -> Result<(), Failure> {
    for kind in EventKind::ALL {
        let retry = ["events", "retry", "--kind", kind.as_str()];
        portal.operator.run(&retry).await?;
    }
    retry_all(portal).await
}

/// Retries until nothing is due.
async fn retry_all(portal: &Portal<'_>) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        if portal.retry_due().await? == 0 {
            return Ok(());
        }
    }
    Err(Failure::Lacks(format!(
        "end of what is due: {ATTEMPTS} attempts"
    )))
}

/// Retries until nothing is due, while the LMS fails.
async fn retry_while_unavailable(portal: &Portal<'_>) -> Result<(), Failure> {
    portal
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }));
    let retried = retry_all(portal).await;
    portal.lms.revoke();
    retried
}

async fn is_certified(portal: &Portal<'_>, name: &str) -> Result<(), Failure> {
    let state = portal.certificate(&email(name), RUN).await?;
    same(
        &format!("the certificate of {name}"),
        &state.as_str(),
        &"in_force",
    )?;
    portal.has_pending(&email(name), &[]).await
}

async fn put(portal: &Portal<'_>, item: Value) -> Result<(), Failure> {
    let put = json!({"Item": item});
    portal
        .dynamodb("PutItem", "PendingEventsTable", put)
        .await
        .map(drop)
}
