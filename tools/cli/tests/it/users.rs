use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{BlockedReason, EventKind};
use local::{Fault, FaultyProxy};
use serde_json::json;
use tokio::process::Command;

use crate::harness::{CliFixture, RUN, ran};

const STRAY: &str = "a quotation mark stands inside a cell; a cell that has one must be in \
    quotation marks, and each one in it must be doubled";
/// Returns the error of a line with a username that another user has.
fn taken(line: u64, owner: &str) -> String {
    format!(
        "line {line}: the username belongs to {owner}; if another line of this file gives that \
         address a new username, import the file again\n"
    )
}

/// Lines with every kind of error; good lines stand between them.
const LINES: &[(&str, Option<&str>)] = &[
    ("\u{feff}Email, EDX_USERNAME,name,shoe size", None),
    ("Ada@Example.org,ada,Ada Lovelace,38", None),
    ("", None),
    ("bob@example.org,bob,\"Smith, \"\"Bob\"\"\",44", None),
    ("bob.example.org,x,,", Some("email has no @")),
    (" ,x,,", Some("email is missing")),
    (
        " ADA@example.ORG ,ada2,,",
        Some("the same address as line 2, which is imported and differs in edx_username and name"),
    ),
    ("cy@example.org,bob,,", Some("the same username as line 4")),
    (
        "dee@example.org,dee,,,",
        Some("has 5 columns, and the first line has 4"),
    ),
    ("emil@example.org,emil,Emil\",", Some(STRAY)),
    (
        "fay@example.org,\"fay\u{7}\",,",
        Some("edx_username has a line break or another control character"),
    ),
    (
        "gus@example.org,gus,\"Gus",
        Some("name has a line break or another control character (the row continues to line 13)"),
    ),
    ("of two lines\",", None),
    ("hal@example.org,hal,Hal,\"of one line, \"\"44\"\"\"", None),
    // Only the lines that were refused had this username.
    ("ida@example.org,ada2,Ida,", None),
];

fn csv() -> Vec<u8> {
    let mut file = Vec::new();
    for (line, _) in LINES {
        file.extend_from_slice(line.as_bytes());
        file.extend_from_slice(b"\r\n");
    }
    file.extend_from_slice(b"joe\xff@example.org,,,\n");
    file.extend_from_slice(format!("{}@example.org,,,\n", "x".repeat(70_000)).as_bytes());
    file.extend_from_slice(b"kim@example.org,,,");
    file
}

fn bad_lines() -> Vec<(u64, String)> {
    let lines = (1..).zip(LINES);
    let bad = lines.filter_map(|(line, (_, problem))| Some((line, (*problem)?.to_owned())));
    let end = LINES.len() as u64;
    bad.chain([
        (end + 1, "is not UTF-8".to_owned()),
        (end + 2, "is longer than 65536 bytes".to_owned()),
    ])
    .collect()
}

#[tokio::test]
async fn bad_lines_are_named_and_the_rest_is_imported() {
    let stack = CliFixture::start().await;
    let file = stack.file("users.csv", csv());
    let bad = bad_lines();

    let ran = stack.run(&["users", "import", &file]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.out,
        format!(
            "5 created, 0 updated, 0 unchanged, {} bad lines\n",
            bad.len()
        )
    );
    let mut message: Vec<_> = ran.err.lines().collect();
    message.sort_unstable();
    let mut expected: Vec<_> = bad
        .iter()
        .map(|(line, problem)| format!("line {line}: {problem}"))
        .collect();
    expected.push("warning: these columns are not known and are ignored: shoe size".to_owned());
    expected.sort_unstable();
    assert_eq!(message, expected);

    // A second import changes nothing.
    let ran = stack.run(&["users", "import", &file, "--json"]).await;
    assert_eq!(ran.code, 1);
    let problems: Vec<_> = bad
        .iter()
        .map(|(line, problem)| json!({"line": line, "problem": problem}))
        .collect();
    assert_eq!(
        ran.json(),
        json!({"created": 0, "updated": 0, "unchanged": 5, "differing": [], "bad_lines": problems,
            "warnings": [], "events_due": 0, "dry_run": false, "stopped": null})
    );

    let bob = stack
        .run(&["users", "show", "bob@example.org", "--json"])
        .await
        .json();
    assert_eq!(bob["name"], "Smith, \"Bob\"");
    let hal = stack
        .run(&["users", "show", "hal@example.org", "--json"])
        .await
        .json();
    assert_eq!(hal["name"], "Hal");
    assert_eq!(
        stack.run(&["users", "show", "kim@example.org"]).await.code,
        0
    );
    assert_eq!(
        stack.run(&["users", "show", "emil@example.org"]).await.code,
        2
    );
}

