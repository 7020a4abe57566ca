use std::collections::HashMap;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app::operator::retry_event;
use common::clock::{Clock, SystemClock};
use domain::{Blocked, BlockedReason, EventKey, EventKind, EventState};
use jiff::SignedDuration;
use local::{Fault, FaultyProxy};
use serde_json::json;
use store::pending_events::{NewPendingEvent, Removal};
use tokio::time::timeout;

use crate::harness::{ADA, CliFixture, RUN, Ran, interrupted, lms_unavailable, ran};

async fn run(stack: &CliFixture, word: &str, key: &str, more: &[&str]) -> Ran {
    let arguments = [&["events", word, key], more].concat();
    stack.run(&arguments).await
}

#[tokio::test]
async fn pending_events_are_listed_by_their_next_attempt() {
    let stack = CliFixture::start().await;
    assert_eq!(
        stack.run(&["events", "list", "--json"]).await.json(),
        json!([])
    );

    let now = SystemClock.now();
    let (staff, verified) = ("staff".parse().unwrap(), "verified".parse().unwrap());
    let mut keys = Vec::new();
    for (email, age, blocked) in [
        (
            "later@example.org",
            0,
            lms_unavailable("InvalidResponse:no_row"),
        ),
        ("sooner@example.org", 60, BlockedReason::NoSuchUser.into()),
    ] {
        let waiting = NewPendingEvent {
            kind: EventKind::Enrollment,
            email: &email.parse().unwrap(),
            course_id: &RUN.parse().unwrap(),
            role: Some(&staff),
            mode: Some(&verified),
            blocked: &blocked,
            delivered_at: now - SignedDuration::from_mins(age),
        };
        let key = stack.pending_events().add(&waiting).await.unwrap();
        keys.push(key.to_string());
    }

    let listed = stack.run(&["events", "list", "--json"]).await.json();
    assert_eq!(listed[0]["event_key"], keys[1].as_str());
    assert_eq!(listed[1]["event_key"], keys[0].as_str());
    assert_eq!(listed[0]["reason"], "no_such_user");
    assert_eq!(listed[0]["last_error"], json!(null));
    assert_eq!(listed[1]["last_error"], "InvalidResponse:no_row");
    assert_eq!(listed[0]["roles"], json!(["staff"]));
    assert_eq!(listed[0]["mode"], "verified");
    assert_eq!(listed[0]["state"], "waiting");
    assert_eq!(listed[0]["attempts"], 0);
    assert_eq!(listed[1]["waited"]["lms_unavailable"]["attempts"], 0);

    let text = stack.run(&["events", "list"]).await.ok();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let sooner = "enrollment no_such_user waiting sooner@example.org course-v1:Org+Bees+2026 0";
    let later = "enrollment lms_unavailable InvalidResponse:no_row waiting later@example.org";
    assert_eq!(
        rows[1][..7].join(" "),
        format!("{} {sooner}", &keys[1][..12])
    );
    assert_eq!(
        rows[2][..6].join(" "),
        format!("{} {later}", &keys[0][..12])
    );
    assert_eq!(rows.len(), 3);
}

#[tokio::test]
async fn dead_and_expired_events_can_be_listed_separately() {
    let stack = CliFixture::start().await;
    let enrollment = EventKind::Enrollment;
    for (email, state) in [
        ("dead@example.org", Some(EventState::Dead)),
        ("expired@example.org", Some(EventState::Expired)),
        ("waiting@example.org", None),
    ] {
        let event = stack
            .add_pending(enrollment, email, RUN, BlockedReason::NoSuchUser)
            .await;
        if let Some(state) = state {
            stack.end(event, state).await;
        }
    }
    for (flag, emails) in [
        (&["--dead"][..], &["dead@example.org"][..]),
        (&["--expired"], &["expired@example.org"]),
    ] {
        let arguments = [&["events", "list", "--json"], flag].concat();
        let listed = stack.run(&arguments).await.json();
        let listed = listed.as_array().unwrap().iter();
        let listed: Vec<_> = listed
            .map(|event| event["email"].as_str().unwrap())
            .collect();
        assert_eq!(listed, emails);
    }
    let all = stack.run(&["events", "list", "--json"]).await.json();
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[0]["state"], "waiting");
}

