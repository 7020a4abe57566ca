use common::clock::{Clock, SystemClock};
use domain::{Announced, Change, EnrollmentChange};
use serde_json::json;
use store::enrollments::Enrollments;
use uuid::Uuid;

use crate::harness::{ADA, CliFixture, RUN};

#[tokio::test]
async fn an_enrollment_is_created_updated_or_unchanged() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let set = |more: &[&'static str]| {
        let arguments = [&["enrollments", "set", ADA, RUN], more].concat();
        let stack = &stack;
        async move { stack.run(&arguments).await }
    };
    let outcome = |text: &str| text.lines().next().unwrap().to_owned();
    let verified = ["--mode", "verified"];
    assert_eq!(outcome(&set(&verified).await.ok()), "created");
    assert_eq!(outcome(&set(&verified).await.ok()), "unchanged");
    let ran = set(&["--mode", "audit", "--inactive", "--json"])
        .await
        .json();
    assert_eq!(ran["outcome"], "updated");
    assert_eq!(ran["enrollment"]["active"], false);
    assert_eq!(ran["enrollment"]["change_status"], "unenrolled");
    let ran = set(&["--mode", "audit", "--inactive", "--json"])
        .await
        .json();
    assert_eq!(ran["outcome"], "unchanged");

    let shown = stack
        .run(&["enrollments", "show", ADA, "--json"])
        .await
        .json();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["course_id"], RUN);
    assert_eq!(shown[0]["mode"], "audit");
    assert_eq!(shown[0]["mode_set_by"], "operator");
    let history = shown[0]["history"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1]["by"], "operator");
    assert_eq!(history[1]["name"], "grace");
}

#[tokio::test]
async fn the_announcements_of_the_lms_are_shown() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let user = stack.run(&["users", "show", ADA, "--json"]).await.json();
    let by = Change::Delivery {
        request_id: "r".to_owned(),
        token_id: "t0".to_owned(),
    };
    let change = EnrollmentChange::new(
        user["user_id"].as_str().unwrap().parse().unwrap(),
        "Org/Ants/1".parse().unwrap(),
        by,
        SystemClock.now(),
        Uuid::new_v4,
    );
    let enrollments = Enrollments::new(stack.dynamodb(), "EnrollmentsTable".to_owned());
    let announced = [Announced {
        active: true,
        mode: None,
        roles: ["staff".parse().unwrap()].into(),
        delivered_at: None,
    }];
    let paid_modes = "verified".parse().unwrap();
    enrollments
        .change(&change, |before| {
            change.announce(before, &announced, &paid_modes)
        })
        .await
        .unwrap();
    stack
        .run(&["enrollments", "set", ADA, RUN, "--mode", "verified"])
        .await
        .ok();

    let shown = stack
        .run(&["enrollments", "show", ADA, "--json"])
        .await
        .json();
    assert_eq!(shown[0]["roles"], json!(["staff"]));
    assert_eq!(shown[0]["edx_enrolled"], true);
    let text = stack.run(&["enrollments", "show", ADA]).await.ok();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "course",
            "mode",
            "active",
            "edx_enrolled",
            "roles",
            "change_status",
            "changed"
        ]
    );
    assert_eq!(rows[1][..5], ["Org/Ants/1", "audit", "yes", "yes", "staff"]);
    assert_eq!(rows[2][..4], [RUN, "verified", "yes", "no"]);
    assert_eq!(rows.len(), 3);
    let text = stack
        .run(&["enrollments", "show", ADA, "--history"])
        .await
        .ok();
    assert!(text.contains("delivery with token t0"), "{text}");
    assert!(text.contains("operator grace"), "{text}");

    // The LMS does not announce that a role is taken away.
    let remove = async |role: &str, run: &str| {
        let set = [
            "enrollments",
            "set",
            ADA,
            run,
            "--remove-role",
            role,
            "--json",
        ];
        stack.run(&set).await
    };
    let run = "Org/Ants/1";
    for (role, outcome, roles) in [
        ("instructor", "unchanged", json!(["staff"])),
        ("staff", "updated", json!([])),
        ("staff", "unchanged", json!([])),
    ] {
        let ran = remove(role, run).await.json();
        let enrollment = &ran["enrollment"];
        assert_eq!(
            (&ran["outcome"], &enrollment["roles"]),
            (&json!(outcome), &roles),
            "{role}"
        );
        let state = (
            &enrollment["mode"],
            &enrollment["active"],
            &enrollment["mode_set_by"],
        );
        assert_eq!(
            state,
            (&json!("audit"), &json!(true), &json!(null)),
            "{role}"
        );
    }
    let text = stack.run(&["enrollments", "show", ADA, "--history"]).await;
    assert!(text.ok().contains("removed roles"));
    let ran = remove("staff", "course-v1:No+Such+Run").await;
    assert!(ran.err.contains("no course run"), "{ran:?}");
}

#[tokio::test]
async fn a_role_is_not_removed_without_an_enrollment() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let set = ["enrollments", "set", ADA, RUN, "--remove-role", "staff"];
    let ran = stack.run(&set).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains(&format!("{ADA} is not enrolled in {RUN}")),
        "{ran:?}"
    );
    // --inactive and --force need a mode.
    for more in ["--inactive", "--force"] {
        let ran = stack.run(&[&set[..], &[more]].concat()).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("--mode"), "{ran:?}");
    }
}

#[tokio::test]
async fn user_and_run_must_exist() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let refused = async |email, run| {
        let ran = stack
            .run(&["enrollments", "set", email, run, "--mode", "audit"])
            .await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        ran.err
    };
    assert!(
        refused("bob@example.org", RUN)
            .await
            .contains("no user bob@example.org")
    );
    assert!(
        refused(ADA, "Org/No/1")
            .await
            .contains("no course run Org/No/1")
    );
    let ran = stack.run(&["enrollments", "show", "bob@example.org"]).await;
    assert_eq!(ran.code, 2);
    assert_eq!(
        stack
            .run(&["enrollments", "show", ADA, "--json"])
            .await
            .json(),
        json!([])
    );
}

#[tokio::test]
async fn an_unknown_mode_is_refused_without_force() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let set = async |more: &[&str]| {
        let arguments = [&["enrollments", "set", ADA, RUN, "--mode"], more].concat();
        stack.run(&arguments).await
    };
    let ran = set(&["verfied"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    for message in [
        "a mode verfied; use one of audit, honor, verified, ",
        "--force",
    ] {
        assert!(ran.err.contains(message), "{ran:?}");
    }
    let (longest, too_long) = ("é".repeat(100), "é".repeat(101));
    for (mode, message) in [
        ("au\u{7}dit", "has a control character"),
        ("", "is empty"),
        (" \t", "is empty"),
        (too_long.as_str(), "is longer than 100 characters"),
    ] {
        let ran = set(&[mode, "--force"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{mode:?}: {ran:?}");
        assert!(ran.err.contains(message), "{ran:?}");
    }
    for (mode, more) in [
        ("verfied", &["--force", "--json"][..]),
        (&longest, &["--force", "--json"]),
        (" verified\t", &["--json"]),
        ("paid-executive-education", &["--json"]),
        ("unpaid-executive-education", &["--json"]),
    ] {
        let ran = set(&[&[mode], more].concat()).await.json();
        assert_eq!(ran["enrollment"]["mode"], mode.trim(), "{mode:?}");
    }
}