#[tokio::test]
async fn json_lines_come_from_standard_input() {
    let stack = CliFixture::start().await;
    let lines = "\n\
        {\"email\": \"Ada@Example.org\", \"edx_username\": \"ada\", \"name\": null, \"age\": 36}\n\
        {\"email\": \"bob@example.org\", \"name\": \"Bob\\nSmith\"}\n\
        {\"email\": 5}\n\
        {\"name\": \"Nobody\"}\n\
        [\"cy@example.org\"]\n\
        {\"email\": \"dee@example.org\"\n\
        {\"email\": \"emil@example.org\", \"name\": true}\n\
        {\"email\": \"fay@example.org\"}";
    let ran = stack.run_with_input(&["users", "import", "-"], lines).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.out, "2 created, 0 updated, 0 unchanged, 6 bad lines\n");
    let mut message: Vec<_> = ran.err.lines().collect();
    message.sort_unstable();
    assert_eq!(
        message,
        [
            "line 3: name has a line break or another control character",
            "line 4: email is not text",
            "line 5: email is missing",
            "line 6: is not a JSON object",
            "line 7: is not JSON from column 27 on",
            "line 8: name is not text",
            "warning: these columns are not known and are ignored: age",
        ]
    );
    let ran = stack.run_with_input(&["users", "import", "-"], lines).await;
    assert_eq!(ran.out, "0 created, 0 updated, 2 unchanged, 6 bad lines\n");
}

#[tokio::test]
async fn an_empty_cell_keeps_the_stored_value() {
    let stack = CliFixture::start().await;
    let import = async |csv: &str| {
        stack
            .run_with_input(&["users", "import", "-"], csv)
            .await
            .ok()
    };
    import("email,edx_username,name\nAda@example.org,ada,Ada\n").await;
    let before = stack
        .run(&["users", "show", "ada@example.org", "--json"])
        .await
        .json();
    assert_eq!(
        import("name,email\n,Ada@example.org\n").await,
        "0 created, 0 updated, 1 unchanged, 0 bad lines\n"
    );
    assert_eq!(
        import("name,email\nAda L.,Ada@example.org\n").await,
        "0 created, 1 updated, 0 unchanged, 0 bad lines\n"
    );
    let after = stack
        .run(&["users", "show", "ADA@example.org", "--json"])
        .await
        .json();
    assert_eq!(after["name"], "Ada L.");
    assert_eq!(after["edx_username"], "ada");
    assert_eq!(after["user_id"], before["user_id"]);
    assert_eq!(after["email_as_given"], "Ada@example.org");

    let text = stack.run(&["users", "show", "ada@example.org"]).await.ok();
    assert!(text.contains("edX username  ada\n"), "{text}");
}

#[tokio::test]
async fn usernames_move_between_users() {
    let stack = CliFixture::start().await;
    let import = async |csv: &str| stack.run_with_input(&["users", "import", "-"], csv).await;
    let username = async |email| {
        let user = stack.run(&["users", "show", email, "--json"]).await.json();
        user["edx_username"].as_str().map(str::to_owned)
    };
    let first = "email,edx_username\nada@example.org,one\nbob@example.org,two\ncy@example.org,\n";
    import(first).await.ok();

    // The username is taken, and its owner keeps it.
    let ran = import("email,edx_username\ncy@example.org,one\n").await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, taken(2, "ada@example.org"));
    assert_eq!(username("cy@example.org").await, None);

    // Each takes the username that the line below gives up.
    let chain = "email,edx_username\n\
        cy@example.org,one\nada@example.org,two\nbob@example.org,three\n";
    assert_eq!(
        import(chain).await.ok(),
        "0 created, 3 updated, 0 unchanged, 0 bad lines\n"
    );
    assert_eq!(
        import(chain).await.ok(),
        "0 created, 0 updated, 3 unchanged, 0 bad lines\n"
    );
    assert_eq!(username("cy@example.org").await.as_deref(), Some("one"));
    assert_eq!(username("ada@example.org").await.as_deref(), Some("two"));
    assert_eq!(username("bob@example.org").await.as_deref(), Some("three"));

    // Two users who swap usernames: neither can be first.
    let ran = import("email,edx_username\nada@example.org,three\nbob@example.org,two\n").await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out, "0 created, 0 updated, 0 unchanged, 2 bad lines\n");
    let [ada, bob] = ["ada@example.org", "bob@example.org"];
    assert_eq!(ran.err, taken(2, bob) + &taken(3, ada));

    // With a temporary username the swap works.
    for file in [
        "email,edx_username\nada@example.org,between\n",
        "email,edx_username\nada@example.org,three\nbob@example.org,two\n",
    ] {
        import(file).await.ok();
    }
    assert_eq!(username("ada@example.org").await.as_deref(), Some("three"));
    assert_eq!(username("bob@example.org").await.as_deref(), Some("two"));
}

