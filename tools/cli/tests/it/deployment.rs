use std::collections::HashMap;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::harness::{ADA, CliFixture, ran};

/// The stack's variables take precedence over the environment's.
#[tokio::test]
async fn a_deployed_stack_names_tables_secrets_url_and_settings() {
    let stack = CliFixture::with_secrets().await;
    stack
        .run_with_input(&["users", "import", "-"], "email\nada@example.org\n")
        .await
        .ok();
    stack
        .run_with_input(&["runs", "import", "-"], "course_id,title\na/b/c,Bees\n")
        .await
        .ok();
    stack.run(&["tokens", "issue", "lms"]).await.ok();
    let outputs = [("PendingEventsFailureQueue", "x")];
    let name = stack.deploy_all(&[("PaidModes", "honor")], &outputs).await;
    let as_option = ["--stack", &name];
    let by_variable = [("COURSEHOOK_STACK", name.as_str())];
    for (options, variables) in [(&as_option[..], &[][..]), (&[], &by_variable)] {
        let command = |arguments: &[&str]| {
            let mut command = stack.command(arguments);
            command.args(options).envs(variables.iter().copied());
            command
        };
        let mut show = command(&["users", "show", ADA]);
        show.env("USERS_TABLE", "another");
        let shown = ran(show).await;
        let noted = format!(
            "note: calls go to another endpoint than AWS's, by AWS_ENDPOINT_URL_DYNAMODB and \
             AWS_ENDPOINT_URL_SECRETS_MANAGER; unset that if the stack {name} is on AWS\n"
        );
        assert_eq!(shown.err, noted, "{options:?}");
        assert!(shown.ok().contains(ADA), "{options:?}");
        let mut list = command(&["tokens", "list"]);
        list.env("WEBHOOK_TOKENS_SECRET", "another");
        assert!(ran(list).await.ok().contains("lms"), "{options:?}");

        // A token is not part of the stack.
        stack.file("enrollment/a.json", r#"{"email": "a@b"}"#);
        let mut replay = command(&["replay", "enrollment"]);
        replay
            .env("COURSEHOOK_TOKEN", "chk_x")
            .env("COURSEHOOK_URL", "x");
        let replayed = ran(replay).await;
        assert!(replayed.out.contains("cannot be reached"), "{replayed:?}");

        // The enrollment's mode is paid only in that stack.
        stack
            .run(&["enrollments", "set", ADA, "a/b/c", "--mode", "honor"])
            .await
            .ok();
        let status = ran(command(&["status", ADA])).await.ok();
        assert!(!status.contains("is not paid for"), "{status}");
    }
    let status = stack.run(&["status", ADA]).await.ok();
    assert!(status.contains("is not paid for"), "{status}");
}

/// A variable that the stack lacks is not taken from the environment, which may belong to
/// another stack.
#[tokio::test]
async fn two_stacks_are_never_mixed() {
    let stack = CliFixture::with_secrets().await;
    let table = ("PendingEventsTable", "PendingEventsTable");
    let name = stack.deploy(&[], &[table]).await;
    let run = async |arguments: &[&str]| {
        let mut command = stack.command(arguments);
        command
            .env("COURSEHOOK_STACK", &name)
            .env("COURSEHOOK_LOG", stack.file("functions.log", ""))
            .env("COURSEHOOK_TOKEN", "chk_x")
            .env("COURSEHOOK_URL", "http://127.0.0.1:1")
            .env("LMS_URL", "http://127.0.0.1:1");
        ran(command).await
    };
    let lacks = "CERTIFICATES_TABLE, COURSEHOOK_URL, COURSE_RUNS_TABLE, ENROLLMENTS_TABLE, \
                 GRADES_TABLE, LMS_CONCURRENCY, LMS_ENROLLMENTS_PER_MINUTE, LMS_PER_SECOND, \
                 LMS_URL, OPENEDX_API_SECRET, PAID_MODES, SWEEPS_TABLE, SWEEP_CONCURRENCY, \
                 SWEEP_WINDOW_DAYS, USERNAMES_TABLE, USERS_TABLE, WEBHOOK_TOKENS_SECRET";
    let listed = run(&["events", "list"]).await;
    let warned = format!("warning: the stack {name} lacks {lacks}; deploy the template");
    assert!(listed.err.contains(&warned), "{listed:?}");
    listed.ok();
    for (arguments, lacking) in [
        (&["users", "list"][..], "USERS_TABLE"),
        (&["tokens", "list"], "WEBHOOK_TOKENS_SECRET"),
        (&["replay", "x"], "COURSEHOOK_URL"),
    ] {
        let ran = run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        let message = format!("error: the stack {name} has no output or parameter for {lacking}, ");
        assert!(ran.err.contains(&message), "{ran:?}");
        assert!(ran.err.contains("; deploy the template"), "{ran:?}");
    }

    let ran = run(&["doctor", "--json"]).await;
    assert_eq!(
        (ran.code, ran.err.contains("warning")),
        (1, false),
        "{ran:?}"
    );
    let findings = ran.json();
    let findings = findings.as_array().unwrap().iter();
    let field = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let mut findings: HashMap<_, _> = findings
        .map(|finding| (field(finding, "check"), finding))
        .collect();
    let of_stack = findings.remove(&format!("stack {name}")).unwrap();
    assert_eq!(of_stack["result"], "fix");
    assert_eq!(field(of_stack, "detail"), format!("it lacks {lacks}"));
    for check in ["credentials", "PendingEventsTable", "pending events"] {
        assert_eq!(findings.remove(check).unwrap()["result"], "ok", "{check}");
    }
    // This engine does not support the check of backups.
    assert_eq!(findings.remove("backups").unwrap()["result"], "skip");
    assert_eq!(findings.len(), 7 + 2 + 2 + 3 + 2, "{findings:?}");
    for finding in findings.into_values() {
        assert_eq!(finding["result"], "fix", "{finding}");
        let detail = field(finding, "detail");
        assert!(
            detail.contains("has no output or parameter for "),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn an_unusable_stack_is_reported() {
    let stack = CliFixture::with_secrets().await;
    let foreign = stack.deploy(&[], &[("Other", "x")]).await;
    for (name, message) in [
        ("absent", "no CloudFormation stack absent in us-east-1 that"),
        ("absent", "--region names another region"),
        (&foreign, "is not one of Coursehook's"),
    ] {
        let ran = stack.run(&["events", "list", "--stack", name]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains(message), "{message}: {ran:?}");
    }
    let of_state = |state: &str| {
        format!(
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>s</StackName>\
             <StackStatus>{state}</StackStatus><CreationTime>2026-11-22T09:00:00Z</CreationTime>\
             <Outputs><member><OutputKey>PendingEventsTable</OutputKey><OutputValue>PendingEventsTable\
             </OutputValue></member></Outputs></member></Stacks></DescribeStacksResult>\
             </DescribeStacksResponse>"
        )
    };
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User arn:x is not \
                  authorized</Message></Error></ErrorResponse>";
    for (status, body, code, message) in [
        (
            403,
            denied.to_owned(),
            2,
            "CloudFormation: failed (AccessDenied); these credentials are not allowed to do this",
        ),
        (
            200,
            of_state("UPDATE_ROLLBACK_COMPLETE"),
            0,
            "is in the state UPDATE_ROLLBACK_COMPLETE; `aws cloudformation describe-stack-events",
        ),
        (
            200,
            of_state("DELETE_IN_PROGRESS"),
            0,
            "is in the state DELETE_IN_PROGRESS",
        ),
        (
            200,
            of_state("UPDATE_COMPLETE"),
            0,
            "lacks CERTIFICATES_TABLE, ",
        ),
    ] {
        let (url, _) = answering(status, body).await;
        let mut command = stack.command(&["events", "list", "--stack", "s"]);
        command.env("AWS_ENDPOINT_URL_CLOUDFORMATION", url);
        let ran = ran(command).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains(message), "{message}: {ran:?}");
        assert_eq!(
            ran.err.contains("is in the state"),
            message.contains("is in the state"),
            "{ran:?}"
        );
    }
}

/// The named profile and region are used, whatever the environment has.
#[tokio::test]
async fn a_profile_and_a_region_can_be_named() {
    let stack = CliFixture::start().await;
    let config = stack.file(
        "config",
        "[profile other]\nregion = eu-west-1\n\
         [profile bare]\nregion = eu-west-1\n\
         [profile process]\ncredential_process = /bin/true\n\
         [profile sso]\nsso_start_url = https://example.org\nsso_region = us-east-1\n\
         sso_account_id = 1\nsso_role_name = x\n",
    );
    let credentials = stack.file(
        "credentials",
        "[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = x\n",
    );
    let (url, mut scopes) = answering(400, "{}".to_owned()).await;
    let command = |options: &[&str], variables: &[(&str, &str)]| {
        let mut command = stack.command(&["events", "list"]);
        command
            .args(options)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &url)
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
            .env_remove("AWS_REGION")
            .envs(variables.iter().copied());
        command
    };
    let region = ("AWS_REGION", "us-west-2");
    let profile = ("AWS_PROFILE", "other");
    for (options, variables, scope) in [
        (&[][..], &[region][..], "local/us-west-2"),
        (&["--region", "eu-north-1"], &[region], "local/eu-north-1"),
        (&["--profile", "other"], &[], "AKIDOTHER/eu-west-1"),
        (&["--profile", "other"], &[region], "AKIDOTHER/us-west-2"),
        (
            &["--profile", "other", "--region", "eu-north-1"],
            &[region],
            "AKIDOTHER/eu-north-1",
        ),
        // As in the AWS CLI, keys in the environment take precedence over a profile that is named
        // in the environment.
        (&[], &[profile], "local/eu-west-1"),
    ] {
        ran(command(options, variables)).await;
        assert_eq!(
            scopes.recv().await.unwrap(),
            scope,
            "{options:?} {variables:?}"
        );
    }
    for (name, message) in [
        ("absent", "profile `absent` was not defined"),
        ("bare", "there are no credentials for AWS"),
        (
            "process",
            "aws configure export-credentials --profile NAME --format env",
        ),
        (
            "sso",
            "aws configure export-credentials --profile NAME --format env",
        ),
    ] {
        let ran = ran(command(&["--profile", name], &[region])).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains(message), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
    assert!(
        scopes.is_empty(),
        "something was called without credentials"
    );
}

/// Starts a service that gives this answer to each call. Returns its URL and the key and
/// region that signed each call, as `KEY/REGION`.
async fn answering(status: u16, body: String) -> (String, mpsc::UnboundedReceiver<String>) {
    let (sender, scopes) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |headers: HeaderMap| {
        let signed = headers["authorization"].to_str().unwrap();
        let scope = signed.split("Credential=").nth(1).unwrap();
        let parts: Vec<_> = scope.split('/').collect();
        let _ = sender.send(format!("{}/{}", parts[0], parts[2]));
        let answer = (StatusCode::from_u16(status).unwrap(), body.clone());
        async { answer }
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, scopes)
}
