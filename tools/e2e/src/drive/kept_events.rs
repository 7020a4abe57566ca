//! What was kept, and becomes of it.

use local::lms::{Order, Trouble};
use serde_json::{Value, json};

use super::learners::{RUN, STRANGERS, about, email, username, users};
use crate::failure::{Failure, same};
use crate::portal::{Portal, grade};

/// Looks that it takes until nothing is due: what one look does makes more due.
const LOOKS: usize = 3;

pub async fn drive(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    // A pass that waited for its enrollment, and those that waited for the LMS.
    retry(portal).await?;
    for name in ["hedy", "frances"] {
        is_certified(portal, name).await?;
    }

    // Who was not known, or had no username, is imported: what waited is due.
    let [xavier, yukihiro, zoe] = STRANGERS;
    for name in [xavier, yukihiro] {
        portal.lms.grade(&username(name), RUN, grade(0.7));
        let mut body = about(name);
        body["mode"] = json!("verified");
        for kind in ["enrollment", "certificate"] {
            let answer = portal.deliver(kind, token, &body).await?;
            same(&format!("{kind} of {name}"), &answer.status, &404)?;
        }
    }
    let known = [xavier, yukihiro, "whitfield"].map(str::to_owned);
    portal.lms.grade(&username("whitfield"), RUN, grade(0.7));
    super::certificates::set_mode(portal, "whitfield").await?;
    portal.import("users", &users(known)).await?;
    look(portal).await?;
    for name in [xavier, yukihiro, "whitfield"] {
        is_certified(portal, name).await?;
    }

    // A certificate that was withdrawn comes back by a pass that had to wait.
    let row = format!(
        "email,course_id,certificate_id,issued_at,state\n\
         {},{RUN},00000000-0000-4000-8000-0000000000aa,2026-01-01T00:00:00Z,withdrawn\n",
        email("joan")
    );
    portal.import("certificates", &row).await?;
    for name in ["joan", "karen"] {
        keep(portal, token, name).await?;
    }
    retry_one(portal, "joan").await?;
    is_certified(portal, "joan").await?;

    // A delivery that was under way while its user was given another address has kept
    // the event under the former one.
    let kept = portal.kept(&email("karen")).await?;
    let new = email("karen-anew");
    portal
        .operator
        .run(&["users", "rename-email", &email("karen"), &new])
        .await?;
    for mut item in kept {
        item["next_look"] = json!({"S": "2026-01-01T00:00:00.000Z"});
        put(portal, item).await?;
    }
    portal.lms.order(Order::of(Trouble::Fail { status: 503 }));
    look(portal).await?;
    portal.lms.revoke();
    same(
        "what is kept under the former address",
        &portal.kept(&email("karen")).await?,
        &vec![],
    )?;
    same(
        "what is kept under the new one",
        &portal.kept_reasons(&new).await?,
        &vec!["lms_trouble".to_owned()],
    )?;

    // What has waited for too long, as only days make it.
    keep(portal, token, "lynn").await?;
    same(
        "an unknown user",
        &portal
            .deliver("enrollment", token, &about(zoe))
            .await?
            .status,
        &404,
    )?;
    for (name, ended) in [("lynn", "dead"), (zoe, "expired")] {
        for mut item in portal.kept(&email(name)).await? {
            let long_ago = json!({"S": "2026-01-01T00:00:00.000Z"});
            for waited in item["waited"]["M"].as_object_mut().into_iter().flatten() {
                waited.1["M"]["since"] = long_ago.clone();
            }
            for moment in ["kept_at", "delivered_at", "next_look"] {
                item[moment] = long_ago.clone();
            }
            put(portal, item).await?;
        }
        portal.lms.order(Order::of(Trouble::Fail { status: 503 }));
        look(portal).await?;
        portal.lms.revoke();
        let expected = vec![ended.to_owned()];
        same(
            &format!("what is kept of {name}"),
            &portal.kept_reasons(&email(name)).await?,
            &expected,
        )?;
    }
    portal
        .operator
        .run(&["events", "list", "--dead"])
        .await
        .map(drop)
}

/// A pass that is kept, since the LMS is in trouble.
async fn keep(portal: &Portal<'_>, token: &str, name: &str) -> Result<(), Failure> {
    super::certificates::set_mode(portal, name).await?;
    portal.lms.grade(&username(name), RUN, grade(0.8));
    portal.lms.order(Order::of(Trouble::Fail { status: 503 }));
    let answer = portal.deliver("certificate", token, &about(name)).await?;
    portal.lms.revoke();
    same(&format!("a pass of {name}"), &answer.status, &202)
}

/// Has everything that waits looked at.
async fn retry(portal: &Portal<'_>) -> Result<(), Failure> {
    for kind in ["enrollment", "certificate"] {
        let retry = ["events", "retry", "--kind", kind];
        portal.operator.run(&retry).await?;
    }
    look(portal).await
}

async fn retry_one(portal: &Portal<'_>, name: &str) -> Result<(), Failure> {
    for item in portal.kept(&email(name)).await? {
        let key = item["event_key"]["S"].as_str().unwrap_or_default();
        portal.operator.run(&["events", "retry", key]).await?;
    }
    look(portal).await
}

/// Looks until nothing is due.
async fn look(portal: &Portal<'_>) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        if portal.look().await?["looked_at"] == 0 {
            break;
        }
    }
    Ok(())
}

async fn is_certified(portal: &Portal<'_>, name: &str) -> Result<(), Failure> {
    let state = portal.certificate(&email(name), RUN).await?;
    same(
        &format!("the certificate of {name}"),
        &state.as_str(),
        &"in_force",
    )?;
    let kept = portal.kept_reasons(&email(name)).await?;
    same(&format!("what is kept of {name}"), &kept, &Vec::new())
}

async fn put(portal: &Portal<'_>, item: Value) -> Result<(), Failure> {
    let put = json!({"Item": item});
    portal
        .dynamodb("PutItem", "KeptEventsTable", put)
        .await
        .map(drop)
}