/// Usernames that differ only in the case of ASCII letters are the same.
#[tokio::test]
async fn a_username_in_another_case_is_the_same_username() {
    let stack = CliFixture::start().await;
    let import = async |rows: &str| {
        let csv = format!("email,edx_username\n{rows}\n");
        stack.run_with_input(&["users", "import", "-"], &csv).await
    };
    let username = async |email| {
        let user = stack.run(&["users", "show", email, "--json"]).await.json();
        user["edx_username"].as_str().map(str::to_owned)
    };
    let (ada, bob) = ("ada@example.org", "bob@example.org");
    // In one file.
    let ran = import("ada@example.org,Kepler\nbob@example.org,kEPLER").await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "line 3: the same username as line 2\n");
    // In two files.
    for twin in ["Kepler", "kepler", "KEPLER"] {
        let ran = import(&format!("bob@example.org,{twin}")).await;
        assert_eq!(ran.code, 1, "{twin}");
        let message = "line 2: the username belongs to ada@example.org; if they are one person";
        assert!(ran.err.starts_with(message), "{twin}: {ran:?}");
    }
    // Letters outside ASCII are compared as they are spelled.
    let others = "e1@example.org,É\ne2@example.org,é\nk1@example.org,\u{212A}epler";
    import(others).await.ok();

    // The owner may change the spelling, and the last one counts.
    let counts = ["0 created, 1 updated, 0", "0 created, 0 updated, 1"];
    for message in counts {
        let message = format!("{message} unchanged, 0 bad lines\n");
        assert_eq!(import("ada@example.org,kepler").await.ok(), message);
        assert_eq!(username(ada).await.as_deref(), Some("kepler"));
    }
    let keys = async || {
        let mut keys = Vec::new();
        for item in stack.scan("UsernamesTable").await {
            let text = |name: &str| item[name].as_s().unwrap().clone();
            keys.push([text("username_key"), text("edx_username"), text("email")]);
        }
        keys.retain(|[key, ..]| key.is_ascii());
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys().await, [["kepler", "kepler", ada]]);

    // The owner gives it up, and another line of the file takes it in another case.
    let message = "1 created, 1 updated, 0 unchanged, 0 bad lines\n";
    let ran = import("bob@example.org,KEPLER\nada@example.org,Ada").await;
    assert_eq!(ran.ok(), message);
    assert_eq!(
        keys().await,
        [["ada", "Ada", ada], ["kepler", "KEPLER", bob]]
    );
    // The username stays with a user whose address changes, and is freed when the user is
    // erased.
    let rename = ["users", "rename-email", bob, "b@example.org"];
    stack.run(&rename).await.ok();
    let moved = ["kepler", "KEPLER", "b@example.org"];
    assert_eq!(keys().await, [["ada", "Ada", ada], moved]);
    // A row with the former address and this username is still about its owner.
    let message = "0 created, 0 updated, 1 unchanged, 0 bad lines\n";
    assert_eq!(import("bob@example.org,kepler").await.ok(), message);
    let erase = ["users", "erase", "b@example.org", "--now", "--yes"];
    stack.run(&erase).await.ok();
    assert_eq!(keys().await, [["ada", "Ada", ada]]);
    import("cy@example.org,kepler").await.ok();
}

/// Each row takes the username of the one below, so that each round can write only one.
#[tokio::test]
async fn a_long_chain_of_usernames_takes_several_imports() {
    const USERS: usize = 7;
    let stack = CliFixture::start().await;
    let import = async |shift: usize| {
        let row = |user| format!("learner{user}@example.org,name{}\n", user + shift);
        let rows: String = (0..USERS).map(row).collect();
        let csv = format!("email,edx_username\n{rows}");
        stack.run_with_input(&["users", "import", "-"], &csv).await
    };
    import(0).await.ok();
    // One in the first pass, and one in each of three rounds.
    let ran = import(1).await;
    assert_eq!(ran.out, "0 created, 4 updated, 0 unchanged, 3 bad lines\n");
    let again = import(1).await.ok();
    assert_eq!(again, "0 created, 3 updated, 4 unchanged, 0 bad lines\n");
}

/// Each user is three items, and a transaction takes a hundred.
#[tokio::test]
async fn many_usernames_change_at_once() {
    const USERS: usize = 50;
    let stack = CliFixture::start().await;
    for (name, outcome) in [
        ("old", "50 created, 0 updated"),
        ("new", "0 created, 50 updated"),
        ("NEW", "0 created, 50 updated"),
    ] {
        let row = |n| format!("learner{n}@example.org,{name}{n}\n");
        let rows: String = (0..USERS).map(row).collect();
        let csv = format!("email,edx_username\n{rows}");
        let ran = stack.run_with_input(&["users", "import", "-"], &csv).await;
        assert_eq!(
            ran.ok(),
            format!("{outcome}, 0 unchanged, 0 bad lines\n"),
            "{name}"
        );
    }
    assert_eq!(stack.scan("UsernamesTable").await.len(), USERS);
}