#[tokio::test]
async fn all_fields_of_an_event_are_shown() {
    let stack = CliFixture::start().await;
    let event = stack
        .add_pending(EventKind::Certificate, ADA, RUN, lms_unavailable("403"))
        .await;
    let key = event.event_key.as_str();
    let text = run(&stack, "show", key, &[]).await.ok();
    let (fields, advice) = text.split_once("\n\n").unwrap();
    let fields: HashMap<_, _> = fields
        .lines()
        .map(|line| line.split_once("  ").unwrap_or((line, "")))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let since = format!("{:.0}", event.pending_since);
    let waited = format!("lms_unavailable since {since}, attempts: 0");
    for (name, value) in [
        ("key", key),
        ("kind", "certificate"),
        ("email", ADA),
        ("course", RUN),
        ("roles", ""),
        ("mode", ""),
        ("state", "waiting"),
        ("reason", "lms_unavailable"),
        ("last error", "403"),
        ("attempts", "0"),
        ("waited", &waited),
        ("next attempt", &format!("{:.0}", event.next_attempt_at)),
        ("pending since", &since),
        ("delivered", &since),
    ] {
        assert_eq!(fields[name], value, "{name}: {text}");
    }
    assert_eq!(fields.len(), 14);
    let message = "The LMS does not let us read grades (403). The event's next attempt is at ";
    assert!(advice.starts_with(message), "{advice}");
    assert!(advice.contains("OpenedxApiSecret"), "{advice}");

    let shown = run(&stack, "show", &key[..6], &["--json"]).await.json();
    assert_eq!(shown["event_key"], key);
    assert_eq!(shown["last_error"], "403");
    assert!(advice.starts_with(shown["why"].as_str().unwrap()));
    assert!(advice.contains(shown["help"].as_str().unwrap()));
    let command = format!("coursehook events retry {}", &key[..12]);
    assert_eq!(shown["commands"], json!([command]));
    assert!(advice.ends_with(&format!("\n  {command}\n")), "{advice}");
}

/// Text that is special in a shell is quoted, and an ended event needs a manual retry.
#[tokio::test]
async fn an_event_is_shown_with_its_fix() {
    let stack = CliFixture::start().await;
    let blocked = Blocked {
        error: Some("unpaid_mode".to_owned()),
        ..BlockedReason::NotEligible.into()
    };
    let (certificate, email) = (EventKind::Certificate, "o'hara@example.org");
    let event = stack.add_pending(certificate, email, RUN, blocked).await;
    let key = event.event_key.to_string();
    let enroll =
        format!(r"coursehook enrollments set 'o'\''hara@example.org' {RUN} --mode verified");
    let shown = run(&stack, "show", &key, &[]).await.ok();
    let message = format!("paid, set a paid mode; nothing else needs to be done:\n  {enroll}\n");
    assert!(shown.ends_with(&message), "{shown}");

    stack.end(event, EventState::Dead).await;
    let shown = run(&stack, "show", &key, &[]).await.ok();
    let retry = format!("coursehook events retry {}", &key[..12]);
    let message = format!("and then retry the event:\n  {enroll}\n  {retry}\n");
    assert!(shown.ends_with(&message), "{shown}");
}

/// Returns two addresses whose events' keys begin with the same digits.
fn keys_with_a_common_prefix() -> [String; 2] {
    let mut seen = HashMap::new();
    for number in 0.. {
        let email = format!("learner{number}@example.org");
        let (address, run) = (email.parse().unwrap(), RUN.parse().unwrap());
        let key = EventKey::of(EventKind::Enrollment, &address, &run);
        if let Some(other) = seen.insert(key.as_str()[..6].to_owned(), email.clone()) {
            return [other, email];
        }
    }
    unreachable!("there are only so many keys");
}

