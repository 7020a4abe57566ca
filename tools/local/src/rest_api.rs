//! The REST API of the template, in front of functions that an emulator of Lambda runs: it converts
//! each request to an event, as API Gateway does.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::EventKind;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::background::{self, Background, listen};

/// The prefix of the paths of Lambda's API, which are no deliveries.
const LAMBDA: &str = "/2015-03-31/functions/";

/// The largest body that API Gateway accepts, in bytes.
const MAX_BODY_BYTES: usize = 10_000_000;

/// The time for which API Gateway waits for a function.
const LIMIT: Duration = Duration::from_secs(29);

/// A running API. It ends when this is dropped.
#[derive(Debug)]
pub struct RestApi {
    /// The base URL, without a slash at the end.
    pub url: String,
    _server: Background,
}

#[derive(Clone)]
struct Functions {
    url: String,
    client: reqwest::Client,
    limit: Duration,
}

/// Error of starting the API.
#[derive(Debug, thiserror::Error)]
pub enum RestApiError {
    /// The port could not be bound, for instance because it is in use.
    #[error("the gateway could not listen: {0}")]
    Listen(#[from] io::Error),
    /// The TLS library could not be initialized.
    #[error("the gateway needs an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// An error response of the gateway itself, as in the template's gateway responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvokeError {
    NotFound,
    Unreadable,
    TooLarge,
    Failed,
    Unavailable,
    TimedOut,
}

impl RestApi {
    /// Starts an API on this port, or on any free one if it is 0, for the functions that `cargo
    /// lambda watch` serves at `functions_url`.
    ///
    /// # Errors
    /// The port is in use.
    pub async fn start(port: u16, functions_url: String) -> Result<Self, RestApiError> {
        Self::with_limit(port, functions_url, LIMIT).await
    }

    async fn with_limit(
        port: u16,
        functions_url: String,
        limit: Duration,
    ) -> Result<Self, RestApiError> {
        let (listener, url) = listen(port).await?;
        let functions = Functions {
            url: functions_url,
            client: background::client()?,
            limit,
        };
        let router = axum::Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(functions);
        Ok(Self {
            url,
            _server: Background::serve(listener, router),
        })
    }
}

async fn answer(
    State(functions): State<Functions>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let path = uri.path();
    // A slash at the end makes no difference.
    let without_slash = path.strip_suffix('/').unwrap_or(path);
    let webhook = EventKind::ALL
        .into_iter()
        .find(|kind| kind.path() == without_slash);
    if webhook.is_none() && !path.starts_with(LAMBDA) {
        return InvokeError::NotFound.into_response();
    }
    let body = match body {
        Ok(body) => body,
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return InvokeError::TooLarge.into_response();
        }
        Err(_) => return InvokeError::Unreadable.into_response(),
    };
    let answer = match webhook {
        Some(kind) => {
            let event = event(kind.path(), &method, path, &headers, &body);
            functions.deliver(kind.program(), event).await
        }
        // A direct invocation, as by a program with credentials, has no time limit.
        None => functions
            .invoke(path, body)
            .await
            .map(GatewayResponse::whole),
    };
    answer.map_or_else(IntoResponse::into_response, GatewayResponse::into_response)
}

/// Returns the event of a request, in version 1. A body that is not UTF-8 is converted to it, since
/// an event is JSON. No webhook reads the query.
fn event(resource: &str, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Value {
    let mut all: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str()).or_default().push(value);
    }
    let last: BTreeMap<_, _> = all.iter().map(|(name, all)| (name, all.last())).collect();
    json!({
        "resource": resource,
        "path": path,
        "httpMethod": method.as_str(),
        "headers": last,
        "multiValueHeaders": all,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": null,
        "stageVariables": null,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method.as_str(),
            "path": format!("/local{path}"),
            "protocol": "HTTP/1.1",
            "stage": "local",
            "requestId": Uuid::new_v4(),
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": (!body.is_empty()).then(|| String::from_utf8_lossy(body)),
        "isBase64Encoded": false,
    })
}

/// A function's answer to an event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayResponse {
    status_code: u16,
    #[serde(default)]
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    body: Option<String>,
}

impl GatewayResponse {
    /// Returns a 200 with the output of a function.
    fn whole(body: Bytes) -> Self {
        Self {
            status_code: 200,
            multi_value_headers: BTreeMap::new(),
            body: Some(String::from_utf8_lossy(&body).into_owned()),
        }
    }

