//! `make run` as people use it: started, used, stopped, killed, started again.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::stack::{ADA, RUN, RunningStack, START, command, ports};

const PATH: &str = "/api/openedx_webhook/enrollment";
const CERTIFICATE: &str = "/api/openedx_webhook/certificate/";

#[tokio::test]
async fn the_local_stack_can_be_used_stopped_and_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let stack = RunningStack::start(folder, ports()).await;
    let port = stack.port;

    // Both spellings of the path reach the function; the first delivery creates the enrollment.
    let token = stack.variable("COURSEHOOK_TOKEN").to_owned();
    assert_eq!(stack.deliver(&format!("{PATH}/"), &token).await.0, 201);
    assert_eq!(stack.deliver(PATH, &token).await.0, 200);
    let (status, refused) = stack.deliver(PATH, "no-token-of-ours").await;
    assert_eq!(
        (status, refused),
        (401, json!({"error": "The token is not valid."}))
    );

    // Requests that no sender makes are answered as the contract says, too.
    let url = stack.variable("COURSEHOOK_URL");
    for (method, path, token, body, status, allow) in [
        ("OPTIONS", PATH, "", &b""[..], 401, None),
        (
            "OPTIONS",
            CERTIFICATE,
            token.as_str(),
            b"",
            405,
            Some("POST"),
        ),
        ("POST", PATH, token.as_str(), b"\xff{}", 400, None),
        ("POST", CERTIFICATE, "", b"\xff{}", 401, None),
        ("OPTIONS", "/", "", b"", 404, None),
        ("GET", "/api/openedx_webhook/", "", b"", 404, None),
        (
            "POST",
            "/enrollment-webhook",
            token.as_str(),
            b"{}",
            404,
            None,
        ),
    ] {
        let request = local::client()
            .unwrap()
            .request(method.parse().unwrap(), format!("{url}{path}"))
            .header("content-type", "application/json");
        let request = match token {
            "" => request,
            token => request.bearer_auth(token),
        };
        let answer = request.body(body.to_vec()).send().await.unwrap();
        let case = format!("{method} {path}");
        assert_eq!(answer.status().as_u16(), status, "{case}");
        let allowed = answer.headers().get("allow");
        assert_eq!(allowed.map(|v| v.to_str().unwrap()), allow, "{case}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].is_string(), "{case}: {body}");
    }

    // The command line needs only these variables.
    let shown = stack
        .coursehook(&["enrollments", "show", ADA, "--json"])
        .await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown[0]["course_id"], RUN, "{shown}");

    // The SDKs read one, and boto3 the other.
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        assert_eq!(stack.variable(name), "us-east-1", "{name}");
    }

    // The command knows the log's path, which shows when the token was last used.
    let listed = stack.coursehook(&["tokens", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed[0]["last_seen"].is_string(), "{listed}");

    // The schedule has called a function of pending events once by now, or is about to.
    let called = async {
        let log = folder.join("logs/functions.log");
        while !fs::read_to_string(&log)
            .unwrap()
            .contains("\"retry batch finished\"")
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(START, called)
        .await
        .expect("the schedule calls nothing");

    // She has passed, and is not enrolled in a paid mode: the event is pending until an operator
    // sets one, and takes effect with the next attempt. The schedule retries once a minute; this
    // test does not wait for it.
    let (status, passed) = stack.deliver(CERTIFICATE, &token).await;
    assert_eq!(
        (status, &passed["reason"]),
        (200, &json!("unpaid_mode")),
        "{passed}"
    );
    let set = ["enrollments", "set", ADA, RUN, "--mode", "verified"];
    assert!(stack.coursehook(&set).await.status.success());
    let shown = ["certificates", "show", ADA, "--json"];
    let certified = async {
        loop {
            // The schedule may have retried first.
            let retried = stack.retry_due().await;
            assert_eq!(retried["failed"], 0, "{retried}");
            let shown = stack.coursehook(&shown).await.stdout;
            let shown: Value = serde_json::from_slice(&shown).unwrap();
            if shown[0]["state"] == "in_force" {
                return;
            }
        }
    };
    timeout(START, certified).await.unwrap();
    let (_, passed) = stack.deliver(CERTIFICATE, &token).await;
    assert_eq!(passed["certificate_status"], "exists");

    // The samples have ten learners and three runs at least, one of them without dates.
    let run = stack.coursehook(&["runs", "show", "course-v1:Demo+LinearAlgebra+TBA", "--json"]);
    let run: Value = serde_json::from_slice(&run.await.stdout).unwrap();
    assert!(
        run["title"].is_string() && run["start_date"].is_null(),
        "{run}"
    );

    // The LMS's token endpoint answers, and its credential is in the secret.
    let form = "grant_type=client_credentials&client_id=x&client_secret=y&token_type=jwt";
    let answer = local::client()
        .unwrap()
        .post(format!("{}/oauth2/access_token", stack.variable("LMS_URL")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send();
    assert_eq!(answer.await.unwrap().status(), 401);

    // The functions' log lines, and only those, are in their file.
    let log = fs::read_to_string(folder.join("logs/functions.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["outcome"] == "created"),
        "{log}"
    );
    // No other output of the functions holds an address or a token.
    let gateway = fs::read_to_string(folder.join("logs/gateway.log")).unwrap();
    for log in [log, gateway] {
        assert!(!log.contains(ADA) && !log.contains(&token), "{log}");
    }

    // Another stack on the same port reports that, and starts nothing.
    let other = tempfile::tempdir().unwrap();
    let refused = command(other.path(), port).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains(&format!("port {port} is taken")), "{said}");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);

    // An operator's change is not undone by the next start.
    let changed = folder.join("changed.csv");
    fs::write(&changed, format!("email,name\n{ADA},Countess Lovelace\n")).unwrap();
    let changed = changed.to_string_lossy().into_owned();
    assert!(
        stack
            .coursehook(&["users", "import", &changed])
            .await
            .status
            .success()
    );

    // Ctrl-C is a success. Data and token outlive it, and a kill as well.
    assert_eq!(stack.end("INT").await, Some(0));
    assert!(!folder.join("env").exists());
    for signal in ["KILL", "TERM"] {
        let stack = RunningStack::start(folder, port).await;
        assert_eq!(stack.variable("COURSEHOOK_TOKEN"), token);
        assert_eq!(stack.deliver(PATH, &token).await.0, 200);
        let ada = stack
            .coursehook(&["users", "show", ADA, "--json"])
            .await
            .stdout;
        assert_eq!(
            serde_json::from_slice::<Value>(&ada).unwrap()["name"],
            "Countess Lovelace"
        );
        let code = stack.end(signal).await;
        assert_eq!(code, (signal == "TERM").then_some(0));
    }
}
