//! Both sweeps, by executions of their state machines.

use domain::EventKind;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::learners::{HALTED_RUN, SWEPT_RUN, email, halted, username};
use crate::failure::{Failure, same};
use crate::portal::{Portal, grade};

const GRADES: &str = "GradeSweepMachine";
const ENROLLMENTS: &str = "EnrollmentSweepMachine";

pub async fn drive(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    put_learners(portal, token).await?;
    grades(portal).await?;
    enrollments(portal, token).await
}

/// Creates the state before the sweeps: certificates, grades, enrollments, a pending pass.
async fn put_learners(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let mut certificates = "email,course_id,certificate_id,issued_at,state\n".to_owned();
    let mut enrollments = "email,course_id,mode,active\n".to_owned();
    let mut number = 0x100;
    let mut certificate = |name: &str, run, state| {
        number += 1;
        let id = format!("00000000-0000-4000-8000-000000000{number:03x}");
        let row = format!("{},{run},{id},2026-01-01T00:00:00Z,{state}\n", email(name));
        certificates.push_str(&row);
    };
    certificate("niklaus", SWEPT_RUN, "withdrawn");
    certificate("olga", SWEPT_RUN, "in_force");
    for name in halted() {
        certificate(&name, HALTED_RUN, "in_force");
        portal.lms.grade(&username(&name), HALTED_RUN, grade(0.0));
    }
    portal
        .lms
        .enroll(&username("olga"), SWEPT_RUN, "verified", true);
    for name in ["margaret", "niklaus", "olga", "peter", "quentin"] {
        enrollments.push_str(&format!("{},{SWEPT_RUN},verified,true\n", email(name)));
        let percent = if name == "olga" { 0.0 } else { 0.9 };
        portal.lms.grade(&username(name), SWEPT_RUN, grade(percent));
    }
    portal.import("certificates", &certificates).await?;
    let of_peter = format!("{},{SWEPT_RUN},0.9,true\n", email("peter"));
    let grades = format!("email,course_id,percent,passed\n{of_peter}");
    portal.import("grades", &grades).await?;
    portal.import("enrollments", &enrollments).await?;

    // A pass that is blocked on the LMS.
    portal
        .lms
        .add_fault(FaultRule::of(LmsFault::Fail { status: 503 }));
    let body = json!({"email": email("quentin"), "course_id": SWEPT_RUN});
    let answer = portal.deliver(EventKind::Certificate, token, &body).await?;
    portal.lms.revoke();
    same("a pass of quentin", &answer.status, &202)
}

async fn grades(portal: &Portal<'_>) -> Result<(), Failure> {
    // A grade of 0 withdraws nothing before a second sweep has found it, a day later.
    portal.sweep(GRADES, &json!({})).await?;
    let state = portal.certificate(&email("olga"), SWEPT_RUN).await?;
    same("olga after the first 0", &state.as_str(), &"in_force")?;
    a_day_passes(portal).await?;
    portal.sweep(GRADES, &json!({})).await?;
    for (name, expected) in [
        ("margaret", "in_force"),
        ("niklaus", "in_force"),
        ("olga", "withdrawn"),
        ("peter", "in_force"),
        ("quentin", "in_force"),
    ] {
        let state = portal.certificate(&email(name), SWEPT_RUN).await?;
        same(
            &format!("{name} after the sweep"),
            &state.as_str(),
            &expected,
        )?;
    }
    // The pending pass is completed.
    portal.has_pending(&email("quentin"), &[]).await?;
    ended(portal, "grades", HALTED_RUN, "halted").await?;
    for name in halted() {
        let state = portal.certificate(&email(&name), HALTED_RUN).await?;
        same(
            "who is held back by the safety limit",
            &state.as_str(),
            &"in_force",
        )?;
    }

    // One learner, in one run and in all; a run that the LMS does not return.
    let user_id = portal.user_id(&email("margaret")).await?;
    for request in [
        json!({"run": SWEPT_RUN, "learner": user_id}),
        json!({"learner": user_id}),
    ] {
        portal.sweep(GRADES, &request).await?;
    }
    portal.lms.add_fault(FaultRule::of(LmsFault::Refuse));
    portal.sweep(GRADES, &json!({"run": SWEPT_RUN})).await?;
    portal.lms.revoke();
    ended(portal, "grades", SWEPT_RUN, "failed").await?;
    // A list whose next page is the page itself.
    portal.lms.add_fault(FaultRule::of(LmsFault::Repeat));
    portal.sweep(GRADES, &json!({"run": SWEPT_RUN})).await?;
    portal.lms.revoke();
    ended(portal, "grades", SWEPT_RUN, "done").await
}