    fn into_response(self) -> Response {
        let Ok(status) = StatusCode::from_u16(self.status_code) else {
            return InvokeError::Failed.into_response();
        };
        let mut response = (status, self.body.unwrap_or_default()).into_response();
        response.headers_mut().clear();
        for (name, values) in self.multi_value_headers {
            let Ok(name) = name.parse::<HeaderName>() else {
                return InvokeError::Failed.into_response();
            };
            for value in values {
                let Ok(value) = HeaderValue::try_from(value) else {
                    return InvokeError::Failed.into_response();
                };
                response.headers_mut().append(&name, value);
            }
        }
        response
    }
}

impl Functions {
    /// Passes a delivery to a function, and waits no longer than API Gateway does.
    async fn deliver(&self, function: &str, event: Value) -> Result<GatewayResponse, InvokeError> {
        let path = format!("{LAMBDA}{function}/invocations");
        let invoked = self.invoke(&path, event.to_string().into());
        let invoked = tokio::time::timeout(self.limit, invoked).await;
        let returned = invoked.unwrap_or(Err(InvokeError::TimedOut))?;
        serde_json::from_slice(&returned).map_err(|_| InvokeError::Failed)
    }

    /// Returns the output of a function.
    async fn invoke(&self, path: &str, payload: Bytes) -> Result<Bytes, InvokeError> {
        let url = format!("{}{path}", self.url);
        let sent = self.client.post(url).body(payload).send().await;
        let answer = sent.map_err(|_| InvokeError::Unavailable)?;
        let is_returned = answer.status() == StatusCode::OK;
        let body = answer.bytes().await.map_err(|_| InvokeError::Unavailable)?;
        is_returned.then_some(body).ok_or(InvokeError::Failed)
    }
}

impl IntoResponse for InvokeError {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Self::Unreadable => (StatusCode::BAD_REQUEST, "The request cannot be read"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::Failed => (StatusCode::BAD_GATEWAY, "Internal server error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "It took too long"),
        };
        let retry_after = status
            .is_server_error()
            .then_some([(header::RETRY_AFTER, "1")]);
        (status, retry_after, axum::Json(json!({"error": error}))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// Starts functions that answer with the event that they received, or fail as its header says.
    async fn functions() -> (Background, String) {
        let (listener, url) = listen(0).await.unwrap();
        let function = async |uri: Uri, body: Bytes| -> Response {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let has_header = |name: &str| event["headers"][name].is_string();
            if has_header("x-hang") {
                std::future::pending::<()>().await;
            }
            if has_header("x-crash") {
                let crashed = json!({"errorType": "crash", "errorMessage": "it crashed"});
                return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(crashed)).into_response();
            }
            if has_header("x-unknown") {
                return axum::Json(json!("unexpected")).into_response();
            }
            let seen = json!({"function": uri.path(), "event": event}).to_string();
            let headers = json!({"x-two": ["1", "2"], "content-type": ["application/json"]});
            let answer = json!({"statusCode": 203, "multiValueHeaders": headers, "body": seen});
            axum::Json(answer).into_response()
        };
        let router = axum::Router::new().fallback(function);
        let router = router.layer(DefaultBodyLimit::disable());
        (Background::serve(listener, router), url)
    }

    async fn ask(api: &RestApi, request: Request<Vec<u8>>) -> (u16, HeaderMap, Value) {
        let (parts, body) = request.into_parts();
        let url = format!("{}{}", api.url, parts.uri);
        let request = background::client().unwrap().request(parts.method, url);
        let answer = request.headers(parts.headers).body(body).send();
        let answer = answer.await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.json().await.unwrap())
    }

    #[tokio::test]
    async fn each_delivery_becomes_an_event() {
        let (_functions, url) = functions().await;
        let api = RestApi::start(0, url).await.unwrap();
        let kinds = [EventKind::Enrollment, EventKind::Certificate];
        let [enrollment, certificate] = kinds.map(EventKind::path);
        for (method, path, query, body, function, seen) in [
            (
                "POST",
                enrollment,
                "",
                &b"{}"[..],
                "enrollment-webhook",
                json!("{}"),
            ),
            (
                "POST",
                certificate,
                "/?a=%20b",
                b"{}",
                "certificate-webhook",
                json!("{}"),
            ),
            (
                "POST",
                enrollment,
                "/",
                b"a\xff\xc3b",
                "enrollment-webhook",
                json!("a\u{fffd}\u{fffd}b"),
            ),
            (
                "OPTIONS",
                certificate,
                "",
                b"",
                "certificate-webhook",
                json!(null),
            ),
            (
                "DELETE",
                certificate,
                "/",
                b"x",
                "certificate-webhook",
                json!("x"),
            ),
        ] {
            let uri = format!("{path}{query}");
            let request = Request::builder()
                .method(method)
                .uri(&uri)
                .header("authorization", "Bearer a")
                .header("authorization", "Bearer b");
            let (status, headers, seen_by) = ask(&api, request.body(body.to_vec()).unwrap()).await;
            let case = format!("{method} {uri}");
            assert_eq!(status, 203, "{case}");
            assert_eq!(headers.get_all("x-two").iter().count(), 2, "{case}");
            assert_eq!(
                seen_by["function"],
                format!("{LAMBDA}{function}/invocations"),
                "{case}"
            );
            let event = &seen_by["event"];
            let without_query = uri.split('?').next().unwrap();
            assert_eq!(event["path"], without_query, "{case}");
            assert_eq!(event["resource"], path, "{case}");
            assert_eq!(event["httpMethod"], method, "{case}");
            assert_eq!(event["requestContext"]["httpMethod"], method, "{case}");
            assert_eq!(event["headers"]["authorization"], "Bearer b", "{case}");
            let both = json!(["Bearer a", "Bearer b"]);
            assert_eq!(event["multiValueHeaders"]["authorization"], both, "{case}");
            assert_eq!(event["body"], seen, "{case}");
        }
    }

