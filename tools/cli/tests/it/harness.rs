//! Runs the program in an environment of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use common::clock::{Clock, SystemClock};
use domain::{
    Blocked, BlockedReason, CertificateEntry, CertificateState, Change, EventKey, EventKind,
    EventState, Grade, GradeEntry, Lane, PendingEvent, Score,
};
use infra::Template;
use local::lms::STATIC_TOKEN;
use local::{Dynamodb, Lms, SecretsManager};
use serde_json::{Value, json};
use store::CallLimits;
use store::certificates::Certificates;
use store::pending_events::{NewPendingEvent, PendingEvents};
use store::records::Records;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// The address of the user of [`CliFixture::with_ada_and_a_run`].
pub const ADA: &str = "ada@example.org";
/// The run of [`CliFixture::with_ada_and_a_run`].
pub const RUN: &str = "course-v1:Org+Bees+2026";

/// Tables and a list of tokens that no other test uses.
pub struct CliFixture {
    dynamodb: Dynamodb,
    /// The secret; `None` unless a test needs Secrets Manager.
    secrets: Option<(&'static SecretsManager, String)>,
    folder: TempDir,
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns standard output of a run that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
}

impl CliFixture {
    pub async fn start() -> Self {
        Self {
            dynamodb: Dynamodb::in_memory().await.unwrap(),
            secrets: None,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts with [`ADA`], [`RUN`], and another run, Org/Ants/1.
    pub async fn with_ada_and_a_run() -> Self {
        let stack = Self::start().await;
        let users = format!("email,name\n{ADA},Ada Lovelace\n");
        let runs = format!("course_id,title\n{RUN},Bees\nOrg/Ants/1,Ants\n");
        for (what, csv) in [("users", users), ("runs", runs)] {
            stack
                .run_with_input(&[what, "import", "-"], &csv)
                .await
                .ok();
        }
        stack
    }

    pub async fn with_secrets() -> Self {
        let secrets = SecretsManager::for_tests().await;
        // The message says how to install what is missing.
        let secrets = secrets.unwrap_or_else(|error| panic!("{error}"));
        let name = format!("tokens-{}", Uuid::new_v4());
        secrets.create(&name).await.unwrap();
        Self {
            secrets: Some((secrets, name)),
            ..Self::start().await
        }
    }

    /// Writes a file with this content, and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Returns a path in this test's own folder, in which the program runs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The endpoint of DynamoDB.
    pub fn url(&self) -> &str {
        &self.dynamodb.url
    }

    /// Returns the program's command, with an environment that has only what is set here.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coursehook"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The environment and ~/.aws of the developer are not inherited.
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(Template::load().unwrap().variables())
            .envs([
                ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url.as_str()),
                // No server listens there.
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "local"),
                ("AWS_SECRET_ACCESS_KEY", "local"),
                ("USER", "grace"),
                ("NO_PROXY", "*"),
            ]);
        if let Some((secrets, name)) = &self.secrets {
            command
                .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url)
                .env("AWS_ENDPOINT_URL_CLOUDFORMATION", &secrets.url)
                .env("WEBHOOK_TOKENS_SECRET", name);
        }
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments)).await
    }

    /// Runs a line in a shell that finds the program by its name.
    pub async fn shell(&self, line: &str) -> Ran {
        let program = self.command(&[]);
        let program = program.as_std();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("coursehook() {{ \"$0\" \"$@\"; }}\n{line}")])
            .arg(program.get_program())
            .current_dir(self.folder.path())
            .env_clear()
            .envs(
                program
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        ran(shell).await
    }

    /// Runs the program with `input` as its standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let write = async move { stdin.write_all(input.as_bytes()).await.unwrap() };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        Ran::from(output.unwrap())
    }

    /// Creates another secret, with this value if there is one, and returns its name.
    pub async fn another_secret(&self, value: Option<&str>) -> String {
        let (secrets, _) = self.secrets.as_ref().unwrap();
        let name = format!("secret-{}", Uuid::new_v4());
        secrets.create(&name).await.unwrap();
        if let Some(value) = value {
            secrets.put(&name, value).await.unwrap();
        }
        name
    }

    /// Deploys a stack that names the tables and secrets of this test, with these
    /// additional parameters and outputs, and returns its name.
    pub async fn deploy_all(
        &self,
        parameters: &[(&str, &str)],
        outputs: &[(&str, &str)],
    ) -> String {
        let template = Template::load().unwrap();
        let tables = template.tables.iter().map(|table| table.name.as_str());
        let tables = tables.map(|name| (name, name));
        let (_, tokens) = self.secrets.as_ref().unwrap();
        let secrets = [("WebhookTokensSecret", tokens.as_str())];
        let all: HashMap<_, _> = tables
            .chain(secrets)
            .chain([
                ("OpenedxApiSecret", "absent"),
                ("Url", "http://127.0.0.1:1"),
            ])
            .chain(outputs.iter().copied())
            .collect();
        let settings = [("LmsUrl", "http://127.0.0.1:1"), ("PaidModes", "verified")];
        let limits = [
            ("LmsConcurrency", "4"),
            ("LmsPerSecond", "10"),
            ("LmsEnrollmentsPerMinute", "100"),
        ];
        let sweeps = [("SweepConcurrency", "1"), ("SweepWindowDays", "31")];
        let settings: HashMap<_, _> = settings
            .into_iter()
            .chain(limits)
            .chain(sweeps)
            .chain(parameters.iter().copied())
            .collect();
        self.deploy(&Vec::from_iter(settings), &Vec::from_iter(all))
            .await
    }

    /// Deploys a stack with these parameters and outputs only, and returns its name.
    #[expect(
        clippy::disallowed_methods,
        reason = "the program itself deploys nothing"
    )]
    pub async fn deploy(&self, parameters: &[(&str, &str)], outputs: &[(&str, &str)]) -> String {
        let (secrets, _) = self.secrets.as_ref().unwrap();
        let of_all = |pairs: &[(&str, &str)], field: &str| -> Value {
            let with = |(key, value): &(&str, &str)| {
                let value = json!({"Type": "String", field: value});
                (key.to_string(), value)
            };
            pairs.iter().map(with).collect()
        };
        let template = json!({
            "Parameters": of_all(parameters, "Default"),
            "Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": of_all(outputs, "Value"),
        });
        let aws = local::sdk::configuration(&secrets.url);
        let client = aws_sdk_cloudformation::Client::new(&aws);
        let name = format!("stack-{}", Uuid::new_v4());
        let created = client.create_stack().stack_name(&name);
        let created = created.template_body(template.to_string());
        created.send().await.unwrap();
        loop {
            let described = client.describe_stacks().stack_name(&name).send().await;
            let described = described.unwrap();
            let [stack] = described.stacks() else {
                panic!("{described:?}");
            };
            match stack.stack_status().map(StackStatus::as_str) {
                Some("CREATE_IN_PROGRESS") => {}
                Some("CREATE_COMPLETE") => return name,
                status => panic!("{status:?}"),
            }
        }
    }

    /// Returns the value of the secret, as the functions read it.
    pub async fn secret(&self) -> String {
        let (_, name) = self.secrets.as_ref().unwrap();
        self.value_of(name).await.unwrap()
    }

    /// Returns the value of the secret with this name, or `None`.
    pub async fn value_of(&self, name: &str) -> Option<String> {
        let (secrets, _) = self.secrets.as_ref().unwrap();
        secrets.value(name).await.unwrap()
    }

    /// Returns the pending events, without the program.
    pub fn pending_events(&self) -> PendingEvents {
        PendingEvents::new(self.dynamodb(), "PendingEventsTable".to_owned())
    }

    /// Adds a pending event, as a webhook does that was called just now.
    pub async fn add_pending(
        &self,
        kind: EventKind,
        email: &str,
        course_id: &str,
        blocked: impl Into<Blocked>,
    ) -> PendingEvent {
        let waiting = NewPendingEvent {
            kind,
            email: &email.parse().unwrap(),
            course_id: &course_id.parse().unwrap(),
            role: None,
            mode: None,
            blocked: &blocked.into(),
            delivered_at: SystemClock.now(),
        };
        let key = self.pending_events().add(&waiting).await.unwrap();
        self.pending(&key).await.unwrap()
    }

    /// Ends an event, as an attempt does that came too late.
    pub async fn end(&self, mut event: PendingEvent, state: EventState) {
        event.state = state;
        event.attempts = 9;
        let saved = self.pending_events().save(&event).await;
        assert!(saved.unwrap());
    }

    /// Returns the pending event with this key, or `None`.
    pub async fn pending(&self, key: &EventKey) -> Option<PendingEvent> {
        let key = [key.clone()];
        let found = self.pending_events().get_many(&key).await.unwrap().pop();
        found.transpose().unwrap()
    }

    /// Returns the keys of the events that are due now.
    pub async fn due(&self) -> Vec<EventKey> {
        let (events, now) = (self.pending_events(), SystemClock.now());
        let [own, of_lms] = Lane::ALL.map(|lane| events.due(lane, now));
        [own.await.unwrap().keys, of_lms.await.unwrap().keys].concat()
    }

    /// Returns the id of the user with this address.
    pub async fn user_id(&self, email: &str) -> Uuid {
        let user = self.run(&["users", "show", email, "--json"]).await.json();
        user["user_id"].as_str().unwrap().parse().unwrap()
    }

    /// Stores grades one after the other, as deliveries do.
    pub async fn put_grades_of_the_lms(
        &self,
        email: &str,
        course_id: &str,
        scores: impl IntoIterator<Item = Score>,
    ) {
        let user_id = self.user_id(email).await;
        let course_id = course_id.parse().unwrap();
        let [enrollments, grades, certificates] =
            ["EnrollmentsTable", "GradesTable", "CertificatesTable"].map(str::to_owned);
        let records = Records::new(self.dynamodb(), enrollments, grades, certificates);
        let mut before = records.find(user_id, &course_id).await.unwrap().grade;
        for score in scores {
            let entry = GradeEntry {
                at: SystemClock.now(),
                change_id: Uuid::new_v4(),
                by: Change::Delivery {
                    request_id: "r".to_owned(),
                    token_id: "t0".to_owned(),
                },
                score,
                set_by_admin: false,
            };
            let after = Grade::after(before.as_ref(), user_id, &course_id, entry);
            let write = records.write_grade(before.as_ref(), &after);
            write.await.unwrap();
            before = Some(after);
        }
    }

    /// Sets the state of a certificate, as another program may.
    pub async fn set_certificate_state(&self, email: &str, course_id: &str, state: &str) {
        let user_id = self.user_id(email).await.to_string();
        self.dynamodb()
            .update_item()
            .table_name("CertificatesTable")
            .key("user_id", AttributeValue::S(user_id))
            .key("course_id", AttributeValue::S(course_id.to_owned()))
            .update_expression("SET #state = :state")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", AttributeValue::S(state.to_owned()))
            .send()
            .await
            .unwrap();
    }

    /// Withdraws a certificate, as a grade of 0 does.
    pub async fn withdraw(&self, email: &str, course_id: &str) {
        let certificates = Certificates::new(self.dynamodb(), "CertificatesTable".to_owned());
        let all = certificates.of_user(self.user_id(email).await).await;
        let all = all.unwrap();
        let found = all.iter().find(|c| c.course_id.as_str() == course_id);
        let entry = CertificateEntry {
            at: SystemClock.now(),
            change_id: Uuid::new_v4(),
            by: Change::Operator {
                name: "a test".to_owned(),
            },
            state: CertificateState::Withdrawn,
            renamed: None,
        };
        let change_id = entry.change_id;
        let before = found.unwrap();
        let withdrawn = certificates.put(before, &before.after(entry)).await;
        assert!(withdrawn.unwrap().holds(change_id));
    }

    /// Returns all items of a table, in no particular order.
    pub async fn scan(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self
            .dynamodb()
            .scan()
            .table_name(table)
            .consistent_read(true);
        let items = scan.into_paginator().items().send();
        items.collect::<Result<_, _>>().await.unwrap()
    }

    /// Returns a client for the tables, for items that the program itself never writes.
    pub fn dynamodb(&self) -> Client {
        let aws = local::sdk::configuration(&self.dynamodb.url);
        bootstrap::aws::dynamodb(&aws, CallLimits::PRODUCTION)
    }
}

