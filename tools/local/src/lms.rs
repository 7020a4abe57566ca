//! The LMS: what of its API the functions call.

use std::collections::HashMap;
use std::io;

use axum::Json;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;

use crate::background::{Background, listen};

/// The OAuth2 client that the stand-in knows.
pub const CLIENT_ID: &str = "coursehook-local";
/// That client's secret.
pub const CLIENT_SECRET: &str = "only-on-this-machine";

/// A stand-in for an Open edX LMS, gone when dropped.
#[derive(Debug)]
pub struct Lms {
    /// Base URL, `http://127.0.0.1:PORT`, without a slash at its end.
    pub url: String,
    _server: Background,
}

impl Lms {
    /// Starts one on a port, any free one if `port` is 0.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn start(port: u16) -> io::Result<Self> {
        let (listener, url) = listen(port).await?;
        let router = axum::Router::new()
            .route("/oauth2/access_token", post(access_token).fallback(nothing))
            .fallback(nothing);
        Ok(Self {
            url,
            _server: Background::serve(listener, router),
        })
    }
}

async fn access_token(form: Result<Form<HashMap<String, String>>, FormRejection>) -> Response {
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let given = |field: &str| form.get(field).map(String::as_str);
    if given("grant_type") != Some("client_credentials") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if (given("client_id"), given("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    // Without token_type=jwt the LMS hands out a token of another scheme.
    let token_type = match given("token_type") {
        Some("jwt") => "JWT",
        _ => "Bearer",
    };
    Json(json!({
        "access_token": "local-access-token",
        "expires_in": 3600,
        "token_type": token_type,
        "scope": "read write profile email",
    }))
    .into_response()
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

async fn nothing(uri: Uri) -> Response {
    let message = format!("There is nothing at {}.", uri.path());
    let body = Json(json!({"developer_message": message}));
    (StatusCode::NOT_FOUND, body).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::background::client;

    async fn ask(form: &[(&str, &str)]) -> (u16, Value) {
        let lms = Lms::start(0).await.unwrap();
        let body: Vec<_> = form.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let answer = client()
            .unwrap()
            .post(format!("{}/oauth2/access_token", lms.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    #[tokio::test]
    async fn the_known_client_gets_a_jwt() {
        let (status, body) = ask(&[
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("token_type", "jwt"),
        ])
        .await;
        assert_eq!(status, 200);
        assert!(body["access_token"].is_string());
        assert_eq!(body["expires_in"], 3600);
        assert_eq!(body["token_type"], "JWT");
        assert!(body["scope"].is_string());
    }

    #[tokio::test]
    async fn another_client_is_refused() {
        let (status, body) = ask(&[
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", "wrong"),
            ("token_type", "jwt"),
        ])
        .await;
        assert_eq!((status, body), (401, json!({"error": "invalid_client"})));
    }

    #[tokio::test]
    async fn another_grant_is_refused() {
        let unsupported = (400, json!({"error": "unsupported_grant_type"}));
        assert_eq!(ask(&[("grant_type", "password")]).await, unsupported);
        assert_eq!(ask(&[]).await, unsupported);
    }

    #[tokio::test]
    async fn everything_else_is_not_found() {
        let lms = Lms::start(0).await.unwrap();
        for path in ["/oauth2/access_token", "/api/grades/v1/courses/x/"] {
            let url = format!("{}{path}", lms.url);
            let answer = client().unwrap().get(url).send().await.unwrap();
            assert_eq!(answer.status(), 404);
            let body: Value = answer.json().await.unwrap();
            assert!(body["developer_message"].is_string());
        }
    }
}
