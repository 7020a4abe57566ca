use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue::S;
use domain::{BlockedReason, EventKind};
use infra::Template;
use local::{Fault, FaultyProxy};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{ADA, CliFixture, RUN, ran};

const FORMER: &str = "countess@example.org";

/// Texts that identify a person.
struct Traces(Vec<String>);

impl Traces {
    /// Returns those that any item of any table has, by table.
    async fn left(&self, stack: &CliFixture) -> BTreeMap<String, Vec<String>> {
        let mut left = BTreeMap::new();
        for table in &Template::load().unwrap().tables {
            let scan = stack.dynamodb().scan().table_name(&table.name);
            let items = format!("{:?}", scan.send().await.unwrap().items());
            let here = self.0.iter().filter(|trace| items.contains(*trace));
            let here: Vec<_> = here.cloned().collect();
            if !here.is_empty() {
                left.insert(table.name.clone(), here);
            }
        }
        left
    }
}

/// Returns [`ADA`] with all records that a learner can have, and the certificate's id.
async fn with_all_of_ada() -> (CliFixture, Traces, String) {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = format!("email,edx_username\n{FORMER},ada_l\n{ADA},\nbob@example.org,bob\n");
    let imports = ["users", "import", "-"];
    stack
        .run(&["users", "rename-email", ADA, FORMER])
        .await
        .ok();
    stack.run_with_input(&imports, &csv).await.ok();
    stack
        .run(&["users", "rename-email", FORMER, ADA])
        .await
        .ok();
    for (email, course) in [(ADA, RUN), (ADA, "Org/Ants/1"), ("bob@example.org", RUN)] {
        let set = ["enrollments", "set", email, course, "--mode", "verified"];
        stack.run(&set).await.ok();
    }
    let grade = [
        "grades",
        "override",
        ADA,
        RUN,
        "--percent",
        "0.9",
        "--letter",
        "A",
    ];
    let issued = stack
        .run(&[&grade[..], &["--passed", "--json"]].concat())
        .await;
    let id = issued.json()["certificate"]["certificate_id"].clone();
    let mut keys = Vec::new();
    for email in [ADA, FORMER] {
        let event = stack.add_pending(
            EventKind::Enrollment,
            email,
            "Org/Bees/1",
            BlockedReason::NoSuchRun,
        );
        keys.push(event.await.event_key.to_string());
    }
    // An item that no program can read.
    let put = stack.dynamodb().put_item().table_name("PendingEventsTable");
    let put = put
        .item("event_key", S("f".repeat(64)))
        .item("email", S(ADA.to_owned()));
    put.send().await.unwrap();

    let user_id = stack.user_id(ADA).await.to_string();
    let traces = [ADA, FORMER, "ada_l", "Lovelace", &user_id].map(str::to_owned);
    let traces = Traces(traces.into_iter().chain(keys).collect());
    let id = id.as_str().unwrap().to_owned();
    (stack, traces, id)
}

#[tokio::test]
async fn no_trace_of_an_erased_user_remains() {
    for asked_by in [ADA, FORMER] {
        let (stack, traces, id) = with_all_of_ada().await;
        assert_eq!(traces.left(&stack).await.len(), 6);

        let user_id = stack.user_id(ADA).await.to_string();
        let erased = stack
            .run(&["users", "erase", asked_by, "--now", "--yes", "--json"])
            .await;
        assert_eq!(
            erased.json(),
            json!({
                "user_id": user_id, "former_emails": 1, "enrollments": 2, "grades": 1, "events": 3,
                "certificates": [id],
            })
        );
        assert_eq!(traces.left(&stack).await, BTreeMap::new());

        // The certificate can still be looked up by its id, and belongs to no user.
        let found = stack.dynamodb().scan().table_name("CertificatesTable");
        let found = found.send().await.unwrap();
        let [certificate] = found.items() else {
            panic!("{found:?}")
        };
        assert_eq!(certificate["certificate_id"].as_s().unwrap(), &id);
        assert_eq!(certificate["state"].as_s().unwrap(), "in_force");
        assert_eq!(certificate["run_title"].as_s().unwrap(), "Bees");
        assert!(certificate.contains_key("issued_at"));

        // Bob has lost nothing.
        let bob = ["enrollments", "show", "bob@example.org", "--json"];
        assert_eq!(stack.run(&bob).await.json().as_array().unwrap().len(), 1);
        // A new user with that address is another person.
        let ran = stack
            .run(&["users", "erase", asked_by, "--now", "--yes"])
            .await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("there is no user"), "{ran:?}");
    }
}