#[tokio::test]
async fn a_key_must_identify_one_event() {
    let stack = CliFixture::start().await;
    let mut keys = Vec::new();
    for email in keys_with_a_common_prefix() {
        let event = stack.add_pending(
            EventKind::Enrollment,
            &email,
            RUN,
            BlockedReason::NoSuchUser,
        );
        keys.push(event.await.event_key.to_string());
    }
    let absent = "0".repeat(64);
    for word in ["show", "retry", "drop"] {
        let several = run(&stack, word, &keys[0][..6], &[]).await;
        assert_eq!((several.code, several.out.as_str()), (2, ""));
        for message in ["several pending events", &keys[0], &keys[1]] {
            assert!(several.err.contains(message), "{several:?}");
        }
        for key in [&absent, &absent[..6]] {
            let none = run(&stack, word, key, &[]).await;
            assert_eq!((none.code, none.out.as_str()), (2, ""));
            let message = format!("no pending event has a key that begins with {key}; ");
            assert!(none.err.contains(&message), "{none:?}");
        }
    }
    let one = run(&stack, "show", &keys[0][..12], &["--json"])
        .await
        .json();
    assert_eq!(one["event_key"], keys[0].as_str());
}

#[tokio::test]
async fn a_dead_event_is_retried() {
    let stack = CliFixture::start().await;
    let certificate = EventKind::Certificate;
    let event = stack
        .add_pending(certificate, ADA, RUN, lms_unavailable("403"))
        .await;
    let key = event.event_key.clone();
    stack.end(event, EventState::Dead).await;
    assert_eq!(stack.due().await, []);

    let message = run(&stack, "retry", &key.as_str()[..12], &[]).await.ok();
    let expected = format!(
        "{} (certificate of {ADA} in {RUN}, waiting: lms_unavailable) \
         will be retried within a minute, with its full waiting time\n",
        &key.as_str()[..12]
    );
    assert_eq!(message, expected);
    assert_eq!(stack.due().await, slice::from_ref(&key));
    let retried = stack.pending(&key).await.unwrap();
    assert_eq!((retried.state, retried.attempts), (EventState::Waiting, 0));
    assert!(retried.waited.is_empty());

    let again = run(&stack, "retry", key.as_str(), &["--json"]).await.json();
    assert_eq!(again["events"][0]["state"], "waiting");
    assert_eq!((&again["gone"], &again["failed"]), (&json!(0), &json!([])));

    let shown = run(&stack, "show", key.as_str(), &[]).await.ok();
    assert!(shown.contains("retried within a minute"), "{shown}");
}

#[tokio::test]
async fn a_retry_uses_the_current_event() {
    let stack = CliFixture::start().await;
    let add_event = async || {
        let certificate = EventKind::Certificate;
        stack
            .add_pending(certificate, ADA, RUN, lms_unavailable("403"))
            .await
    };
    let stale = add_event().await;
    add_event().await;
    let now = SystemClock.now();
    let retry = async |event| {
        let pending_events = stack.pending_events();
        retry_event(&pending_events, event, now).await.unwrap()
    };
    assert!(retry(stale.clone()).await.is_some());
    assert_eq!(stack.due().await, slice::from_ref(&stale.event_key));

    let pending = stack.pending(&stale.event_key).await.unwrap();
    assert_eq!(
        stack.pending_events().remove(&pending).await,
        Ok(Removal::Done)
    );
    assert!(retry(stale).await.is_none());
}

#[tokio::test]
async fn dropping_an_event_needs_a_confirmation() {
    let stack = CliFixture::start().await;
    let (enrollment, reason) = (EventKind::Enrollment, BlockedReason::NoSuchUser);
    let event = stack.add_pending(enrollment, ADA, RUN, reason).await;
    let key = event.event_key.as_str();
    let named = format!(
        "{} (enrollment of {ADA} in {RUN}, waiting: no_such_user)",
        &key[..12]
    );

    let asked = run(&stack, "drop", &key[..12], &[]).await;
    assert_eq!((asked.code, asked.out.as_str()), (2, ""));
    for message in ["not a terminal", "--yes", &named] {
        assert!(asked.err.contains(message), "{asked:?}");
    }
    // An answer from a pipe is not accepted.
    let piped = stack.run_with_input(&["events", "drop", key], "y\n").await;
    assert_eq!(piped.code, 2, "{piped:?}");
    assert!(stack.pending(&event.event_key).await.is_some());

    let message = run(&stack, "drop", &key[..12], &["--yes"]).await.ok();
    assert_eq!(message, format!("dropped {named}\n"));
    assert!(stack.pending(&event.event_key).await.is_none());
    let again = run(&stack, "drop", key, &["--yes"]).await;
    assert!(again.err.contains("no pending event"), "{again:?}");

    stack.add_pending(enrollment, ADA, RUN, reason).await;
    let dropped = run(&stack, "drop", key, &["--yes", "--json"]).await.json();
    assert_eq!(dropped["events"][0]["email"], ADA);
}

