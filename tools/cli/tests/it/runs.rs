use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use domain::{BlockedReason, EventKind};
use local::{Fault, FaultyProxy};
use serde_json::json;

use crate::harness::{ADA, CliFixture, RUN, Ran};

const HEADING: &str =
    "course_id,title,live,is_self_paced,start_date,end_date,certificate_available_date";

#[tokio::test]
async fn bad_lines_are_named_and_the_rest_is_imported() {
    let stack = CliFixture::start().await;
    let rows = [
        "course-v1:Org+Bees+2026,Bees,TRUE,no,2026-09-01,2026-12-01T01:00:00+01:00,",
        "Org/Ants/Old,\"Ants, and more\",1,yes,,,2027-01-01T00:00:00.5Z",
        "Bees,Bees,,,,,",
        "course-v1:Org+NoTitle+1, ,,,,,",
        "course-v1:Org+Flag+1,Flag,perhaps,,,,",
        "course-v1:Org+Date+1,Date,,,2026-09-31,,",
        "course-v1:Org+Offset+1,Offset,,,,2026-09-01T10:00:00,",
        "course-v1:Org+Bees+2026,Bees again,,,,,",
        "course-v1:Org+Short+1",
        "course-v1:Org+Last+1,Last,,,,,",
        "course-v1:Org+Backwards+1,Backwards,,,2026-09-02,2026-09-01,",
        "course-v1:Org+Ever+1,Ever,,,,9999-12-31,",
        "course-v1:Org+Left+1,Left,yes",
        "course-v1:Org+Hid\u{200b}den+1,Hidden,,,,,",
        "course-v1:Org+Turned+1,\u{202e}denruT,,,,,",
        &format!("course-v1:Org+Long+1,{},,,,,", "x".repeat(256)),
        "",
    ];
    let file = stack.file("runs.csv", format!("{HEADING}\n{}", rows.join("\n")));
    let bad = json!([
        {"line": 4, "problem": "course_id is not a course run id such as course-v1:Org+Course+Run"},
        {"line": 5, "problem": "title is missing"},
        {"line": 6, "problem": "live must be true or false; yes, no, t, f, 1 and 0 are accepted too"},
        {"line": 7, "problem": "start_date is not a date such as 2026-09-01 or a time such as 2026-09-01T08:00:00Z"},
        {"line": 8, "problem": "end_date is not a date such as 2026-09-01 or a time such as 2026-09-01T08:00:00Z"},
        {"line": 9, "problem": "the same course id as line 2, which is imported and differs in title, live, start_date and end_date"},
        {"line": 10, "problem": "has 1 columns, and the first line has 7"},
        {"line": 12, "problem": "end_date is before start_date"},
        {"line": 13, "problem": "end_date is beyond the last time that can be stored, 9999-12-30T22:00:00Z; leave it empty if it never comes"},
        {"line": 15, "problem": "course_id has U+200B ZERO WIDTH SPACE at 18"},
        {"line": 16, "problem": "title has U+202E RIGHT-TO-LEFT OVERRIDE at 1"},
        {"line": 17, "problem": "title is longer than 255 characters"},
    ]);
    let warnings = json!([{
        "kind": "cells_left_out",
        "problem": "the last cells are left out, and count as absent columns",
        "rows": 1,
        "lines": [14],
    }]);
    for (created, unchanged) in [(4, 0), (0, 4)] {
        let ran = stack.run(&["--json", "runs", "import", &file]).await;
        assert_eq!(ran.code, 1, "{created} {unchanged}: {ran:?}");
        assert_eq!(
            ran.json(),
            json!({
                "created": created, "updated": 0, "unchanged": unchanged,
                "differing": [], "bad_lines": bad, "warnings": warnings, "dry_run": false, "stopped": null,
                "events_due": 0
            }),
            "{created} {unchanged}"
        );
    }

    let run = stack
        .run(&["runs", "show", "course-v1:Org+Bees+2026", "--json"])
        .await
        .json();
    assert_eq!(
        run,
        json!({
            "course_id": "course-v1:Org+Bees+2026",
            "title": "Bees",
            "live": true,
            "is_self_paced": false,
            "start_date": "2026-09-01T00:00:00Z",
            "end_date": "2026-12-01T00:00:00Z",
            "certificate_available_date": null,
        })
    );
    let text = stack.run(&["runs", "show", "Org/Ants/Old"]).await.ok();
    assert!(text.contains("title         Ants, and more\n"), "{text}");
}

