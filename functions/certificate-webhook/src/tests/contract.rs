//! The contract's certificate table, row by row, and the rules that all webhooks share.

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use domain::{BlockedReason, CertificateState, Change, EventState, LetterGrade};
use harness::{ADA, ADA_ID, RUN, STAFF, from_gateway};
use lambda_http::Body;
use lambda_http::http::Method;
use serde_json::{Value, json};

use super::fixture::{Fixture, WEBHOOK, passed};

/// The state before Ada's pass is announced.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// An active enrollment in this mode.
    Enrolled(&'static str),
    /// No enrollment.
    NotEnrolled,
    /// An inactive enrollment in the paid mode.
    Inactive,
    /// A certificate in this state, with an active paid enrollment.
    Certificate(&'static str),
}

/// Brings this state about.
async fn prepare(fixture: &Fixture, before: Before) {
    match before {
        Before::NotEnrolled => {}
        Before::Enrolled(mode) => fixture.enroll(mode).await,
        Before::Inactive => {
            fixture.enroll("verified").await;
            fixture.set("EnrollmentsTable", "active", Bool(false)).await;
        }
        Before::Certificate(state) => {
            fixture.enroll("verified").await;
            fixture.grade(0.9, true);
            assert_eq!(
                fixture.pass().await.body["certificate_status"],
                "created",
                "{before:?}"
            );
            let state = S(state.to_owned());
            fixture.set("CertificatesTable", "state", state).await;
        }
    }
}

/// Each row: the state before, the LMS's grade, the answer, and the pending event afterwards.
#[tokio::test]
async fn every_row_of_the_certificate_table() {
    use Before::{Certificate, Enrolled, Inactive, NotEnrolled};
    type ContractRow = (
        Before,
        (f64, bool),
        &'static str,
        Option<&'static str>,
        Option<BlockedReason>,
    );
    let (pass, fail, zero) = ((0.9, true), (0.4, false), (0.0, false));
    let not_eligible = Some(BlockedReason::NotEligible);
    let rows: &[ContractRow] = &[
        (Certificate("in_force"), zero, "exists", None, None),
        (Enrolled("verified"), pass, "created", None, None),
        (Certificate("withdrawn"), pass, "created", None, None),
        (Certificate("revoked"), pass, "revoked", None, None),
        (Certificate("revoked"), zero, "revoked", None, None),
        (
            NotEnrolled,
            pass,
            "not_eligible",
            Some("not_enrolled"),
            not_eligible,
        ),
        (
            Inactive,
            pass,
            "not_eligible",
            Some("inactive"),
            not_eligible,
        ),
        (
            Enrolled("audit"),
            pass,
            "not_eligible",
            Some("unpaid_mode"),
            not_eligible,
        ),
        (
            Enrolled("verified"),
            fail,
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
        (
            Enrolled("verified"),
            zero,
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
        // A grade of 0 never certifies, even if the LMS marks it as passed.
        (
            Enrolled("verified"),
            (0.0, true),
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
        (
            Certificate("withdrawn"),
            (0.0, true),
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
        // The webhook never withdraws a certificate, and a failing grade never restores one.
        (
            Certificate("withdrawn"),
            zero,
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
        (
            NotEnrolled,
            fail,
            "not_passed",
            None,
            Some(BlockedReason::NotPassed),
        ),
    ];
    for (n, (before, (percent, is_pass), status, why, pending)) in rows.iter().enumerate() {
        let fixture = Fixture::new().await;
        prepare(&fixture, *before).await;
        let earlier = fixture.certificate().await;
        fixture.grade(*percent, *is_pass);
        let asked = fixture.lms.count(local::lms::At::Grades);

        let answer = fixture.pass().await;
        let case = format!("row {n}: {before:?}, {percent}: {answer:?}");
        assert_eq!(answer.status, 200, "{case}");
        let mut body = json!({ "certificate_status": status });
        if let Some(why) = why {
            body["reason"] = json!(why);
        }
        let certificate = fixture.certificate().await;
        if matches!(*status, "created" | "exists") {
            let certificate = certificate.as_ref().unwrap();
            assert_eq!(certificate.state, CertificateState::InForce, "{case}");
            body["certificate_id"] = json!(certificate.certificate_id);
        } else {
            let state = certificate.as_ref().map(|c| c.state);
            assert_eq!(state, earlier.as_ref().map(|c| c.state), "{case}");
        }
        assert_eq!(answer.body, body, "{case}");
        // A restored certificate keeps its id and its date of issue.
        if let (Some(earlier), Some(now)) = (&earlier, &certificate) {
            assert_eq!(earlier.certificate_id, now.certificate_id, "{case}");
            assert_eq!(earlier.issued_at, now.issued_at, "{case}");
        }

        let grade = fixture.stored_grade().await.unwrap();
        let asked = fixture.lms.count(local::lms::At::Grades) - asked;
        if *status == "exists" {
            assert_eq!((asked, grade.score.percent.get()), (0, 0.9), "{case}");
        } else {
            assert_eq!((asked, grade.score.percent.get()), (1, *percent), "{case}");
            assert_eq!(grade.score.passed, *is_pass, "{case}");
        }

        let event = fixture.pending().await.pop();
        assert_eq!(event.as_ref().map(|event| event.reason), *pending, "{case}");
        let done = fixture.log.done();
        assert_eq!(done["outcome"], *status, "{case}");
        assert_eq!(done["reason"].as_str(), *why, "{case}");
        let key = event.as_ref().map(|event| event.event_key.as_str());
        assert_eq!(done["event_key"].as_str(), key, "{case}");
        assert_eq!(done["level"], "INFO", "{case}");
    }
}

/// Certificate and grade record the learner, the run, the time and the delivery that wrote them.
#[tokio::test]
async fn certificate_and_grade_record_the_delivery() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(1.25, true);
    assert_eq!(fixture.pass().await.body["certificate_status"], "created");

    let certificate = fixture.certificate().await.unwrap();
    assert_eq!(certificate.user_id.to_string(), ADA_ID);
    assert_eq!(certificate.course_id.as_str(), RUN);
    assert_eq!(certificate.learner_name.as_deref(), Some("A Learner"));
    assert_eq!(certificate.run_title.as_deref(), Some("Rust on Lambda"));
    assert_eq!(certificate.issued_at, harness::now());
    let [issued] = &certificate.history[..] else {
        panic!("{certificate:?}");
    };
    let grade = fixture.stored_grade().await.unwrap();
    let [graded] = &grade.history[..] else {
        panic!("{grade:?}");
    };
    assert_eq!((grade.version, grade.history.count()), (1, 1));
    assert_eq!(grade.score.percent.get(), 1.25);
    let letter = grade.score.letter_grade.as_ref().unwrap();
    assert_eq!((letter.as_str(), grade.set_by_admin), ("Pass", false));
    let request_id = fixture.log.done()["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let by = Change::Delivery {
        request_id,
        token_id: "staff".to_owned(),
    };
    assert_eq!((&issued.by, &graded.by), (&by, &by));
    assert_eq!(issued.at, graded.at);

    // An unchanged grade is not written again.
    let written = fixture.pass().await;
    assert_eq!(written.body["certificate_status"], "exists");
    assert_eq!(fixture.stored_grade().await.unwrap(), grade);
}

/// The pass is graded and certified with any label that the LMS has.
#[tokio::test]
async fn any_letter_grade_is_certified() {
    let (longest, too_long) = ("é".repeat(255), "é".repeat(256));
    for (letter, stored) in [
        (None, None),
        (Some(""), None),
        (Some(" \t"), None),
        (Some("Distinction"), Some("Distinction")),
        (Some("A (Very Good)"), Some("A (Very Good)")),
        (Some(" 優\n"), Some("優")),
        (Some("B\u{7}+"), Some("B\u{7}+")),
        (Some(longest.as_str()), Some(longest.as_str())),
        (Some(too_long.as_str()), None),
    ] {
        let fixture = Fixture::new().await;
        fixture.enroll("verified").await;
        let grade = local::lms::GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: letter.map(str::to_owned),
        };
        fixture.lms.grade("ada", RUN, grade);
        let answer = fixture.pass().await;
        let status = (answer.status, &answer.body["certificate_status"]);
        assert_eq!(status, (200, &"created".into()), "{letter:?}");
        let grade = fixture.stored_grade().await.unwrap();
        let label = grade.score.letter_grade.as_ref().map(LetterGrade::as_str);
        assert_eq!(label, stored, "{letter:?}");
    }
}

/// An operator's grade stays and decides, and the LMS is not asked.
#[tokio::test]
async fn an_overridden_grade_decides() {
    for (is_pass, status) in [(true, "created"), (false, "not_passed")] {
        let fixture = Fixture::new().await;
        fixture.enroll("verified").await;
        fixture.grade(0.3, !is_pass);
        fixture
            .override_grade(if is_pass { 0.8 } else { 0.2 }, is_pass)
            .await;
        let overridden = fixture.stored_grade().await;
        assert_eq!(
            fixture.pass().await.body["certificate_status"],
            status,
            "passes: {is_pass}"
        );
        assert_eq!(
            fixture.stored_grade().await,
            overridden,
            "passes: {is_pass}"
        );
        assert_eq!(fixture.lms.calls().len(), 0, "passes: {is_pass}");
    }
}

/// Rows 11 and 12: the event is pending, except where the course id cannot be that of a run.
#[tokio::test]
async fn an_unknown_user_or_run_is_404() {
    let fixture = Fixture::new().await;
    let rows = [
        (
            "bob@example.org",
            RUN,
            "User not found",
            Some(BlockedReason::NoSuchUser),
        ),
        (
            ADA,
            "course-v1:A+B+C",
            "Course run with id course-v1:A+B+C not found",
            Some(BlockedReason::NoSuchRun),
        ),
        (ADA, "None", "Course run with id None not found", None),
        ("bob@example.org", "None", "User not found", None),
    ];
    for (email, course_id, message, reason) in rows {
        let body = json!({"email": email, "course_id": course_id});
        let answer = fixture.deliver(&body).await;
        assert_eq!(answer.status, 404, "{body}");
        assert_eq!(answer.body, json!({ "error": message }), "{body}");
        let pending = fixture.pending().await;
        let pending: Vec<_> = pending
            .iter()
            .filter(|event| event.email.as_str() == email && event.course_id.as_str() == course_id)
            .map(|event| (event.reason, event.state))
            .collect();
        let expected = reason.map(|reason| (reason, EventState::Waiting));
        assert_eq!(pending, Vec::from_iter(expected), "{body}");
    }
    assert_eq!(fixture.lms.calls().len(), 0);
}

/// The event of a user without an LMS username is pending until they have one.
#[tokio::test]
async fn a_user_without_a_username_is_pending() {
    let fixture = Fixture::new().await;
    fixture.put_user(ADA, ADA_ID, None).await;
    let answer = fixture.pass().await;
    assert_eq!(answer.status, 202);
    let body = json!({"certificate_status": "pending", "reason": "no_username"});
    assert_eq!(answer.body, body);
    assert_eq!(
        fixture.pending_event().await.reason,
        BlockedReason::NoUsername
    );
    assert_eq!(fixture.log.done()["level"], "WARN");
}

/// The checks before the certificate table are the same for each webhook; the enrollment webhook's
/// tests check every value.
#[tokio::test]
async fn requests_are_checked_as_in_every_webhook() {
    let fixture = Fixture::new().await;
    let body = passed(ADA).to_string();
    let request = |method: Method, token: &str, content_type: &str, body: &str| {
        let mut request = WEBHOOK.request().method(method);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = request.header("content-type", content_type);
        request.body(Body::from(body)).unwrap()
    };
    let json = "application/json; charset=utf-8";
    let rows = [
        ("no token", request(Method::POST, "", json, &body), 401),
        (
            "an expired token",
            request(Method::POST, harness::EXPIRED, json, &body),
            401,
        ),
        (
            "a token without rights",
            request(Method::POST, harness::NOT_STAFF, json, &body),
            403,
        ),
        ("GET", request(Method::GET, STAFF, json, &body), 405),
        (
            "a long body",
            request(Method::POST, STAFF, json, &body.repeat(1000)),
            413,
        ),
        (
            "text",
            request(Method::POST, STAFF, "text/plain", &body),
            415,
        ),
        ("a list", request(Method::POST, STAFF, json, "[]"), 400),
        (
            "no address",
            request(Method::POST, STAFF, json, r#"{"email": "ada"}"#),
            400,
        ),
    ];
    for (case, request, status) in rows {
        let answer = fixture.send(request).await;
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert!(answer.body["error"].is_string(), "{case}");
        assert_eq!(fixture.log.done()["dynamodb_calls"], 0, "{case}");
    }
}

/// The sample deliveries are accepted in the form of both gateways.
#[tokio::test]
async fn the_sample_events_of_both_gateways_are_accepted() {
    for (name, event) in [
        (
            "REST",
            include_str!("../../../../events/gateway/rest-passed.json"),
        ),
        (
            "HTTP",
            include_str!("../../../../events/gateway/http-passed.json"),
        ),
    ] {
        let fixture = Fixture::new().await;
        let mut request = from_gateway(event);
        let token = format!("Bearer {STAFF}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        let answer = fixture.send(request).await;
        assert!(
            [200, 202, 404].contains(&answer.status),
            "{name}: {answer:?}"
        );
        let path: Value = fixture.log.last("delivery received")["path"].clone();
        assert_eq!(path, "/api/openedx_webhook/certificate/", "{name}");
    }
}
