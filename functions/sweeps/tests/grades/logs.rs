//! The log lines of a sweep, and the data that must never be in one.

use std::time::Duration;

use harness::sweep::{email, id, username};
use harness::{ADA, ADA_ID, FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{CLIENT_SECRET, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::{Fixture, graded, wired};

/// Returns a run whose list has a learner of each kind.
async fn prepare() -> Fixture {
    let fixture = Fixture::new().await;
    for learner in 0..4 {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    fixture.sweep().await;
    fixture.clock.advance(Duration::from_secs(60));
    // 0 stays unchanged. 1 loses a certificate, 2 has another grade, 4 passes.
    fixture.says(1, 0.0);
    fixture.a_day_passes().await;
    fixture.says(2, 0.8);
    fixture.learner(4).await;
    fixture.says(4, 0.9);
    // An invalid row, and an unknown learner.
    fixture.says(3, f64::NAN);
    fixture.lms.grade("stranger", RUN, graded(0.9));
    fixture
}

/// A sweep logs a line for each effect on a learner, actual or in a dry run, and one at the end;
/// unknown learners are only counted.
#[tokio::test]
async fn a_sweep_logs_a_line_for_each_effect_and_one_at_its_end() {
    let fixture = prepare().await;
    for dry_run in [true, false] {
        let earlier = fixture.log.lines().len();
        fixture.sweep_with(json!({"dry_run": dry_run})).await;
        let mut lines = fixture.log.lines().split_off(earlier);
        let last = lines.pop().unwrap();
        for (field, value) in [
            ("message", json!("sweep ended")),
            ("level", json!("INFO")),
            ("sweep", json!("grades")),
            ("request_id", json!("the-call")),
            ("course_id", json!(RUN)),
            ("outcome", json!("done")),
            ("reason", Value::Null),
            ("dry_run", if dry_run { json!(true) } else { Value::Null }),
            ("listed", json!(6)),
            ("grade_stored", json!(2)),
            ("issued", json!(1)),
            ("withdrawn", json!(1)),
            ("unchanged", json!(1)),
            ("no_user", json!(1)),
            ("failed", json!(1)),
            ("left", Value::Null),
            // A token and the list; then the list, and again the grade and the enrollment of the
            // held-back learner.
            ("lms_calls", json!(if dry_run { 2 } else { 3 })),
        ] {
            assert_eq!(last[field], value, "{field} {dry_run}");
        }
        assert!(
            last["dynamodb_calls"].as_u64().unwrap() > 3,
            "dry run: {dry_run}"
        );
        assert_eq!(lines.len(), 4, "dry run: {dry_run}: {lines:?}");
        for line in lines {
            for (field, value) in [
                ("message", "learner swept"),
                ("level", "INFO"),
                ("sweep", "grades"),
                ("course_id", RUN),
            ] {
                assert_eq!(line[field], value, "{field} {dry_run}: {line}");
            }
            assert_eq!(line["sweep_id"], last["sweep_id"], "dry run: {dry_run}");
        }
        for (learner, effects) in [
            (1, vec!["withdrawn"]),
            (2, vec!["grade_stored"]),
            (4, vec!["grade_stored", "issued"]),
        ] {
            assert_eq!(
                fixture.effects()[&id(learner)],
                effects,
                "{learner} {dry_run}"
            );
        }
    }
}

/// A store that fails for one learner is a warning, and the others are processed: also where one is
/// held back until the end of the list.
#[tokio::test]
async fn a_store_that_fails_for_one_learner_is_a_warning() {
    let portal = prepare().await.function.portal;
    let (proxy, client) = portal.proxy(FAST_RETRIES).await;
    let fixture = wired(portal, client);
    let failing = [id(4), id(1)];
    proxy.set(move |call| {
        let body = String::from_utf8_lossy(&call.body);
        let is_theirs = failing.iter().any(|id| body.contains(&id.to_string()));
        if call.operation == "TransactWriteItems" && is_theirs {
            Fault::Refuse("ValidationException")
        } else {
            Fault::Pass
        }
    });
    let answer = fixture.sweep().await;
    assert_eq!(
        (&answer["status"], &answer["tally"]["grade_stored"]),
        (&json!("done"), &json!(1))
    );
    let effects = fixture.effects();
    let failed = "failed:ValidationException";
    assert_eq!(effects[&id(4)], [failed]);
    assert_eq!(effects[&id(1)], [failed]);
    for line in fixture.log.lines() {
        if line["effect"] == failed {
            assert_eq!(line["level"], "WARN");
        }
    }
    let line = fixture.log.last("sweep ended");
    assert_eq!(
        (&line["level"], &line["failed"]),
        (&json!("INFO"), &json!(3))
    );

    // An unavailable store ends the call, and the next one resumes.
    fixture.clock.advance(Duration::from_secs(60));
    proxy.set(|call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Refuse("ServiceUnavailable"),
        _ => Fault::Pass,
    });
    let call = json!({"sweep": {"run": RUN}});
    fixture.call(call).await.unwrap_err();
    let line = fixture.log.last("sweep call failed");
    for (field, value) in [
        ("level", "ERROR"),
        ("sweep", "grades"),
        ("request_id", "the-call"),
        ("reason", "store"),
        ("error_code", "ServiceUnavailable"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    proxy.set(|_| Fault::Pass);
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    assert_eq!(answer["tally"]["withdrawn"], 1);
}

/// A panic affects its learner alone; its place is logged, and not its message.
#[tokio::test]
async fn a_panic_is_logged_with_its_location() {
    let fixture = prepare().await;
    let client = harness::panicking_client(fixture.engine_url(), "TransactWriteItems");
    let fixture = wired(fixture.beside(), client);
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    let effects = fixture.effects();
    for learner in [1, 4] {
        let last = effects[&id(learner)].last().unwrap();
        assert!(last.starts_with("failed:panic:tools/harness/"), "{last}");
    }
    assert_eq!(effects[&id(2)], ["grade_stored"]);
    assert!(!fixture.log.text().contains('@'));
}

/// A line names a learner by id only, and holds no part of a credential, in any case.
#[tokio::test]
async fn no_address_username_or_secret_is_ever_logged() {
    let fixture = prepare().await;
    fixture.lms.grade("ada", RUN, graded(0.9));
    let one = email(0);
    for fault in [
        LmsFault::Html,
        LmsFault::OtherLearner,
        LmsFault::Drop,
        LmsFault::PercentNull,
        LmsFault::Zero,
        LmsFault::Repeat,
    ] {
        fixture.lms.add_fault(FaultRule::of(fault));
        fixture.sweep().await;
        let of_ada = json!({"sweep": {"run": RUN, "learner": ADA}});
        let _ = fixture.call(of_ada).await;
        fixture.lms.revoke();
        fixture.clock.advance(Duration::from_hours(15));
    }
    fixture.lms.remove(&username(0), RUN);
    for learner in [ADA, ADA_ID, &one, "bob@example.org", "nobody"] {
        for call in [
            json!({"sweep": {"run": RUN, "learner": learner}}),
            json!({"list": {"learner": learner}}),
        ] {
            let _ = fixture.call(call).await;
        }
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