/// Rows that a quotation mark draws in are not imported, and the error names them.
#[tokio::test]
async fn a_missing_quotation_mark_is_reported_with_the_lines_it_draws_in() {
    let stack = CliFixture::start().await;
    let csv = "email,note\nada2@x,\"hello\nbob2@x,fine\ncy2@x,\"bye\ndee2@x,z\n";
    let ran = stack.run_with_input(&["users", "import", "-"], csv).await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out, "1 created, 0 updated, 0 unchanged, 1 bad line\n");
    let message = format!("line 2: {STRAY} (the row continues to line 4)\n");
    assert!(ran.err.ends_with(&message), "{ran:?}");
    for (email, code) in [("ada2@x", 2), ("bob2@x", 2), ("cy2@x", 2), ("dee2@x", 0)] {
        let shown = stack.run(&["users", "show", email]).await;
        assert_eq!(shown.code, code, "{email}: {shown:?}");
    }
}

/// Spreadsheets omit the empty cells at the end of a row. Only cells of optional columns
/// may be omitted.
#[tokio::test]
async fn cells_that_are_left_out_are_absent_columns() {
    let rows = |n: u64| -> String { (0..n).map(|n| format!("learner{n}@x,\n")).collect() };
    let warning = "warning: the last cells are left out, and count as absent columns: ";
    for (csv, counts, message, code) in [
        (
            "email,edx_username,name\nada@x,ada\nbob@x\ncy@x,cy,Cy\n".to_owned(),
            "3 created",
            format!("{warning}lines 2 and 3\n"),
            0,
        ),
        // Most files are like this.
        (
            format!("email,edx_username,name\n{}", rows(120)),
            "120 created",
            format!("{warning}lines 2, 3, 4, 5, 6 and 115 more\n"),
            0,
        ),
        // The required column comes last.
        (
            "name,email\nAda,ada@x\nBob\n".to_owned(),
            "1 created",
            "line 3: has 1 columns, and the first line has 2\n".to_owned(),
            1,
        ),
        // A row with more cells than columns has them in the wrong ones.
        (
            "email,edx_username,name\nada@x,ada,Lovelace, Ada\n".to_owned(),
            "0 created",
            "line 2: has 4 columns, and the first line has 3\n".to_owned(),
            1,
        ),
        (
            "email,edx_username,name\nada@x,ada,Ada,\n".to_owned(),
            "0 created",
            "line 2: has 4 columns, and the first line has 3\n".to_owned(),
            1,
        ),
        // A refused row causes no warning.
        (
            "email,edx_username,name\nada@x\nada@x\n".to_owned(),
            "1 created",
            format!(
                "line 3: the same address as line 2, which is imported and has the same values\n{warning}line 2\n"
            ),
            1,
        ),
        // A truncated file ends anywhere; a complete one may lack the end of its last line.
        (
            "email,edx_username,name\nada@x,ada,Ada\nbob@x,bo".to_owned(),
            "1 created",
            "line 3: has 2 columns, and the first line has 3; it is the last line and has no \
             line end, so the file may be cut off\n"
                .to_owned(),
            1,
        ),
        (
            "email,edx_username,name\nada@x,ada,Ada\nbob@x,bob,Bob".to_owned(),
            "2 created",
            String::new(),
            0,
        ),
    ] {
        let stack = CliFixture::start().await;
        let ran = stack.run_with_input(&["users", "import", "-"], &csv).await;
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (code, message.as_str()),
            "{csv}"
        );
        assert!(ran.out.starts_with(counts), "{csv}: {ran:?}");
    }
    let stack = CliFixture::start().await;
    let csv = "email,name\nada@x\nbob@x\n";
    let ran = stack
        .run_with_input(&["users", "import", "-", "--json"], csv)
        .await;
    let warnings = json!([{
        "kind": "cells_left_out",
        "problem": "the last cells are left out, and count as absent columns",
        "rows": 2,
        "lines": [2, 3],
    }]);
    assert_eq!(ran.json()["warnings"], warnings);
}

