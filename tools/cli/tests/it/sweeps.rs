use std::collections::BTreeSet;
use std::process::Stdio;

use aws_sdk_dynamodb::types::AttributeValue;
use common::clock::{Clock, SystemClock};
use jiff::SignedDuration;
use local::lms::{At, FaultRule, GradeRow, LmsFault};
use local::{Fault, FaultyProxy};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::harness::{ADA, RUN, Ran, WithLms, interrupted, ran, signal};

const GRADES: [&str; 4] = ["sweep", "grades", "--run", RUN];
const ENROLLMENTS: [&str; 4] = ["sweep", "enrollments", "--run", RUN];

/// The number of users, more than two pages of [`WithLms::with_pages`] hold.
const MANY: usize = 5;

impl WithLms {
    /// Starts with [`RUN`] live and self-paced, and a user for each of these usernames.
    async fn with_users(usernames: &[&str]) -> Self {
        let portal = Self::start().await;
        let run = format!("{RUN},Bees,true,true,\n");
        portal.import_runs(&run).await;
        if !usernames.is_empty() {
            portal.import_users(usernames).await;
        }
        portal
    }

    /// Starts with [`MANY`] users, `l0` and so on, whose grades the LMS lists two per
    /// page, and who have no enrollments.
    async fn with_pages() -> Self {
        let names: [_; MANY] = std::array::from_fn(|n| format!("l{n}"));
        let portal = Self::with_users(&names.each_ref().map(String::as_str)).await;
        for name in &names {
            portal.give(name, 0.4);
        }
        portal.lms.pages_of(2);
        portal
    }

    async fn import(&self, what: &str, csv: &str) {
        let import = [what, "import", "-"];
        self.stack.run_with_input(&import, csv).await.ok();
    }

    async fn import_users(&self, usernames: &[&str]) {
        let rows = usernames
            .iter()
            .map(|name| format!("{name}@example.org,{name}\n"));
        let rows = String::from_iter(rows);
        self.import("users", &format!("email,edx_username\n{rows}"))
            .await;
    }

    async fn import_runs(&self, rows: &str) {
        let columns = "course_id,title,live,is_self_paced,certificate_available_date";
        self.import("runs", &format!("{columns}\n{rows}")).await;
    }

    async fn enroll_here(&self, username: &str, mode: &str) {
        let email = format!("{username}@example.org");
        let enroll = ["enrollments", "set", &email, RUN, "--mode", mode];
        self.stack.run(&enroll).await.ok();
    }

    /// Gives a learner a grade in the LMS, from one half on a pass.
    fn give(&self, username: &str, percent: f64) {
        let row = GradeRow {
            percent,
            passed: percent >= 0.5,
            letter_grade: None,
        };
        self.lms.grade(username, RUN, row);
    }

    /// Sets the time of every grade that a sweep found to be 0 back by a day.
    async fn backdate_zeros_by_a_day(&self) {
        let a_day_ago = SystemClock.now() - SignedDuration::from_hours(24);
        for grade in self.stack.scan("GradesTable").await {
            if !grade.contains_key("zero_since") {
                continue;
            }
            let dynamodb = self.stack.dynamodb();
            let mut update = dynamodb.update_item().table_name("GradesTable");
            for key in ["user_id", "course_id"] {
                update = update.key(key, grade[key].clone());
            }
            let since = AttributeValue::S(a_day_ago.to_string());
            let update = update
                .update_expression("SET zero_since = :since")
                .expression_attribute_values(":since", since);
            update.send().await.unwrap();
        }
    }

    /// Returns the number of items in a table.
    async fn count(&self, table: &str) -> usize {
        self.stack.scan(table).await.len()
    }

    /// Returns the states of all certificates.
    async fn states(&self) -> Vec<String> {
        let certificates = self.stack.scan("CertificatesTable").await;
        let state = |c: &AttributeValue| c.as_s().unwrap().clone();
        certificates.iter().map(|c| state(&c["state"])).collect()
    }

    /// Starts a command whose standard error is read line by line.
    fn begin(&self, mut command: Command) -> Begun {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        Begun { child, err }
    }
}

/// A running command.
struct Begun {
    child: Child,
    err: BufReader<ChildStderr>,
}

