use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Ran, Stack};

#[tokio::test]
async fn a_token_is_issued_listed_and_revoked() {
    let stack = Stack::with_secrets().await;
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
            .run(&["tokens", "revoke", id])
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
async fn operators_at_the_same_time_lose_nothing() {
    const OPERATORS: usize = 8;
    let stack = Stack::with_secrets().await;
    let issue = |name: String| {
        let mut command = stack.command(&["tokens", "issue", &name, "--json"]);
        async move { Ran::from(command.output().await.unwrap()) }
    };
    let revoke = |id: String| {
        let mut command = stack.command(&["tokens", "revoke", &id]);
        async move { Ran::from(command.output().await.unwrap()) }
    };

    // The first of them make the secret's first value, all at once.
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
