use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::{CliFixture, Ran, ran};

type Requests = Arc<Mutex<Vec<(Method, Uri, HeaderMap, Bytes)>>>;

/// A stack that answers with the status that is in the learner's name.
struct Receiver {
    url: String,
    requests: Requests,
}

impl Receiver {
    async fn start() -> Self {
        let requests = Requests::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prod/", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&requests));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, requests }
    }

    fn replay(&self, stack: &CliFixture, arguments: &[&str]) -> Command {
        let mut command = stack.command(&[&["replay"], arguments].concat());
        command
            .env("COURSEHOOK_URL", &self.url)
            .env("COURSEHOOK_TOKEN", "chk_test");
        command
    }
}

async fn receive(
    State(requests): State<Requests>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let text = String::from_utf8_lossy(&body).into_owned();
    let status = (200..600).find(|status| text.contains(&format!("s{status}@")));
    let status = StatusCode::from_u16(status.unwrap_or(200)).unwrap();
    let answer = if status != StatusCode::NOT_FOUND {
        "{\n  \"message\": \"Enrollment successful\",\n  \"active\": true\n}"
    } else if text.contains("nowhere") {
        "{\"message\":\"Missing Authentication Token\"}"
    } else {
        "{\"error\":\"User not found\"}"
    };
    requests.lock().unwrap().push((method, uri, headers, body));
    let location = [("location".parse().unwrap(), "/elsewhere".parse().unwrap())];
    (status, HeaderMap::from_iter(location), answer.to_owned())
}

fn delivery(email: &str) -> String {
    json!({"email": email, "course_id": "course-v1:Org+Bees+2026"}).to_string()
}

