//! Every row of the contract, in its order.

use std::time::Duration;

use domain::{EventKey, EventKind};
use harness::{ADA, ADA_ID, EXPIRED, NOT_STAFF, Portal, REVOKED, RUN, STAFF, from_gateway, tokens};
use lambda_http::http::Method;
use lambda_http::http::request::Builder;
use lambda_http::{Body, Request};
use local::{Call, Fault, FaultyProxy};
use serde_json::json;

use super::fixture::{Fixture, delivery, request};

const REALM: &str = r#"Bearer realm="api""#;
const INVALID_TOKEN: &str = r#"Bearer realm="api", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str = r#"Bearer realm="api", error="insufficient_scope""#;

/// Returns a request with these `Authorization` headers, and with a body that would be rejected,
/// too.
fn bearing(values: &[&str]) -> Request {
    let with = |builder: Builder, value: &&str| builder.header("authorization", *value);
    values
        .iter()
        .fold(request(), with)
        .body(Body::from("no JSON"))
        .unwrap()
}

/// Rows 1, 3 and 4: a caller without the right to call learns nothing about the rest of the
/// request, which is wrong as well.
#[tokio::test]
async fn the_caller_is_authenticated_first() {
    let fixture = Fixture::new().await;
    let staff = format!("Bearer {STAFF}");
    let bearer = |token: &str| format!("Bearer {token}");
    let rows: &[(&[&str], u16, &str, &str)] = &[
        (&[], 401, REALM, "no_authorization"),
        (&[&staff, &staff], 401, REALM, "two_authorizations"),
        (
            &[&format!("{staff},{staff}")],
            401,
            REALM,
            "two_authorizations",
        ),
        (&["Basic YTpi"], 401, REALM, "other_scheme"),
        (&["Digest a=\"b\", c=\"d\""], 401, REALM, "other_scheme"),
        (&[STAFF], 401, REALM, "other_scheme"),
        (&[""], 401, REALM, "other_scheme"),
        (&["Bearer"], 401, INVALID_TOKEN, "malformed_token"),
        (&["Bearer a b"], 401, INVALID_TOKEN, "malformed_token"),
        (&["Bearer (x)"], 401, INVALID_TOKEN, "malformed_token"),
        (
            &[&bearer(&"x".repeat(513))],
            401,
            INVALID_TOKEN,
            "malformed_token",
        ),
        (&[&bearer(EXPIRED)], 401, INVALID_TOKEN, "expired_token"),
        (&[&bearer(REVOKED)], 401, INVALID_TOKEN, "revoked_token"),
        (&["Bearer chk_unknown"], 401, INVALID_TOKEN, "unknown_token"),
        (
            &[&bearer(NOT_STAFF)],
            403,
            INSUFFICIENT_SCOPE,
            "insufficient_scope",
        ),
        // A valid token in other spellings of the scheme passes on to the next check.
        (&[&format!("bEARER {STAFF}")], 415, "", "content_type"),
        (&[&format!("Bearer   {STAFF} ")], 415, "", "content_type"),
    ];
    for (values, status, challenge, reason) in rows {
        let answer = fixture.send(bearing(values)).await;
        assert_eq!(answer.status, *status, "{values:?}");
        let header = answer
            .headers
            .get("www-authenticate")
            .map_or("", |v| v.to_str().unwrap());
        assert_eq!(header, *challenge, "{values:?}");
        assert_eq!(
            answer.headers["content-type"], "application/json",
            "{values:?}"
        );
        assert!(
            answer.body["error"].as_str().unwrap().ends_with('.'),
            "{values:?}"
        );
        let done = fixture.log.done();
        assert_eq!(done["reason"], *reason, "{values:?}");
        assert_eq!(done["level"], "WARN", "{values:?}");
        assert_eq!(done["dynamodb_calls"], 0, "{values:?}");
    }
}

/// Two headers count as two also in a REST API's event: all values in one map, and the last alone
/// in another.
#[tokio::test]
async fn two_authorizations_through_the_gateway() {
    let fixture = Fixture::new().await;
    let event = include_str!("../../../../events/gateway/rest-role-added.json");
    let mut event: serde_json::Value = serde_json::from_str(event).unwrap();
    let good = format!("Bearer {STAFF}");
    event["headers"]["Authorization"] = json!(good);
    event["multiValueHeaders"]["Authorization"] = json!(["Bearer another", good]);
    assert_eq!(
        fixture.send(from_gateway(&event.to_string())).await.status,
        401
    );
    assert_eq!(fixture.log.done()["reason"], "two_authorizations");
}

