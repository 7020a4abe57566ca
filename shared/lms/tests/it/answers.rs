//! Single requests: the bytes that are sent, and the meaning of every answer.

use std::time::Duration;

use common::calls::Counter;
use lms::{
    About, Authorization, EnrollmentRow, ErrorCode, InvalidResponse, LmsApiError,
    TokenEndpointError,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::server::{Reply, Server};
use super::{
    LEARNER, RUN, assert_discreet, good, learner, lms, row, run, score, throttled, unavailable,
};

fn jwt() -> Authorization {
    Authorization::jwt(&"hidden-token".into()).unwrap()
}

#[tokio::test]
async fn requests_are_sent_as_the_lms_expects() {
    let server = Server::start(|asked| {
        if asked.is_for_a_token() {
            Reply::token("hidden-token")
        } else {
            good()
        }
    })
    .await;
    let lms = lms(&format!("{}/prefix/", server.url));
    let secret = SecretString::from("a+b&c d");
    let token = lms.access_token("id", &secret).await.unwrap();
    assert_eq!(token.authorization, jwt());
    assert_eq!(token.expires_in, Some(Duration::from_secs(3600)));
    let bearer = Authorization::bearer(&"hidden-static".into()).unwrap();
    lms.grade(&bearer, &run(), &learner()).await.unwrap();
    for (course_id, username) in [
        ("course-v1:Ö+a:b~c+日", "a+b c&d=é"),
        ("Org/Course/Run%2F", "x"),
    ] {
        let case = format!("{username} in {course_id}");
        let (course_id, username) = (course_id.parse().unwrap(), username.parse().unwrap());
        let strangers = lms.grade(&token.authorization, &course_id, &username).await;
        assert_eq!(
            strangers,
            Err(InvalidResponse::AnotherLearner.into()),
            "{case}"
        );
    }

    let asked = server.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /prefix/oauth2/access_token",
            "GET /prefix/api/grades/v1/courses/course-v1:Org+Course+Run/?username=ada.personal%40example.org",
            "GET /prefix/api/grades/v1/courses/course-v1:%C3%96+a:b~c+%E6%97%A5/?username=a%2Bb+c%26d%3D%C3%A9",
            "GET /prefix/api/grades/v1/courses/Org/Course/Run%252F/?username=x",
        ]
    );
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&client_id=id&client_secret=a%2Bb%26c+d&token_type=jwt"
    );
    let form = "content-type: application/x-www-form-urlencoded";
    assert!(asked[0].head.contains(form), "{:?}", asked[0]);
    assert_eq!(asked[0].authorization(), None);
    assert_eq!(asked[1].authorization(), Some("Bearer hidden-static"));
    assert_eq!(asked[2].authorization(), Some("JWT hidden-token"));
    for asked in &asked {
        assert!(asked.head.contains("user-agent: coursehook/"), "{asked:?}");
    }

    // Such parts would change the path.
    let steps = "../../..".parse().unwrap();
    let elsewhere = lms.grade(&jwt(), &steps, &learner()).await;
    assert_eq!(elsewhere, Err(LmsApiError::NoSuchRun));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn every_answer_of_the_grades_endpoint_has_its_meaning() {
    let refusal = |status, code: &str| {
        let message = format!("{LEARNER} is unknown at http://127.0.0.1");
        Reply::json(
            status,
            &json!({"developer_message": message, "error_code": code}),
        )
    };
    let says = |message: Value| json!({"developer_message": message});
    let unauthorized = |code: &str| LmsApiError::Unauthorized {
        error_code: ErrorCode::new(code),
    };
    let html = ("Content-Type", "text/html; charset=utf-8");
    let waits = |status, seconds| LmsApiError::Unavailable {
        status,
        retry_after: Some(Duration::from_secs(seconds)),
    };
    let seconds = ("Retry-After", "30");
    let date = [
        ("Date", "Sun, 22 Nov 2026 09:00:00 GMT"),
        ("Retry-After", "Sun, 22 Nov 2026 09:02:00 GMT"),
    ];
    let large = format!("[{}]", " ".repeat(1024 * 1024));
    let page = json!({"next": null, "results": [row(LEARNER)]});
    let garbage = Reply::Bytes(b"no HTTP at all\r\n\r\n".to_vec());
    let rows = vec![
        (
            refusal(404, "invalid_course_key"),
            LmsApiError::NoSuchRun,
            "404 course_does_not_exist",
            false,
        ),
        (
            refusal(404, "course_does_not_exist"),
            LmsApiError::NoSuchRun,
            "404 course_does_not_exist",
            false,
        ),
        (
            refusal(404, "user_does_not_exist"),
            LmsApiError::NoSuchLearner,
            "404 user_does_not_exist",
            false,
        ),
        (
            refusal(404, "user_not_enrolled"),
            LmsApiError::NotEnrolled,
            "404 user_not_enrolled",
            false,
        ),
        (
            refusal(404, "something_else"),
            unavailable(404),
            "404",
            true,
        ),
        (
            Reply::json(404, &says(json!("x"))),
            unavailable(404),
            "404",
            true,
        ),
        (Reply::html(404), unavailable(404), "404", true),
        (Reply::new(404, &[], &large), unavailable(404), "404", true),
        (
            refusal(401, "token_expired"),
            unauthorized("token_expired"),
            "401 token_expired",
            true,
        ),
        (
            refusal(401, "token_malformed"),
            unauthorized("token_malformed"),
            "401 token_malformed",
            true,
        ),
        (refusal(401, LEARNER), unauthorized(""), "401", true),
        // An error of the token check has its code inside of `developer_message`.
        (
            Reply::json(
                401,
                &says(json!({"error_code": "token_expired", "developer_message": "x"})),
            ),
            unauthorized("token_expired"),
            "401 token_expired",
            true,
        ),
        (
            Reply::json(401, &says(json!({"error_code": LEARNER}))),
            unauthorized(""),
            "401",
            true,
        ),
        (
            Reply::json(401, &says(json!("Invalid token."))),
            unauthorized(""),
            "401",
            true,
        ),
        (
            Reply::json(403, &says(json!("x"))),
            LmsApiError::Forbidden,
            "403",
            true,
        ),
        // A JSON object is an answer of the API, whatever its content type, and nothing
        // else is.
        (
            Reply::new(403, &[html], &says(json!("x")).to_string()),
            LmsApiError::Forbidden,
            "403",
            true,
        ),
        (Reply::html(401), unavailable(401), "401 not_the_api", true),
        (Reply::html(403), unavailable(403), "403 not_the_api", true),
        (
            Reply::new(401, &[("Content-Type", "text/plain")], "401 Unauthorized"),
            unavailable(401),
            "401 not_the_api",
            true,
        ),
        (
            Reply::new(403, &[], "RBAC: access denied"),
            unavailable(403),
            "403 not_the_api",
            true,
        ),
        (
            Reply::new(403, &[], ""),
            unavailable(403),
            "403 not_the_api",
            true,
        ),
        (
            Reply::new(403, &[], &large),
            unavailable(403),
            "403 not_the_api",
            true,
        ),
        (Reply::html(414), unavailable(414), "414", true),
        (Reply::html(431), unavailable(431), "431", true),
        (Reply::html(429), throttled(None), "429", true),
        (
            Reply::new(429, &[seconds], "{}"),
            throttled(Some(30)),
            "429",
            true,
        ),
        (
            Reply::new(429, &date, ""),
            throttled(Some(120)),
            "429",
            true,
        ),
        (
            Reply::new(503, &[seconds], "{}"),
            waits(503, 30),
            "503",
            true,
        ),
        (Reply::new(500, &date, ""), waits(500, 120), "500", true),
        (
            Reply::new(403, &[html, seconds], ""),
            waits(403, 30),
            "403 not_the_api",
            true,
        ),
        (Reply::html(500), unavailable(500), "500", true),
        (
            refusal(503, "user_not_enrolled"),
            unavailable(503),
            "503",
            true,
        ),
        (Reply::html(400), unavailable(400), "400", true),
        (Reply::new(204, &[], ""), unavailable(204), "204", true),
        (Reply::BROKEN, LmsApiError::Unreachable, "Unreachable", true),
        (
            Reply::Half(json!([row(LEARNER)])),
            LmsApiError::Unreachable,
            "Unreachable",
            true,
        ),
        (garbage, LmsApiError::Unreachable, "Unreachable", true),
        (Reply::html(200), unavailable(200), "200", true),
        (
            Reply::new(200, &[], ""),
            InvalidResponse::NotJson.into(),
            "InvalidResponse:not_json",
            true,
        ),
        (
            Reply::new(200, &[], &large),
            InvalidResponse::TooLarge.into(),
            "InvalidResponse:too_large",
            true,
        ),
        (
            Reply::json(200, &page),
            InvalidResponse::NotAsExpected.into(),
            "InvalidResponse:not_as_expected",
            true,
        ),
        (
            Reply::json(200, &json!([])),
            InvalidResponse::NoRow.into(),
            "InvalidResponse:no_row",
            false,
        ),
        (
            Reply::json(200, &json!([row("eve")])),
            InvalidResponse::AnotherLearner.into(),
            "InvalidResponse:another_learner",
            false,
        ),
    ];
    for (n, (reply, error, code, is_lms_wide)) in rows.into_iter().enumerate() {
        let case = format!("row {n}: {code}");
        let server = Server::start(move |_| reply.clone()).await;
        let lms = lms(&server.url);
        let found = lms.grade(&jwt(), &run(), &learner()).await.unwrap_err();
        assert_eq!(found, error, "{case}");
        assert_eq!(found.code(), code, "{case}");
        assert_eq!(found.is_lms_wide(), is_lms_wide, "{case}");
        assert_discreet(&case, found.clone());
        // Lists are refused in the same way, except that the list of enrollments has no
        // 404 of its own.
        if !matches!(found, LmsApiError::InvalidResponse(_)) {
            let about = About::Run(run());
            let list = lms.enrollments_page(&jwt(), &about, None, 50).await;
            let of_list = match &found {
                LmsApiError::NoSuchRun | LmsApiError::NoSuchLearner | LmsApiError::NotEnrolled => {
                    unavailable(404)
                }
                found => found.clone(),
            };
            assert_eq!(list, Err(of_list), "{case}");
            let page = lms.grades_page(&jwt(), &run(), None, 50).await;
            assert_eq!(page, Err(found), "{case}");
        }
    }
    // No server listens on this port.
    let refused = lms("http://127.0.0.1:9")
        .grade(&jwt(), &run(), &learner())
        .await;
    assert_eq!(refused, Err(LmsApiError::Unreachable));
    assert_discreet("refused", refused.unwrap_err());
}

