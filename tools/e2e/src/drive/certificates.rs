//! Deliveries of the certificate webhook that have an effect.

use domain::EventKind;
use local::lms::{FaultRule, LmsFault};
use serde_json::{Value, json};

use super::learners::{RUN, about, email, username};
use crate::failure::{Failure, same};
use crate::portal::{Portal, grade};

pub async fn drive(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    portal.set_credential().await?;
    let certify = async |name: &str| {
        portal
            .deliver(EventKind::Certificate, token, &about(name))
            .await
    };
    let says = |name: &str, percent| portal.lms.grade(&username(name), RUN, grade(percent));
    for name in [
        "ada", "barbara", "dijkstra", "edsger", "frances", "hedy", "grace",
    ] {
        says(name, 0.9);
    }
    says("carla", 0.2);

    // The learners who are enrolled already, and their modes.
    for (name, mode) in [
        ("ada", "verified"),
        ("barbara", "audit"),
        ("dijkstra", "verified"),
        ("edsger", "verified"),
        ("frances", "verified"),
    ] {
        let mut body = about(name);
        body["mode"] = json!(mode);
        let answer = portal.deliver(EventKind::Enrollment, token, &body).await?;
        same(&format!("{name} enrolls"), &answer.status, &201)?;
    }
    let rows = [("dijkstra", "withdrawn"), ("edsger", "revoked")].map(|(name, state)| {
        let id = format!("00000000-0000-4000-8000-00000000000{}", name.len());
        format!("{},{RUN},{id},2026-01-01T00:00:00Z,{state}\n", email(name))
    });
    let heading = "email,course_id,certificate_id,issued_at,state\n";
    let rows = format!("{heading}{}", rows.concat());
    portal.import("certificates", &rows).await?;

    for (name, status, outcome, reason, pending) in [
        ("ada", 200, "created", None, None),
        ("ada", 200, "exists", None, None),
        (
            "barbara",
            200,
            "not_eligible",
            Some("unpaid_mode"),
            Some("not_eligible"),
        ),
        ("carla", 200, "not_passed", None, Some("not_passed")),
        ("dijkstra", 200, "created", None, None),
        ("edsger", 200, "revoked", None, None),
        (
            "hedy",
            200,
            "not_eligible",
            Some("not_enrolled"),
            Some("not_eligible"),
        ),
        (
            "whitfield",
            202,
            "pending",
            Some("no_username"),
            Some("no_username"),
        ),
    ] {
        let answer = certify(name).await?;
        let what = format!("a pass of {name}: {:?}", answer.body);
        same(&what, &answer.status, &status)?;
        let came = &answer.body["certificate_status"];
        same(&what, came, &json!(outcome))?;
        same(&what, &answer.body["reason"], &json!(reason))?;
        portal.has_pending(&email(name), pending.as_slice()).await?;
    }

    // The grade is stored already when the enrollment becomes paid.
    set_mode(portal, "barbara").await?;
    let answer = certify("barbara").await?;
    same(
        "a grade that is stored",
        &answer.body["certificate_status"],
        &json!("created"),
    )?;
    portal.has_pending(&email("barbara"), &[]).await?;

    // The enrollment on which a pass is blocked makes it due.
    let due = |pending: &[Value]| {
        pending.first()?["next_attempt_at"]["S"]
            .as_str()
            .map(str::to_owned)
    };
    let before = due(&portal.pending(&email("hedy")).await?);
    let mut body = about("hedy");
    body["mode"] = json!("verified");
    same(
        "hedy enrolls",
        &portal
            .deliver(EventKind::Enrollment, token, &body)
            .await?
            .status,
        &201,
    )?;
    let after = due(&portal.pending(&email("hedy")).await?);
    let is_sooner = matches!((&before, &after), (Some(before), Some(after)) if after < before);
    let what = format!("the pass is due sooner: {after:?}, and before {before:?}");
    same(&what, &is_sooner, &true)?;

    // The LMS is unavailable.
    let throttled = LmsFault::Throttle {
        retry_after: Some(1),
    };
    for (fault, reason) in [
        (LmsFault::Fail { status: 503 }, "lms_failed"),
        (LmsFault::Refuse, "lms_refused"),
        (LmsFault::PercentText, "lms_invalid_response"),
        // This fault comes last, since the LMS is not asked after it for as long as it says.
        (throttled, "lms_throttled"),
    ] {
        portal.lms.add_fault(FaultRule::of(fault));
        let answer = certify("frances").await?;
        portal.lms.revoke();
        same(reason, &answer.status, &202)?;
        same(reason, &answer.body["reason"], &json!(reason))?;
    }
    Ok(())
}

/// Makes a learner's enrollment a paid one, as an operator.
pub async fn set_mode(portal: &Portal<'_>, name: &str) -> Result<(), Failure> {
    let set = [
        "enrollments",
        "set",
        &email(name),
        RUN,
        "--mode",
        "verified",
    ];
    portal.operator.run(&set).await.map(drop)
}
