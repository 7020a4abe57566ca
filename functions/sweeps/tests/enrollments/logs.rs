//! The log lines of a sweep, and the data that must never be in one.

use std::time::Duration;

use harness::sweep::id;
use harness::{ADA, FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{At, CLIENT_SECRET, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::{Fixture, wired};

/// Returns a run whose list has a learner of each kind.
async fn prepare() -> Fixture {
    let fixture = Fixture::never_swept().await;
    fixture.put_learner(0).await;
    fixture.lists(0, "verified", true);
    for learner in 1..4 {
        fixture.enrolled(learner, "audit").await;
    }
    fixture.lists(1, "audit", false);
    fixture.lists(2, "verified", true);
    fixture.put_learner(4).await;
    fixture.lists(4, "", true);
    fixture.lms.enroll("stranger", RUN, "verified", true);
    fixture.clock.advance(Duration::from_secs(60));
    fixture
}

/// A sweep logs a line for each learner whom it changes, or would change, and one at the end;
/// unknown learners are only counted.
#[tokio::test]
async fn a_sweep_logs_a_line_for_each_change_and_one_at_its_end() {
    let fixture = prepare().await;
    for dry_run in [true, false] {
        let earlier = fixture.log.lines().len();
        fixture.sweep().await;
        let mut lines = fixture.log.lines().split_off(earlier);
        let last = lines.pop().unwrap();
        for (field, value) in [
            ("message", json!("sweep ended")),
            ("level", json!("INFO")),
            ("sweep", json!("enrollments")),
            ("request_id", json!("the-call")),
            ("course_id", json!(RUN)),
            ("outcome", json!("done")),
            ("reason", Value::Null),
            ("dry_run", if dry_run { json!(true) } else { Value::Null }),
            ("listed", json!(6)),
            ("created", json!(1)),
            ("deactivated", json!(1)),
            ("mode_changed", json!(1)),
            ("unchanged", json!(1)),
            ("no_user", json!(1)),
            ("failed", json!(1)),
            ("left", Value::Null),
            // A token and the list, then the list and the held-back learners.
            ("lms_calls", json!(2)),
        ] {
            assert_eq!(last[field], value, "{field} {dry_run}");
        }
        assert!(
            last["dynamodb_calls"].as_u64().unwrap() > 3,
            "dry run: {dry_run}"
        );
        assert_eq!(lines.len(), 3, "dry run: {dry_run}: {lines:?}");
        for line in lines {
            for (field, value) in [
                ("message", "learner swept"),
                ("level", "INFO"),
                ("sweep", "enrollments"),
                ("course_id", RUN),
            ] {
                assert_eq!(line[field], value, "{field} {dry_run}: {line}");
            }
            assert_eq!(line["sweep_id"], last["sweep_id"], "dry run: {dry_run}");
        }
        let effects = ["created", "deactivated", "mode_changed"];
        for (learner, effect) in (0..).zip(effects) {
            assert_eq!(
                fixture.effects()[&id(learner)],
                [effect],
                "dry run: {dry_run}"
            );
        }
    }
}

/// A suspended call logs its checkpoint, and a failed one its error.
#[tokio::test]
async fn suspended_and_failed_sweeps_have_their_level() {
    let fixture = prepare().await;
    fixture.lms.pages_of(4);
    let call = json!({"sweep": {"run": RUN}});
    fixture.call_for(call, 1).await.unwrap();
    let line = fixture.log.last("sweep suspended");
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&json!("INFO"), &json!("suspended"))
    );
    assert_eq!(
        (&line["listed"], &line["reason"]),
        (&json!(4), &Value::Null)
    );

    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Huge).at(At::Enrollments));
    fixture.sweep().await;
    let line = fixture.log.last("sweep ended");
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&json!("ERROR"), &json!("failed"))
    );
    assert_eq!(line["reason"], "InvalidResponse:too_large");

    fixture
        .call(json!({"sweep": {"run": RUN, "forse": true}}))
        .await
        .unwrap_err();
    let line = fixture.log.last("sweep call failed");
    assert_eq!(
        (&line["level"], &line["reason"]),
        (&json!("ERROR"), &json!("malformed"))
    );
}