async fn enrollments(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let enrollments = format!(
        "email,course_id,mode,active,roles\n{}",
        [("radia", "false"), ("sophie", "true"), ("tony", "true")]
            .map(|(name, active)| format!("{},{SWEPT_RUN},audit,{active},\n", email(name)))
            .concat()
    );
    portal.import("enrollments", &enrollments).await?;
    for (name, mode, is_active) in [
        ("radia", "audit", true),
        ("sophie", "audit", false),
        ("tony", "audit", true),
        ("ursula", "verified", true),
    ] {
        portal
            .lms
            .enroll(&username(name), SWEPT_RUN, mode, is_active);
    }
    // A pass that is blocked on an enrollment, which the sweep creates.
    portal
        .lms
        .enroll(&username("vint"), SWEPT_RUN, "verified", true);
    portal.lms.grade(&username("vint"), SWEPT_RUN, grade(0.9));
    let body = json!({"email": email("vint"), "course_id": SWEPT_RUN});
    let answer = portal.deliver(EventKind::Certificate, token, &body).await?;
    same(
        "a pass of vint",
        &answer.body["reason"],
        &json!("not_enrolled"),
    )?;

    // The first sweep is a dry run.
    portal.sweep(ENROLLMENTS, &json!({})).await?;
    same(
        "ursula after a dry run",
        &shown(portal, "ursula").await?,
        &json!([]),
    )?;
    portal.sweep(ENROLLMENTS, &json!({})).await?;
    ended(portal, "enrollments", SWEPT_RUN, "done").await?;
    let endless = FaultRule::of(LmsFault::Repeat).at(At::Enrollments);
    portal.lms.add_fault(endless);
    portal
        .sweep(ENROLLMENTS, &json!({"run": SWEPT_RUN}))
        .await?;
    portal.lms.revoke();
    ended(portal, "enrollments", SWEPT_RUN, "done").await?;
    let user_id = portal.user_id(&email("ursula")).await?;
    portal
        .sweep(ENROLLMENTS, &json!({"run": SWEPT_RUN, "learner": user_id}))
        .await?;
    portal
        .sweep(ENROLLMENTS, &json!({"learner": user_id}))
        .await?;
    for (name, mode, is_active) in [
        ("radia", "audit", true),
        ("sophie", "audit", false),
        ("tony", "audit", true),
        ("ursula", "verified", true),
        ("vint", "verified", true),
    ] {
        let found = &shown(portal, name).await?[0];
        let what = format!("{name} after the sweep");
        same(&what, &found["active"], &json!(is_active))?;
        same(&what, &found["mode"], &json!(mode))?;
    }
    Ok(())
}

/// Dates back by a day the grades of 0 that a sweep has found.
async fn a_day_passes(portal: &Portal<'_>) -> Result<(), Failure> {
    let grades = portal.dynamodb("Scan", "GradesTable", json!({})).await?;
    let grades = grades["Items"].as_array().into_iter().flatten();
    for grade in grades.filter(|grade| grade.get("zero_since").is_some()) {
        let mut grade = grade.clone();
        grade["zero_since"] = json!({"S": "2026-01-01T00:00:00Z"});
        let put = json!({"Item": grade});
        portal.dynamodb("PutItem", "GradesTable", put).await?;
    }
    Ok(())
}

/// Returns a learner's enrollments.
async fn shown(portal: &Portal<'_>, name: &str) -> Result<Value, Failure> {
    let show = ["enrollments", "show", &email(name)];
    portal.operator.run(&show).await
}

/// Checks the outcome of the last sweep of a run that was no dry run.
async fn ended(portal: &Portal<'_>, kind: &str, run: &str, outcome: &str) -> Result<(), Failure> {
    let sweeps = portal.operator.run(&["sweep", "list"]).await?;
    let sweeps = sweeps.as_array().into_iter().flatten();
    let outcomes: Vec<_> = sweeps
        .filter(|sweep| sweep["course_id"] == run && sweep["sweep"] == kind)
        .filter(|sweep| sweep["dry_run"] == false)
        .map(|sweep| &sweep["last"]["outcome"])
        .collect();
    same(
        &format!("the sweep of {kind} of {run}"),
        &outcomes,
        &vec![&json!(outcome)],
    )
}