#[tokio::test]
async fn an_event_that_changes_in_the_meantime_is_not_dropped() {
    let stack = CliFixture::start().await;
    let add_event = async || {
        let enrollment = EventKind::Enrollment;
        stack
            .add_pending(enrollment, ADA, RUN, BlockedReason::NoSuchUser)
            .await
    };
    let event = add_event().await;
    let key = event.event_key.as_str();
    let hold = |call: &local::Call| match call.operation.as_str() {
        "DeleteItem" => Fault::Hold,
        _ => Fault::Pass,
    };
    let proxy = FaultyProxy::before(stack.url(), hold).await.unwrap();
    let mut command = stack.command(&["events", "drop", key, "--yes"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(1).await;
        add_event().await;
        proxy.set(|_| Fault::Pass);
    };
    let (refused, ()) = tokio::join!(ran(command), meanwhile);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    let message = format!("check it with `coursehook events show {}`", &key[..12]);
    assert!(refused.err.contains(&message), "{refused:?}");
    assert!(stack.pending(&event.event_key).await.is_some());

    // The event is gone, perhaps since it took effect: that is not reported as dropped.
    proxy.set(hold);
    let mut command = stack.command(&["events", "drop", key, "--yes"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(2).await;
        let pending = stack.pending(&event.event_key).await.unwrap();
        assert_eq!(
            stack.pending_events().remove(&pending).await,
            Ok(Removal::Done)
        );
        proxy.set(|_| Fault::Pass);
    };
    let (gone, ()) = tokio::join!(ran(command), meanwhile);
    assert_eq!((gone.code, gone.out.as_str()), (2, ""));
    assert!(
        gone.err
            .contains("an event that took effect is no longer there"),
        "{gone:?}"
    );
}

/// Adds an event for each condition of a filter, and returns the names that the tests use
/// for them.
async fn several(stack: &CliFixture) {
    let (enrollment, certificate) = (EventKind::Enrollment, EventKind::Certificate);
    let now = SystemClock.now();
    for (name, kind, course_id, blocked, hours, end) in [
        (
            "a",
            enrollment,
            RUN,
            BlockedReason::NoSuchUser.into(),
            1,
            None,
        ),
        ("b", certificate, RUN, lms_unavailable("403"), 30, None),
        (
            "c",
            certificate,
            "Org/Ants/1",
            lms_unavailable("503"),
            60,
            None,
        ),
        (
            "d",
            certificate,
            RUN,
            lms_unavailable("503"),
            50,
            Some(EventState::Dead),
        ),
        (
            "e",
            enrollment,
            "Org/Ants/1",
            BlockedReason::NoSuchUser.into(),
            90,
            Some(EventState::Expired),
        ),
    ] {
        let waiting = NewPendingEvent {
            kind,
            email: &format!("{name}@example.org").parse().unwrap(),
            course_id: &course_id.parse().unwrap(),
            role: None,
            mode: None,
            blocked: &blocked,
            delivered_at: now - SignedDuration::from_hours(hours),
        };
        let key = stack.pending_events().add(&waiting).await.unwrap();
        if let Some(state) = end {
            stack.end(stack.pending(&key).await.unwrap(), state).await;
        }
    }
}

/// Returns the names of the events in a JSON answer, in order.
fn names(events: &serde_json::Value) -> String {
    let events = events.as_array().unwrap().iter();
    let name = |event: &serde_json::Value| event["email"].as_str().unwrap()[..1].to_owned();
    let mut names: Vec<_> = events.map(name).collect();
    names.sort();
    names.concat()
}

#[tokio::test]
async fn filters_narrow_the_selection() {
    let stack = CliFixture::start().await;
    several(&stack).await;
    for (filter, meant) in [
        (&[][..], "abcde"),
        (&["--dead"], "d"),
        (&["--expired"], "e"),
        (&["--run", RUN], "abd"),
        (&["--reason", "lms_unavailable"], "bcd"),
        (&["--kind", "enrollment"], "ae"),
        (&["--older-than", "2d"], "cde"),
        (&["--newer-than", "2h"], "a"),
        (&["--older-than", "1d", "--newer-than", "55h"], "bd"),
        (
            &["--run", RUN, "--reason", "lms_unavailable", "--dead"],
            "d",
        ),
        (&["--run", "Org/None/1"], ""),
    ] {
        let arguments = [&["events", "list", "--json"], filter].concat();
        let listed = stack.run(&arguments).await.json();
        assert_eq!(names(&listed), meant, "{filter:?}");
    }
}

#[tokio::test]
async fn one_key_or_a_filter_must_be_given() {
    let stack = CliFixture::start().await;
    for word in ["retry", "drop"] {
        for (more, message) in [
            (&[][..], "<KEY|--dead|--expired|--run <COURSE_ID>"),
            (
                &["abcdef", "--dead"],
                "'[KEY]' cannot be used with:\n  --dead",
            ),
            (
                &["--reason", "bad_luck"],
                "no_such_user, no_such_run, no_username, lms_unavailable",
            ),
        ] {
            let ran = stack.run(&[&["events", word], more].concat()).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""));
            assert!(ran.err.contains(message), "{}", ran.err);
        }
    }
}

