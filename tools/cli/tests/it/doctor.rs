use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
};
use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use common::clock::{Clock, SystemClock};
use domain::{Blocked, BlockedReason, EventKind, EventState};
use jiff::SignedDuration;
use local::Lms;
use local::lms::{At, CLIENT_ID, CLIENT_SECRET, FaultRule, GradeRow, LmsFault, STATIC_TOKEN};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{ADA, CliFixture, RUN, Ran, lms_unavailable, ran};

/// Everything that the doctor checks, with nothing to fix.
struct Portal {
    stack: CliFixture,
    lms: Lms,
    url: String,
    credential: String,
}

/// Name and value.
type Variable<'a> = (&'a str, &'a str);

/// A check that must find something to fix, and parts of its detail and advice.
type ExpectedLine<'a> = (&'a str, &'a str, &'a str);

/// The result, detail and advice of each check.
type Findings = BTreeMap<String, (String, String, String)>;

impl Portal {
    async fn start() -> Self {
        let stack = CliFixture::with_secrets().await;
        for (what, csv) in [
            (
                "users",
                format!("email,edx_username\n{ADA},ada\nbob@example.org,\n"),
            ),
            (
                "runs",
                format!("course_id,title\n{RUN},Bees\nOrg/Ants/1,Ants\n"),
            ),
        ] {
            stack
                .run_with_input(&[what, "import", "-"], &csv)
                .await
                .ok();
        }
        stack
            .run(&["enrollments", "set", ADA, RUN, "--mode", "audit"])
            .await
            .ok();
        stack.run(&["tokens", "issue", "lms", "--staff"]).await.ok();
        let credential = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        let lms = Lms::start(0).await.unwrap();
        let passed = GradeRow {
            percent: 0.93,
            passed: true,
            letter_grade: None,
        };
        lms.grade("ada", RUN, passed);
        Self {
            credential: stack.another_secret(Some(&credential.to_string())).await,
            url: webhooks().await,
            lms,
            stack,
        }
    }