#[tokio::test]
async fn an_absent_column_keeps_the_stored_value_and_json_lines_have_flags() {
    let stack = CliFixture::start().await;
    let import = async |lines: &str| stack.run_with_input(&["runs", "import", "-"], lines).await;
    let line = json!({
        "course_id": "Org/C/R", "title": "C", "live": true, "is_self_paced": "no",
        "start_date": "2026-09-01", "end_date": null,
    });
    let created = import(&line.to_string()).await.ok();
    assert_eq!(created, "1 created, 0 updated, 0 unchanged, 0 bad lines\n");
    let unchanged = import("title,course_id\nC,Org/C/R\n").await.ok();
    assert_eq!(
        unchanged,
        "0 created, 0 updated, 1 unchanged, 0 bad lines\n"
    );
    let run = stack
        .run(&["runs", "show", "Org/C/R", "--json"])
        .await
        .json();
    assert_eq!(run["live"], true);
    assert_eq!(run["start_date"], "2026-09-01T00:00:00Z");

    let import_live = async |live: &str| {
        let line = format!(r#"{{"course_id": "Org/C/R", "title": "C", "live": {live}}}"#);
        import(&line).await
    };
    for (live, outcome) in [
        ("false", "0 created, 1 updated"),
        ("1", "0 created, 1 updated"),
        ("true", "0 created, 0 updated"),
        // PostgreSQL writes flags like these.
        (r#""t""#, "0 created, 0 updated"),
        (r#""f""#, "0 created, 1 updated"),
        (r#""T""#, "0 created, 1 updated"),
    ] {
        assert!(import_live(live).await.ok().starts_with(outcome), "{live}");
    }
    assert!(
        import_live("0")
            .await
            .ok()
            .starts_with("0 created, 1 updated")
    );
    for live in ["2", "1.0", "-1", "[]", "\"perhaps\""] {
        let message =
            "line 1: live must be true or false; yes, no, t, f, 1 and 0 are accepted too\n";
        assert_eq!(import_live(live).await.err, message, "{live}");
    }
}

/// The stored run, the file's columns besides the id and a title, and the run after the
/// import.
#[tokio::test]
async fn an_absent_column_keeps_the_stored_value_and_an_empty_cell_clears_it() {
    let stack = CliFixture::start().await;
    let import = async |file: &str| stack.run_with_input(&["runs", "import", "-"], file).await;
    let all =
        format!("{HEADING}\nOrg/C/R,C,yes,yes,2026-09-01,2026-12-01,2027-01-01\nOrg/C/S,S,,,,,\n");
    let whole = json!({
        "course_id": "Org/C/R", "title": "C", "live": true, "is_self_paced": true,
        "start_date": "2026-09-01T00:00:00Z", "end_date": "2026-12-01T00:00:00Z",
        "certificate_available_date": "2027-01-01T00:00:00Z",
    });
    for (file, changed) in [
        (
            "course_id,title\nOrg/C/R,D\n".to_owned(),
            json!({"title": "D"}),
        ),
        (
            "course_id,title,live\nOrg/C/R,C,\n".to_owned(),
            json!({"live": false}),
        ),
        (
            "course_id,title,live\nOrg/C/R,C,no\n".to_owned(),
            json!({"live": false}),
        ),
        (
            "course_id,title,is_self_paced\nOrg/C/R,C,\n".to_owned(),
            json!({"is_self_paced": false}),
        ),
        (
            "course_id,title,start_date\nOrg/C/R,C, \n".to_owned(),
            json!({"start_date": null}),
        ),
        (
            "end_date,course_id,title\n2026-12-02,Org/C/R,C\n".to_owned(),
            json!({"end_date": "2026-12-02T00:00:00Z"}),
        ),
        (
            "course_id,title,certificate_available_date\nOrg/C/R,C,\n".to_owned(),
            json!({"certificate_available_date": null}),
        ),
        // A cell that is left out at the end of a row is absent.
        (format!("{HEADING}\nOrg/C/R,C,no\n"), json!({"live": false})),
        (
            format!("{HEADING}\nOrg/C/R,C,,,,,\n"),
            json!({
                "live": false, "is_self_paced": false, "start_date": null, "end_date": null,
                "certificate_available_date": null,
            }),
        ),
        (
            json!({"course_id": "Org/C/R", "title": "C", "end_date": null}).to_string(),
            json!({"end_date": null}),
        ),
        (
            json!({"course_id": "Org/C/R", "title": "C", "live": null}).to_string(),
            json!({"live": false}),
        ),
    ] {
        import(&all).await.ok();
        let updated = import(&file).await.ok();
        assert_eq!(
            updated, "0 created, 1 updated, 0 unchanged, 0 bad lines\n",
            "{file}"
        );
        let mut expected = whole.clone();
        let changed = changed.as_object().unwrap().clone();
        expected.as_object_mut().unwrap().extend(changed);
        let run = stack
            .run(&["runs", "show", "Org/C/R", "--json"])
            .await
            .json();
        assert_eq!(run, expected, "{file}");
        let again = import(&file).await.ok();
        assert_eq!(
            again, "0 created, 0 updated, 1 unchanged, 0 bad lines\n",
            "{file}"
        );
    }
    // A new run has no values to keep.
    import("course_id,title\nOrg/C/T,T\n").await.ok();
    let run = stack
        .run(&["runs", "show", "Org/C/T", "--json"])
        .await
        .json();
    let new = json!({
        "course_id": "Org/C/T", "title": "T", "live": false, "is_self_paced": false,
        "start_date": null, "end_date": null, "certificate_available_date": null,
    });
    assert_eq!(run, new);
}

#[tokio::test]
async fn a_date_that_contradicts_a_stored_one_is_refused() {
    let stack = CliFixture::start().await;
    let import = async |file: &str| stack.run_with_input(&["runs", "import", "-"], file).await;
    import("course_id,title,start_date,end_date\nOrg/C/R,C,2026-09-01,2026-12-01\n")
        .await
        .ok();
    for (file, message) in [
        (
            "course_id,title,end_date\nOrg/C/R,C,2026-08-31\n",
            "line 2: end_date would be 2026-08-31T00:00:00Z, before start_date, \
             2026-09-01T00:00:00Z; one of them is left as it is here\n",
        ),
        (
            "course_id,title,start_date\nOrg/C/R,C,2026-12-02\n",
            "line 2: end_date would be 2026-12-01T00:00:00Z, before start_date, \
             2026-12-02T00:00:00Z; one of them is left as it is here\n",
        ),
    ] {
        let ran = import(file).await;
        assert_eq!((ran.code, ran.err.as_str()), (1, message));
        assert!(
            ran.out.ends_with("0 updated, 0 unchanged, 1 bad line\n"),
            "{ran:?}"
        );
    }
    for file in [
        "course_id,title,start_date,end_date\nOrg/C/R,C,2026-12-02,2026-12-03\n",
        "course_id,title,end_date\nOrg/C/R,C,\n",
    ] {
        let updated = import(file).await.ok();
        assert_eq!(updated, "0 created, 1 updated, 0 unchanged, 0 bad lines\n");
    }
}

/// Attributes of other programs stay, and so does another program's concurrent change of
/// a column that the file lacks.
#[tokio::test]
async fn an_import_of_runs_writes_only_its_own_columns() {
    let stack = CliFixture::start().await;
    let file = stack.file("runs.csv", "course_id,title\nOrg/C/R,C\n");
    stack.run(&["runs", "import", &file]).await.ok();
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "UpdateItem" => Fault::Hold,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let csv = "course_id,title,end_date\nOrg/C/R,D,2026-12-01\n";
    let mut command = stack.command(&["runs", "import", &stack.file("later.csv", csv)]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let child = command.spawn().unwrap();
    proxy.stuck(1).await;
    stack
        .dynamodb()
        .update_item()
        .table_name("CourseRunsTable")
        .key("course_id", S("Org/C/R".to_owned()))
        .update_expression("SET live = :live, price = :price")
        .expression_attribute_values(":live", Bool(true))
        .expression_attribute_values(":price", S("100".to_owned()))
        .send()
        .await
        .unwrap();
    proxy.set(|_| Fault::Pass);
    Ran::from(child.wait_with_output().await.unwrap()).ok();
    let [run] = stack.scan("CourseRunsTable").await.try_into().unwrap();
    let expected = [
        ("course_id", S("Org/C/R".to_owned())),
        ("title", S("D".to_owned())),
        ("live", Bool(true)),
        ("is_self_paced", Bool(false)),
        ("end_date", S("2026-12-01T00:00:00Z".to_owned())),
        ("price", S("100".to_owned())),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(run, HashMap::from(expected));
}

#[tokio::test]
async fn an_import_makes_events_due_that_were_blocked_on_the_run() {
    let stack = CliFixture::start().await;
    let import = async |csv: &str| {
        stack
            .run_with_input(&["runs", "import", "-"], csv)
            .await
            .ok()
    };
    let mut keys = Vec::new();
    for kind in [EventKind::Enrollment, EventKind::Certificate] {
        let event = stack
            .add_pending(kind, ADA, RUN, BlockedReason::NoSuchRun)
            .await;
        keys.push(event.event_key);
        stack
            .add_pending(kind, ADA, "Org/Ants/1", BlockedReason::NoSuchRun)
            .await;
    }
    let others = import("course_id,title\nOrg/Other/1,Other\n").await;
    assert_eq!(others, "1 created, 0 updated, 0 unchanged, 0 bad lines\n");
    assert_eq!(stack.due().await, []);

    let csv = format!("course_id,title\n{RUN},Bees\n");
    for (outcome, due) in [
        (
            "1 created, 0 updated, 0 unchanged, 0 bad lines",
            "; 2 pending events waited for this and are retried within a minute",
        ),
        ("0 created, 0 updated, 1 unchanged, 0 bad lines", ""),
    ] {
        assert_eq!(import(&csv).await, format!("{outcome}{due}\n"));
        let mut found = stack.due().await;
        found.sort_by_key(|key| keys.iter().position(|k| k == key));
        assert_eq!(found, keys, "{outcome}");
    }
    // This is the state after an import that was cut short before it handled the events.
    let again = stack.add_pending(
        EventKind::Enrollment,
        "bob@example.org",
        RUN,
        BlockedReason::NoSuchRun,
    );
    keys.push(again.await.event_key);
    let message = "0 created, 0 updated, 1 unchanged, 0 bad lines; \
        1 pending event waited for this and is retried within a minute\n";
    assert_eq!(import(&csv).await, message);
    assert_eq!(stack.due().await.len(), 3);
}