#[tokio::test]
async fn several_events_are_retried_at_once() {
    let stack = CliFixture::start().await;
    several(&stack).await;
    let retry = ["events", "retry", "--reason", "lms_unavailable"];
    let message = stack.run(&[&retry[..], &["--dead"]].concat()).await.ok();
    let expected = "1 event will be retried within a minute, with its full waiting time\n";
    assert_eq!(message, expected);
    let message = stack.run(&[&retry[..], &["--dead"]].concat()).await.ok();
    assert!(message.starts_with("0 events will be retried"), "{message}");

    let done = stack.run(&[&retry[..], &["--json"]].concat()).await.json();
    assert_eq!(names(&done["events"]), "bcd");
    assert_eq!(done["events"][0]["state"], "waiting");
    assert_eq!(
        (&done["failed"], &done["gone"], &done["interrupted"]),
        (&json!([]), &json!(0), &json!(false))
    );
    // The enrollment of `a` is due since it was pending an hour ago.
    assert_eq!(stack.due().await.len(), 4);
}

/// The JSON has the same form, whether an event is named by its key or by a filter.
#[tokio::test]
async fn one_event_and_several_give_the_same_json() {
    let stack = CliFixture::start().await;
    let add_event =
        || stack.add_pending(EventKind::Enrollment, ADA, RUN, BlockedReason::NoSuchUser);
    for more in [&["retry"][..], &["drop", "--yes"]] {
        let key = add_event().await.event_key;
        let answer = async |which: &[&str]| {
            let arguments = [&["events"], more, &["--json"], which].concat();
            stack.run(&arguments).await.json()
        };
        let mut by_key = answer(&[key.as_str()]).await;
        add_event().await;
        let mut by_filter = answer(&["--kind", "enrollment"]).await;
        for answer in [&mut by_key, &mut by_filter] {
            let event = answer["events"][0].as_object_mut().unwrap();
            event.retain(|field, _| field == "event_key");
        }
        assert_eq!(by_key, by_filter, "{more:?}");
    }
}