/// Such names are imported: a person may have one.
#[tokio::test]
async fn text_that_is_probably_not_a_name_causes_a_warning() {
    let stack = CliFixture::start().await;
    let names = [
        "NULL",
        "\\N",
        "None",
        "NaN",
        "#N/A",
        "null",
        "undefined",
        "Flann O&#39;Brien",
        "bob@example.org",
        "ZoÃ« Washburne",
        "Ada Lovelace",
        "Nan Goldin",
    ];
    let row = |(n, name): (usize, &&str)| format!("learner{n}@example.org,learner{n},{name}\n");
    let rows: String = names.iter().enumerate().map(row).collect();
    let csv = format!("email,edx_username,name\n{rows}last@example.org,None,\n");
    let ran = stack.run_with_input(&["users", "import", "-"], &csv).await;
    let message = "\
        warning: edx_username is a placeholder for no value, such as NULL or #N/A: line 14\n\
        warning: name is a placeholder for no value, such as NULL or #N/A: \
        lines 2, 3, 4, 5, 6 and 2 more\n\
        warning: name has an HTML entity, such as &amp;: line 9\n\
        warning: name has an address: line 10\n\
        warning: name is UTF-8 that was read as Windows-1252 (Zoë as ZoÃ«): line 11\n";
    assert_eq!(ran.err, message);
    assert_eq!(
        ran.ok(),
        "13 created, 0 updated, 0 unchanged, 0 bad lines\n"
    );
    let last = ["users", "show", "learner1@example.org", "--json"];
    assert_eq!(stack.run(&last).await.json()["name"], "\\N");
    let ran = stack
        .run_with_input(&["users", "import", "-", "--json"], &csv)
        .await;
    let warning = json!({
        "kind": "word_for_nothing",
        "problem": "name is a placeholder for no value, such as NULL or #N/A",
        "rows": 7,
        "lines": [2, 3, 4, 5, 6],
    });
    assert_eq!(ran.json()["warnings"][1], warning);
}

#[tokio::test]
async fn an_unclosed_quotation_mark_ends_the_import() {
    let rows: String = (0..70)
        .map(|n| format!("learner{n}@example.org,\n"))
        .collect();
    let csv = format!("email,name\n{rows}ada@example.org,\"Ada\nbob@example.org,Bob\n");
    let message = "line 72: a quotation mark is not closed by the end of the file; nothing after \
        it is imported";
    let stack = CliFixture::start().await;
    let import = ["users", "import", "-"];
    let ran = stack.run_with_input(&import, &csv).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    let all = format!(
        "error: standard input: {message}\nso far 70 created, 0 updated, 0 unchanged, 0 bad lines"
    );
    assert!(ran.err.starts_with(&all), "{ran:?}");
    assert_eq!(stack.scan("UsersTable").await.len(), 70);

    let ran = stack
        .run_with_input(&[&import[..], &["--json"]].concat(), &csv)
        .await;
    assert_eq!(
        (ran.code, &ran.json()["unchanged"]),
        (2, &json!(70)),
        "{ran:?}"
    );
    assert_eq!(ran.json()["stopped"], format!("standard input: {message}"));
}

/// A line within a cell is not a row, whatever it contains.
#[tokio::test]
async fn a_cell_of_several_lines_is_one_cell() {
    let stack = CliFixture::start().await;
    let csv = "email,note\r\nada@example.org,\"see\r\nmallory@example.org,x\r\nabove\"\r\n\
        bob@example.org,\r\n";
    let ran = stack.run_with_input(&["users", "import", "-"], csv).await;
    let warning = "warning: these columns are not known and are ignored: note\n";
    assert_eq!(ran.err, warning);
    assert_eq!(ran.ok(), "2 created, 0 updated, 0 unchanged, 0 bad lines\n");
    let mallory = ["users", "show", "mallory@example.org"];
    assert_eq!(stack.run(&mallory).await.code, 2);

    // Nothing of a bad one is imported.
    let csv = "email,name\ncy@example.org,\"Cy\nmallory@example.org,Mallory\nthe second\"\n";
    let ran = stack.run_with_input(&["users", "import", "-"], csv).await;
    let message = "line 2: name has a line break or another control character (the row continues to \
        line 4)\n";
    assert_eq!((ran.code, ran.err.as_str()), (1, message));
    assert_eq!(stack.scan("UsersTable").await.len(), 2);
}

/// The rows are the same with any line ends, and with any beginning of the file.
#[tokio::test]
async fn files_of_spreadsheets_are_read() {
    let csv = "email,name\nada@example.org,Ada\n\nbob@example.org,\"Bob, the second\"\n";
    let json = "{\"email\": \"ada@example.org\", \"name\": \"Ada\"}\n\
        {\"email\": \"bob@example.org\", \"name\": \"Bob, the second\"}\n";
    for (kind, file) in [
        ("LF", csv.to_owned()),
        ("CRLF", csv.replace('\n', "\r\n")),
        ("CR", csv.replace('\n', "\r")),
        (
            "CR without the last one",
            csv.replace('\n', "\r").trim_end().to_owned(),
        ),
        ("LF without the last one", csv.trim_end().to_owned()),
        ("a byte order mark", format!("\u{feff}{csv}")),
        ("sep=", format!("sep=,\n{csv}")),
        (
            "a byte order mark, sep= and CRLF",
            format!("\u{feff}\"sep=,\"\n{csv}").replace('\n', "\r\n"),
        ),
        ("SEP= and CR", format!("SEP=,\n{csv}").replace('\n', "\r")),
        ("JSON Lines", json.to_owned()),
        ("JSON Lines, CR", json.replace('\n', "\r")),
        (
            "JSON Lines, a byte order mark and CRLF",
            format!("\u{feff}{json}").replace('\n', "\r\n"),
        ),
    ] {
        let stack = CliFixture::start().await;
        let ran = stack.run_with_input(&["users", "import", "-"], &file).await;
        assert_eq!(ran.err, "", "{kind}");
        assert_eq!(
            ran.ok(),
            "2 created, 0 updated, 0 unchanged, 0 bad lines\n",
            "{kind}"
        );
        let bob = ["users", "show", "bob@example.org", "--json"];
        assert_eq!(
            stack.run(&bob).await.json()["name"],
            "Bob, the second",
            "{kind}"
        );
    }
}

