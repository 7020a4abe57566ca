use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{ADA, CliFixture, RUN};

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

async fn put(stack: &CliFixture, table: &str, item: Vec<(&str, AttributeValue)>) {
    let item = item
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let put = stack.dynamodb().put_item().table_name(table);
    put.set_item(Some(item.collect())).send().await.unwrap();
}

/// Returns the words of each row.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().map(|line| line.split_whitespace().collect());
    rows.collect()
}

#[tokio::test]
async fn users_are_listed_over_any_number_of_pages() {
    const USERS: usize = 6;
    let stack = CliFixture::start().await;
    let empty = stack.run(&["users", "list", "--json"]).await.json();
    assert_eq!(empty, json!([]));
    let empty = stack.run(&["users", "list"]).await.ok();
    assert_eq!(empty, "email  edX username  name  user id\n");

    // A page is a megabyte.
    for n in 0..USERS {
        let name = if n < 3 { "Short" } else { "A longer name" };
        let user = vec![
            ("email", text(format!("learner{n}@example.org"))),
            ("email_as_given", text(format!("Learner{n}@example.org"))),
            ("user_id", text(Uuid::new_v4().to_string())),
            ("edx_username", text(format!("learner{n}"))),
            ("name", text(name)),
            ("of_others", text("x".repeat(350_000))),
        ];
        put(&stack, "UsersTable", user).await;
    }
    let alias = vec![
        ("email", text("former@example.org")),
        ("alias_of", text("learner0@example.org")),
    ];
    put(&stack, "UsersTable", alias).await;

    let listed = stack.run(&["users", "list"]).await;
    assert_eq!(listed.err, "");
    let listed = listed.ok();
    let table = rows(&listed);
    assert_eq!(table.len(), 1 + USERS, "{listed}");
    assert_eq!(table[0], ["email", "edX", "username", "name", "user", "id"]);
    let emails: BTreeSet<_> = table[1..].iter().map(|row| row[0]).collect();
    assert_eq!(emails.len(), USERS);
    // The columns of all pages are aligned.
    let second = |line: &str| line.find(" learner").unwrap();
    let columns: BTreeSet<_> = listed.lines().skip(1).map(second).collect();
    assert_eq!(columns.len(), 1, "{listed}");

    let json = stack.run(&["users", "list", "--json"]).await.json();
    let json = json.as_array().unwrap();
    assert_eq!(json.len(), USERS);
    assert!(json.iter().all(|user| user["name"].is_string()));

    let strange = vec![("email", text("strange@example.org"))];
    put(&stack, "UsersTable", strange).await;
    let listed = stack.run(&["users", "list", "--json"]).await;
    assert!(listed.err.starts_with("warning: an item of UsersTable"));
    assert_eq!(listed.json().as_array().unwrap().len(), USERS);
}

/// JSON permits unescaped characters that a terminal interprets; the output escapes them.
#[tokio::test]
async fn no_json_moves_the_cursor() {
    let stack = CliFixture::start().await;
    let user = vec![
        ("email", text(ADA)),
        ("email_as_given", text(ADA)),
        ("user_id", text(Uuid::new_v4().to_string())),
        ("name", text("Ada\u{7f}\u{9b}2J")),
    ];
    put(&stack, "UsersTable", user).await;
    let line = "{\"message\":\"delivery processed\",\"course_id\":\"\u{9b}2J\"}";
    let log = stack.file("functions.log", line);
    for (arguments, escaped) in [
        (&["users", "show", ADA, "--json"][..], r"Ada\u007f\u009b2J"),
        (&["users", "list", "--json"], r"Ada\u007f\u009b2J"),
        (&["deliveries", "--log", &log, "--json"], r"\u009b2J"),
    ] {
        let json = stack.run(arguments).await.ok();
        assert!(json.contains(escaped), "{json}");
        let is_interpreted = |c: char| c.is_control() && c != '\n';
        assert!(!json.contains(is_interpreted), "{json:?}");
    }
}

#[tokio::test]
async fn runs_are_listed() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let listed = stack.run(&["runs", "list"]).await.ok();
    let table: BTreeSet<_> = rows(&listed).into_iter().skip(1).collect();
    let expected = [
        vec!["Org/Ants/1", "Ants", "no", "no"],
        vec![RUN, "Bees", "no", "no"],
    ];
    assert_eq!(table, BTreeSet::from(expected), "{listed}");
    let json = stack.run(&["runs", "list", "--json"]).await.json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["start_date"], json!(null));
}