/// Checks the requests for enrollments and the rows of a page.
#[tokio::test]
async fn a_page_of_enrollments_is_requested_and_read() {
    let next = "http://other.example.org/?course_id=x&cursor=b%2Bc%3D";
    let server = Server::start(move |asked| match asked.number {
        1 | 4 => {
            let row = |username: &str, mode: Value, is_active: bool| {
                json!({
                    "created": "2026-11-22T09:00:00Z", "mode": mode, "is_active": is_active,
                    "user": username, "course_id": RUN,
                })
            };
            let rows = [
                row(LEARNER, json!("verified"), false),
                row("eve", json!(7), true),
            ];
            Reply::json(
                200,
                &json!({"next": next, "previous": null, "results": rows}),
            )
        }
        2 => Reply::json(200, &json!({"next": null, "previous": null, "results": []})),
        3 => Reply::json(400, &json!({"course_id": "The course id is invalid."})),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    let lms = lms(&format!("{}/prefix/", server.url));
    let row = EnrollmentRow {
        username: learner(),
        course_id: run(),
        mode: "verified".parse().unwrap(),
        is_active: false,
    };
    let of_run = About::Run(run());
    let page = lms.enrollments_page(&jwt(), &of_run, None, 100).await;
    let page = page.unwrap();
    assert_eq!(page.rows, [Ok(row.clone()), Err(InvalidResponse::Mode)]);
    let cursor = page.next.as_ref();
    let second = lms.enrollments_page(&jwt(), &of_run, cursor, 100).await;
    let second = second.unwrap();
    assert_eq!((second.rows, second.next), (vec![], None));
    let strange = About::Run("Org/Course/Run".parse().unwrap());
    let refused = lms.enrollments_page(&jwt(), &strange, None, 7).await;
    assert_eq!(refused, Err(LmsApiError::NoSuchRun));
    let of_learner = About::Learner(learner());
    let page = lms.enrollments_page(&jwt(), &of_learner, None, 100).await;
    assert_eq!(
        page.unwrap().rows,
        [Ok(row), Err(InvalidResponse::AnotherLearner)]
    );
    let both = About::LearnerInRun("a+b c&d=é".parse().unwrap(), run());
    let invalid = lms.enrollments_page(&jwt(), &both, None, 100).await;
    assert_eq!(invalid, Err(InvalidResponse::NotAsExpected.into()));

    let asked = server.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let path = "GET /prefix/api/enrollment/v1/enrollments";
    let of_run = "course_id=course-v1%3AOrg%2BCourse%2BRun";
    assert_eq!(
        lines,
        [
            format!("{path}?{of_run}&page_size=100"),
            format!("{path}?{of_run}&page_size=100&cursor=b%2Bc%3D"),
            format!("{path}?course_id=Org%2FCourse%2FRun&page_size=7"),
            format!("{path}?username=ada.personal%40example.org&page_size=100"),
            format!("{path}?{of_run}&username=a%2Bb+c%26d%3D%C3%A9&page_size=100"),
        ]
    );
    assert_eq!(asked[0].authorization(), Some("JWT hidden-token"));
}

#[tokio::test]
async fn every_answer_of_the_token_endpoint_has_its_meaning() {
    let seconds = ("Retry-After", "30");
    let html = ("Content-Type", "text/html; charset=utf-8");
    let half_a_minute = Some(Duration::from_secs(30));
    let refused = |why| LmsApiError::NoToken {
        why,
        retry_after: None,
    };
    let says = |error: &str| json!({"error": error, "error_description": LEARNER});
    let codes = [
        (
            "invalid_client",
            TokenEndpointError::InvalidClient,
            "BadClient",
        ),
        (
            "invalid_request",
            TokenEndpointError::InvalidRequest,
            "NoToken:invalid_request",
        ),
        (
            "invalid_grant",
            TokenEndpointError::InvalidGrant,
            "NoToken:invalid_grant",
        ),
        (
            "unauthorized_client",
            TokenEndpointError::UnauthorizedClient,
            "NoToken:unauthorized_client",
        ),
        (
            "unsupported_grant_type",
            TokenEndpointError::UnsupportedGrantType,
            "NoToken:unsupported_grant_type",
        ),
        (
            "invalid_scope",
            TokenEndpointError::InvalidScope,
            "NoToken:invalid_scope",
        ),
        (LEARNER, TokenEndpointError::Other, "NoToken:other"),
    ];
    let mut rows = Vec::new();
    for (error, why, code) in codes {
        for status in [400, 401, 403] {
            rows.push((Reply::json(status, &says(error)), refused(why), code));
        }
    }
    let refused_for_a_while = LmsApiError::NoToken {
        why: TokenEndpointError::InvalidClient,
        retry_after: half_a_minute,
    };
    let waits = |status| LmsApiError::Unavailable {
        status,
        retry_after: half_a_minute,
    };
    rows.extend([
        // The OAuth2 toolkit sends some of its refusals with this content type.
        (
            Reply::new(400, &[html], &says("invalid_request").to_string()),
            refused(TokenEndpointError::InvalidRequest),
            "NoToken:invalid_request",
        ),
        (
            Reply::new(401, &[seconds], &says("invalid_client").to_string()),
            refused_for_a_while,
            "BadClient",
        ),
        // None of these answers comes from the token endpoint.
        (Reply::html(400), unavailable(400), "400"),
        (Reply::html(401), unavailable(401), "401 not_the_api"),
        (
            Reply::new(401, &[], "401 Unauthorized"),
            unavailable(401),
            "401 not_the_api",
        ),
        (
            Reply::new(403, &[], "denied"),
            unavailable(403),
            "403 not_the_api",
        ),
        (
            Reply::json(401, &json!({"message": "Unauthorized"})),
            unavailable(401),
            "401 not_the_api",
        ),
        (Reply::json(400, &json!(["error"])), unavailable(400), "400"),
        // Except for the throttling of older sites.
        (Reply::html(403), throttled(None), "429"),
        (
            Reply::new(403, &[html, seconds], ""),
            throttled(Some(30)),
            "429",
        ),
        (Reply::html(429), throttled(None), "429"),
        (Reply::new(429, &[seconds], ""), throttled(Some(30)), "429"),
        (Reply::html(502), unavailable(502), "502"),
        (Reply::new(503, &[seconds], ""), waits(503), "503"),
        (Reply::html(404), unavailable(404), "404"),
        (Reply::html(405), unavailable(405), "405"),
        (Reply::html(200), unavailable(200), "200"),
        (
            Reply::new(200, &[], "<"),
            InvalidResponse::NotJson.into(),
            "InvalidResponse:not_json",
        ),
        (
            Reply::json(200, &json!({})),
            InvalidResponse::NotAsExpected.into(),
            "InvalidResponse:not_as_expected",
        ),
        (Reply::BROKEN, LmsApiError::Unreachable, "Unreachable"),
    ]);
    for (n, (reply, error, code)) in rows.into_iter().enumerate() {
        let case = format!("row {n}: {code}");
        let server = Server::start(move |_| reply.clone()).await;
        let lms = lms(&server.url);
        let token = lms.access_token("id", &"hidden-secret".into()).await;
        let found = token.unwrap_err();
        assert_eq!(found, error, "{case}");
        assert_eq!(found.code(), code, "{case}");
        assert!(found.is_lms_wide(), "{case}");
        assert_discreet(&case, found);
    }
}

/// A 400 of the enrollments list depends on the field that it names and on the request.
#[tokio::test]
async fn every_400_of_the_enrollments_list_has_its_meaning() {
    let says = |fields: Value| json!({"developer_message": fields});
    let (name, run_id) = (json!({"username": ["x"]}), json!({"course_id": ["x"]}));
    let both = json!({"username": ["x"], "course_id": ["x"]});
    let [of_run, of_learner, of_both] = [
        About::Run(run()),
        About::Learner(learner()),
        About::LearnerInRun(learner(), run()),
    ];
    for (about, body, error) in [
        (&of_run, says(run_id.clone()), LmsApiError::NoSuchRun),
        (&of_run, run_id.clone(), LmsApiError::NoSuchRun),
        (&of_run, says(json!("x")), LmsApiError::NoSuchRun),
        (&of_both, says(run_id.clone()), LmsApiError::NoSuchRun),
        (&of_both, says(both), LmsApiError::NoSuchRun),
        (&of_both, says(name.clone()), LmsApiError::BadUsername),
        (&of_both, name.clone(), LmsApiError::BadUsername),
        (&of_learner, says(name), LmsApiError::BadUsername),
        (&of_learner, says(json!("x")), unavailable(400)),
        (&of_learner, json!("x"), unavailable(400)),
        (&of_both, json!([]), unavailable(400)),
    ] {
        let shown = format!("{about:?} {body}");
        let server = Server::start(move |_| Reply::json(400, &body)).await;
        let (lms, jwt) = (lms(&server.url), jwt());
        let list = lms.enrollments_page(&jwt, about, None, 50).await;
        let found = list.unwrap_err();
        assert_eq!(found, error, "{shown}");
        assert_eq!(found.is_lms_wide(), found == unavailable(400), "{shown}");
        assert_discreet(&shown, found);
    }
    assert_eq!(LmsApiError::BadUsername.code(), "400 username");
}

/// No redirect is followed, so the credential is sent to no other host.
#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let other = Server::start(|_| good()).await;
        let target = format!("{}/x/", other.url);
        let server = Server::start(move |_| Reply::new(status, &[("Location", &target)], "")).await;
        let lms = lms(&server.url);
        let unavailable = unavailable(status);
        let grade = lms.grade(&jwt(), &run(), &learner()).await;
        assert_eq!(grade, Err(unavailable.clone()), "{status}");
        let token = lms.access_token("id", &"hidden-secret".into()).await;
        assert_eq!(token, Err(unavailable), "{status}");
        assert_eq!(server.counts(), (1, 1), "{status}");
        assert_eq!(other.counts(), (0, 0), "{status}");
    }
}