#[tokio::test]
async fn each_unknown_name_is_reported_once() {
    let stack = CliFixture::start().await;
    let lines = "\
        {\"email\": \"ada@example.org\", \"age\": 36}\n\
        {\"email\": \"bob@example.org\", \"\u{1b}[2J\": 1, \"age\": 36}\n\
        {\"email\": \"cy@example.org\", \"username\": \"cy\", \"age\": 1}\n";
    let lines = lines.replace('\u{1b}', "\\u001b");
    let ran = stack
        .run_with_input(&["users", "import", "-"], &lines)
        .await;
    let warning = "warning: these columns are not known and are ignored: ";
    let message: Vec<_> = ran.err.lines().collect();
    let names = ["age", "\u{fffd}[2J", "username"];
    assert_eq!(message, names.map(|name| format!("{warning}{name}")));

    let csv = "email,\u{1b}[2J,age\nada@example.org,,\n";
    let ran = stack.run_with_input(&["users", "import", "-"], csv).await;
    assert_eq!(ran.err, format!("{warning}\u{fffd}[2J, age\n"));
}

#[tokio::test]
async fn many_batches_keep_their_lines() {
    let stack = CliFixture::start().await;
    let mut csv = "email,edx_username\n".to_owned();
    for number in 0..1_000 {
        let at = if number % 100 == 7 { "" } else { "@" };
        csv.push_str(&format!("learner{number}{at}example.org,learner{number}\n"));
    }
    let file = stack.file("many.csv", csv);
    let ran = stack.run(&["users", "import", &file, "--json"]).await;
    let summary = ran.json();
    assert_eq!(summary["created"], 990);
    let bad = summary["bad_lines"].as_array().unwrap();
    let lines: Vec<_> = bad
        .iter()
        .map(|bad| bad["line"].as_u64().unwrap())
        .collect();
    assert_eq!(
        lines,
        (0..10).map(|hundred| hundred * 100 + 9).collect::<Vec<_>>()
    );
    let ran = stack.run(&["users", "import", &file]).await;
    assert_eq!(
        ran.out,
        "0 created, 0 updated, 990 unchanged, 10 bad lines\n"
    );
}

#[tokio::test]
async fn an_import_makes_events_due_that_were_blocked_on_the_user() {
    let stack = CliFixture::start().await;
    let import = async |csv: &str| stack.run_with_input(&["users", "import", "-"], csv).await;
    let enrollment = EventKind::Enrollment;
    for email in ["ada@example.org", "bob@example.org"] {
        stack
            .add_pending(enrollment, email, RUN, BlockedReason::NoSuchUser)
            .await;
    }
    assert_eq!(stack.due().await, []);

    // An import of other users does not affect the events.
    let csv = "email\ncy@example.org\n";
    let message = "1 created, 0 updated, 0 unchanged, 0 bad lines\n";
    assert_eq!(import(csv).await.ok(), message);
    assert_eq!(stack.due().await, []);

    let message = "1 created, 0 updated, 0 unchanged, 0 bad lines; \
        1 pending event waited for this and is retried within a minute\n";
    assert_eq!(import("email\nAda@Example.org\n").await.ok(), message);
    let [key] = stack.due().await.try_into().unwrap();
    let ada = stack.pending(&key).await.unwrap();
    assert_eq!(ada.email.as_str(), "ada@example.org");

    // An event that is already due is not made due again.
    let csv = "email\nada@example.org\nbob@example.org\n";
    let message = "1 created, 1 updated, 0 unchanged, 0 bad lines; \
        1 pending event waited for this and is retried within a minute\n";
    assert_eq!(import(csv).await.ok(), message);
    assert_eq!(stack.due().await.len(), 2);
}

#[tokio::test]
async fn an_import_makes_events_due_that_were_blocked_on_the_username() {
    let stack = CliFixture::start().await;
    let import = async |csv: &str| {
        let ran = stack.run_with_input(&["users", "import", "-", "--json"], csv);
        ran.await.json()["events_due"].clone()
    };
    let (certificate, email) = (EventKind::Certificate, "ada@example.org");
    let event = stack.add_pending(certificate, email, RUN, BlockedReason::NoUsername);
    let key = event.await.event_key;
    assert_eq!(import("email,name\nada@example.org,Ada\n").await, 0);
    assert_eq!(stack.due().await, []);
    assert_eq!(import("email,edx_username\nada@example.org,ada\n").await, 1);
    assert_eq!(stack.due().await, [key]);
}

