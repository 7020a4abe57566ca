use serde_json::json;

use crate::harness::{ADA, RUN, Ran, Stack};

/// With a certificate for [`ADA`], and its id.
async fn with_a_certificate() -> (Stack, String) {
    let stack = Stack::with_ada_and_a_run().await;
    stack
        .run(&["enrollments", "set", ADA, RUN, "--mode", "verified"])
        .await
        .ok();
    let grade = ["--percent", "0.9", "--letter", "A", "--passed", "--json"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let set = stack.run(&arguments).await.json();
    let id = set["certificate"]["certificate_id"].as_str().unwrap();
    let id = id.to_owned();
    (stack, id)
}

async fn revoke(stack: &Stack, more: &[&str]) -> Ran {
    let arguments = [&["certificates", "revoke", ADA, RUN], more].concat();
    stack.run(&arguments).await
}

#[tokio::test]
async fn a_certificate_is_shown() {
    let (stack, id) = with_a_certificate().await;
    let show = ["certificates", "show", ADA];
    let shown = stack.run(&[&show[..], &["--json"]].concat()).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["certificate_id"], id.as_str());
    assert_eq!(shown[0]["course_id"], RUN);
    assert_eq!(shown[0]["state"], "in_force");
    assert_eq!(shown[0]["learner_name"], "Ada Lovelace");
    assert_eq!(shown[0]["run_title"], "Bees");
    assert_eq!(shown[0]["history"][0]["by"], "operator");

    let text = stack.run(&show).await.ok();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!(rows[1][..3], [RUN, &id, "in_force"]);
    assert_eq!(rows[1][4..], ["Ada", "Lovelace", "Bees"]);
    let text = stack.run(&[&show[..], &["--history"]].concat()).await.ok();
    assert!(text.contains("operator grace"), "{text}");

    let ran = stack
        .run(&["certificates", "show", "bob@example.org"])
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("no user bob@example.org"), "{ran:?}");
}

#[tokio::test]
async fn a_certificate_is_revoked_and_restored() {
    let (stack, id) = with_a_certificate().await;
    let restore = ["certificates", "restore", ADA, RUN];
    let nothing = stack.run(&restore).await.ok();
    let told = format!("nothing to change: {id} is in force, since ");
    assert!(nothing.starts_with(&told), "{nothing}");

    let ran = revoke(&stack, &[]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for told in ["no terminal", "--yes", &id] {
        assert!(ran.err.contains(told), "{ran:?}");
    }
    let told =
        format!("revoked {id}; no pass restores it, `coursehook certificates restore` does\n");
    assert_eq!(revoke(&stack, &["--yes"]).await.ok(), told);
    let nothing = revoke(&stack, &[]).await.ok();
    let told = format!("nothing to change: {id} is revoked, since ");
    assert!(nothing.starts_with(&told), "{nothing}");
    assert!(nothing.ends_with(", by operator grace\n"), "{nothing}");

    // No pass brings it back.
    let grade = ["--percent", "1", "--letter", "A", "--passed"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let told = stack.run(&arguments).await.ok();
    let command = format!("coursehook certificates restore {ADA} {RUN}\n");
    assert!(told.ends_with(&command), "{told}");

    let told = format!("restored {id}; it is in force\n");
    assert_eq!(stack.run(&restore).await.ok(), told);
    let again = revoke(&stack, &["--yes", "--json"]).await.json();
    assert_eq!(again["changed"], true);
    assert_eq!(again["certificate"]["state"], "revoked");
    let states: Vec<_> = again["certificate"]["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["in_force", "revoked", "in_force", "revoked"]);
    let again = revoke(&stack, &["--json"]).await.json();
    assert_eq!(again["changed"], false);
}

#[tokio::test]
async fn what_cannot_be_corrected_says_what_to_do() {
    let (stack, id) = with_a_certificate().await;
    let refused = async |word: &str, email: &str, run: &str| {
        let ran = stack.run(&["certificates", word, email, run]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        ran.err
    };
    for word in ["revoke", "restore"] {
        let told = refused(word, "bob@example.org", RUN).await;
        assert!(told.contains("no user bob@example.org"), "{told}");
        let told = refused(word, ADA, "Org/Ants/1").await;
        assert!(told.contains("no certificate for Org/Ants/1"), "{told}");
        assert!(told.contains("coursehook grades override"), "{told}");
    }

    // As a grade of 0 leaves it.
    stack.set_certificate_state(ADA, RUN, "withdrawn").await;
    let told = refused("restore", ADA, RUN).await;
    assert!(told.contains("comes back with a pass"), "{told}");
    let command = format!("coursehook grades override {ADA} {RUN} --percent");
    assert!(told.contains(&command), "{told}");
    // It can be revoked for good, or come back with a pass.
    let grade = ["--percent", "1", "--letter", "A", "--passed", "--json"];
    let arguments = [&["grades", "override", ADA, RUN], &grade[..]].concat();
    let set = stack.run(&arguments).await.json();
    let expected = json!({"status": "created", "certificate_id": id, "reason": null});
    assert_eq!(set["certificate"], expected);
    stack.withdraw(ADA, RUN).await;
    revoke(&stack, &["--yes"]).await.ok();
    // Restored it is what it was before, and no operator's word makes it more.
    let restored = stack.run(&["certificates", "restore", ADA, RUN]).await.ok();
    assert!(restored.contains("withdrawn"), "{restored}");
    let told = refused("restore", ADA, RUN).await;
    assert!(told.contains("comes back with a pass"), "{told}");
}
