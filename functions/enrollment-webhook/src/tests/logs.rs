//! The log lines of a delivery, and the data that must never be in one.

use harness::{ADA, ADA_ID, FAST_RETRIES, NOT_STAFF, RUN, STAFF};
use lambda_http::http::HeaderValue;
use lambda_http::{Body, Request};
use local::Fault;
use serde_json::{Value, json};

use super::fixture::{Fixture, delivery, request};

/// A delivery logs two lines with these fields.
#[tokio::test]
async fn a_delivery_logs_two_lines() {
    let fixture = Fixture::new().await;
    let body = json!({"email": ADA, "course_id": RUN, "role": "staff", "mode": "verified"});
    fixture.deliver(&body).await;
    let [received, done] = <[Value; 2]>::try_from(fixture.log.lines()).unwrap();
    let pick = |line: &Value, fields: &[&str]| -> Vec<Value> {
        fields.iter().map(|field| line[*field].clone()).collect()
    };
    assert_eq!(
        pick(&received, &["level", "message", "kind", "path"]),
        [
            "INFO",
            "delivery received",
            "enrollment",
            "/api/openedx_webhook/enrollment/"
        ]
        .map(Value::from)
    );
    assert_eq!(received["request_id"], done["request_id"]);
    assert_eq!(received["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(
        pick(
            &done,
            &[
                "level",
                "message",
                "kind",
                "outcome",
                "user_id",
                "course_id",
                "role",
                "mode",
                "token_id"
            ]
        ),
        [
            "INFO",
            "delivery processed",
            "enrollment",
            "created",
            ADA_ID,
            RUN,
            "staff",
            "verified",
            "staff"
        ]
        .map(Value::from)
    );
    assert_eq!(
        pick(
            &done,
            &["status", "duration_ms", "dynamodb_calls", "cold_start"]
        ),
        [json!(201), json!(0), json!(2), json!(true)]
    );
    for absent in ["reason", "event_key", "error_code", "mode_differs"] {
        assert_eq!(done.get(absent), None, "{absent}");
    }
}

/// Addresses and tokens are planted in every field, of a delivery that is accepted and of one that
/// is rejected at each step; they are in no line and in no answer.
#[tokio::test]
async fn no_address_and_no_token_is_ever_logged() {
    const ADDRESS: &str = "planted@example.com";
    const TOKEN: &str = "chk_planted0123456789abcdef0123456789abcdef";
    let (fixture, proxy) = Fixture::behind_proxy(FAST_RETRIES).await;
    proxy.set(|call| {
        let body = String::from_utf8_lossy(&call.body);
        if body.contains("refused-") {
            Fault::Refuse("AccessDeniedException")
        } else {
            Fault::Pass
        }
    });
    let odd = format!("odd-{ADDRESS}");
    fixture
        .put_user(ADDRESS, "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11", None)
        .await;
    fixture.put_user(&odd, ADDRESS, None).await;

    let mut requests: Vec<Request> = Vec::new();
    for planted in [ADDRESS, TOKEN] {
        let sound = json!({"email": ADDRESS, "course_id": RUN, "role": "staff", "mode": "audit"});
        let short: String = planted.chars().take(20).collect();
        for field in ["email", "course_id", "role", "mode", "unknown"] {
            let mut body = sound.clone();
            let value = if field == "mode" {
                short.as_str()
            } else {
                planted
            };
            body[field] = json!(value);
            requests.push(delivery(&body.to_string()));
            body[field] = json!([planted]);
            requests.push(delivery(&body.to_string()));
            // In a delivery that becomes pending.
            body[field] = json!(value);
            body["email"] = json!(format!("nobody-{ADDRESS}"));
            requests.push(delivery(&body.to_string()));
        }
        for body in [
            planted.to_owned(),
            format!("[{planted:?}]"),
            format!("{{{planted:?}: 1}}"),
        ] {
            requests.push(delivery(&body));
        }
        for header in ["content-type", "user-agent", "x-forwarded-for", "cookie"] {
            let mut request = delivery(&sound.to_string());
            request
                .headers_mut()
                .insert(header, HeaderValue::from_str(planted).unwrap());
            requests.push(request);
        }
        for authorization in [
            planted.to_owned(),
            format!("Bearer {planted}"),
            format!("Bearer {planted} x"),
        ] {
            let request = request().header("authorization", authorization);
            requests.push(request.body(Body::from(sound.to_string())).unwrap());
        }
        let mut request = delivery(&sound.to_string());
        *request.uri_mut() = format!("https://x.example/{planted}?token={planted}")
            .parse()
            .unwrap();
        requests.push(request);
        let mut request = delivery(&sound.to_string());
        *request.method_mut() = "DELETE".parse().unwrap();
        requests.push(request);
        requests.push(delivery(&planted.repeat(4000)));
        let mut request = delivery(&sound.to_string());
        let not_staff = format!("Bearer {NOT_STAFF}").parse().unwrap();
        request.headers_mut().insert("authorization", not_staff);
        requests.push(request);
        // A pending event with planted words, which takes effect with the next delivery.
        let later = json!({"email": format!("later-{ADDRESS}"), "course_id": RUN, "role": planted, "mode": short});
        requests.push(delivery(&later.to_string()));
        requests.push(delivery(&later.to_string()));
        // To a store that rejects the write, and with an item of another shape.
        for email in [format!("refused-{ADDRESS}"), odd.clone()] {
            requests.push(delivery(
                &json!({"email": email, "course_id": RUN}).to_string(),
            ));
        }
    }

    let count = requests.len();
    let mut statuses = std::collections::BTreeSet::new();
    for request in requests {
        let answer = fixture.send(request).await;
        if fixture
            .pending()
            .await
            .iter()
            .any(|event| event.email.as_str().starts_with("later-"))
        {
            let later = format!("later-{ADDRESS}");
            fixture
                .put_user(&later, "7f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11", None)
                .await;
        }
        statuses.insert(answer.status);
        let described = format!("{} {:?}", answer.body, answer.headers);
        for planted in ["planted", "example.com", STAFF, NOT_STAFF] {
            assert!(!described.contains(planted), "{described}");
        }
    }
    assert_eq!(
        Vec::from_iter(statuses),
        [200, 201, 400, 401, 403, 404, 405, 413, 415, 500, 503]
    );

    let log = fixture.log.text();
    let (lines, metrics) = (fixture.log.lines().len(), fixture.log.metrics().len());
    assert_eq!((lines, metrics), (2 * count, count));
    for planted in ["planted", "example.com", STAFF, "@"] {
        assert!(!log.contains(planted), "{planted}: {log}");
    }
    // A value that must not be logged is replaced by a placeholder.
    for described in [
        "\"role\":\"other\"",
        "\"mode\":\"other\"",
        "\"course_id\":\"sha256:",
        "\"path\":\"other\"",
    ] {
        assert!(log.contains(described), "{described}");
    }
}