#[tokio::test]
async fn a_second_import_handles_the_events_of_one_that_was_cut_short() {
    let stack = CliFixture::start().await;
    let (enrollment, email) = (EventKind::Enrollment, "ada@example.org");
    let event = stack.add_pending(enrollment, email, RUN, BlockedReason::NoSuchUser);
    let key = event.await.event_key;
    let file = stack.file("users.csv", "email\nada@example.org\n");
    // The user is written, and then the pending events cannot be listed.
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "Scan" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&["users", "import", &file]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let cut_short = ran(command).await;
    assert_eq!(cut_short.code, 2, "{cut_short:?}");
    assert!(cut_short.err.contains("so far 1 created"), "{cut_short:?}");
    assert_eq!(stack.due().await, []);

    let message = "0 created, 0 updated, 1 unchanged, 0 bad lines; \
        1 pending event waited for this and is retried within a minute\n";
    assert_eq!(stack.run(&["users", "import", &file]).await.ok(), message);
    assert_eq!(stack.due().await, [key]);
}

/// Makes a bad line of some kind, by its number, with its error.
type BadLine = fn(usize) -> (Vec<u8>, &'static str);

const BAD_CSV: &[BadLine] = &[
    |n| {
        (
            format!("bad{n}@example.org\u{7},,").into(),
            "email has a line break or another control character",
        )
    },
    |n| (format!("bad{n},,").into(), "email has no @"),
    |n| {
        (
            format!("{n:04}\u{200b}@example.org,,").into(),
            "email has U+200B ZERO WIDTH SPACE at 5",
        )
    },
    |n| {
        (
            format!("\u{feff}bad{n}@example.org,,").into(),
            "email has U+FEFF ZERO WIDTH NO-BREAK SPACE at 1",
        )
    },
    |n| {
        (
            format!("{n:04} bad@example.org,,").into(),
            "email has U+0020 SPACE at 5; an address has no blanks",
        )
    },
    |n| {
        (
            format!("mailto:bad{n}@example.org,,").into(),
            "email begins with mailto:; give the address alone",
        )
    },
    |n| {
        (
            format!("<bad{n}@example.org>,,").into(),
            "email has < at 1; give the address alone",
        )
    },
    |n| {
        (
            format!("\"bad{n}@example.org, good{n}@example.org\",,").into(),
            "email has more than one address; give one",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org@example.org,,").into(),
            "email has more than one @",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,{n:04}\u{2060},").into(),
            "edx_username has U+2060 WORD JOINER at 5",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,Jos\u{fffd}").into(),
            "name has U+FFFD REPLACEMENT CHARACTER at 4, in place of a character that was lost; \
             export it again as UTF-8",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,Ada\u{202e}").into(),
            "name has U+202E RIGHT-TO-LEFT OVERRIDE at 4",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,{}", "x".repeat(256)).into(),
            "name is longer than 255 characters",
        )
    },
    |n| {
        (
            format!("{n}{},,", "@".repeat(254)).into(),
            "email is longer than 254 characters",
        )
    },
    |n| (format!(",bad{n},").into(), "email is missing"),
    |n| {
        (
            format!("bad{n}@example.org,{},", "x".repeat(151)).into(),
            "edx_username is longer than 150 characters",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,a\u{7}b,").into(),
            "edx_username has a line break or another control character",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,a\u{7}b").into(),
            "name has a line break or another control character",
        )
    },
    |n| {
        (
            format!("Used@example.org,bad{n},").into(),
            "the same address as line 2, which is imported and differs in edx_username",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,{},", ["used", "Used", "USED"][n % 3]).into(),
            "the same username as line 2",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,,").into(),
            "has 4 columns, and the first line has 3",
        )
    },
    |n| (format!("bad{n}@example.org,,a\"").into(), STRAY),
    |n| (format!("bad{n}@example.org,,\"a\" b").into(), STRAY),
    |n| {
        (
            [format!("bad{n}@example.org,,").as_bytes(), b"\xff"].concat(),
            "is not UTF-8",
        )
    },
    |n| {
        (
            format!("bad{n}@example.org,,{}", "x".repeat(65_536)).into(),
            "is longer than 65536 bytes",
        )
    },
];

const BAD_JSON: &[BadLine] = &[
    |n| (format!("{{\"email\": {n}}}").into(), "email is not text"),
    |n| {
        (
            format!("{{\"email\": \"bad{n}@example.org\", \"edx_username\": []}}").into(),
            "edx_username is not text",
        )
    },
    |n| {
        (
            format!("{{\"email\": \"bad{n}@example.org\", \"name\": false}}").into(),
            "name is not text",
        )
    },
    |n| {
        (
            format!("{{\"email\": \"bad{n}@example.org\", \"name\": \"Ad\\ufffd\"}}").into(),
            "name has U+FFFD REPLACEMENT CHARACTER at 3, in place of a character that was lost; \
             export it again as UTF-8",
        )
    },
    |n| {
        (
            format!("{{\"email\": \"{n:04}\\u00ad@example.org\"}}").into(),
            "email has U+00AD SOFT HYPHEN at 5",
        )
    },
    |n| {
        (
            format!("[\"bad{n}@example.org\"]").into(),
            "is not a JSON object",
        )
    },
    |_| (b"{\"email\": \"".to_vec(), "is not JSON from column 11 on"),
    |_| (b"{\"email\": null}".to_vec(), "email is missing"),
];

#[tokio::test]
async fn a_thousand_bad_lines_of_every_kind_are_each_named() {
    const BAD: usize = 1_000;
    let csv = |n: usize| format!("good{n}@example.org,good{n},").into_bytes();
    let json = |n: usize| format!("{{\"email\": \"good{n}@example.org\"}}").into_bytes();
    let used = b"email,edx_username,name\nused@example.org,used,";
    for (kinds, good, mut lines) in [
        (
            BAD_CSV,
            &csv as &dyn Fn(usize) -> Vec<u8>,
            used.split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        ),
        (BAD_JSON, &json, vec![json(0)]),
    ] {
        let stack = CliFixture::start().await;
        let (mut bad, mut rows) = (Vec::new(), 1);
        for n in 0..BAD {
            let (line, problem) = kinds[n % kinds.len()](n);
            lines.push(line);
            bad.push(json!({"line": lines.len(), "problem": problem}));
            // Good lines stand between the bad ones, at irregular distances.
            for more in 0..n % 3 {
                lines.push(good(10 * (n + 1) + more));
                rows += 1;
            }
        }
        let file = stack.file("users", lines.join(&b'\n'));
        let ran = stack.run(&["users", "import", &file, "--json"]).await;
        assert_eq!(ran.code, 1, "{}", ran.out);
        let done = ran.json();
        assert_eq!(
            (&done["created"], &done["updated"]),
            (&json!(rows), &json!(0))
        );
        assert_eq!(done["bad_lines"], json!(bad));
        assert_eq!(ran.err.lines().count(), BAD);
        assert_eq!(stack.scan("UsersTable").await.len(), rows);
    }
}

/// Returns all users and usernames, without their random ids.
async fn table(stack: &CliFixture) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["UsersTable", "UsernamesTable"] {
        for mut item in stack.scan(table).await {
            item.remove("user_id").unwrap();
            let item: BTreeMap<_, _> = item.into_iter().collect();
            all.push(format!("{table} {item:?}"));
        }
    }
    all.sort_unstable();
    all
}