impl Begun {
    /// Reads standard error up to a line that contains this text.
    async fn until_stopped(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.err.read_line(&mut line).await.unwrap(), 0, "{text}");
        }
    }

    /// Waits for the command's end, and returns the rest of its output.
    async fn ended(self) -> Ran {
        let Self { child, mut err } = self;
        let mut described = String::new();
        let read = err.read_to_string(&mut described);
        let (output, _) = tokio::join!(child.wait_with_output(), read);
        Ran {
            err: described,
            ..Ran::from(output.unwrap())
        }
    }
}

/// Returns the words of the line that begins with this name.
fn row<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.unwrap_or_else(|| panic!("no {name}: {text}")).trim()
}

/// Returns the JSON of each line.
fn lines(ran: &Ran) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    ran.out.lines().map(line).collect()
}

/// The first sweep of a run's enrollments is a dry run, the next one writes, and after
/// that all enrollments match the LMS.
#[tokio::test]
async fn the_first_sweep_of_enrollments_is_a_dry_run() {
    let portal = WithLms::with_users(&["bob", "eve"]).await;
    for username in ["bob", "eve"] {
        portal.enroll_here(username, "verified").await;
    }
    for (username, mode, is_active) in [
        ("ada", "verified", true),
        ("bob", "audit", true),
        ("eve", "verified", false),
        ("zoe", "audit", true),
    ] {
        portal.lms.enroll(username, RUN, mode, is_active);
    }
    let before = portal.stack.scan("EnrollmentsTable").await;
    let sweep = ["sweep", "enrollments"];
    let first = portal.run(&sweep).await;
    let described = format!(
        "{RUN}: the enrollments of this run were never swept, so this is a dry run: nothing is \
         written; the same command again writes the changes\n"
    );
    assert_eq!((first.code, &first.err), (0, &described), "{first:?}");
    let set = format!("coursehook enrollments set bob@example.org {RUN} --mode MODE");
    let mut listed: Vec<_> = first.out.lines().skip(1).take(5).collect();
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "ada@example.org: an enrollment would be created",
            &format!(
                "bob@example.org: the LMS has another mode than the one set by an operator or an import, \
                 which stays; to change it: {set}"
            ),
            "bob@example.org: the enrollment would be marked as known to the LMS",
            "eve@example.org: the enrollment would be inactive",
            "zoe: the portal has no user of this name",
        ]
    );
    assert_eq!(row(&first.out, "outcome"), "dry run: nothing was written");
    let end =
        format!("\nNothing was written.\nTo do it:\n  coursehook sweep enrollments --run {RUN}\n");
    assert!(first.out.ends_with(&end), "{first:?}");
    let same = portal.stack.scan("EnrollmentsTable").await;
    let by_id = |item: &std::collections::HashMap<_, _>| format!("{:?}", item["user_id"]);
    let sorted = |mut items: Vec<_>| {
        items.sort_by_key(by_id);
        items
    };
    assert_eq!(sorted(same), sorted(before));

    let second = portal.run(&sweep).await;
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(second.err.lines().count(), 1, "{second:?}");
    assert!(second.err.contains(&set), "{second:?}");
    assert!(
        second.out.starts_with(&format!("{RUN}\noutcome")),
        "{second:?}"
    );
    for (name, value) in [
        ("outcome", "done"),
        ("listed", "4"),
        ("created", "1"),
        ("deactivated", "1"),
        ("confirmed", "1"),
        ("left: mode set in portal", "1"),
        ("no user", "1"),
    ] {
        assert_eq!(row(&second.out, name), value, "{second:?}");
    }
    let show = ["enrollments", "show", ADA, "--history"];
    let history = portal.stack.run(&show).await.ok();
    assert!(history.contains("  sweep of grace  "), "{history}");

    let third = portal.run(&sweep).await.ok();
    assert_eq!(row(&third, "unchanged"), "2");
    assert!(!third.contains("created"), "{third}");
}