    /// Runs the doctor with these variables in place of the good ones; an empty one is
    /// not set.
    async fn look(&self, arguments: &[&str], variables: &[Variable<'_>]) -> Ran {
        let mut command = self.stack.command(&["doctor"]);
        command
            .args(arguments)
            .env("COURSEHOOK_URL", &self.url)
            .env("COURSEHOOK_TOKEN", "good")
            .env("LMS_URL", &self.lms.url)
            .env("OPENEDX_API_SECRET", &self.credential)
            .envs(variables.iter().copied());
        ran(command).await
    }

    async fn findings(&self, arguments: &[&str], variables: &[Variable<'_>]) -> (i32, Findings) {
        let ran = self
            .look(&[arguments, &["--json"]].concat(), variables)
            .await;
        let all = ran.json();
        let text =
            |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let findings = all.as_array().unwrap().iter().map(|finding| {
            let described = (
                text(finding, "result"),
                text(finding, "detail"),
                text(finding, "advice"),
            );
            (text(finding, "check"), described)
        });
        (ran.code, findings.collect())
    }

    /// Asserts that these checks, and no others, differ from a doctor without findings,
    /// and state the cause and the fix.
    async fn assert_reported(
        &self,
        well: &Findings,
        arguments: &[&str],
        variables: &[Variable<'_>],
        described: &[ExpectedLine<'_>],
    ) {
        let (code, findings) = self.findings(arguments, variables).await;
        assert_eq!(code, 1, "{variables:?}: {findings:?}");
        for (check, (result, detail, advice)) in &findings {
            let described = described.iter().find(|(named, ..)| named == check);
            let before = well.get(check).map_or("none", |(result, ..)| result);
            let Some((_, what, help)) = described else {
                assert_eq!(result, before, "{variables:?}: {check}: {detail}");
                continue;
            };
            assert_eq!(result, "fix", "{variables:?}: {check}: {detail}");
            assert!(detail.contains(what), "{variables:?}: {check}: {detail}");
            assert!(advice.contains(help), "{variables:?}: {check}: {advice}");
        }
        for (check, ..) in described {
            assert!(findings.contains_key(*check), "{check}: {findings:?}");
        }
    }
}

/// Starts webhooks that accept the token `good` only; `weak` has no rights. In the stage
/// `slashed` they exist only with the last slash, and in a stage that is a number they
/// answer with it as status.
async fn webhooks() -> String {
    async fn answer(
        method: Method,
        uri: Uri,
        headers: HeaderMap,
    ) -> (StatusCode, HeaderMap, String) {
        let path = uri.path();
        let token = headers["authorization"].to_str().unwrap();
        let stage = path.split('/').nth(1).unwrap();
        let is_there = path.contains("/api/openedx_webhook/")
            && (stage == "prod" || (stage == "slashed" && path.ends_with('/')));
        let status = match (stage.parse::<u16>(), token.strip_prefix("Bearer ").unwrap()) {
            (Ok(status), _) => status,
            _ if !is_there => 404,
            (_, "good") if method == Method::POST => 400,
            (_, "good") => 405,
            (_, "weak") => 403,
            _ => 401,
        };
        let status = StatusCode::from_u16(status).unwrap();
        // Errors from in front of the webhooks have another form.
        let is_ours = is_there || matches!(status.as_u16(), 503 | 500);
        let field = if is_ours { "error" } else { "message" };
        let allow = [("allow".parse().unwrap(), "POST".parse().unwrap())];
        (
            status,
            HeaderMap::from_iter(allow),
            json!({field: "no"}).to_string(),
        )
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prod", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn without_faults_every_check_is_ok() {
    let portal = Portal::start().await;
    let ran = portal.look(&[], &[]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<_> = ran.out.lines().collect();
    let is_well = |line: &&str| line.starts_with("OK    ") || line.starts_with("SKIP  ");
    assert!(lines.iter().all(is_well), "{}", ran.out);
    assert!(lines[0].starts_with("OK    credentials "), "{}", ran.out);
    assert!(
        lines[0].ends_with("the access key that ends in ocal, in us-east-1"),
        "{}",
        ran.out
    );
    assert!(
        !ran.out.contains('\u{1b}'),
        "colour, and this is no terminal"
    );

    let (code, findings) = portal.findings(&[], &[]).await;
    assert_eq!(code, 0);
    let not_ok = findings.iter().filter(|(_, (result, ..))| result != "ok");
    let not_ok: Vec<_> = not_ok
        .map(|(check, (result, detail, _))| (check.as_str(), result.as_str(), detail.as_str()))
        .collect();
    // The engine does not support the check of backups.
    assert_eq!(
        not_ok,
        [("backups", "skip", "this DynamoDB cannot report it")]
    );
    assert_eq!(lines.len(), findings.len());
    for (check, described) in [
        (
            "LMS grades",
            "the grade of ada@example.org in course-v1:Org+Bees+2026 was read",
        ),
        ("LMS token", "the LMS gives our client a token"),
        ("LMS enrollments", "can be listed"),
        ("PendingEventsTable", "matches the template"),
        ("WebhookTokensSecret", "live tokens with staff rights: 1"),
        ("COURSEHOOK_TOKEN", "the webhooks accept it"),
        ("PAID_MODES", "verified"),
        (
            "certificate modes",
            "verified: no other certificate-eligible mode among 1 active enrollment",
        ),
    ] {
        assert!(
            findings[check].1.contains(described),
            "{check}: {}",
            findings[check].1
        );
    }

    // A check that cannot be made is not a finding to fix, and neither is an answer of
    // the LMS itself, which proves that the credential may read.
    let static_token = json!({"token": STATIC_TOKEN}).to_string();
    let static_token = portal.stack.another_secret(Some(&static_token)).await;
    for (arguments, variables, check, result, described) in [
        (
            &[][..],
            &[("COURSEHOOK_URL", "")][..],
            "webhooks",
            "skip",
            "not set",
        ),
        (
            &[],
            &[("COURSEHOOK_TOKEN", "")],
            "COURSEHOOK_TOKEN",
            "skip",
            "not set",
        ),
        (
            &[ADA, "Org/Ants/1"],
            &[],
            "LMS grades",
            "ok",
            "the credential works; for ada@example.org in Org/Ants/1: the LMS has no such course run",
        ),
        (
            &["bob@example.org", RUN],
            &[],
            "LMS grades",
            "skip",
            "has no edX username",
        ),
        (
            &["eve@example.org", RUN],
            &[],
            "LMS grades",
            "skip",
            "no user eve@example.org",
        ),
        (
            &[],
            &[("OPENEDX_API_SECRET", static_token.as_str())],
            "LMS token",
            "ok",
            "static",
        ),
    ] {
        let (code, findings) = portal.findings(arguments, variables).await;
        assert_eq!(code, 0, "{findings:?}");
        let (found, detail, _) = &findings[check];
        assert_eq!(found, result, "{detail}");
        assert!(detail.contains(described), "{detail}");
    }
    let elsewhere = GradeRow {
        percent: 0.0,
        passed: false,
        letter_grade: None,
    };
    portal.lms.grade("ada", "Org/Cats/1", elsewhere);
    portal.lms.remove("ada", RUN);
    let (_, findings) = portal.findings(&[], &[]).await;
    let detail = &findings["LMS grades"].1;
    assert!(detail.ends_with("never enrolled there"), "{detail}");
}

#[tokio::test]
async fn each_fault_is_reported_and_does_not_stop_other_checks() {
    let portal = Portal::start().await;
    let (_, well) = portal.findings(&[], &[]).await;
    let stack = &portal.stack;
    let root = portal.url.trim_end_matches("prod");
    let stage = |status: &str| format!("{root}{status}");
    let [created, moved, refused, absent, failed, unable] =
        ["201", "301", "403", "404", "500", "503"].map(stage);
    let (slashed, nowhere) = (stage("slashed"), "http://127.0.0.1:1");
    let no_value = stack.another_secret(None).await;
    let malformed = stack.another_secret(Some("malformed")).await;
    let client = json!({"client_id": "x", "client_secret": "y"}).to_string();
    let client = stack.another_secret(Some(&client)).await;
    let not_staff = stack.another_secret(None).await;
    let mut issue = stack.command(&["tokens", "issue", "weak"]);
    issue.env("WEBHOOK_TOKENS_SECRET", &not_staff);
    ran(issue).await.ok();
    bad_tables(stack).await;

    let both = |what, help| {
        [
            ("enrollment webhook", what, help),
            ("certificate webhook", what, help),
        ]
    };
    let with_token = |what, help| {
        let [one, other] = both(what, help);
        [one, other, ("COURSEHOOK_TOKEN", what, help)]
    };
    let cases: &[(&[Variable<'_>], &[ExpectedLine<'_>])] = &[
        (
            &[("GRADES_TABLE", "absent")],
            &[("GradesTable", "ResourceNotFoundException", "AWS_REGION")],
        ),
        (
            &[("GRADES_TABLE", "")],
            &[("GradesTable", "GRADES_TABLE is not set", "--stack")],
        ),
        (
            &[("GRADES_TABLE", "no-index")],
            &[(
                "GradesTable",
                "the index by_course_id is missing",
                "deploy infra/template.yaml",
            )],
        ),
        (
            &[("PENDING_EVENTS_TABLE", "other-index")],
            &[(
                "PendingEventsTable",
                "the index by_due is ACTIVE (HASH due S, RANGE due_order S; ALL) and not ACTIVE (HASH due S, RANGE due_order S; KEYS_ONLY)",
                "another name",
            )],
        ),
        (
            &[("USERNAMES_TABLE", "other-key")],
            &[(
                "UsernamesTable",
                "other-key: the billing mode is PROVISIONED and not PAY_PER_REQUEST, the deletion protection is off and not on, the key is HASH username N and not HASH username_key S, the time to live is ends_at and not off, the index by_x is not in the template",
                "deploy",
            )],
        ),
        (
            &[("WEBHOOK_TOKENS_SECRET", &no_value)],
            &[(
                "WebhookTokensSecret",
                "no live token",
                "coursehook tokens issue",
            )],
        ),
        (
            &[("WEBHOOK_TOKENS_SECRET", &not_staff)],
            &[("WebhookTokensSecret", "no live token with staff", "--staff")],
        ),
        (
            &[("WEBHOOK_TOKENS_SECRET", &malformed)],
            &[("WebhookTokensSecret", "form", "an earlier version")],
        ),
        (
            &[("WEBHOOK_TOKENS_SECRET", "absent")],
            &[(
                "WebhookTokensSecret",
                "ResourceNotFoundException",
                "check the name",
            )],
        ),
        (
            &[("OPENEDX_API_SECRET", &client)],
            &[
                ("LMS token", "does not know our client", "OpenedxApiSecret"),
                ("LMS grades", "does not know our client", "OpenedxApiSecret"),
                (
                    "LMS enrollments",
                    "does not know our client",
                    "OpenedxApiSecret",
                ),
            ],
        ),
        (
            &[("LMS_URL", "")],
            &[
                ("LMS_URL", "not set", "--stack"),
                ("LMS token", "LMS_URL", "local/env"),
                ("LMS grades", "LMS_URL", "local/env"),
                ("LMS enrollments", "LMS_URL", "local/env"),
            ],
        ),
        (
            &[("LMS_URL", nowhere)],
            &[
                ("LMS token", "in time", "LMS_URL"),
                ("LMS grades", "in time", "LMS_URL"),
                ("LMS enrollments", "in time", "LMS_URL"),
            ],
        ),
        (
            &[("PAID_MODES", ",")],
            &[
                ("PAID_MODES", "names a mode", "--stack"),
                ("certificate modes", "names a mode", ""),
            ],
        ),
        (
            &[("COURSEHOOK_URL", "x")],
            &[("COURSEHOOK_URL", "not a URL", "")],
        ),
        (
            &[("COURSEHOOK_TOKEN", "weak")],
            &[("COURSEHOOK_TOKEN", "no staff rights", "--staff")],
        ),
        (
            &[("COURSEHOOK_TOKEN", "other")],
            &[("COURSEHOOK_TOKEN", "not listed", "tokens list")],
        ),
        (
            &[("COURSEHOOK_URL", &moved)],
            &with_token("301, it redirects", "https, with the stage"),
        ),
        (
            &[("COURSEHOOK_URL", &absent)],
            &with_token("404, there is no webhook", "the stage"),
        ),
        (
            &[("COURSEHOOK_URL", &slashed)],
            &both(": 404, there is no webhook", "the stage"),
        ),
        (
            &[("COURSEHOOK_URL", &refused)],
            &with_token("403, something in front of", "an authorizer"),
        ),
        (
            &[("COURSEHOOK_URL", &created)],
            &with_token("201, the server there accepts", "at once"),
        ),
        (
            &[("COURSEHOOK_URL", &failed)],
            &with_token("500, the webhook fails", "log group"),
        ),
        (
            &[("COURSEHOOK_URL", &unable)],
            &with_token("503, it cannot check tokens", "WebhookTokensSecret"),
        ),
        (
            &[("COURSEHOOK_URL", nowhere)],
            &with_token("cannot be reached", "deployed"),
        ),
    ];
    for (variables, described) in cases {
        portal
            .assert_reported(&well, &[], variables, described)
            .await;
    }

    // A secret without a credential is reported once.
    for (secret, what) in [(&no_value, "no value yet"), (&malformed, "not of the form")] {
        let (code, findings) = portal
            .findings(&[], &[("OPENEDX_API_SECRET", secret)])
            .await;
        assert_eq!(code, 1);
        assert!(
            findings["OpenedxApiSecret"].1.contains(what),
            "{findings:?}"
        );
        for check in ["LMS token", "LMS grades", "LMS enrollments"] {
            assert_eq!(findings[check].0, "skip", "{findings:?}");
        }
    }

    // Grades only are refused, or enrollments; then the LMS works as before.
    for (at, check, described, fix) in [
        (
            At::Grades,
            "LMS grades",
            "does not let us read grades (403)",
            "make them staff",
        ),
        (
            At::Enrollments,
            "LMS enrollments",
            "does not let us list enrollments (403)",
            "global staff",
        ),
    ] {
        portal.lms.add_fault(FaultRule::of(LmsFault::Refuse).at(at));
        let described = [(check, described, fix)];
        portal.assert_reported(&well, &[], &[], &described).await;
        portal.lms.revoke();
    }

    // A token is reported from two weeks before its end.
    for time in ["13d", "15d"] {
        stack
            .run(&["tokens", "issue", time, "--staff", "--expires-in", time])
            .await
            .ok();
    }
    let listed = stack.run(&["tokens", "list", "--json"]).await.json();
    let listed = listed.as_array().unwrap();
    let ends = listed.iter().find(|token| token["name"] == "13d").unwrap();
    let id = ends["id"].as_str().unwrap();
    let (check, help) = (
        format!("token {id}"),
        format!("coursehook tokens rotate {id}"),
    );
    portal
        .assert_reported(&well, &[], &[], &[(&check, "13d ends at 20", &help)])
        .await;
    // Once another token replaces it, it may end.
    stack.run(&["tokens", "rotate", id]).await.ok();
    let (code, findings) = portal.findings(&[], &[]).await;
    let (result, detail, _) = &findings[&check];
    assert_eq!((code, result.as_str()), (0, "ok"), "{detail}");
    assert!(detail.ends_with(" replaces it"), "{detail}");
    stack.run(&["tokens", "revoke", id, "--yes"]).await.ok();

    // An expired event is counted, a dead one is something to fix.
    let key = stack
        .add_pending(
            EventKind::Certificate,
            "eve@example.org",
            RUN,
            lms_unavailable("503"),
        )
        .await;
    stack.end(key, EventState::Expired).await;
    assert_eq!(
        portal.findings(&[], &[]).await.1["pending events"].1,
        "none dead, 1 expired"
    );
    let key = stack
        .add_pending(EventKind::Certificate, ADA, RUN, lms_unavailable("503"))
        .await;
    stack.end(key, EventState::Dead).await;
    let described = [("pending events", "1 dead, 1 expired", "events list --dead")];
    portal.assert_reported(&well, &[], &[], &described).await;
}

/// A token may end if a live one with the same name ends later.
#[tokio::test]
async fn an_expiring_token_is_reported_unless_another_replaces_it() {
    let stack = CliFixture::with_secrets().await;
    let now = SystemClock.now();
    let hours = |hours: i64| now + SignedDuration::from_hours(hours);
    let revoked = json!({"revoked_at": now});
    let not_staff = json!({"staff": false});
    let ends = |hours_from_now: i64| json!({"expires_at": hours(hours_from_now)});
    let day = 24;
    let rotate = |id: &str| Some(("fix", "ends at 2", format!("coursehook tokens rotate {id}")));
    let replaced = |by: &'static str| Some(("ok", by, String::new()));
    let refused = |name: &str, id: &str| {
        let advice = format!(
            "coursehook tokens issue {name} --staff, or if it is not in use: \
             coursehook tokens revoke {id}"
        );
        Some(("fix", ", and deliveries with it are refused", advice))
    };
    let tokens = [
        ("soon", "a1", vec![ends(13 * day)], rotate("a1")),
        ("far", "b1", vec![ends(15 * day)], None),
        // The next one also ends soon, but later.
        ("two", "c1", vec![ends(day)], replaced("; c2 replaces it")),
        ("two", "c2", vec![ends(2 * day)], rotate("c2")),
        ("gone", "d1", vec![ends(-day)], refused("gone", "d1")),
        ("'s", "e1", vec![ends(-2 * day)], refused(r"''\''s'", "e1")),
        ("'s", "e2", vec![ends(-day)], refused(r"''\''s'", "e2")),
        (
            "moved",
            "f1",
            vec![ends(-day)],
            replaced("; f2 replaces it"),
        ),
        ("moved", "f2", vec![], None),
        ("done", "g1", vec![ends(-day), revoked.clone()], None),
        ("weak", "h1", vec![ends(-day), not_staff.clone()], None),
        // These cannot replace it: one has no staff rights, one has ended.
        ("alone", "i1", vec![ends(day)], rotate("i1")),
        ("alone", "i2", vec![not_staff], None),
        ("alone", "i3", vec![revoked], None),
    ];
    let records = tokens.iter().map(|(name, id, more, _)| {
        let mut record = json!({
            "id": id, "name": name, "sha256": "x", "staff": true, "created_at": hours(-90 * day),
        });
        for (field, value) in more.iter().flat_map(|more| more.as_object().unwrap()) {
            record[field] = value.clone();
        }
        record
    });
    let list = json!({"tokens": Vec::from_iter(records)}).to_string();
    let secret = stack.another_secret(Some(&list)).await;
    let mut command = stack.command(&["doctor", "--json"]);
    command.env("WEBHOOK_TOKENS_SECRET", secret);
    let findings = ran(command).await.json();
    let findings = findings.as_array().unwrap();
    for (_, id, _, expected) in tokens {
        let check = format!("token {id}");
        let found = findings.iter().find(|finding| finding["check"] == check);
        let Some((result, described, advice)) = expected else {
            assert_eq!(found, None, "{id}");
            continue;
        };
        let found = found.unwrap_or_else(|| panic!("{id} is not reported"));
        assert_eq!(found["result"], result, "{found}");
        assert!(
            found["detail"].as_str().unwrap().contains(described),
            "{found}"
        );
        assert_eq!(found["advice"].as_str().unwrap_or_default(), advice);
    }
}

/// Without credentials, or the stack that was named, the other checks are still made.
#[tokio::test]
async fn missing_credentials_or_a_missing_stack_do_not_stop_other_checks() {
    let portal = Portal::start().await;
    let (_, well) = portal.findings(&[], &[]).await;
    // Checks that depend on the stack are not made, whatever the environment has.
    let (code, findings) = portal.findings(&["--stack", "absent"], &[]).await;
    assert_eq!(code, 1);
    for (check, (result, detail, advice)) in &findings {
        let (expected, described, help) = match check.as_str() {
            "credentials" => ("ok", "in us-east-1", ""),
            "stack absent" => (
                "fix",
                "no CloudFormation stack absent in us-east-1",
                "--region",
            ),
            "backups" => ("skip", "no table was found", "fix"),
            _ => ("skip", "the stack could not be read", "fix that first"),
        };
        assert_eq!(result, expected, "{check}: {detail}");
        assert!(detail.contains(described), "{check}: {detail}");
        assert!(advice.contains(help), "{check}: {advice}");
    }
    let checks = well.keys().filter(|check| findings.contains_key(*check));
    let of_urls = [
        "enrollment webhook",
        "certificate webhook",
        "COURSEHOOK_TOKEN",
    ];
    assert_eq!(checks.count() + of_urls.len(), well.len(), "{findings:?}");
    let (code, findings) = portal.findings(&["--profile", "absent"], &[]).await;
    assert_eq!(code, 1);
    assert!(
        findings["credentials"].2.contains("export-credentials"),
        "{findings:?}"
    );
    assert_eq!(findings["enrollment webhook"].0, "ok");
    assert!(findings.keys().eq(well.keys()), "{findings:?}");

    let outputs = [
        ("OpenedxApiSecret", portal.credential.as_str()),
        ("Url", &portal.url),
    ];
    let settings = [("LmsUrl", portal.lms.url.as_str())];
    let name = portal.stack.deploy_all(&settings, &outputs).await;
    let wrong = [
        ("COURSEHOOK_URL", "x"),
        ("LMS_URL", "x"),
        ("USERS_TABLE", "x"),
    ];
    let (code, findings) = portal.findings(&["--stack", &name], &wrong).await;
    assert_eq!(code, 0, "{findings:?}");
    assert_eq!(findings[&format!("stack {name}")].0, "ok");
}

/// Modes in which the LMS awards certificates and which are not paid here are named, with
/// their counts and the setting that includes them.
#[tokio::test]
async fn eligible_modes_that_are_not_paid_cause_a_warning() {
    let portal = Portal::start().await;
    let stack = &portal.stack;
    // Each learner, the mode, and `inactive` or `pass` (a pending one).
    let learners: &[(&str, &str, &str)] = &[
        ("honor1@example.org", "honor", "pass"),
        ("honor2@example.org", "honor", "pass"),
        ("honor3@example.org", "honor", ""),
        ("professional@example.org", "professional", ""),
        ("credit@example.org", "credit", "inactive"),
        ("own@example.org", "own-mode", "pass"),
        ("spaced@example.org", "Own mode", ""),
        ("unpaid@example.org", "unpaid-bootcamp", "pass"),
        ("verified@example.org", "verified", "pass"),
        ("audit@example.org", "audit", "pass"),
    ];
    let users = learners.iter().map(|(email, ..)| format!("{email}\n"));
    let users = format!("email\n{}", String::from_iter(users));
    stack
        .run_with_input(&["users", "import", "-"], &users)
        .await
        .ok();
    for (email, mode, what) in learners {
        let set = ["enrollments", "set", email, RUN, "--mode", mode, "--force"];
        let inactive: &[&str] = if *what == "inactive" {
            &["--inactive"]
        } else {
            &[]
        };
        stack.run(&[&set[..], inactive].concat()).await.ok();
        if *what == "pass" {
            let unpaid = Blocked {
                error: Some("unpaid_mode".to_owned()),
                ..BlockedReason::NotEligible.into()
            };
            stack
                .add_pending(EventKind::Certificate, email, RUN, unpaid)
                .await;
        }
    }
    // A pass that is blocked for another reason, or on a user who does not exist.
    let not_enrolled = Blocked {
        error: Some("not_enrolled".to_owned()),
        ..BlockedReason::NotEligible.into()
    };
    let kind = EventKind::Certificate;
    stack
        .add_pending(kind, "honor3@example.org", RUN, not_enrolled)
        .await;
    let passed = BlockedReason::NotPassed;
    stack
        .add_pending(kind, "professional@example.org", RUN, passed)
        .await;
    let unpaid = Blocked {
        error: Some("unpaid_mode".to_owned()),
        ..BlockedReason::NotEligible.into()
    };
    stack
        .add_pending(kind, "nobody@example.org", RUN, unpaid)
        .await;

    let lacks = |modes: &str| {
        format!("PaidModes lacks modes in which Open edX awards certificates: {modes}")
    };
    let advice = "a pass in such a mode earns nothing here, and is given up after 30 days; if all \
        of them should earn a certificate, set PAID_MODES=";
    let retry = ", and then: coursehook events retry --reason not_eligible";
    let other_characters =
        "; PaidModes accepts no mode with characters other than a-z, 0-9, _ and -";
    for (paid_modes, result, detail, setting) in [
        (
            "verified",
            "warn",
            lacks(
                "honor (3 of 10 active enrollments, 2 passes wait), own-mode (1 of 10 active \
                 enrollments, 1 pass waits), Own mode (1 of 10 active enrollments), professional \
                 (1 of 10 active enrollments)",
            ),
            format!(
                "{advice}honor,own-mode,professional,verified, in a deployment \
                 PARAMETERS=\"PaidModes=honor,own-mode,professional,verified\"{retry}{other_characters}"
            ),
        ),
        (
            "professional,own-mode,Own mode,audit",
            "warn",
            lacks(
                "honor (3 of 10 active enrollments, 2 passes wait), verified (1 of 10 active \
                 enrollments, 1 pass waits)",
            ),
            format!(
                "{advice}Own mode,audit,honor,own-mode,professional,verified, in a deployment \
                 PARAMETERS=\"PaidModes=Own mode,audit,honor,own-mode,professional,verified\"{retry}"
            ),
        ),
        (
            "verified,honor,professional,own-mode",
            "warn",
            lacks("Own mode (1 of 10 active enrollments)"),
            format!(
                "a pass in such a mode earns nothing here, and is given up after 30 days\
                 {other_characters}"
            ),
        ),
        (
            "verified,honor,professional,own-mode,Own mode",
            "ok",
            "Own mode,honor,own-mode,professional,verified: no other certificate-eligible mode \
             among 10 active enrollments"
                .to_owned(),
            String::new(),
        ),
    ] {
        // The operator decides about it, so the doctor has found nothing to fix.
        let (code, findings) = portal.findings(&[], &[("PAID_MODES", paid_modes)]).await;
        assert_eq!(code, 0, "{paid_modes}: {findings:?}");
        let expected = (result.to_owned(), detail, setting);
        assert_eq!(findings["certificate modes"], expected, "{paid_modes}");
    }
    let line = portal.look(&[], &[]).await.ok();
    assert!(line.contains("\nWARN  certificate modes "), "{line}");

    let outputs = [
        ("OpenedxApiSecret", portal.credential.as_str()),
        ("Url", &portal.url),
    ];
    let settings = [
        ("LmsUrl", portal.lms.url.as_str()),
        ("PaidModes", "verified,professional,own-mode"),
    ];
    let name = stack.deploy_all(&settings, &outputs).await;
    let (_, findings) = portal.findings(&["--stack", &name], &[]).await;
    let (_, _, advice) = &findings["certificate modes"];
    let deploy = "deploy with PARAMETERS=\"PaidModes=honor,own-mode,professional,verified\"";
    assert!(advice.contains(deploy), "{advice}");
}

/// At most a thousand enrollments are checked, however many there are.
#[tokio::test]
async fn a_thousand_enrollments_are_checked_for_their_modes() {
    const LEARNERS: usize = 1_050;
    let portal = Portal::start().await;
    let all = |row: fn(usize) -> String| String::from_iter((0..LEARNERS).map(row));
    let users = all(|n| format!("learner{n}@example.org\n"));
    let enrollments = all(|n| format!("learner{n}@example.org,{RUN},honor\n"));
    for (what, head, rows) in [
        ("users", "email", users),
        ("enrollments", "email,course_id,mode", enrollments),
    ] {
        let csv = format!("{head}\n{rows}");
        let import = [what, "import", "-"];
        portal.stack.run_with_input(&import, &csv).await.ok();
    }
    let (_, findings) = portal.findings(&[], &[]).await;
    let (result, detail, _) = &findings["certificate modes"];
    assert_eq!(result, "warn", "{detail}");
    // One of them may be in audit.
    assert!(detail.ends_with(" of 1000 active enrollments)"), "{detail}");
}

/// Creates tables that differ from the template's: each in its index, or in many
/// properties.
async fn bad_tables(stack: &CliFixture) {
    let client = stack.dynamodb();
    let attribute = |name: &str, kind: ScalarAttributeType| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(kind).build().unwrap()
    };
    let text = |name: &str| attribute(name, ScalarAttributeType::S);
    let part = |name: &str, kind: KeyType| {
        let part = KeySchemaElement::builder().attribute_name(name);
        part.key_type(kind).build().unwrap()
    };
    let keys_only = || {
        Projection::builder()
            .projection_type(ProjectionType::KeysOnly)
            .build()
    };
    let index = |name: &str| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .projection(keys_only())
    };
    let on_demand = |name: &str| {
        let table = client
            .create_table()
            .table_name(name)
            .deletion_protection_enabled(true);
        table.billing_mode(BillingMode::PayPerRequest)
    };

    let no_index = on_demand("no-index")
        .attribute_definitions(text("user_id"))
        .attribute_definitions(text("course_id"))
        .key_schema(part("user_id", KeyType::Hash))
        .key_schema(part("course_id", KeyType::Range));
    no_index.send().await.unwrap();

    let by_due = index("by_due")
        .key_schema(part("due", KeyType::Hash))
        .key_schema(part("due_order", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::All)
                .build(),
        );
    let by_blocked_on = index("by_blocked_on").key_schema(part("blocked_on", KeyType::Hash));
    let mut other_index = on_demand("other-index")
        .key_schema(part("event_key", KeyType::Hash))
        .global_secondary_indexes(by_due.build().unwrap())
        .global_secondary_indexes(by_blocked_on.build().unwrap());
    for name in ["event_key", "due", "due_order", "blocked_on"] {
        other_index = other_index.attribute_definitions(text(name));
    }
    other_index.send().await.unwrap();

    let throughput = aws_sdk_dynamodb::types::ProvisionedThroughput::builder()
        .read_capacity_units(1)
        .write_capacity_units(1)
        .build()
        .unwrap();
    let by_x = index("by_x")
        .key_schema(part("username", KeyType::Hash))
        .provisioned_throughput(throughput.clone());
    let other_key = client
        .create_table()
        .table_name("other-key")
        .provisioned_throughput(throughput)
        .attribute_definitions(attribute("username", ScalarAttributeType::N))
        .key_schema(part("username", KeyType::Hash))
        .global_secondary_indexes(by_x.build().unwrap());
    other_key.send().await.unwrap();

    for (table, name) in [("other-index", "expires_at"), ("other-key", "ends_at")] {
        let ttl = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(name);
        let update = client.update_time_to_live().table_name(table);
        let update = update.time_to_live_specification(ttl.build().unwrap());
        update.send().await.unwrap();
    }
}