/// A [`CliFixture::with_ada_and_a_run`], and an LMS that knows [`ADA`] as `ada`.
pub struct WithLms {
    pub stack: CliFixture,
    pub lms: Lms,
    secrets: &'static SecretsManager,
    secret: String,
}

impl WithLms {
    pub async fn start() -> Self {
        let stack = CliFixture::with_ada_and_a_run().await;
        let users = format!("email,edx_username\n{ADA},ada\n");
        let import = ["users", "import", "-"];
        stack.run_with_input(&import, &users).await.ok();
        let secrets = SecretsManager::for_tests().await.unwrap();
        let secret = format!("lms-{}", Uuid::new_v4());
        secrets.create(&secret).await.unwrap();
        let credential = json!({"token": STATIC_TOKEN}).to_string();
        secrets.put(&secret, &credential).await.unwrap();
        Self {
            stack,
            lms: Lms::start(0).await.unwrap(),
            secrets,
            secret,
        }
    }

    /// Returns the program's command, with the settings to ask that LMS.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stack.command(arguments);
        command
            .env("LMS_URL", &self.lms.url)
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.secrets.url)
            .env("OPENEDX_API_SECRET", &self.secret);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments)).await
    }
}

/// Runs a command to its end.
pub async fn ran(mut command: Command) -> Ran {
    Ran::from(command.output().await.unwrap())
}

/// Sends Ctrl-C to a command, and waits for its end.
pub async fn interrupted(child: Child) -> Ran {
    signal(&child, "INT").await;
    Ran::from(child.wait_with_output().await.unwrap())
}

/// Sends a signal to a command, by its name in `kill`.
pub async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    let sent = Command::new("sh").args(["-c", &kill]).status().await;
    assert!(sent.unwrap().success());
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("the program was killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// Returns the blocked reason of an unavailable LMS, with this error code.
pub fn lms_unavailable(code: &str) -> Blocked {
    Blocked {
        error: Some(code.to_owned()),
        ..BlockedReason::LmsUnavailable.into()
    }
}