/// Row 2: no token, or not this one, can be authenticated for now.
#[tokio::test]
async fn a_token_that_cannot_be_authenticated_is_503() {
    let portal = Portal::without_tokens().await;
    let (through, secrets) = (portal.client(), portal.secrets);
    let proxy = FaultyProxy::before(&secrets.url, |_| Fault::Pass)
        .await
        .unwrap();
    let fixture = Fixture::with_secrets(portal, through, crate::STORE_TIME, &proxy.url);
    let away = |_: &Call| Fault::Garbage;
    let sound = json!({"email": ADA, "course_id": RUN}).to_string();
    let expect = async |token: &str, status: u16, code: &str| {
        let mut request = delivery(&sound);
        let authorization = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", authorization);
        let answer = fixture.send(request).await;
        let done = fixture.log.done();
        assert_eq!(answer.status, status, "{done}");
        assert_eq!(done["error_code"].as_str().unwrap_or(""), code, "{done}");
        if status == 503 {
            assert_eq!(answer.headers["retry-after"], "5");
            assert_eq!(
                (&done["reason"], &done["level"]),
                (&json!("tokens"), &json!("ERROR"))
            );
            assert_eq!(
                answer.body,
                json!({"error": "The token cannot be checked for now; try again."})
            );
        }
    };
    expect(STAFF, 503, "NoTokensYet").await;
    secrets.put(&fixture.secret, "no list").await.unwrap();
    expect(STAFF, 503, "MalformedSecret").await;
    proxy.set(away);
    expect(STAFF, 503, "UnreadableAnswer").await;
    // A value that has not the form of a token is rejected without the list.
    expect("(x)", 401, "").await;

    // The list is there, goes stale, and is still used; an unknown token may be a new one.
    proxy.set(|_| Fault::Pass);
    secrets
        .put(&fixture.secret, &tokens().to_string())
        .await
        .unwrap();
    expect(STAFF, 201, "").await;
    proxy.set(away);
    fixture.clock.advance(Duration::from_secs(61));
    expect(STAFF, 200, "").await;
    expect("chk_unknown", 503, "UnreadableAnswer").await;
    expect(REVOKED, 401, "").await;
    fixture.clock.advance(Duration::from_secs(15 * 60));
    expect(STAFF, 503, "UnreadableAnswer").await;

    // The list is readable again: a token that was revoked meanwhile is rejected, a new one works.
    let mut changed = tokens();
    changed["tokens"][0]["revoked_at"] = json!("2026-11-22T09:00:00Z");
    changed["tokens"][1]["staff"] = json!(true);
    secrets
        .put(&fixture.secret, &changed.to_string())
        .await
        .unwrap();
    proxy.set(|_| Fault::Pass);
    expect(STAFF, 401, "").await;
    expect(NOT_STAFF, 200, "").await;
}

/// The token is read from the header alone.
#[tokio::test]
async fn a_token_in_query_or_body_is_no_token() {
    let fixture = Fixture::new().await;
    let body = json!({"email": ADA, "course_id": RUN, "access_token": STAFF}).to_string();
    let uri =
        format!("https://hooks.example.org/api/openedx_webhook/enrollment/?access_token={STAFF}");
    let request = lambda_http::http::Request::post(uri)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    assert_eq!(fixture.send(request).await.status, 401);
}

/// Row 5, with a body that is wrong as well.
#[tokio::test]
async fn any_method_but_post_is_405() {
    let fixture = Fixture::new().await;
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let mut request = delivery("no JSON");
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = fixture.send(request).await;
        assert_eq!(
            (answer.status, &answer.headers["allow"]),
            (405, &"POST".parse().unwrap()),
            "{method}"
        );
    }
}