/// All enrollments of a run are listed, over more than one page, one of them of a deleted
/// user.
#[tokio::test]
async fn the_enrollments_of_a_run_are_listed() {
    const LEARNERS: usize = 120;
    let stack = CliFixture::with_ada_and_a_run().await;
    let users: String = (1..LEARNERS).map(|n| format!("l{n}@b.org\n")).collect();
    let users = format!("email\n{users}");
    let import = ["users", "import", "-"];
    let imported = stack.run_with_input(&import, &users);
    imported.await.ok();
    let users = stack.run(&["users", "list", "--json"]).await.json();
    let ids = users.as_array().unwrap().iter();
    let ids = ids.map(|user| user["user_id"].as_str().unwrap().to_owned());
    let ids: Vec<_> = ids.chain([Uuid::new_v4().to_string()]).collect();
    for (n, id) in ids.iter().enumerate() {
        let enrollment = vec![
            ("user_id", text(id)),
            ("course_id", text(RUN)),
            ("enrollment_id", text(Uuid::new_v4().to_string())),
            ("mode", text("verified")),
            ("active", AttributeValue::Bool(n % 2 == 0)),
            ("edx_enrolled", AttributeValue::Bool(true)),
            (
                "roles",
                AttributeValue::Ss(vec!["staff".to_owned(), "beta_testers".to_owned()]),
            ),
            ("changed_at", text("2026-11-22T10:00:00.000Z")),
            ("history", AttributeValue::L(Vec::new())),
        ];
        put(&stack, "EnrollmentsTable", enrollment).await;
    }
    let list = ["enrollments", "list", "--run", RUN];
    let listed = stack.run(&list).await.ok();
    let table = rows(&listed);
    assert_eq!(table.len(), 1 + LEARNERS + 1);
    let ada = table.iter().find(|row| row[0] == ADA).unwrap();
    assert_eq!(ada[1], "verified");
    assert_eq!(ada[3..5], ["beta_testers,", "staff"]);
    let gone = table.iter().filter(|row| row[0] == "verified");
    assert_eq!(gone.count(), 1, "{listed}");

    let json = stack.run(&[&list[..], &["--json"]].concat()).await.json();
    let json = json.as_array().unwrap();
    assert_eq!(json.len(), LEARNERS + 1);
    let whose: BTreeSet<_> = json.iter().map(|e| e["email"].as_str()).collect();
    assert!(whose.contains(&None) && whose.contains(&Some(ADA)));
    assert_eq!(whose.len(), LEARNERS + 1);

    let none = ["enrollments", "list", "--run", "Org/Ants/1", "--json"];
    assert_eq!(stack.run(&none).await.json(), json!([]));
    for what in ["enrollments", "certificates"] {
        let ran = stack.run(&[what, "list", "--run", "Org/None/1"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains("no course run Org/None/1"), "{ran:?}");
    }
}

#[tokio::test]
async fn certificates_for_a_run_are_listed_by_state() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let import = ["users", "import", "-"];
    let imported = stack.run_with_input(&import, "email\nbob@example.org\n");
    imported.await.ok();
    for email in [ADA, "bob@example.org"] {
        let enroll = ["enrollments", "set", email, RUN, "--mode", "verified"];
        stack.run(&enroll).await.ok();
        let grade = ["--percent", "0.9", "--letter", "A", "--passed"];
        let grade = [&["grades", "override", email, RUN], &grade[..]].concat();
        stack.run(&grade).await.ok();
    }
    let revoke = ["certificates", "revoke", ADA, RUN, "--yes"];
    stack.run(&revoke).await.ok();

    let list = ["certificates", "list", "--run", RUN];
    let listed = async |more: &[&str]| stack.run(&[&list[..], more].concat()).await;
    for (more, expected) in [
        (
            &[][..],
            &[(ADA, "revoked"), ("bob@example.org", "in_force")][..],
        ),
        (&["--state", "revoked"], &[(ADA, "revoked")]),
        (&["--state", "in_force"], &[("bob@example.org", "in_force")]),
        (&["--state", "withdrawn"], &[]),
    ] {
        let expected = BTreeSet::from_iter(expected.iter().copied());
        let text = listed(more).await.ok();
        let cells = rows(&text).into_iter().skip(1).map(|row| (row[0], row[1]));
        assert_eq!(cells.collect::<BTreeSet<_>>(), expected, "{text}");
        let json = listed(&[more, &["--json"]].concat()).await.json();
        let field = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
        let json = json.as_array().unwrap().iter();
        let json: BTreeSet<_> = json
            .map(|c| (field(c, "email"), field(c, "state")))
            .collect();
        let json = json
            .iter()
            .map(|(email, state)| (email.as_str(), state.as_str()));
        assert_eq!(json.collect::<BTreeSet<_>>(), expected);
    }
}
