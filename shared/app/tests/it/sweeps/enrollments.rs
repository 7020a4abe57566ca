//! Sweeps of enrollments against the model.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue::S;
use common::clock::Clock;
use domain::{
    Change, Enrollment, History, HistoryEntry, ModeSource, Setting, SweepOptions, SweepOutcome,
};
use harness::sweep::{email, id, username};
use harness::{Portal, RUN, http_client};
use lms::LmsLimits;
use proptest::prelude::*;
use uuid::Uuid;

use super::{ListRow, Scene, State, operator, put_learner, runtime, scene};

type Mode = &'static str;

#[derive(Debug, Clone, PartialEq)]
struct Learner {
    is_known: bool,
    enrollment: Option<Enrolled>,
    is_newer: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Enrolled {
    mode: Mode,
    mode_set_by: Option<ModeSource>,
    active: bool,
    edx_enrolled: bool,
    /// An operator has made it inactive.
    by_operator: bool,
    /// The number of history entries.
    entries: usize,
}

/// The LMS's row: the mode, and whether the learner is enrolled.
type Listed = (Mode, bool);

#[derive(Debug, Clone, Copy)]
enum Other {
    /// The LMS announces the enrollment.
    Announce,
    /// An operator sets mode and `active`.
    Set(Mode, bool),
    /// The learner is erased.
    Erase,
}

impl Learner {
    fn write(&mut self, write: impl FnOnce(&mut Enrolled)) {
        let enrollment = self.enrollment.get_or_insert(Enrolled {
            mode: "audit",
            mode_set_by: None,
            active: false,
            edx_enrolled: false,
            by_operator: false,
            entries: 0,
        });
        write(enrollment);
        enrollment.entries += 1;
    }
}

impl State for Learner {
    const CONFIRMED_AT_ONCE: bool = true;

    type Row = Listed;
    type Other = Other;

    fn asked(&mut self) {
        self.is_newer = false;
    }

    fn changed(&mut self, other: Other) {
        if !self.is_known {
            return;
        }
        let is_unchanged = |enrollment: &Enrolled| match other {
            Other::Announce => enrollment.active && enrollment.edx_enrolled,
            Other::Set(mode, active) => {
                (enrollment.mode, enrollment.active) == (mode, active)
                    && enrollment.mode_set_by == Some(ModeSource::Operator)
                    && enrollment.by_operator != active
            }
            Other::Erase => false,
        };
        if self.enrollment.as_ref().is_some_and(is_unchanged) {
            return;
        }
        self.is_newer = true;
        match other {
            Other::Announce => self.write(|enrollment| {
                // Reactivated by an event without a mode.
                if !enrollment.active {
                    enrollment.mode = "audit";
                    enrollment.mode_set_by = None;
                }
                enrollment.active = true;
                enrollment.edx_enrolled = true;
                enrollment.by_operator = false;
            }),
            Other::Set(mode, active) => self.write(|enrollment| {
                enrollment.by_operator = !active;
                enrollment.mode = mode;
                enrollment.mode_set_by = Some(ModeSource::Operator);
                enrollment.active = active;
            }),
            Other::Erase => {
                self.is_known = false;
                self.enrollment = None;
            }
        }
    }

    fn swept(&mut self, (mode, is_active): Listed) -> bool {
        if !self.is_known || self.is_newer {
            return false;
        }
        match self.enrollment.clone() {
            // Missing in the table: created in the LMS's mode.
            None if is_active => self.write(|enrollment| {
                enrollment.mode = mode;
                enrollment.active = true;
                enrollment.edx_enrolled = true;
            }),
            None => {}
            // A row with `is_active: false`: deactivated.
            Some(ours) if !is_active => return ours.active,
            Some(ours) if !ours.active && ours.by_operator => {}
            Some(ours) => {
                // Active again: reactivated in the LMS's mode. Another mode: changed,
                // unless an operator chose our mode, or an import did and the change is
                // not an upgrade.
                let is_upgrade = mode == "verified" && ours.mode != "verified";
                let stays = match ours.mode_set_by.filter(|_| ours.active) {
                    None => false,
                    Some(ModeSource::Import) => !is_upgrade,
                    Some(ModeSource::Operator) => true,
                };
                let is_taken = !stays && (ours.mode != mode || !ours.active);
                let expected = Enrolled {
                    mode: if stays { ours.mode } else { mode },
                    mode_set_by: ours.mode_set_by.filter(|_| !is_taken),
                    active: true,
                    edx_enrolled: true,
                    ..ours.clone()
                };
                if expected != ours {
                    self.write(|enrollment| {
                        *enrollment = expected;
                    });
                }
            }
        }
        false
    }