/// Rows 6 to 8: the size is checked before the type, the type before the content.
#[tokio::test]
async fn the_body_is_json_of_at_most_64_kib() {
    let fixture = Fixture::new().await;
    let limit = 64 * 1024;
    let sound = json!({"email": ADA, "course_id": RUN}).to_string();
    let padded = |length: usize| format!("{sound}{}", " ".repeat(length - sound.len()));
    let nested = |depth: usize| {
        format!(
            r#"{{"email":"{ADA}","course_id":"{RUN}","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let brackets = format!(
        r#"{{"email":"{ADA}","course_id":"{RUN}","x":"\"{}"}}"#,
        "[".repeat(500)
    );
    let json_type = Some("application/json");
    let rows: &[(Vec<u8>, Option<&str>, u16, &str)] = &[
        (padded(limit + 1).into(), None, 413, "body"),
        (padded(limit).into(), json_type, 201, ""),
        (sound.clone().into(), None, 415, "content_type"),
        (
            sound.clone().into(),
            Some("text/plain"),
            415,
            "content_type",
        ),
        (
            sound.clone().into(),
            Some("application/jsonp"),
            415,
            "content_type",
        ),
        (
            sound.clone().into(),
            Some("Application/JSON; charset=latin1"),
            200,
            "",
        ),
        (
            sound.clone().into(),
            Some("application/vnd.api+json"),
            200,
            "",
        ),
        (
            b"{\"email\": \"\xff\"}".to_vec(),
            json_type,
            400,
            "not_utf8",
        ),
        (Vec::new(), json_type, 400, "not_json"),
        (b"{".to_vec(), json_type, 400, "not_json"),
        (format!("{sound}x").into(), json_type, 400, "not_json"),
        (b"[]".to_vec(), json_type, 400, "not_an_object"),
        (b"\"text\"".to_vec(), json_type, 400, "not_an_object"),
        (b"null".to_vec(), json_type, 400, "not_an_object"),
        (nested(127).into(), json_type, 200, ""),
        (nested(128).into(), json_type, 400, "too_deep"),
        (nested(30_000).into(), json_type, 400, "too_deep"),
        (brackets.into(), json_type, 200, ""),
    ];
    for (body, content_type, status, reason) in rows {
        let mut request = delivery("");
        *request.body_mut() = Body::Binary(body.clone());
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
        }
        let answer = fixture.send(request).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        let case = format!("{} bytes, {shown}, {content_type:?}", body.len());
        assert_eq!(answer.status, *status, "{case} {answer:?}");
        assert_eq!(
            fixture.log.done()["reason"].as_str().unwrap_or(""),
            *reason,
            "{case}"
        );
    }
}