#[tokio::test]
async fn an_import_that_was_killed_and_is_repeated_has_the_same_result() {
    const USERS: usize = 1_000;
    let row = |n| format!("Learner{n}@example.org,learner{n},Learner {n}\n");
    let rows: String = (0..USERS).map(row).collect();
    let csv = format!("email,edx_username,name\n{rows}");
    let whole = CliFixture::start().await;
    whole
        .run_with_input(&["users", "import", "-"], &csv)
        .await
        .ok();
    let expected = table(&whole).await;
    assert_eq!(expected.len(), 2 * USERS);

    for signal in ["KILL", "INT"] {
        let stack = CliFixture::start().await;
        let file = stack.file("users.csv", &csv);
        let writes = AtomicUsize::new(0);
        // Of eight calls at a time some are done, some hang, and the answer of one is lost.
        let proxy = FaultyProxy::before(stack.url(), move |call| {
            let is_write = call.operation == "TransactWriteItems";
            match is_write.then(|| writes.fetch_add(1, Ordering::Relaxed)) {
                None | Some(0..8) => Fault::Pass,
                Some(8) => Fault::Swallow,
                Some(_) => Fault::Hang,
            }
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&["users", "import", &file]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let mut child = command.spawn().unwrap();
        proxy.stuck(2).await;
        let kill = format!("kill -{signal} {}", child.id().unwrap());
        let sent = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(sent.unwrap().success());
        assert!(!child.wait().await.unwrap().success());
        let written = stack.scan("UsersTable").await.len();
        assert!((1..USERS).contains(&written), "{written}");

        let message = format!(
            "{} created, 0 updated, {written} unchanged, 0 bad lines\n",
            USERS - written
        );
        assert_eq!(stack.run(&["users", "import", &file]).await.ok(), message);
        assert!(table(&stack).await == expected, "{signal}");
    }
}