#[tokio::test]
async fn the_original_requests_are_repeated_in_order() {
    let stack = CliFixture::start().await;
    let receiver = Receiver::start().await;
    let body = delivery("ada@example.org");
    // Some editors write a byte order mark; it is not part of the delivery.
    stack.file("events/enrollment/b.json", format!("\u{feff}{body}"));
    stack.file("events/enrollment/a.json", &body);
    stack.file("events/enrollment/README.md", "no delivery");
    stack.file("events/certificate/deep/certificate/passed.json", &body);
    let rest = json!({
        "httpMethod": "POST",
        "path": "/prod/api/openedx_webhook/enrollment/",
        "headers": {"Content-Type": "text/plain", "Authorization": "Bearer theirs"},
        "multiValueHeaders": {
            "Content-Type": ["application/json; charset=utf-8"],
            "Authorization": ["Bearer theirs"],
            "Host": ["elsewhere.example.org"],
            "User-Agent": ["python-requests/2.32"],
        },
        "requestContext": {"stage": "prod"},
        "queryStringParameters": {"a b": "2"},
        "multiValueQueryStringParameters": {"a b": ["1&", "2"]},
        "body": "eyJlbWFpbCI6ICJhQGIifQ==",
        "isBase64Encoded": true,
    });
    stack.file("events/gateway/1-rest.json", rest.to_string());
    let http = json!({
        "version": "2.0",
        "rawPath": "/api/openedx_webhook/enrollment",
        "rawQueryString": "a%20b=2&c",
        "queryStringParameters": {"a b": "2", "c": ""},
        "headers": {"content-type": "application/json", "authorization": "Bearer theirs"},
        "requestContext": {"http": {"method": "PUT"}},
        "body": body,
        "isBase64Encoded": false,
    });
    stack.file("events/gateway/2-http.json", http.to_string());

    let ran = ran(receiver.replay(&stack, &["events/enrollment", "events"])).await;
    let out = ran.ok();
    let lines: Vec<Vec<_>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let files: Vec<_> = lines.iter().map(|line| line[3]).collect();
    assert_eq!(
        files,
        [
            "events/enrollment/a.json",
            "events/enrollment/b.json",
            "events/certificate/deep/certificate/passed.json",
            "events/enrollment/a.json",
            "events/enrollment/b.json",
            "events/gateway/1-rest.json",
            "events/gateway/2-http.json",
        ]
    );
    assert!(
        lines.iter().all(|line| line[0] == "200" && line[2] == "ms"),
        "{out}"
    );
    assert!(
        out.contains("\"message\": \"Enrollment successful\""),
        "{out}"
    );

    let requests = receiver.requests.lock().unwrap();
    let enrollment = "/prod/api/openedx_webhook/enrollment/";
    let certificate = "/prod/api/openedx_webhook/certificate/";
    let json = "application/json";
    let with_charset = "application/json; charset=utf-8";
    let decoded = r#"{"email": "a@b"}"#;
    let expected = [
        (Method::POST, enrollment, json, body.as_str()),
        (Method::POST, enrollment, json, &body),
        (Method::POST, certificate, json, &body),
        (Method::POST, enrollment, json, &body),
        (Method::POST, enrollment, json, &body),
        (Method::POST, enrollment, with_charset, decoded),
        (Method::PUT, enrollment.trim_end_matches('/'), json, &body),
    ];
    assert_eq!(requests.len(), expected.len());
    for ((method, uri, headers, body), expected) in requests.iter().zip(expected) {
        let content_types: Vec<_> = headers.get_all("content-type").iter().collect();
        assert_eq!((method, uri.path()), (&expected.0, expected.1));
        assert_eq!(content_types, [expected.2]);
        assert_eq!(body, expected.3);
        let authorization: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(authorization, ["Bearer chk_test"]);
        assert_ne!(headers["host"], "elsewhere.example.org");
    }
    assert_eq!(requests[5].2["user-agent"], "python-requests/2.32");
    let queries = requests.iter().map(|(_, uri, ..)| uri.query());
    let expected = [
        None,
        None,
        None,
        None,
        None,
        Some("a+b=1%26&a+b=2"),
        Some("a%20b=2&c"),
    ];
    assert_eq!(queries.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_refused_delivery_sets_the_exit_code() {
    let stack = CliFixture::start().await;
    let receiver = Receiver::start().await;
    let codes = [
        (201, 0),
        (202, 0),
        (302, 1),
        (400, 0),
        (401, 1),
        (403, 1),
        (404, 0),
        (500, 1),
        (503, 1),
    ];
    for (status, code) in codes {
        let file = format!("enrollment/{status}.json");
        stack.file(&file, delivery(&format!("s{status}@example.org")));
        let Ran {
            code: ended, out, ..
        } = ran(receiver.replay(&stack, &[&file])).await;
        assert_eq!(ended, code, "{out}");
        assert!(out.starts_with(&status.to_string()), "{out}");
    }
    assert_eq!(
        receiver.requests.lock().unwrap().len(),
        codes.len(),
        "a redirect was followed"
    );

    let ran_json = ran(receiver.replay(&stack, &["enrollment", "--json"])).await;
    assert_eq!(ran_json.code, 1);
    let answers = ran_json.json();
    assert_eq!(answers.as_array().unwrap().len(), codes.len());
    assert_eq!(answers[0]["status"], 201);
    assert_eq!(answers[0]["file"], "enrollment/201.json");
    assert_eq!(answers[0]["body"]["message"], "Enrollment successful");
    assert_eq!(answers[0]["problem"], json!(null));

    // A proxy of the environment is not used for an address on this machine.
    let mut command = receiver.replay(&stack, &["enrollment/201.json"]);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    ran(command).await.ok();

    let mut command = receiver.replay(&stack, &["enrollment/201.json"]);
    command.env("COURSEHOOK_URL", "http://127.0.0.1:1");
    let ran = ran(command).await;
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("is the stack running"), "{ran:?}");
}

#[tokio::test]
async fn nothing_is_sent_if_a_file_is_not_a_delivery() {
    let stack = CliFixture::start().await;
    let receiver = Receiver::start().await;
    stack.file("enrollment/0-good.json", delivery("ada@example.org"));
    std::fs::create_dir(stack.path("empty")).unwrap();
    let event = |more: serde_json::Value| {
        let mut event = json!({"requestContext": {}, "httpMethod": "POST", "path": "/api/x"});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event.to_string()
    };
    for (name, content, described) in [
        ("enrollment/1.json", "[]".to_owned(), "is not a JSON object"),
        ("enrollment/2.json", "{}".to_owned(), "neither a delivery"),
        (
            "enrollment/8.json",
            format!("\u{feff}\u{feff}{}", delivery("a@b")),
            "two byte order marks",
        ),
        (
            "enrollment/9.json",
            delivery("a@b").replace(|_: char| true, "x\0"),
            "is in UTF-16LE",
        ),
        (
            "elsewhere/3.json",
            delivery("a@b"),
            "folder named enrollment or certificate",
        ),
        (
            "gateway/4.json",
            event(json!({"path": "/elsewhere"})),
            "no /api/",
        ),
        ("gateway/5.json", event(json!({"httpMethod": ""})), "method"),
        ("gateway/6.json", event(json!({"body": {}})), "body"),
        (
            "gateway/7.json",
            event(json!({"body": "?", "isBase64Encoded": true})),
            "body",
        ),
    ] {
        let file = stack.file(name, content);
        let ran = ran(receiver.replay(&stack, &["enrollment/0-good.json", &file])).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{name}");
        assert!(ran.err.contains(described), "{name}: {}", ran.err);
    }
    for (path, described) in [("absent", "cannot be read"), ("empty", "no *.json")] {
        let ran = ran(receiver.replay(&stack, &["enrollment/0-good.json", path])).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(described), "{}", ran.err);
    }
    for (variable, value) in [
        ("COURSEHOOK_URL", "localhost"),
        ("COURSEHOOK_TOKEN", "a\nb"),
    ] {
        let mut command = receiver.replay(&stack, &["enrollment/0-good.json"]);
        command.env(variable, value);
        let ran = ran(command).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(variable), "{}", ran.err);
    }
    assert_eq!(receiver.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_missing_webhook_is_an_error_only_if_all_are_missing() {
    let stack = CliFixture::start().await;
    let receiver = Receiver::start().await;
    stack.file("certificate/1.json", delivery("s404@nowhere.example.org"));
    stack.file("enrollment/2.json", delivery("s404@example.org"));
    let both = ["certificate", "enrollment"];

    let out = ran(receiver.replay(&stack, &both)).await.ok();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("404 "), "{out}");
    assert!(
        lines[0].ends_with("certificate/1.json  no webhook here"),
        "{out}"
    );
    assert!(
        lines[1].ends_with("{\"error\":\"User not found\"}"),
        "{out}"
    );
    let answers = ran(receiver.replay(&stack, &[both[0], both[1], "--json"]));
    let answers = answers.await.json();
    assert_eq!(answers[0]["problem"], "no webhook here");
    assert_eq!(answers[1]["problem"], json!(null));

    let ran = ran(receiver.replay(&stack, &both[..1])).await;
    assert_eq!(ran.code, 1, "{ran:?}");
}