    #[tokio::test]
    async fn errors_of_the_gateway_have_the_form_of_the_contract() {
        let (_functions, url) = functions().await;
        let limit = Duration::from_millis(200);
        let api = RestApi::with_limit(0, url, limit).await.unwrap();
        let nobody = RestApi::start(0, "http://127.0.0.1:1".to_owned());
        let nobody = nobody.await.unwrap();
        let webhook = EventKind::Enrollment.path();
        let large = vec![b' '; MAX_BODY_BYTES + 1];
        for (api, path, header, body, status, error) in [
            (&api, "/", "x-a", &b""[..], 404, "Not found"),
            (&api, "/api/openedx_webhook", "x-a", b"", 404, "Not found"),
            (
                &api,
                "/api/openedx_webhook/enrollment/x",
                "x-a",
                b"",
                404,
                "Not found",
            ),
            (
                &api,
                "/api/openedx_webhook/enrollment//",
                "x-a",
                b"",
                404,
                "Not found",
            ),
            (
                &api,
                "//api/openedx_webhook/enrollment/",
                "x-a",
                b"",
                404,
                "Not found",
            ),
            (
                &api,
                "/api/OpenEdx_webhook/enrollment/",
                "x-a",
                b"",
                404,
                "Not found",
            ),
            (&api, "/enrollment-webhook", "x-a", b"", 404, "Not found"),
            (&api, webhook, "x-a", &large, 413, "The body is too large"),
            (&api, webhook, "x-crash", b"", 502, "Internal server error"),
            (
                &api,
                webhook,
                "x-unknown",
                b"",
                502,
                "Internal server error",
            ),
            (&api, webhook, "x-hang", b"", 504, "It took too long"),
            (&nobody, webhook, "x-a", b"", 503, "Temporarily unavailable"),
        ] {
            for method in ["POST", "OPTIONS"] {
                let case = format!("{method} {path} {header}");
                let request = Request::builder().method(method).uri(path);
                let request = request.header(header, "1").body(body.to_vec()).unwrap();
                let (seen, headers, answer) = ask(api, request).await;
                assert_eq!((seen, answer), (status, json!({"error": error})), "{case}");
                let is_told = headers.get(header::RETRY_AFTER).is_some_and(|v| v == "1");
                assert_eq!(is_told, status >= 500, "{case}");
            }
        }
    }

    /// A function can be invoked directly, too, and its output is passed on unchanged.
    #[tokio::test]
    async fn functions_can_be_invoked() {
        let (_functions, url) = functions().await;
        let api = RestApi::start(0, url).await.unwrap();
        let path = format!("{LAMBDA}own-events/invocations");
        let request = Request::post(&path).body(b"{}".to_vec()).unwrap();
        let (status, _, returned) = ask(&api, request).await;
        assert_eq!((status, &returned["statusCode"]), (200, &json!(203)));
        let crash = json!({"headers": {"x-crash": "1"}})
            .to_string()
            .into_bytes();
        let request = Request::post(&path).body(crash).unwrap();
        assert_eq!(ask(&api, request).await.0, 502);
    }

    /// The stand-in has the gateway responses of the template, which is deployed. Its paths are
    /// compared in `infra`.
    #[test]
    fn the_gateway_matches_the_template() {
        let template = include_str!("../../../infra/template.yaml");
        for text in [
            "Not found",
            "The request cannot be read",
            "The body is too large",
            "Internal server error",
            "Temporarily unavailable",
            "It took too long",
        ] {
            let response = format!("'{{\"error\": \"{text}\"}}'");
            assert!(template.contains(&response), "{text}");
        }
    }
}