#[tokio::test]
async fn dropping_several_events_needs_a_confirmation() {
    let stack = CliFixture::start().await;
    several(&stack).await;
    for number in 0..4 {
        let email = format!("x{number}@example.org");
        stack
            .add_pending(
                EventKind::Enrollment,
                &email,
                RUN,
                BlockedReason::NoSuchUser,
            )
            .await;
    }
    let drop = ["events", "drop", "--run", RUN];
    let asked = stack.run(&drop).await;
    assert_eq!((asked.code, asked.out.as_str()), (2, ""));
    assert!(
        asked.err.starts_with("7 pending events match:\n  "),
        "{asked:?}"
    );
    let message = format!(" (certificate of b@example.org in {RUN}, waiting: lms_unavailable)\n");
    assert!(asked.err.contains(&message), "{asked:?}");
    let message = "\n  and 2 more\nerror: Drop them for good? Cannot ask for confirmation";
    assert!(asked.err.contains(message), "{asked:?}");

    let message = stack.run(&[&drop[..], &["--yes"]].concat()).await.ok();
    assert_eq!(message, "7 events were dropped\n");
    let listed = stack.run(&["events", "list", "--json"]).await.json();
    assert_eq!(names(&listed), "ce");
    // Without events there is no question.
    assert_eq!(stack.run(&drop).await.ok(), "0 events were dropped\n");
}

/// The other events are changed even if one fails.
#[tokio::test]
async fn each_event_that_fails_is_named() {
    let stack = CliFixture::start().await;
    several(&stack).await;
    let key = EventKey::of(
        EventKind::Certificate,
        &"b@example.org".parse().unwrap(),
        &RUN.parse().unwrap(),
    );
    let fault = {
        let key = key.to_string();
        move |call: &local::Call| {
            let is_meant = String::from_utf8_lossy(&call.body).contains(&key);
            match call.operation.as_str() {
                "UpdateItem" | "DeleteItem" if is_meant => Fault::Refuse("AccessDeniedException"),
                _ => Fault::Pass,
            }
        }
    };
    let proxy = FaultyProxy::before(stack.url(), fault).await.unwrap();
    for (word, more, message) in [
        ("retry", "--json", "2 events will be"),
        ("drop", "--yes", "2 events were dropped; 1 failed\n"),
    ] {
        let arguments = ["events", word, "--kind", "certificate", more];
        let mut command = stack.command(&arguments);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let ran = ran(command).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let named = format!("{} (certificate of b@example.org", &key.as_str()[..12]);
        assert!(ran.err.starts_with(&named), "{ran:?}");
        assert!(ran.err.contains("AccessDeniedException"), "{ran:?}");
        if more == "--json" {
            let done = ran.json();
            assert_eq!(names(&done["events"]), "cd");
            assert_eq!(done["failed"][0]["event"]["event_key"], key.as_str());
            let problem = done["failed"][0]["problem"].as_str().unwrap();
            assert!(problem.contains("AccessDeniedException"), "{problem}");
        } else {
            assert_eq!(ran.out, message);
        }
    }
}

#[tokio::test]
async fn the_same_command_completes_an_interrupted_one() {
    const EVENTS: usize = 11;
    let stack = CliFixture::start().await;
    for number in 0..EVENTS {
        let email = format!("x{number}@example.org");
        stack
            .add_pending(
                EventKind::Enrollment,
                &email,
                RUN,
                BlockedReason::NoSuchUser,
            )
            .await;
    }
    // Three are dropped, and the eight that follow at once are stuck.
    let drops = AtomicUsize::new(0);
    let plan = move |call: &local::Call| match call.operation.as_str() {
        "DeleteItem" if drops.fetch_add(1, Ordering::Relaxed) >= 3 => Fault::Hang,
        _ => Fault::Pass,
    };
    let proxy = FaultyProxy::before(stack.url(), plan).await.unwrap();
    let drop = ["events", "drop", "--run", RUN, "--yes"];
    let mut command = stack.command(&[&drop[..], &["--json"]].concat());
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let child = command.spawn().unwrap();
    timeout(Duration::from_secs(60), proxy.stuck(8))
        .await
        .unwrap();
    let ran = interrupted(child).await;
    assert_eq!(ran.code, 130, "{ran:?}");
    let message = "error: interrupted\nso far 3 events were dropped, and perhaps some more; \
        the same command again does the rest\n";
    assert_eq!(ran.err, message);
    assert_eq!(names(&ran.json()["events"]), "xxx");
    assert_eq!(ran.json()["interrupted"], true);

    let message = stack.run(&drop).await.ok();
    assert_eq!(message, "8 events were dropped\n");
}
