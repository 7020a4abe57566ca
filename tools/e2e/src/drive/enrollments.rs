//! Deliveries of the enrollment webhook that have an effect.

use domain::EventKind;
use serde_json::{Value, json};

use super::contract::is_error;
use super::learners::{about, email, users};
use crate::failure::{Failure, same};
use crate::portal::Portal;

pub async fn drive(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let with = |name: &str, more: Value| {
        let mut body = about(name);
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    };
    let verified = json!({"mode": "verified"});
    let none = json!({"email": email("annie"), "course_id": "None"});
    for (what, body, status) in [
        ("a new enrollment", with("annie", verified.clone()), 201),
        ("the same again", with("annie", verified), 200),
        (
            "a course role",
            with("annie", json!({"role": "instructor"})),
            200,
        ),
        ("an org-wide role", none, 404),
        (
            "an un-enrollment of somebody who was never enrolled",
            with("corrupt", json!({"is_active": false})),
            200,
        ),
        (
            "an un-enrollment",
            with("annie", json!({"is_active": false})),
            200,
        ),
    ] {
        let answer = portal.deliver(EventKind::Enrollment, token, &body).await?;
        same(
            &format!("{what}: {:?}", answer.body),
            &answer.status,
            &status,
        )?;
    }

    // The event of an unknown user is pending; delivered again once the user is known, it takes
    // effect, and the pending event is removed.
    let (body, address) = (about("bettina"), email("bettina"));
    same(
        "an unknown user",
        &portal
            .deliver(EventKind::Enrollment, token, &body)
            .await?
            .status,
        &404,
    )?;
    portal.has_pending(&address, &["no_such_user"]).await?;
    portal
        .import("users", &users(["bettina".to_owned()]))
        .await?;
    same(
        "the user is known by now",
        &portal
            .deliver(EventKind::Enrollment, token, &body)
            .await?
            .status,
        &201,
    )?;
    portal.has_pending(&address, &[]).await?;

    // An item that another program wrote in an unexpected shape is an error.
    let key = json!({"Key": {"email": {"S": email("corrupt")}}});
    let item = portal.dynamodb("GetItem", "UsersTable", key).await?;
    let mut corrupt = item["Item"].clone();
    corrupt["user_id"] = json!({"S": "none"});
    put(portal, &corrupt).await?;
    for kind in EventKind::ALL {
        let what = format!("{} of a user of another shape", kind.as_str());
        let answer = portal.deliver(kind, token, &about("corrupt")).await?;
        same(&what, &answer.status, &500)?;
        is_error(&what, &answer)?;
    }
    put(portal, &item["Item"]).await?;
    // No delivery is lost: all are pending until the item is correct.
    let address = email("corrupt");
    let pending = ["failed"; EventKind::ALL.len()];
    portal.has_pending(&address, &pending).await?;
    let drop = ["events", "drop", "--reason", "failed", "--yes"];
    portal.operator.run(&drop).await?;
    portal.has_pending(&address, &[]).await?;

    // The enrollment makes due a pass that is blocked on it.
    let answer = portal
        .deliver(EventKind::Certificate, token, &about("grace"))
        .await?;
    same("a pass without a credential", &answer.status, &202)?;
    same(
        "a pass without a credential",
        &answer.body,
        &json!({"certificate_status": "pending", "reason": "no_credential"}),
    )?;
    Ok(())
}

async fn put(portal: &Portal<'_>, user: &Value) -> Result<(), Failure> {
    let put = json!({"Item": user});
    portal
        .dynamodb("PutItem", "UsersTable", put)
        .await
        .map(drop)
}