/// Grades are stored and certificates issued; learners who cannot be swept are reported,
/// and the others are swept.
#[tokio::test]
async fn grades_are_swept_and_skipped_learners_are_reported() {
    let portal = WithLms::with_users(&["bob", "eve", "dan"]).await;
    for username in ["ada", "bob", "eve"] {
        portal.enroll_here(username, "verified").await;
        portal.give(username, 0.9);
    }
    portal.give("dan", 7.5);
    portal.give("zoe", 0.9);
    let grade = ["--percent", "0.4", "--letter", "F"];
    let grade = [&["grades", "override", "bob@example.org", RUN], &grade[..]].concat();
    portal.stack.run(&grade).await.ok();

    // A dry run reports all of it first.
    let dry_run = portal
        .run(&["sweep", "grades", "--dry-run", "--json"])
        .await;
    assert_eq!((dry_run.code, dry_run.err.as_str()), (1, ""));
    let described = lines(&dry_run);
    let [learners @ .., swept, all] = &described[..] else {
        panic!("{dry_run:?}");
    };
    let release = format!("coursehook grades release bob@example.org {RUN}");
    let learners = learners.iter().map(|learner| {
        assert_eq!(learner["message"], "learner swept");
        assert_eq!(learner["course_id"], RUN);
        assert_eq!(learner["user_id"].is_string(), learner["email"].is_string());
        let of = |field: &str| learner[field].as_str().unwrap_or("-").to_owned();
        [of("email"), of("username"), of("effect"), of("command")].join(" ")
    });
    let expected = [
        "- - failed:InvalidResponse:percent -".to_owned(),
        "- zoe no_user -".to_owned(),
        "ada@example.org ada grade_stored -".to_owned(),
        "ada@example.org ada issued -".to_owned(),
        format!("bob@example.org bob left:grade_overridden {release}"),
        "eve@example.org eve grade_stored -".to_owned(),
        "eve@example.org eve issued -".to_owned(),
    ];
    assert_eq!(learners.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    let tally = json!({
        "listed": 5, "grade_stored": 2, "issued": 2, "left:grade_overridden": 1,
        "failed:InvalidResponse:percent": 1, "no_user": 1,
    });
    for (line, message) in [(swept, "sweep ended"), (all, "all sweeps ended")] {
        assert_eq!(line["message"], message);
        assert_eq!(line["sweep"], "grades", "{message}");
        assert_eq!(line["tally"], tally, "{message}");
    }
    assert_eq!(
        (&swept["outcome"], &swept["dry_run"]),
        (&json!("done"), &json!(true))
    );
    assert_eq!((&all["done"], &all["stopped"]), (&json!(1), &json!(null)));
    assert_eq!(portal.count("GradesTable").await, 1);
    assert_eq!(portal.count("CertificatesTable").await, 0);

    let swept = portal.run(&GRADES).await;
    assert_eq!(swept.code, 1, "{swept:?}");
    let mut described: Vec<_> = swept.err.lines().collect();
    described.sort_unstable();
    let left = format!(
        "{RUN}: bob@example.org: the LMS has another grade than the operator's, which stays; \
         to change it: {release}"
    );
    let failed = format!(
        "{RUN}: a row of the list: the LMS gave an invalid response (InvalidResponse:percent)"
    );
    assert_eq!(described, [&failed, &left]);
    for (name, value) in [
        ("outcome", "done"),
        ("listed", "5"),
        ("grade stored", "2"),
        ("issued", "2"),
        ("left: grade overridden", "1"),
        ("failed: InvalidResponse:percent", "1"),
        ("no user", "1"),
    ] {
        assert_eq!(row(&swept.out, name), value, "{swept:?}");
    }
    assert_eq!(portal.states().await, ["in_force", "in_force"]);
    let json = portal.run(&[&GRADES[..], &["--json"]].concat()).await;
    let described = lines(&json);
    // The learners who were left or failed, the run, and all runs.
    assert_eq!(described.len(), 4, "{json:?}");
    assert_eq!(described[3]["tally"]["unchanged"], 2);
}

/// All due runs are swept, and one that fails does not stop the others.
#[tokio::test]
async fn due_runs_are_swept_one_after_the_other() {
    let portal = WithLms::start().await;
    portal.give("ada", 0.9);
    let none = portal.run(&["sweep", "grades"]).await.ok();
    assert!(none.starts_with("No course run is due; "), "{none}");
    let none = portal.run(&["sweep", "grades", "--json"]).await;
    assert_eq!(lines(&none).len(), 1);
    // A run that is named, and all runs with --force.
    for arguments in [&GRADES[..], &["sweep", "grades", "--force"]] {
        let swept = portal.run(arguments).await;
        assert_eq!(row(&swept.out, "listed"), "1", "{swept:?}");
    }

    portal
        .import_runs(&format!(
            "{RUN},Bees,yes,,\nOrg/Ants/1,Ants,yes,,\nOrg/Old/1,Old,yes,,2020-01-01\n"
        ))
        .await;
    let swept = portal.run(&["sweep", "grades"]).await;
    assert_eq!((swept.code, swept.err.as_str()), (1, ""), "{swept:?}");
    let failed = "\nThe LMS has no such course run.\nFind out in the LMS what happened to the run, \
                  and then try again:\n  coursehook sweep grades --run Org/Ants/1\n";
    assert!(swept.out.contains(failed), "{swept:?}");
    assert!(!swept.out.contains("Org/Old/1"), "{swept:?}");
    let (_, all) = swept.out.split_once("\n\nall 2 runs\n").unwrap();
    for (name, value) in [("runs done", "1"), ("runs failed", "1"), ("unchanged", "1")] {
        assert_eq!(row(all, name), value, "{swept:?}");
    }
    let list = portal.stack.run(&["sweep", "list"]).await.ok();
    let failed = list
        .lines()
        .find(|line| line.starts_with("Org/Ants/1"))
        .unwrap();
    assert!(
        failed.contains("  failed: 404 course_does_not_exist"),
        "{list}"
    );
    // Every learner without a certificate in that run gets the explanation.
    let enroll = ["enrollments", "set", ADA, "Org/Ants/1", "--mode", "audit"];
    portal.stack.run(&enroll).await.ok();
    let status = portal.stack.run(&["status", ADA, "Org/Ants/1"]).await.ok();
    assert!(
        status.contains(" The run's last sweep of grades failed ("),
        "{status}"
    );
    let status = portal.stack.run(&["status", ADA, RUN]).await.ok();
    assert!(!status.contains("sweep of grades"), "{status}");
}

#[tokio::test]
async fn a_learner_is_swept_alone() {
    let portal = WithLms::with_users(&["bob"]).await;
    for username in ["ada", "bob"] {
        portal.enroll_here(username, "verified").await;
        portal.give(username, 0.9);
        portal.lms.enroll(username, RUN, "verified", true);
    }
    let id = portal.stack.user_id(ADA).await.to_string();
    for (kind, learner, name) in [
        ("grades", ADA, "issued"),
        ("grades", &id, "unchanged"),
        // A sweep of one learner does not begin with a dry run.
        ("enrollments", &id, "confirmed"),
        ("enrollments", ADA, "unchanged"),
    ] {
        let swept = portal.run(&["sweep", kind, "--learner", learner]).await;
        assert_eq!((swept.code, swept.err.as_str()), (0, ""), "{swept:?}");
        assert_eq!(row(&swept.out, "listed"), "1");
        assert_eq!(row(&swept.out, name), "1", "{swept:?}");
    }
    assert_eq!(portal.count("CertificatesTable").await, 1);
    assert_eq!(portal.count("SweepsTable").await, 0);

    portal
        .import("users", "email\nnameless@example.org\n")
        .await;
    let unknown_id = "6f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
    for (learner, described) in [
        (
            "zoe@example.org",
            "error: there is no user zoe@example.org; `coursehook users import`",
        ),
        (
            unknown_id,
            &format!("error: there is no user with the id {unknown_id}; "),
        ),
        (
            "nameless@example.org",
            "error: the user has no edX username, ",
        ),
    ] {
        for kind in ["grades", "enrollments"] {
            let ran = portal
                .run(&["sweep", kind, "--run", RUN, "--learner", learner])
                .await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
            assert!(ran.err.starts_with(described), "{ran:?}");
            assert!(!ran.err.contains("goes on"), "{ran:?}");
        }
    }
    portal.import_users(&["new"]).await;
    let new = portal
        .run(&["sweep", "grades", "--learner", "new@example.org"])
        .await
        .ok();
    assert_eq!(
        new,
        "The learner is in no course run that the portal knows.\n"
    );
    let order = FaultRule::of(LmsFault::Throttle {
        retry_after: Some(9),
    });
    portal.lms.add_fault(order.at(At::Enrollments).times(1));
    let ran = portal
        .run(&["sweep", "enrollments", "--learner", ADA])
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err
            .starts_with("error: The LMS asks for fewer requests (429). "),
        "{ran:?}"
    );
}