    fn taken(&mut self) {
        if !self.is_newer {
            self.write(|enrollment| enrollment.active = false);
        }
    }
}

fn learner() -> impl Strategy<Value = Learner> {
    let source = prop::sample::select(vec![
        None,
        Some(ModeSource::Operator),
        Some(ModeSource::Import),
    ]);
    let enrollment = (mode(), source, any::<[bool; 3]>()).prop_map(|(mode, mode_set_by, flags)| {
        let [active, edx_enrolled, by_operator] = flags;
        Enrolled {
            mode,
            mode_set_by,
            active,
            edx_enrolled,
            by_operator: !active && by_operator,
            entries: 1,
        }
    });
    let enrollment = prop::option::weighted(0.8, enrollment);
    (prop::bool::weighted(0.9), enrollment).prop_map(|(is_known, enrollment)| Learner {
        is_known,
        enrollment: enrollment.filter(|_| is_known),
        is_newer: false,
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec!["audit", "verified"])
}

fn other() -> impl Strategy<Value = Other> {
    prop_oneof![
        Just(Other::Announce),
        (mode(), any::<bool>()).prop_map(|(mode, active)| Other::Set(mode, active)),
        Just(Other::Erase),
    ]
}

/// The item of an enrollment that was written yesterday.
fn item(learner: u32, enrolled: &Enrolled, portal: &Portal) -> Enrollment {
    let by = if enrolled.by_operator {
        operator()
    } else {
        Change::Sweep {
            sweep_id: Uuid::new_v4(),
            name: None,
        }
    };
    let at = portal.clock.now() - jiff::SignedDuration::from_hours(24);
    Enrollment {
        enrollment_id: Uuid::new_v4(),
        user_id: id(learner),
        course_id: RUN.parse().unwrap(),
        mode: enrolled.mode.parse().unwrap(),
        mode_set_by: enrolled.mode_set_by,
        active: enrolled.active,
        inactive_by_operator: enrolled.by_operator && !enrolled.active,
        edx_enrolled: enrolled.edx_enrolled,
        roles: BTreeSet::new(),
        change_status: (!enrolled.active).then(|| "unenrolled".to_owned()),
        changed_at: at,
        version: 1,
        history: History::new(HistoryEntry {
            at,
            change_id: Uuid::new_v4(),
            by,
            active: enrolled.active,
            edx_enrolled: None,
            mode: None,
            announced_mode: None,
            announced_roles: BTreeSet::new(),
            removed_roles: BTreeSet::new(),
        }),
    }
}

async fn change(portal: &Portal, learner: u32, other: Other) {
    match other {
        Other::Announce => portal.announce(&email(learner), None, None).await,
        Other::Set(mode, active) => {
            let enrolling = portal.use_cases().enrolling().unwrap();
            let (email, run) = (email(learner).parse().unwrap(), RUN.parse().unwrap());
            let (mode, now) = (mode.parse().unwrap(), portal.clock.now());
            let set = enrolling.set(&email, &run, Setting::mode(mode, active), operator(), now);
            set.await.unwrap();
        }
        Other::Erase => {
            let tables = [
                ("UsersTable", "email", email(learner)),
                ("UsernamesTable", "username_key", username(learner)),
            ];
            for (table, key, value) in tables {
                let delete = portal.dynamodb.delete_item().table_name(table);
                delete.key(key, S(value)).send().await.unwrap();
            }
            let enrollments = portal.use_cases().enrollments().unwrap();
            enrollments.erase(id(learner)).await.unwrap();
        }
    }
}

async fn assert_agrees_with_model(scene: Scene<Learner, Listed, Other>) {
    let portal = Portal::new().await;
    let wiring = portal.use_cases();
    let sweeping = || {
        let secrets = portal.secrets_client();
        wiring.enrollment_sweeping(secrets, http_client(), LmsLimits::NONE)
    };
    // The run's first sweep is a dry run.
    let dry_run = SweepOptions {
        dry_run: true,
        ..SweepOptions::default()
    };
    let first = Scene::<Learner, Listed, Other> {
        learners: Vec::new(),
        others: Vec::new(),
        options: dry_run,
        ..scene.clone()
    };
    first
        .sweep(&sweeping().unwrap(), &portal.clock, async |_, _| {})
        .await;

    portal.lms.pages_of(scene.rows_of_a_page);
    let mut items = Vec::new();
    for (learner, (start, row)) in (0..).zip(&scene.learners) {
        if start.is_known {
            put_learner(&portal, learner).await;
        }
        items.extend(
            start
                .enrollment
                .iter()
                .map(|ours| item(learner, ours, &portal)),
        );
        match row {
            ListRow::Absent => {}
            ListRow::Wrong => portal.lms.enroll(&username(learner), RUN, "", true),
            ListRow::Sound((mode, is_active)) => {
                portal.lms.enroll(&username(learner), RUN, mode, *is_active);
            }
        }
    }
    let loser = Enrolled {
        mode: "audit",
        mode_set_by: None,
        active: true,
        edx_enrolled: true,
        by_operator: false,
        entries: 1,
    };
    for learner in scene.losers() {
        put_learner(&portal, learner).await;
        portal.lms.enroll(&username(learner), RUN, "audit", false);
        items.push(item(learner, &loser, &portal));
    }
    let enrollments = wiring.enrollments().unwrap();
    if !items.is_empty() {
        enrollments.add(&items).await.unwrap();
    }

    let others = async |learner, other| change(&portal, learner, other).await;
    let outcome = scene
        .sweep(&sweeping().unwrap(), &portal.clock, others)
        .await;
    let (ends, expected) = scene.end();
    assert_eq!(outcome, expected);
    for (learner, end) in (0..).zip(ends) {
        let found = enrollments.of_user(id(learner)).await.unwrap().pop();
        let found = found.map(|found| {
            let status = (!found.active).then_some("unenrolled");
            assert_eq!(found.change_status.as_deref(), status);
            let (mode, entries) = (found.mode.as_str().to_owned(), found.history.len());
            let flags = (found.mode_set_by, found.active, found.edx_enrolled);
            (mode, flags, entries)
        });
        let expected = end.enrollment.map(|end| {
            let flags = (end.mode_set_by, end.active, end.edx_enrolled);
            (end.mode.to_owned(), flags, end.entries)
        });
        assert_eq!(found, expected, "learner {learner}");
    }
    let is_taken = outcome == SweepOutcome::Done && !scene.options.dry_run;
    for learner in scene.losers() {
        let [found] = enrollments
            .of_user(id(learner))
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(found.active, !is_taken, "loser {learner}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_sweep_of_enrollments_agrees_with_the_model(
        scene in scene(learner(), (mode(), prop::bool::weighted(0.7)), other()),
    ) {
        runtime().block_on(assert_agrees_with_model(scene));
    }
}