#[tokio::test]
async fn erasing_needs_a_confirmation() {
    let (stack, traces, id) = with_all_of_ada().await;
    let before = traces.left(&stack).await;
    let ran = stack.run(&["users", "erase", ADA]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(
        ran.err.contains("Erase the user ada@example.org"),
        "{ran:?}"
    );
    assert!(ran.err.contains("--yes confirms"), "{ran:?}");
    assert_eq!(traces.left(&stack).await, before);

    let message = stack
        .run(&["users", "erase", ADA, "--now", "--yes"])
        .await
        .ok();
    assert_eq!(
        message,
        format!(
            "erased: the user, 1 former address, 2 enrollments, 1 grade, 3 pending events\n\
             the certificate {id} stays, and belongs to no user\n"
        )
    );
}

#[tokio::test]
async fn events_of_an_unknown_address_can_be_erased() {
    let stack = CliFixture::start().await;
    stack
        .add_pending(EventKind::Enrollment, ADA, RUN, BlockedReason::NoSuchUser)
        .await;
    let message = stack
        .run(&["users", "erase", ADA, "--now", "--yes"])
        .await
        .ok();
    assert_eq!(
        message,
        "erased: 0 enrollments, 0 grades, 1 pending event\n"
    );
    assert_eq!(stack.run(&["status", ADA]).await.code, 2);
}

/// If the command is cut short at any write, the same command does the rest.
#[tokio::test]
async fn the_same_command_completes_an_erasure() {
    let (stack, traces, _) = with_all_of_ada().await;
    let mut attempts = 0;
    loop {
        // One write more at each attempt.
        attempts += 1;
        let writes = std::sync::atomic::AtomicUsize::new(0);
        let proxy = FaultyProxy::before(stack.url(), move |call| {
            let is_write = ["DeleteItem", "TransactWriteItems"].contains(&&*call.operation);
            let nth = writes.fetch_add(usize::from(is_write), std::sync::atomic::Ordering::Relaxed);
            if is_write && nth >= 1 {
                Fault::Refuse("AccessDeniedException")
            } else {
                Fault::Pass
            }
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&["users", "erase", ADA, "--now", "--yes"]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let ran = ran(command).await;
        if ran.code == 0 {
            break;
        }
        assert!(ran.err.contains("these credentials are not"), "{ran:?}");
    }
    // Three events, two enrollments, a grade, a certificate, and the user.
    assert_eq!(attempts, 8);
    assert_eq!(traces.left(&stack).await, BTreeMap::new());
}

/// A delivery that read the user before writes its records afterwards: they are erased
/// too.
#[tokio::test]
async fn records_of_a_delivery_in_progress_are_erased_too() {
    let (stack, traces, _) = with_all_of_ada().await;
    let user_id = stack.user_id(ADA).await;
    let proxy = FaultyProxy::before(stack.url(), |call| {
        let text = String::from_utf8_lossy(&call.body);
        if call.operation == "TransactWriteItems" && text.contains("UsersTable") {
            Fault::Hold
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&["users", "erase", ADA, "--now", "--yes"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(1).await;
        for table in ["EnrollmentsTable", "GradesTable"] {
            let put = stack.dynamodb().put_item().table_name(table);
            let put = put.item("user_id", S(user_id.to_string()));
            put.item("course_id", S(RUN.to_owned()))
                .send()
                .await
                .unwrap();
        }
        stack
            .add_pending(
                EventKind::Certificate,
                FORMER,
                RUN,
                BlockedReason::NotPassed,
            )
            .await;
        proxy.set(|_| Fault::Pass);
    };
    let (ran, ()) = tokio::join!(ran(command), meanwhile);
    ran.ok();
    assert_eq!(traces.left(&stack).await, BTreeMap::new());
}

/// A user is erased by the id also if the user item is gone and records came after that.
#[tokio::test]
async fn a_user_is_erased_by_their_id() {
    let (stack, traces, _) = with_all_of_ada().await;
    let user_id = stack.user_id(ADA).await.to_string();
    let erase = ["users", "erase", &user_id, "--now", "--yes", "--json"];
    let erased = stack.run(&erase).await.json();
    assert_eq!(erased["user_id"], user_id.as_str());
    assert_eq!(
        (&erased["enrollments"], &erased["events"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(traces.left(&stack).await, BTreeMap::new());

    let put = stack.dynamodb().put_item().table_name("GradesTable");
    let put = put.item("user_id", S(user_id.clone()));
    put.item("course_id", S(RUN.to_owned()))
        .send()
        .await
        .unwrap();
    let erased = stack.run(&erase).await.json();
    assert_eq!(
        (&erased["user_id"], &erased["grades"]),
        (&json!(null), &json!(1))
    );
    assert_eq!(traces.left(&stack).await, BTreeMap::new());
}

/// An import gives the user a username while they are erased: it is erased too.
#[tokio::test]
async fn a_concurrent_change_does_not_prevent_the_erasure() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Hold,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&["users", "erase", ADA, "--now", "--yes"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(1).await;
        let csv = format!("email,edx_username\n{ADA},ada_l\n");
        let import = ["users", "import", "-"];
        stack.run_with_input(&import, &csv).await.ok();
        proxy.set(|_| Fault::Pass);
    };
    let (erased, ()) = tokio::join!(ran(command), meanwhile);
    erased.ok();
    let traces = Traces([ADA, "ada_l"].map(str::to_owned).into());
    assert_eq!(traces.left(&stack).await, BTreeMap::new());
}

/// The remaining certificates of one person, whatever form they have, do not reveal that
/// they belonged to one person.
#[tokio::test]
async fn remaining_certificates_do_not_identify_their_user() {
    let (stack, traces, _) = with_all_of_ada().await;
    let user_id = stack.user_id(ADA).await.to_string();
    let grade = [
        "grades",
        "override",
        ADA,
        "Org/Ants/1",
        "--percent",
        "1",
        "--letter",
        "A",
    ];
    stack.run(&[&grade[..], &["--passed"]].concat()).await.ok();
    let put = stack.dynamodb().put_item().table_name("CertificatesTable");
    let put = put
        .item("user_id", S(user_id))
        .item("course_id", S("Org/Cats/1".to_owned()));
    put.item("shape", S("Lovelace".to_owned()))
        .send()
        .await
        .unwrap();
    stack
        .run(&["users", "erase", ADA, "--now", "--yes"])
        .await
        .ok();
    assert_eq!(traces.left(&stack).await, BTreeMap::new());

    let scan = stack.dynamodb().scan().table_name("CertificatesTable");
    let items = scan.send().await.unwrap().items.unwrap();
    assert_eq!(items.len(), 3);
    let is_shared = |name: &str| matches!(name, "state" | "history" | "version");
    for (n, one) in items.iter().enumerate() {
        for other in &items[n + 1..] {
            let common = one
                .iter()
                .filter(|(name, value)| other.get(*name) == Some(value));
            let common: Vec<_> = common.filter(|(name, _)| !is_shared(name)).collect();
            assert!(common.is_empty(), "{common:?}");
        }
    }
    assert!(
        items
            .iter()
            .all(|item| item["history"].as_l().unwrap().is_empty())
    );
}

/// An operator who does not wait for deliveries in progress is told what to run later:
/// the id finds the user's records, and the address the pending events.
#[tokio::test]
async fn now_prints_the_commands_to_run_later() {
    let (stack, traces, _) = with_all_of_ada().await;
    let user_id = stack.user_id(ADA).await.to_string();
    let mut child = stack
        .command(&["users", "erase", ADA, "--yes"])
        .spawn()
        .unwrap();
    let mut message = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        message
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .starts_with("the user is gone")
    );
    let mut commands = Vec::new();
    for learner in [user_id.as_str(), ADA] {
        let command = message.next_line().await.unwrap().unwrap();
        assert_eq!(command, format!("  coursehook users erase {learner}"));
        commands.push(command);
    }
    child.kill().await.unwrap();

    let put = stack.dynamodb().put_item().table_name("GradesTable");
    let put = put.item("user_id", S(user_id));
    put.item("course_id", S(RUN.to_owned()))
        .send()
        .await
        .unwrap();
    stack
        .add_pending(EventKind::Certificate, ADA, RUN, BlockedReason::NotPassed)
        .await;
    for command in commands {
        let words = command.split_whitespace().skip(1);
        let words: Vec<_> = words.chain(["--now", "--yes"]).collect();
        stack.run(&words).await.ok();
    }
    assert_eq!(traces.left(&stack).await, BTreeMap::new());
}