/// Rows 9 and 10: each invalid field is named, and its value is not repeated.
#[tokio::test]
async fn invalid_fields_are_named() {
    let fixture = Fixture::new().await;
    let long_email = format!("{}@x", "é".repeat(253));
    let long_id = "é".repeat(256);
    let pair =
        |email: &str, course_id: &str| format!(r#"{{"email":{email},"course_id":{course_id}}}"#);
    let ada = format!("{ADA:?}");
    let run = format!("{RUN:?}");
    let with = |field: &str, value: &str| {
        format!(r#"{{"email":{ada},"course_id":{run},"{field}":{value}}}"#)
    };
    let rows: &[(String, &str, &str)] = &[
        (
            "{}".into(),
            "email,course_id",
            "email is missing; course_id is missing.",
        ),
        (
            pair("null", "null"),
            "email,course_id",
            "email is missing; course_id is missing.",
        ),
        (
            pair("7", "{}"),
            "email,course_id",
            "email is not a string; course_id is not a string.",
        ),
        (
            pair(r#""  ""#, r#""\t""#),
            "email,course_id",
            "email is blank; course_id is blank.",
        ),
        (
            pair(r#""a\u0000@b""#, r#""a\u0007b""#),
            "email,course_id",
            "email has a control character; course_id has a control character.",
        ),
        (
            pair(r#""a\ud800@b""#, r#""\udc00""#),
            "email,course_id",
            "email has a lone surrogate; course_id has a lone surrogate.",
        ),
        (pair(r#""ada""#, &run), "email", "email has no @."),
        (
            pair(&format!("{long_email:?}"), &run),
            "email",
            "email is longer than 254 characters.",
        ),
        (
            pair(&ada, &format!("{long_id:?}")),
            "course_id",
            "course_id is longer than 255 characters.",
        ),
        (with("role", "7"), "role", "role is not a string."),
        (
            with("role", &format!("{:?}", "é".repeat(65))),
            "role",
            "role is longer than 64 characters.",
        ),
        (with("mode", "[]"), "mode", "mode is not a string."),
        (
            with("mode", &format!("{:?}", "é".repeat(101))),
            "mode",
            "mode is longer than 100 characters.",
        ),
        (
            with("mode", r#""\ud800""#),
            "mode",
            "mode has a lone surrogate.",
        ),
        (
            r#"{"role":1,"mode":2}"#.into(),
            "email,course_id,role,mode",
            "email is missing; course_id is missing; role is not a string; mode is not a string.",
        ),
    ];
    for (body, fields, error) in rows {
        let answer = fixture.send(delivery(body)).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.body, json!({"error": error}), "{body}");
        assert_eq!(fixture.log.done()["reason"], *fields, "{body}");
    }
    assert!(fixture.enrollments(ADA_ID).await.is_empty());
}

/// Repeated keys, unknown fields, null and blank terms are accepted as the contract says.
#[tokio::test]
async fn lenient_cases_of_the_contract_are_accepted() {
    let fixture = Fixture::new().await;
    let bodies = [
        format!(r#"{{"email":"x","email":" ADA@Example.ORG ","course_id":"  {RUN}\n"}}"#),
        format!(r#"{{"email":"{ADA}","course_id":"{RUN}","role":null,"mode":null}}"#),
        format!(r#"{{"email":"{ADA}","course_id":"{RUN}","role":"","mode":""}}"#),
        format!(r#"{{"email":"{ADA}","course_id":"{RUN}","role":"  ","mode":" \t\n"}}"#),
        format!(
            r#"{{"email":"{ADA}","course_id":"{RUN}","unknown":{{"\ud800":["\ud800"]}},"\udfff":1}}"#
        ),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let answer = fixture.send(delivery(body)).await;
        assert_eq!(
            answer.status,
            if n == 0 { 201 } else { 200 },
            "{body} {answer:?}"
        );
    }
    let enrollment = fixture.enrollment().await;
    assert_eq!(
        (enrollment.mode.as_str(), enrollment.roles.len()),
        ("audit", 0)
    );
    assert_eq!(enrollment.history.len(), 1);
}

/// Row 10: the longest words are accepted, and blanks around a word are removed.
#[tokio::test]
async fn blanks_around_a_mode_and_a_role_are_removed() {
    let (longest_mode, longest_role) = ("é".repeat(100), "é".repeat(64));
    for (mode, role) in [
        ("paid-executive-education", "staff"),
        ("unpaid-executive-education", "Group Moderator"),
        (" verified", "staff\t"),
        ("\u{a0}honor\n", " instructor "),
        (&longest_mode, &longest_role),
    ] {
        let fixture = Fixture::new().await;
        let body = json!({"email": ADA, "course_id": RUN, "mode": mode, "role": role});
        let answer = fixture.deliver(&body).await;
        assert_eq!(answer.status, 201, "{body} {answer:?}");
        let enrollment = fixture.enrollment().await;
        assert_eq!(enrollment.mode.as_str(), mode.trim(), "{body}");
        let roles = enrollment.roles.iter().map(|role| role.as_str());
        assert_eq!(roles.collect::<Vec<_>>(), [role.trim()], "{body}");
    }
}

/// Rows 11 and 12: the event is pending. An event whose course id cannot be that of a run is not.
#[tokio::test]
async fn an_event_of_an_unknown_user_or_run_is_pending() {
    let fixture = Fixture::new().await;
    let unknown_run = "course-v1:Demo+Other+2026";
    let planted = "course learner@example.com chk_0123456789abcdef0123456789abcdef0123456789";
    struct Row<'a> {
        email: &'a str,
        course_id: &'a str,
        error: &'a str,
        reason: &'a str,
        is_pending: bool,
    }
    let rows = [
        Row {
            email: "bob@example.org",
            course_id: RUN,
            error: "User not found",
            reason: "no_such_user",
            is_pending: true,
        },
        Row {
            email: "bob@example.org",
            course_id: unknown_run,
            error: "User not found",
            reason: "no_such_user",
            is_pending: true,
        },
        Row {
            email: "bob@example.org",
            course_id: "None",
            error: "User not found",
            reason: "no_such_user",
            is_pending: false,
        },
        Row {
            email: ADA,
            course_id: unknown_run,
            error: "Course run with id course-v1:Demo+Other+2026 not found",
            reason: "no_such_run",
            is_pending: true,
        },
        Row {
            email: ADA,
            course_id: "Demo/Other/2026",
            error: "Course run with id Demo/Other/2026 not found",
            reason: "no_such_run",
            is_pending: true,
        },
        Row {
            email: ADA,
            course_id: "None",
            error: "Course run with id None not found",
            reason: "no_such_run",
            is_pending: false,
        },
        Row {
            email: ADA,
            course_id: planted,
            error: "Course run with id (no course id) not found",
            reason: "no_such_run",
            is_pending: false,
        },
    ];
    for row in rows {
        let Row {
            email, course_id, ..
        } = row;
        let case = format!("{email} {course_id}");
        let answer = fixture
            .deliver(&json!({"email": email, "course_id": course_id}))
            .await;
        assert_eq!(answer.status, 404, "{case}");
        assert_eq!(answer.body, json!({"error": row.error}), "{case}");
        let done = fixture.log.done();
        assert_eq!(
            (&done["reason"], &done["level"]),
            (&json!(row.reason), &json!("WARN")),
            "{case}"
        );
        let key = row.is_pending.then(|| {
            let (email, course_id) = (email.parse().unwrap(), course_id.parse().unwrap());
            EventKey::of(EventKind::Enrollment, &email, &course_id).to_string()
        });
        assert_eq!(done["event_key"].as_str(), key.as_deref(), "{case}");
        assert_eq!(
            done["outcome"],
            if row.is_pending { "pending" } else { "dropped" },
            "{case}"
        );
    }
    assert_eq!(fixture.pending().await.len(), 4);
}

/// Both spellings of the path, in both versions of the gateway's events: what a sender really
/// sends, as the gateway passes it on.
#[tokio::test]
async fn the_sample_events_of_both_gateways_are_accepted() {
    let samples = [
        (
            "rest-role-added",
            include_str!("../../../../events/gateway/rest-role-added.json"),
            201,
        ),
        (
            "http-role-added",
            include_str!("../../../../events/gateway/http-role-added.json"),
            200,
        ),
        (
            "rest-enrollment-created",
            include_str!("../../../../events/gateway/rest-enrollment-created.json"),
            200,
        ),
        (
            "http-enrollment-created",
            include_str!("../../../../events/gateway/http-enrollment-created.json"),
            200,
        ),
    ];
    let fixture = Fixture::new().await;
    for (name, event, status) in samples {
        for (path, status) in [("enrollment/\"", status), ("enrollment\"", 200)] {
            let case = format!("{name} {path}");
            let event = event
                .replace("COURSEHOOK_TOKEN", STAFF)
                .replace("enrollment/\"", path);
            let answer = fixture.send(from_gateway(&event)).await;
            assert_eq!(answer.status, status, "{case}: {answer:?}");
            let received = fixture
                .log
                .lines()
                .into_iter()
                .rfind(|l| l["message"] == "delivery received");
            let logged = format!("/api/openedx_webhook/{}", path.trim_end_matches('"'));
            assert_eq!(received.unwrap()["path"], logged, "{case}");
        }
    }
    let enrollment = fixture.enrollment().await;
    assert_eq!(
        enrollment
            .roles
            .iter()
            .map(|r| r.as_str())
            .collect::<Vec<_>>(),
        ["instructor"]
    );
    // The first delivery named no mode, a later one a paid one.
    assert_eq!(enrollment.mode.as_str(), "verified");
    assert_eq!(fixture.log.done()["mode_differs"].as_bool(), None);
}

/// The plain deliveries are the bodies of the gateway's events.
#[tokio::test]
async fn the_sample_deliveries_are_accepted() {
    let fixture = Fixture::new().await;
    for body in [
        include_str!("../../../../events/enrollment/enrollment-created.json"),
        include_str!("../../../../events/enrollment/role-added.json"),
    ] {
        assert!(fixture.send(delivery(body)).await.status < 300, "{body}");
    }
    let enrollment = fixture.enrollment().await;
    assert_eq!(enrollment.mode.as_str(), "verified");
    assert_eq!(
        enrollment
            .roles
            .iter()
            .map(|r| r.as_str())
            .collect::<Vec<_>>(),
        ["instructor"]
    );
}
