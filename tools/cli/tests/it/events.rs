use serde_json::json;
use shared::adapters::store::kept_events::{KeptEvents, Waiting};
use shared::clock::{Clock, SystemClock};
use shared::domain::{EventKind, Reason};

use crate::harness::Stack;

#[tokio::test]
async fn kept_events_are_listed_those_first_that_come_next() {
    let stack = Stack::start().await;
    assert_eq!(
        stack.run(&["events", "list", "--json"]).await.json(),
        json!([])
    );

    let kept_events = KeptEvents::new(stack.dynamodb(), "KeptEventsTable".to_owned());
    let now = SystemClock.now();
    let (staff, verified) = ("staff".parse().unwrap(), "verified".parse().unwrap());
    let mut keys = Vec::new();
    for (email, age, reason) in [
        ("later@example.org", 0, Reason::NoSuchRun),
        ("sooner@example.org", 60, Reason::NoSuchUser),
    ] {
        let waiting = Waiting {
            kind: EventKind::Enrollment,
            email: &email.parse().unwrap(),
            course_id: &"course-v1:Org+Bees+2026".parse().unwrap(),
            role: Some(&staff),
            mode: Some(&verified),
            obstacle: &reason.into(),
            delivered_at: now - jiff::SignedDuration::from_mins(age),
        };
        keys.push(kept_events.keep(&waiting).await.unwrap().to_string());
    }

    let listed = stack.run(&["events", "list", "--json"]).await.json();
    assert_eq!(listed[0]["event_key"], keys[1].as_str());
    assert_eq!(listed[1]["event_key"], keys[0].as_str());
    assert_eq!(listed[0]["reason"], "no_such_user");
    assert_eq!(listed[0]["roles"], json!(["staff"]));
    assert_eq!(listed[0]["mode"], "verified");
    assert_eq!(listed[0]["state"], "waiting");
    assert_eq!(listed[0]["tries"], 0);

    let text = stack.run(&["events", "list"]).await.ok();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[1][..7],
        [
            &keys[1][..12],
            "enrollment",
            "no_such_user",
            "waiting",
            "sooner@example.org",
            "course-v1:Org+Bees+2026",
            "0"
        ]
    );
    assert_eq!(rows.len(), 3);
}