/// If the grader gives 0 to all learners, no certificate is withdrawn until an operator
/// has confirmed.
#[tokio::test]
async fn a_sweep_that_takes_too_much_waits_for_an_operator() {
    const LOSING: usize = 11;
    let names: Vec<_> = (0..LOSING).map(|n| format!("l{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let portal = WithLms::with_users(&names).await;
    let rows = names
        .iter()
        .map(|name| format!("{name}@example.org,{RUN},verified\n"));
    let rows = String::from_iter(rows);
    portal
        .import("enrollments", &format!("email,course_id,mode\n{rows}"))
        .await;
    for (percent, name) in [
        (0.9, "issued"),
        (0.0, "left: zero seen once"),
        (0.0, "left: safety limit"),
    ] {
        for username in &names {
            portal.give(username, percent);
            portal.lms.enroll(username, RUN, "verified", true);
        }
        let swept = portal.run(&GRADES).await;
        assert_eq!(row(&swept.out, name), "11", "{swept:?}");
        portal.backdate_zeros_by_a_day().await;
        let is_halted = name == "left: safety limit";
        assert_eq!(swept.code, i32::from(is_halted));
        if is_halted {
            let sweep = format!("coursehook sweep grades --run {RUN}");
            let end = format!(
                "\n11 learners would lose their certificate: above the safety limit, so none did.\n\
                 To see who they are, and to do it anyway:\n  {sweep} --dry-run\n  \
                 {sweep} --confirm\n"
            );
            assert!(swept.out.ends_with(&end), "{swept:?}");
            assert_eq!(row(&swept.out, "outcome"), "halted: waits for --confirm");
        }
    }
    assert_eq!(portal.states().await, ["in_force"; LOSING]);
    let list = portal.stack.run(&["sweep", "list", "--json"]).await.json();
    assert_eq!(list[0]["last"]["outcome"], "halted");
    assert_eq!(list[0]["last"]["tally"]["left:safety_limit"], 11);
    let list = portal.stack.run(&["sweep", "list"]).await.ok();
    assert!(list.contains("  halted: waits for --confirm  "), "{list}");
    portal.enroll_here("ada", "verified").await;
    let status = portal.stack.run(&["status", ADA]).await.ok();
    let described = " sweep of grades was halted at its safety limit and waits for an operator (";
    assert!(status.contains(described), "{status}");
    let status = portal.stack.run(&["status", "l0@example.org"]).await.ok();
    assert!(!status.contains("safety limit"), "{status}");

    let dry_run = portal.run(&[&GRADES[..], &["--dry-run"]].concat()).await;
    let described = "l7@example.org: the certificate would be withdrawn\n";
    assert!(
        dry_run.code == 1 && dry_run.out.contains(described),
        "{dry_run:?}"
    );
    let end = format!("To do it anyway:\n  coursehook sweep grades --run {RUN} --confirm\n");
    assert!(dry_run.out.ends_with(&end), "{dry_run:?}");
    let confirm = [&GRADES[..], &["--confirm"]].concat();
    let asked = portal.run(&confirm).await;
    assert_eq!((asked.code, asked.out.as_str()), (2, ""));
    assert!(asked.err.contains(&format!("Bees ({RUN})")), "{asked:?}");
    assert!(asked.err.contains("--yes"), "{asked:?}");
    assert_eq!(portal.states().await, ["in_force"; LOSING]);
    let done = portal.run(&[&confirm[..], &["--yes"]].concat()).await.ok();
    assert_eq!(row(&done, "withdrawn"), "11");
    assert_eq!(portal.states().await, ["withdrawn"; LOSING]);
    // No sweep waits for an operator any more.
    let list = portal.stack.run(&["sweep", "list"]).await.ok();
    assert!(!list.contains("waits for --confirm"), "{list}");
}

#[tokio::test]
async fn an_unavailable_lms_is_retried() {
    let portal = WithLms::with_pages().await;
    let throttle = LmsFault::Throttle {
        retry_after: Some(1),
    };
    portal
        .lms
        .add_fault(FaultRule::of(throttle).after(1).times(1));
    let swept = portal.run(&GRADES).await;
    let described =
        format!("{RUN}: The LMS asks for fewer requests (429). The next attempt is in 1 s.\n");
    assert_eq!((swept.code, &swept.err), (0, &described), "{swept:?}");
    assert_eq!(row(&swept.out, "grade stored"), MANY.to_string());
}

/// The current page is finished, and the same command resumes the sweep.
#[tokio::test]
async fn an_interrupted_sweep_is_resumed() {
    let portal = WithLms::with_pages().await;
    let proxy = FaultyProxy::before(portal.stack.url(), |call| {
        let body = String::from_utf8_lossy(&call.body);
        if body.contains("UsernamesTable") {
            Fault::Hold
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let mut command = portal.command(&GRADES);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let mut sweep = portal.begin(command);
    proxy.stuck(1).await;
    signal(&sweep.child, "INT").await;
    sweep
        .until_stopped("the current page is finished first")
        .await;
    proxy.set(|_| Fault::Pass);
    let ran = sweep.ended().await;
    assert_eq!(ran.code, 130, "{ran:?}");
    assert_eq!(row(&ran.out, "outcome"), "interrupted after 1 page");
    let described = format!(
        "error: interrupted\nwhat was done stays done; to resume from there: \
         coursehook sweep grades --run {RUN}\n"
    );
    assert_eq!(ran.err, described);
    assert_eq!(portal.count("GradesTable").await, 2);
    let list = portal.stack.run(&["sweep", "list"]).await.ok();
    assert!(list.contains("  after 1 page, since "), "{list}");
    let list = portal.stack.run(&["sweep", "list", "--json"]).await.json();
    assert_eq!(list[0]["in_progress"]["pages"], 1);
    assert_eq!(list[0]["last"], json!(null));

    let asked = portal.lms.count(At::Grades);
    let swept = portal.run(&GRADES).await;
    let described = format!("{RUN}: a sweep that was cut short is resumed, after 1 page\n");
    assert_eq!((swept.code, &swept.err), (0, &described), "{swept:?}");
    // The counts include those of the interrupted command.
    assert_eq!(row(&swept.out, "grade stored"), MANY.to_string());
    assert_eq!(portal.count("GradesTable").await, MANY);
    assert_eq!(portal.lms.count(At::Grades), asked + 2);
}

/// While a sweep waits for the LMS there is no page to finish, and it may also be killed.
#[tokio::test]
async fn a_sweep_that_waits_can_be_stopped_and_resumed() {
    let portal = WithLms::with_pages().await;
    let wait = || {
        let throttle = LmsFault::Throttle {
            retry_after: Some(600),
        };
        portal
            .lms
            .add_fault(FaultRule::of(throttle).after(1).times(1));
    };
    wait();
    let mut sweep = portal.begin(portal.command(&[&GRADES[..], &["--json"]].concat()));
    sweep.until_stopped("The next attempt is in 600 s.").await;
    signal(&sweep.child, "INT").await;
    let ran = sweep.ended().await;
    assert_eq!(ran.code, 130, "{ran:?}");
    let described = lines(&ran);
    let [swept, all] = &described[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(swept["outcome"], "interrupted");
    assert_eq!(swept["tally"], json!({"listed": 2, "grade_stored": 2}));
    assert_eq!(all["stopped"], "interrupted");

    wait();
    let mut sweep = portal.begin(portal.command(&GRADES));
    sweep.until_stopped("resumed, after 1 page").await;
    sweep.until_stopped("The next attempt is in 600 s.").await;
    sweep.child.kill().await.unwrap();
    let swept = portal.run(&GRADES).await;
    assert!(swept.err.contains("resumed, after 2 pages"), "{swept:?}");
    assert_eq!(row(&swept.out, "grade stored"), MANY.to_string());
    assert_eq!(portal.count("GradesTable").await, MANY);
}

#[tokio::test]
async fn a_second_interruption_ends_a_sweep_at_once() {
    let portal = WithLms::with_users(&[]).await;
    portal.give("ada", 0.9);
    portal.lms.add_fault(FaultRule::of(LmsFault::Hang));
    let mut sweep = portal.begin(portal.command(&GRADES));
    while portal.lms.count(At::Grades) == 0 {
        tokio::task::yield_now().await;
    }
    signal(&sweep.child, "INT").await;
    sweep.until_stopped("Ctrl-C again ends at once").await;
    let Begun { child, .. } = sweep;
    let ran = interrupted(child).await;
    // No result of the run is written, since its checkpoint was not waited for.
    assert_eq!((ran.code, ran.out.as_str()), (130, ""));
}

/// Runs that were swept before the interruption are not swept again.
#[tokio::test]
async fn an_interrupted_sweep_of_all_runs_is_resumed() {
    let portal = WithLms::start().await;
    let runs: Vec<_> = (0..5).map(|n| format!("Org/R{n}/1")).collect();
    let rows = runs.iter().map(|run| format!("{run},Run,yes,yes,\n"));
    portal.import_runs(&String::from_iter(rows)).await;
    for run in &runs {
        let row = GradeRow {
            percent: 0.9,
            passed: true,
            letter_grade: None,
        };
        portal.lms.grade("ada", run, row);
    }
    let throttle = LmsFault::Throttle {
        retry_after: Some(600),
    };
    portal
        .lms
        .add_fault(FaultRule::of(throttle).after(2).times(1));
    let mut sweep = portal.begin(portal.command(&["sweep", "grades"]));
    sweep.until_stopped("The next attempt is").await;
    signal(&sweep.child, "INT").await;
    let first = sweep.ended().await;
    assert_eq!(first.code, 130, "{first:?}");
    let begun: Vec<_> = first
        .out
        .lines()
        .filter(|line| line.starts_with("Org/"))
        .collect();
    assert_eq!(begun.len(), 3, "{first:?}");
    let (_, all) = first.out.split_once("\n\nall 3 runs\n").unwrap();
    assert_eq!(row(all, "runs done"), "2");
    let (_, again) = first
        .err
        .split_once("to resume from there: coursehook ")
        .unwrap();
    assert_eq!(again, format!("sweep grades --after {}\n", begun[1]));

    let again: Vec<_> = again.split_whitespace().collect();
    let second = portal.run(&again).await.ok();
    let done: Vec<_> = second
        .lines()
        .filter(|line| line.starts_with("Org/"))
        .collect();
    assert_eq!(done.len(), 3, "{second}");
    assert_eq!(done[0], begun[2]);
    assert_eq!(portal.count("GradesTable").await, runs.len());
}

#[tokio::test]
async fn tables_that_fail_end_a_sweep() {
    let portal = WithLms::with_users(&[]).await;
    portal.give("ada", 0.9);
    let proxy = FaultyProxy::before(portal.stack.url(), |call| {
        let body = String::from_utf8_lossy(&call.body);
        if body.contains("UsernamesTable") {
            Fault::Refuse("AccessDeniedException")
        } else {
            Fault::Pass
        }
    });
    let proxy = proxy.await.unwrap();
    let mut command = portal.command(&GRADES);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let ran = ran(command).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let described = format!(
        "error: DynamoDB: failed (AccessDeniedException); these credentials are not allowed to do this; use \
         others\nwhat was done stays done; to resume from there: \
         coursehook sweep grades --run {RUN}\n"
    );
    assert_eq!(ran.err, described);
}

#[tokio::test]
async fn contradictory_options_are_refused() {
    let portal = WithLms::start().await;
    for (more, described) in [
        (&["--confirm"][..], "--run <COURSE_ID>"),
        (
            &["--run", RUN, "--confirm", "--dry-run"],
            "cannot be used with",
        ),
        (&["--run", RUN, "--yes"], "--confirm"),
        (&["--run", RUN, "--after", RUN], "cannot be used with"),
        (&["--learner", "ada"], "has no @"),
        (&["--run", "Org/No/1"], "there is no course run Org/No/1"),
    ] {
        for kind in ["grades", "enrollments"] {
            let ran = portal.run(&[&["sweep", kind], more].concat()).await;
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
            assert!(ran.err.contains(described), "{ran:?}");
        }
    }
    assert_eq!(
        portal.stack.run(&["sweep", "list", "--json"]).await.json(),
        json!([])
    );
    let empty = portal.run(&ENROLLMENTS).await.ok();
    assert_eq!(row(&empty, "outcome"), "dry run: nothing was written");
}
