use std::collections::BTreeSet;
use std::process::Stdio;

use common::clock::{Clock, SystemClock};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::harness::{CliFixture, Ran, interrupted, ran};

#[tokio::test]
async fn a_token_is_issued_listed_and_revoked() {
    let stack = CliFixture::with_secrets().await;
    assert_eq!(
        stack.run(&["tokens", "list", "--json"]).await.json(),
        json!([])
    );

    let ran = stack.run(&["tokens", "issue", "lms", "--staff"]).await;
    assert!(ran.err.contains("will not be shown again"), "{ran:?}");
    let token = ran.ok();
    assert!(
        token.starts_with("chk_") && token.lines().count() == 1,
        "{token:?}"
    );
    assert!(
        !stack.secret().await.contains(token.trim()),
        "the token itself is stored"
    );

    let ran = stack
        .run(&["tokens", "issue", "short", "--expires-in", "2h", "--json"])
        .await;
    let issued = ran.json();
    let names: BTreeSet<_> = issued
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = ["created_at", "expires_at", "id", "name", "staff", "token"];
    assert_eq!(names, BTreeSet::from(expected));
    assert_eq!(issued["staff"], false);
    let id = issued["id"].as_str().unwrap();

    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    assert_eq!(listed[0]["name"], "lms");
    assert_eq!(listed[0]["expires_at"], json!(null));
    let mut short = issued.as_object().unwrap().clone();
    short.remove("token");
    short.insert("state".to_owned(), json!("live"));
    short.insert("revoked_at".to_owned(), json!(null));
    assert_eq!(listed[1], Value::Object(short));

    assert!(
        stack
            .run(&["tokens", "revoke", id, "--yes"])
            .await
            .ok()
            .starts_with("revoked ")
    );
    let again = stack.run(&["tokens", "revoke", id, "--json"]).await.json();
    assert_eq!(
        (&again["changed"], &again["state"]),
        (&json!(false), &json!("revoked"))
    );
    let text = stack.run(&["tokens", "list"]).await.ok();
    let states: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().take(4).skip(1).collect::<Vec<_>>())
        .collect();
    assert_eq!(states, [["lms", "yes", "live"], ["short", "no", "revoked"]]);

    let ran = stack.run(&["tokens", "revoke", "nobody"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no token with the id nobody"), "{ran:?}");
}

#[tokio::test]
async fn concurrent_changes_of_the_list_are_not_lost() {
    const OPERATORS: usize = 8;
    let stack = CliFixture::with_secrets().await;
    let issue = |name: String| {
        let mut command = stack.command(&["tokens", "issue", &name, "--json"]);
        async move { Ran::from(command.output().await.unwrap()) }
    };
    let revoke = |id: String| {
        let mut command = stack.command(&["tokens", "revoke", &id, "--yes"]);
        async move { Ran::from(command.output().await.unwrap()) }
    };

    // The first operators write the secret's first value at the same time.
    let first =
        futures::future::join_all((0..OPERATORS).map(|n| issue(format!("first-{n}")))).await;
    let ids: Vec<String> = first
        .iter()
        .map(|ran| ran.json()["id"].as_str().unwrap().to_owned())
        .collect();

    let revoking = futures::future::join_all(ids.iter().take(OPERATORS / 2).cloned().map(revoke));
    let issuing =
        futures::future::join_all((0..OPERATORS / 2).map(|n| issue(format!("second-{n}"))));
    let (revoked, issued) = tokio::join!(revoking, issuing);
    for ran in revoked.into_iter().chain(issued) {
        ran.ok();
    }

    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    let listed: BTreeSet<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|token| {
            let text = |field: &str| token[field].as_str().unwrap().to_owned();
            (text("name"), text("state"))
        })
        .collect();
    let mut expected = BTreeSet::new();
    for (n, ran) in first.iter().enumerate() {
        let name = ran.json()["name"].as_str().unwrap().to_owned();
        let state = if n < OPERATORS / 2 { "revoked" } else { "live" };
        expected.insert((name, state.to_owned()));
    }
    for n in 0..OPERATORS / 2 {
        expected.insert((format!("second-{n}"), "live".to_owned()));
    }
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_token_is_rotated() {
    let stack = CliFixture::with_secrets().await;
    let list = async || stack.run(&["tokens", "list", "--json"]).await.json();
    let issue = ["tokens", "issue", "lms", "--staff", "--json"];
    let old = stack.run(&issue).await.json();
    let id = old["id"].as_str().unwrap();

    let rotate = ["tokens", "rotate", id, "--expires-in", "90d"];
    let ran = stack.run(&rotate).await;
    let described = format!("\n{id} (lms) ends at 2");
    assert!(ran.err.contains(&described), "{ran:?}");
    assert!(ran.err.contains(" (lms): staff, until 2"), "{ran:?}");
    let token = ran.ok();
    assert!(token.starts_with("chk_") && token.lines().count() == 1);

    let listed = list().await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for (index, days, staff) in [(0, 7, true), (1, 90, true)] {
        let token = &listed[index];
        let moment = |field: &str| token[field].as_str().unwrap().parse::<Timestamp>();
        let end = moment("expires_at").unwrap();
        let began = listed[1]["created_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(end.duration_since(began).as_hours(), days * 24, "{token}");
        assert_eq!(
            (&token["name"], &token["state"], &token["staff"]),
            (&json!("lms"), &json!("live"), &json!(staff)),
            "{token}"
        );
    }

    // A rotation never postpones the old token's end.
    let end = listed[0]["expires_at"].clone();
    let again = ["tokens", "rotate", id, "--old-ends-in", "8d", "--json"];
    let again = stack.run(&again).await.json();
    assert_eq!(again["old"]["expires_at"], end);
    assert_eq!(again["old"]["id"], id);
    assert_eq!(again["expires_at"], json!(null));
    assert!(again["token"].as_str().unwrap().starts_with("chk_"));

    stack.run(&["tokens", "revoke", id, "--yes"]).await.ok();
    for (id, described) in [
        (id, " is revoked; `coursehook tokens issue` issues another"),
        ("nobody", "no token with the id nobody"),
    ] {
        let ran = stack.run(&["tokens", "rotate", id]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(described), "{ran:?}");
    }
    assert_eq!(list().await.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_token_is_listed_with_when_it_was_last_seen() {
    let stack = CliFixture::with_secrets().await;
    let issue = async |name: &str| {
        let issued = stack.run(&["tokens", "issue", name, "--json"]).await.json();
        issued["id"].as_str().unwrap().to_owned()
    };
    let (seen, _unseen) = (issue("seen").await, issue("unseen").await);
    let line = |at: &str, message: &str| {
        format!(r#"{{"timestamp":"{at}","message":"{message}","token_id":"{seen}"}}"#)
    };
    let lines = [
        line("2026-11-22T10:00:00.5Z", "delivery processed"),
        line("2026-11-22T09:00:00Z", "delivery processed"),
        line("2026-11-22T11:00:00Z", "another"),
        "{\"message\":\"done\"".to_owned(),
    ];
    let file = stack.file("functions.log", lines.join("\n"));
    let list = async |log: Option<&str>, more: &[&str]| {
        let mut command = stack.command(&[&["tokens", "list"], more].concat());
        command.envs(log.map(|log| ("COURSEHOOK_LOG", log)));
        ran(command).await
    };
    let listed = list(Some(&file), &[]).await;
    assert_eq!(listed.err, "");
    let text = listed.ok();
    let ends: Vec<_> = text.lines().map(|line| &line[line.len() - 20..]).collect();
    assert!(ends[0].ends_with("last seen"), "{text}");
    assert_eq!(ends[1], "2026-11-22T10:00:00Z");
    let listed = list(Some(&file), &["--json"]).await.json();
    assert_eq!(listed[0]["last_seen"], "2026-11-22T10:00:00.5Z");
    assert_eq!(listed[1]["last_seen"], json!(null));

    for (log, described) in [
        (None, "\n  QUERY=$(aws logs start-query "),
        (Some("absent.log"), "warning: absent.log cannot be read"),
    ] {
        let listed = list(log, &["--json"]).await;
        assert!(listed.err.contains(described), "{listed:?}");
        assert_eq!(listed.json()[0].get("last_seen"), None, "{log:?}");
        assert!(!list(log, &[]).await.ok().contains("last seen"), "{log:?}");
    }
    // The local log need not be that of the stack.
    let name = stack.deploy_all(&[], &[]).await;
    for (more, name) in [(&[][..], "coursehook"), (&["--stack", &name], &name)] {
        let described = list(None, more).await.err;
        assert!(
            described.contains("--start-time $(( $(date +%s) - 2592000 )) "),
            "{described}"
        );
        assert!(
            described.contains(&format!(" --stack-name {name} ")),
            "{described}"
        );
    }
    let described = list(Some(&file), &["--stack", &name]).await.err;
    assert!(
        described.contains(&format!("there is no local log of the stack {name}")),
        "{described}"
    );
}

/// The token may be the one that the LMS uses.
#[tokio::test]
async fn revoking_a_live_token_needs_a_confirmation() {
    let stack = CliFixture::with_secrets().await;
    let issue = ["tokens", "issue", "lms", "--json"];
    let issued = stack.run(&issue).await.json();
    let id = issued["id"].as_str().unwrap();
    let seen = format!(
        r#"{{"timestamp":"2026-11-22T10:00:00.5Z","message":"delivery processed","token_id":"{id}"}}"#
    );
    let (seen, empty) = (stack.file("seen.log", seen), stack.file("empty.log", ""));
    for (log, described) in [
        (None, ""),
        (Some(&seen), ", last seen at 2026-11-22T10:00:00Z"),
        (Some(&empty), ", which is not in the log"),
    ] {
        let mut command = stack.command(&["tokens", "revoke", id]);
        command.envs(log.map(|log| ("COURSEHOOK_LOG", log)));
        let asked = ran(command).await;
        assert_eq!((asked.code, asked.out.as_str()), (2, ""), "{asked:?}");
        let question =
            format!("error: Revoke the token {id} (lms){described}, so that no webhook ");
        assert!(asked.err.starts_with(&question), "{asked:?}");
        assert!(asked.err.contains("--yes"), "{asked:?}");
    }
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    assert_eq!(listed[0]["state"], "live");
    stack.run(&["tokens", "revoke", id, "--yes"]).await.ok();
    // For a revoked token there is no question.
    let again = stack.run(&["tokens", "revoke", id]).await.ok();
    assert!(again.starts_with("nothing to change: "), "{again}");
}

/// A token is shown only once every instance of the webhooks accepts it.
#[tokio::test]
async fn a_token_is_shown_three_seconds_after_it_was_written() {
    let stack = CliFixture::with_secrets().await;
    let shown = async |arguments: &[&str]| {
        let shown = stack.run(&[arguments, &["--json"]].concat()).await.json();
        // This is the time at which it was created, before it was written.
        let created_at: Timestamp = shown["created_at"].as_str().unwrap().parse().unwrap();
        let waited = SystemClock.now().duration_since(created_at);
        assert!(waited.as_secs() >= 3, "{arguments:?}: {waited:?}");
        shown["id"].as_str().unwrap().to_owned()
    };
    let id = shown(&["tokens", "issue", "lms", "--staff"]).await;
    shown(&["tokens", "rotate", &id]).await;
}

/// If the command is interrupted before the token is shown, the token is revoked.
#[tokio::test]
async fn a_token_of_an_interrupted_command_is_revoked() {
    let stack = CliFixture::with_secrets().await;
    let issue = ["tokens", "issue", "old", "--json"];
    let old = stack.run(&issue).await.json();
    let id = old["id"].as_str().unwrap();
    for arguments in [&["tokens", "issue", "new"][..], &["tokens", "rotate", id]] {
        let mut command = stack.command(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut described = String::new();
        err.read_line(&mut described).await.unwrap();
        assert!(
            described.starts_with("issued "),
            "{arguments:?}: {described}"
        );
        let (ran, rest) = tokio::join!(interrupted(child), async {
            let mut rest = String::new();
            err.read_to_string(&mut rest).await.unwrap();
            rest
        });
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        let gone = "could not be written to standard output (interrupted), so ";
        assert!(rest.contains(gone), "{arguments:?}: {rest}");
        assert!(!rest.contains("This is the token"), "{arguments:?}: {rest}");
    }
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    let listed = listed.as_array().unwrap().iter();
    let states: Vec<_> = listed
        .map(|token| (&token["state"], &token["expires_at"]))
        .collect();
    let (live, revoked, none) = (json!("live"), json!("revoked"), json!(null));
    assert_eq!(
        states,
        [(&live, &none), (&revoked, &none), (&revoked, &none)]
    );
}