/// A store that fails is an error, and the same call succeeds later; a failure for one learner is a
/// warning.
#[tokio::test]
async fn a_failing_store_is_an_error() {
    let portal = prepare().await.function.portal;
    let (proxy, client) = portal.proxy(FAST_RETRIES).await;
    let fixture = wired(portal, client);
    for failing in ["GetItem", "BatchGetItem", "PutItem", "Query"] {
        proxy.set(move |call| match &call.operation {
            operation if operation == failing => Fault::Refuse("AccessDeniedException"),
            _ => Fault::Pass,
        });
        let call = json!({"sweep": {"run": RUN}});
        fixture.call(call).await.unwrap_err();
        let line = fixture.log.last("sweep call failed");
        for (field, value) in [
            ("level", "ERROR"),
            ("sweep", "enrollments"),
            ("request_id", "the-call"),
            ("reason", "store"),
            ("error_code", "AccessDeniedException"),
        ] {
            assert_eq!(line[field], value, "{failing} {field}");
        }
    }
    proxy.set(|_| Fault::Pass);
    assert_eq!(fixture.sweep().await["status"], "done");

    // A learner in the middle of the list, and one who was held back until its end.
    let failing = [id(2), id(1)];
    proxy.set(move |call| {
        let body = String::from_utf8_lossy(&call.body);
        let is_theirs = failing.iter().any(|id| body.contains(&id.to_string()));
        if call.operation == "UpdateItem" && is_theirs {
            Fault::Refuse("ValidationException")
        } else {
            Fault::Pass
        }
    });
    let answer = fixture.sweep().await;
    assert_eq!(
        (&answer["status"], &answer["tally"]["created"]),
        (&json!("done"), &json!(1))
    );
    assert_eq!(answer["tally"]["failed:ValidationException"], 2);
    let effects = fixture.effects();
    for id in failing {
        assert_eq!(effects[&id], ["failed:ValidationException"]);
    }
    for line in fixture.log.lines() {
        if line["effect"] == "failed:ValidationException" {
            assert_eq!(line["level"], "WARN");
        }
    }
}

/// A panic affects its learner alone; its place is logged, and not its message.
#[tokio::test]
async fn a_panic_is_logged_with_its_location() {
    let fixture = prepare().await;
    fixture.sweep().await;
    let client = harness::panicking_client(fixture.engine_url(), "UpdateItem");
    let fixture = wired(fixture.beside(), client);
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    let effects = fixture.effects();
    assert_eq!(effects.len(), 3);
    for effect in effects.values().flatten() {
        assert!(
            effect.starts_with("failed:panic:tools/harness/"),
            "{effect}"
        );
    }
    assert!(!fixture.log.text().contains('@'));
}

/// A line names a learner by id only, and holds no part of a credential, in any case.
#[tokio::test]
async fn no_address_username_or_secret_is_ever_logged() {
    let fixture = prepare().await;
    fixture.sweep().await;
    for fault in [
        LmsFault::Html,
        LmsFault::OtherLearner,
        LmsFault::Drop,
        LmsFault::ModeNumber,
        LmsFault::Repeat,
    ] {
        fixture
            .lms
            .add_fault(FaultRule::of(fault).at(At::Enrollments));
        fixture.sweep().await;
        let of_ada = json!({"sweep": {"run": RUN, "learner": ADA}});
        let _ = fixture.call(of_ada).await;
        fixture.lms.revoke();
        fixture.clock.advance(Duration::from_hours(15));
    }
    fixture.sweep().await;
    for learner in [ADA, "bob@example.org", "nobody"] {
        let _ = fixture
            .call(json!({"sweep": {"run": RUN, "learner": learner}}))
            .await;
        let _ = fixture.call(json!({"list": {"learner": learner}})).await;
    }
    assert!(!fixture.log.metrics().is_empty());
    // The one word of the log itself that contains one of these.
    let log = fixture.log.text_without_ids().replace("UnreadableRuns", "");
    assert!(log.lines().count() > 20, "{log}");
    for word in [
        "@",
        "learner0",
        "ada",
        "bob",
        "stranger",
        CLIENT_SECRET,
        "JWT",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