/// The answer ends after the first mebibyte. The rest is not waited for.
#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let part = format!("100000\r\n{}\r\n", " ".repeat(1024 * 1024));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The last chunk never comes, and the connection stays open.
    let endless = format!("{head}{part}{part}");
    let server = Server::start(move |_| Reply::Open(endless.clone().into_bytes())).await;
    let grade = lms(&server.url).grade(&jwt(), &run(), &learner()).await;
    assert_eq!(grade, Err(InvalidResponse::TooLarge.into()));
}

/// Each request counts, whether it succeeds or fails.
#[tokio::test]
async fn requests_are_counted() {
    let server = Server::start(|asked| match asked.number {
        1 => Reply::token("hidden-token"),
        2 => Reply::BROKEN,
        _ => good(),
    })
    .await;
    let lms = lms(&server.url);
    let calls = Counter::default();
    let work = async {
        lms.access_token("id", &"hidden-secret".into())
            .await
            .unwrap();
        lms.grade(&jwt(), &run(), &learner()).await.unwrap_err();
        lms.grade(&jwt(), &run(), &learner()).await.unwrap()
    };
    assert_eq!(calls.count(work).await, score());
    assert_eq!((calls.lms(), calls.dynamodb()), (3, 0));
    assert!(server.asked()[1].line.contains(RUN));
}
