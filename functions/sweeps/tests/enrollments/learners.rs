//! The effect of a sweep on one learner, by the LMS's row and by the enrollment before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use common::clock::Clock;
use domain::{Change, Enrollment, History, HistoryEntry, Mode, ModeSource};
use harness::sweep::{email, id, username};
use harness::{ADA, ADA_ID, RUN};
use serde_json::json;
use uuid::Uuid;

use super::fixture::Fixture;

/// A learner's enrollment before the sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    /// No enrollment.
    Nothing,
    /// An enrollment that the LMS announced, in this mode and with a role.
    Announced(&'static str),
    /// The same, deactivated by an earlier sweep.
    Unenrolled(&'static str),
    /// An enrollment that an operator made, and of which the LMS has said nothing.
    Operator(&'static str),
    /// An enrollment that the LMS announced, and whose mode an operator then set.
    ModeSet(&'static str),
    /// An enrollment that an operator has made inactive.
    MadeInactive(&'static str),
    /// The same, made active again by a role that the LMS announced.
    ActiveAgain(&'static str),
    /// An enrollment of an import, in this mode.
    Imported(&'static str),
    /// The same, inactive.
    ImportedInactive(&'static str),
}

use Before::{
    ActiveAgain, Announced, Imported, ImportedInactive, MadeInactive, ModeSet, Nothing, Operator,
    Unenrolled,
};

impl Before {
    async fn prepare(self, fixture: &Fixture, learner: u32) {
        fixture.put_learner(learner).await;
        let email = email(learner);
        let announce = async |mode| fixture.announce(&email, Some("staff"), Some(mode)).await;
        match self {
            Nothing => {}
            Announced(mode) => announce(mode).await,
            Unenrolled(mode) => {
                announce(mode).await;
                fixture.lists(learner, mode, false);
            }
            Operator(mode) => fixture.enroll_user(&email, mode).await,
            ModeSet(mode) => {
                announce("audit").await;
                fixture.enroll_user(&email, mode).await;
            }
            MadeInactive(mode) => {
                announce("audit").await;
                fixture.set_enrollment(&email, RUN, mode, false).await;
            }
            ActiveAgain(mode) => {
                fixture.set_enrollment(&email, RUN, mode, false).await;
                announce(mode).await;
            }
            Imported(mode) => import(fixture, learner, mode, true).await,
            ImportedInactive(mode) => import(fixture, learner, mode, false).await,
        }
    }
}

/// Adds an enrollment as the import of enrollments does.
async fn import(fixture: &Fixture, learner: u32, mode: &str, active: bool) {
    let mode: Mode = mode.parse().unwrap();
    let entry = HistoryEntry {
        at: fixture.clock.now(),
        change_id: Uuid::new_v4(),
        by: Change::Import {
            name: "a test".to_owned(),
        },
        active,
        edx_enrolled: Some(true),
        mode: Some(mode.clone()),
        announced_mode: None,
        announced_roles: ["staff".parse().unwrap()].into(),
        removed_roles: BTreeSet::new(),
    };
    let enrollment = Enrollment {
        enrollment_id: Uuid::new_v4(),
        user_id: id(learner),
        course_id: RUN.parse().unwrap(),
        mode,
        mode_set_by: Some(ModeSource::Import),
        active,
        inactive_by_operator: false,
        edx_enrolled: true,
        roles: entry.announced_roles.clone(),
        change_status: None,
        changed_at: entry.at,
        version: 1,
        history: History::new(entry),
    };
    let enrollments = fixture.use_cases().enrollments().unwrap();
    enrollments.add(&[enrollment]).await.unwrap();
}

/// Each row: the enrollment before; the mode in which the LMS lists the learner, and whether as
/// active; the sweep's effects; the mode afterwards, and whether the enrollment is active, or
/// `None` if there is none.
type LearnerRow = (
    Before,
    (&'static str, bool),
    &'static [&'static str],
    Option<(&'static str, bool)>,
);

const ROWS: [LearnerRow; 28] = [
    (
        Nothing,
        ("verified", true),
        &["created"],
        Some(("verified", true)),
    ),
    (
        Nothing,
        ("honor", true),
        &["created"],
        Some(("honor", true)),
    ),
    (Nothing, ("verified", false), &[], None),
    (
        Announced("audit"),
        ("audit", true),
        &[],
        Some(("audit", true)),
    ),
    (
        Announced("audit"),
        ("verified", true),
        &["mode_changed"],
        Some(("verified", true)),
    ),
    (
        Announced("audit"),
        ("audit", false),
        &["deactivated"],
        Some(("audit", false)),
    ),
    // An enrollment that ended keeps its mode.
    (
        Announced("verified"),
        ("audit", false),
        &["deactivated"],
        Some(("verified", false)),
    ),
    (
        Unenrolled("audit"),
        ("audit", true),
        &["reactivated"],
        Some(("audit", true)),
    ),
    (
        Unenrolled("audit"),
        ("verified", true),
        &["reactivated", "mode_changed"],
        Some(("verified", true)),
    ),
    (
        Unenrolled("audit"),
        ("audit", false),
        &[],
        Some(("audit", false)),
    ),
    (
        Unenrolled("audit"),
        ("honor", false),
        &[],
        Some(("audit", false)),
    ),
    (
        Operator("audit"),
        ("audit", true),
        &["confirmed"],
        Some(("audit", true)),
    ),
    (
        Operator("verified"),
        ("audit", true),
        &["left:mode_set_in_portal", "confirmed"],
        Some(("verified", true)),
    ),
    // The operator who set the mode has not said that the enrollment never ends.
    (
        Operator("verified"),
        ("verified", false),
        &["deactivated"],
        Some(("verified", false)),
    ),
    (
        ModeSet("verified"),
        ("verified", true),
        &[],
        Some(("verified", true)),
    ),
    (
        ModeSet("verified"),
        ("audit", true),
        &["left:mode_set_in_portal"],
        Some(("verified", true)),
    ),
    (
        MadeInactive("verified"),
        ("verified", true),
        &["left:inactive_by_operator"],
        Some(("verified", false)),
    ),
    (
        MadeInactive("verified"),
        ("audit", true),
        &["left:inactive_by_operator"],
        Some(("verified", false)),
    ),
    (
        MadeInactive("verified"),
        ("audit", false),
        &[],
        Some(("verified", false)),
    ),
    (
        ActiveAgain("verified"),
        ("verified", false),
        &["deactivated"],
        Some(("verified", false)),
    ),
    (
        Imported("verified"),
        ("audit", true),
        &["left:mode_set_in_portal"],
        Some(("verified", true)),
    ),
    (
        Imported("verified"),
        ("verified", false),
        &["deactivated"],
        Some(("verified", false)),
    ),
    (
        ImportedInactive("verified"),
        ("verified", true),
        &["reactivated"],
        Some(("verified", true)),
    ),
    (
        ImportedInactive("verified"),
        ("audit", true),
        &["reactivated", "mode_changed"],
        Some(("audit", true)),
    ),
    // An upgrade replaces a mode that an import set, and not one that an operator set.
    (
        Imported("audit"),
        ("verified", true),
        &["mode_changed"],
        Some(("verified", true)),
    ),
    (
        Imported("audit"),
        ("honor", true),
        &["left:mode_set_in_portal"],
        Some(("audit", true)),
    ),
    (
        ModeSet("audit"),
        ("verified", true),
        &["left:mode_set_in_portal"],
        Some(("audit", true)),
    ),
    (
        ActiveAgain("audit"),
        ("verified", true),
        &["mode_changed"],
        Some(("verified", true)),
    ),
];

/// A row's mode may have as many characters as the LMS's column, and blanks around it.
#[tokio::test]
async fn a_mode_is_any_text_of_up_to_100_characters() {
    let fixture = Fixture::new().await;
    let longest = "é".repeat(100);
    let modes = ["paid-executive-education", " honor\t", &longest];
    let learners = || (0..).zip(modes);
    for (learner, mode) in learners() {
        Nothing.prepare(&fixture, learner).await;
        fixture.lists(learner, mode, true);
    }
    let tally = json!({"listed": modes.len(), "created": modes.len()});
    assert_eq!(fixture.sweep().await["tally"], tally);
    for (learner, mode) in learners() {
        let enrollment = fixture.enrollment_of(learner).await.unwrap();
        assert_eq!(enrollment.mode.as_str(), mode.trim(), "{mode:?}");
    }
}

#[tokio::test]
async fn each_learner_is_corrected() {
    let fixture = Fixture::new().await;
    let learners = || (0..).zip(ROWS);
    for (learner, (before, ..)) in learners() {
        before.prepare(&fixture, learner).await;
    }
    // The rows that are unenrolled are so by a sweep.
    fixture.clock.advance(Duration::from_secs(60));
    let unenrolled = ROWS.iter().filter(|row| matches!(row.0, Unenrolled(_)));
    let unenrolled = unenrolled.count();
    assert_eq!(fixture.sweep().await["tally"]["deactivated"], unenrolled);

    fixture.clock.advance(Duration::from_secs(60));
    let mut before = BTreeMap::new();
    for (learner, (_, (mode, is_active), ..)) in learners() {
        fixture.lists(learner, mode, is_active);
        before.insert(learner, fixture.enrollment_of(learner).await);
    }
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");

    let mut tally = BTreeMap::from([("listed", ROWS.len())]);
    for effect in ROWS.iter().flat_map(|(_, _, effects, _)| *effects) {
        *tally.entry(*effect).or_default() += 1;
    }
    let unchanged = ROWS.iter().filter(|(_, _, effects, _)| effects.is_empty());
    tally.insert("unchanged", unchanged.count());
    assert_eq!(answer["tally"], json!(tally));

    let found = fixture.effects();
    let mut histories = Vec::new();
    for (learner, row) in learners() {
        let (_, _, effects, expected) = row;
        let found = found.get(&id(learner)).cloned().unwrap_or_default();
        assert_eq!(found, effects, "{row:?}");
        let after = fixture.enrollment_of(learner).await;
        let state = after
            .as_ref()
            .map(|after| (after.mode.as_str(), after.active));
        assert_eq!(state, expected, "{row:?}");
        let is_written = effects.iter().any(|effect| !effect.starts_with("left:"));
        if !is_written {
            assert_eq!(after, before[&learner], "{row:?}");
            continue;
        }

        let after = after.unwrap();
        let status = (!after.active).then_some("unenrolled");
        assert_eq!(after.change_status.as_deref(), status, "{row:?}");
        let was = before[&learner].as_ref();
        let was_enrolled = was.is_some_and(|was| was.edx_enrolled);
        assert_eq!(after.edx_enrolled, after.active || was_enrolled, "{row:?}");
        let is_the_lms_s = ["reactivated", "mode_changed"]
            .iter()
            .any(|e| effects.contains(e));
        let source = was.and_then(|was| was.mode_set_by);
        let source = source.filter(|_| !is_the_lms_s);
        assert_eq!(after.mode_set_by, source, "{row:?}");
        let roles = was.map(|was| was.roles.clone()).unwrap_or_default();
        assert_eq!(after.roles, roles, "{row:?}");
        let (entry, older) = after.history.split_last().unwrap();
        let history = was.map(|was| was.history.to_vec()).unwrap_or_default();
        assert_eq!(older, history, "{row:?}");
        assert_eq!(entry.active, after.active, "{row:?}");
        assert_eq!(entry.edx_enrolled, after.active.then_some(true), "{row:?}");
        assert_eq!(entry.at, after.changed_at, "{row:?}");
        let sets_mode = ["created", "mode_changed"]
            .iter()
            .any(|e| effects.contains(e));
        assert_eq!(entry.mode, sets_mode.then_some(after.mode), "{row:?}");
        histories.push(entry.clone());
    }
    // Every history entry names its sweep.
    let sweep_id = fixture.log.last("sweep ended")["sweep_id"].clone();
    for entry in histories {
        let by = Change::Sweep {
            sweep_id: sweep_id.as_str().unwrap().parse().unwrap(),
            name: None,
        };
        assert_eq!(entry.by, by);
    }

    // A second sweep changes nothing.
    fixture.clock.advance(Duration::from_secs(60));
    let all = fixture.everything().await;
    fixture.sweep().await;
    assert_eq!(fixture.everything().await, all);
}

/// Learners who are only in the LMS's list or only in the portal, rows that are invalid, and items
/// of an unexpected shape are each counted, and all others are corrected.
#[tokio::test]
async fn a_broken_row_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    for learner in 0..6 {
        fixture.put_learner(learner).await;
        fixture.lists(learner, "verified", true);
    }
    // 0: gone from the list. 1: an invalid mode. 2: an enrollment of an unexpected shape.
    fixture.lms.unlist(&username(0), RUN);
    fixture.lists(1, "", true);
    fixture
        .dynamodb
        .put_item()
        .table_name("EnrollmentsTable")
        .item("user_id", S(id(2).to_string()))
        .item("course_id", S(RUN.to_owned()))
        .item("mode", N("7".to_owned()))
        .send()
        .await
        .unwrap();
    // 3: a username's item of an unexpected shape. The portal has no user `stranger`.
    fixture
        .dynamodb
        .put_item()
        .table_name("UsernamesTable")
        .item("username_key", S(username(3)))
        .item("email", N("7".to_owned()))
        .send()
        .await
        .unwrap();
    fixture.lms.enroll("stranger", RUN, "verified", true);
    fixture.lms.enroll("not a username ", RUN, "verified", true);
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({
            "listed": 7, "created": 2, "no_user": 1, "failed:CorruptItem": 2,
            "failed:InvalidResponse:mode": 1, "failed:InvalidResponse:not_as_expected": 1,
        })
    );
    assert_eq!(answer["status"], "done");
    for learner in [4, 5] {
        assert!(fixture.enrollment_of(learner).await.is_some(), "{learner}");
    }
    assert!(fixture.enrollment_of(0).await.is_none());
}

/// The LMS may spell a username in another case than the portal: the row is the learner's, also
/// where the LMS is asked again because they lose something, and where the learner is named.
#[tokio::test]
async fn the_case_of_the_username_in_the_lms_is_ignored() {
    for (here, there) in [("Kepler", "kepler"), ("kepler", "KEPLER")] {
        for fields in [json!({}), json!({"learner": ADA})] {
            let fixture = Fixture::new().await;
            fixture.put_user(ADA, ADA_ID, Some(here)).await;
            for (is_active, did) in [
                (true, "created"),
                (false, "deactivated"),
                (true, "reactivated"),
            ] {
                fixture.clock.advance(Duration::from_secs(60));
                fixture.lms.enroll(there, RUN, "verified", is_active);
                let answer = fixture.sweep_with(fields.clone()).await;
                let tally = json!({"listed": 1, did: 1});
                assert_eq!(answer["tally"], tally, "{here} {there} {fields} {did}");
            }
        }
    }
}

/// One learner goes through the same code as a page of them, also in a run that was never swept;
/// the others stay as they are.
#[tokio::test]
async fn a_single_learner_can_be_swept() {
    let fixture = Fixture::never_swept().await;
    fixture.put_learner(1).await;
    fixture.lists(1, "verified", true);
    for (learner, is_active, did) in [
        (ADA, true, "created"),
        (ADA_ID, false, "deactivated"),
        (ADA, true, "reactivated"),
    ] {
        fixture.clock.advance(Duration::from_secs(60));
        fixture.lms.enroll("ada", RUN, "verified", is_active);
        let answer = fixture.sweep_with(json!({"learner": learner})).await;
        assert_eq!(answer["tally"], json!({"listed": 1, did: 1}), "{did}");
        assert_eq!(answer["status"], "done", "{did}");
        assert_eq!(fixture.enrollment().await.active, is_active, "{did}");
    }
    // She is gone from the LMS: that proves nothing.
    fixture.clock.advance(Duration::from_secs(60));
    fixture.lms.unlist("ada", RUN);
    let before = fixture.everything().await;
    let answer = fixture.sweep_with(json!({"learner": ADA})).await;
    assert_eq!(
        (&answer["status"], &answer["tally"]),
        (&json!("done"), &json!({}))
    );
    assert_eq!(fixture.everything().await, before);
    assert!(fixture.enrollment_of(1).await.is_none());
    // The effects of a sweep of all learners have not been reported yet.
    fixture.dry_run().await;

    for learner in ["nobody@example.org", "6f0d3a52-0000-4f5e-9d0a-2f5f6f1b9c11"] {
        let call = json!({"sweep": {"run": RUN, "learner": learner}});
        let error = fixture.call(call).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the portal knows no such user",
            "{learner}"
        );
    }
    fixture
        .put_user("no-name@example.org", &id(9).to_string(), None)
        .await;
    for call in [
        json!({"sweep": {"run": RUN, "learner": "no-name@example.org"}}),
        json!({"list": {"learner": "no-name@example.org"}}),
    ] {
        let case = call.to_string();
        let error = fixture.call(call).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the user has no username of the LMS",
            "{case}"
        );
    }
}

/// A run's first sweep is a dry run, and so is any that is asked for as one; an operator may have
/// the first sweep write with `confirm`.
#[tokio::test]
async fn the_first_sweep_is_a_dry_run() {
    let found = json!({"listed": 3, "created": 1, "mode_changed": 1, "deactivated": 1});
    let before = Fixture::never_swept().await;
    before.lms.pages_of(2);
    before.put_learner(0).await;
    before.lists(0, "verified", true);
    before.enrolled(1, "audit").await;
    before.lists(1, "verified", true);
    before.enrolled(2, "audit").await;
    before.lists(2, "audit", false);
    before.clock.advance(Duration::from_secs(60));

    // The sweep before this one, this sweep, and whether it writes.
    for (earlier, fields, writes) in [
        (None, json!({}), false),
        (None, json!({"force": true}), false),
        (None, json!({"confirm": true, "dry_run": true}), false),
        (None, json!({"confirm": true}), true),
        (Some(json!({})), json!({"dry_run": true}), false),
        (Some(json!({})), json!({}), true),
        (Some(json!({"dry_run": true})), json!({}), true),
    ] {
        let case = format!("{earlier:?} {fields}");
        let fixture = Fixture::on(before.copy().await);
        let items = fixture.everything().await;
        if let Some(fields) = earlier {
            fixture.sweep_with(fields).await;
            assert_eq!(fixture.everything().await, items, "{case}");
        }
        let answer = fixture.sweep_with(fields).await;
        assert_eq!(
            (&answer["tally"], &answer["dry_run"]),
            (&found, &json!(!writes)),
            "{case}"
        );
        assert_eq!(fixture.everything().await != items, writes, "{case}");
    }
}
