//! Enrollments against a model. After any sequence of steps by the LMS and by operators,
//! the table and the model must agree on the state and on the history.

use std::collections::BTreeSet;

use bootstrap::aws;
use domain::{Announced, Change, Enrollment, EnrollmentChange, ModeSource, PaidModes, Setting};
use local::Dynamodb;
use proptest::prelude::*;
use store::CallLimits;
use store::enrollments::{ChangeOutcome, Enrollments};
use uuid::Uuid;

#[derive(Debug, Clone)]
enum Step {
    Announce {
        mode: Option<&'static str>,
        roles: BTreeSet<&'static str>,
    },
    Unenroll,
    Set {
        mode: &'static str,
        active: bool,
    },
    RemoveRole(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let mode = || prop::sample::select(vec!["audit", "honor", "verified"]);
    let role = || prop::sample::select(vec!["beta_testers", "instructor", "staff"]);
    prop_oneof![
        (
            prop::option::of(mode()),
            prop::collection::btree_set(role(), 0..3)
        )
            .prop_map(|(mode, roles)| Step::Announce { mode, roles }),
        Just(Step::Unenroll),
        role().prop_map(Step::RemoveRole),
        (mode(), any::<bool>()).prop_map(|(mode, active)| Step::Set { mode, active }),
    ]
}

/// The expected enrollment.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    exists: bool,
    mode: &'static str,
    by_operator: bool,
    active: bool,
    edx_enrolled: bool,
    roles: BTreeSet<&'static str>,
    change_status: Option<&'static str>,
    inactive_by_operator: bool,
}

impl Model {
    fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::Announce { mode, roles } => {
                after.exists = true;
                // An announcement creates or reactivates the enrollment in the announced
                // mode. It upgrades the enrollment to the one paid mode, unless an
                // operator chose the mode.
                if !self.active {
                    after.mode = mode.unwrap_or("audit");
                    after.by_operator = false;
                } else if !self.by_operator && *mode == Some("verified") {
                    after.mode = "verified";
                }
                after.active = true;
                after.edx_enrolled = true;
                after.change_status = None;
                after.inactive_by_operator = false;
                after.roles.extend(roles);
            }
            Step::Unenroll if self.active => {
                after.active = false;
                after.change_status = Some("unenrolled");
            }
            Step::Unenroll => {}
            &Step::Set { mode, active } => {
                after.exists = true;
                after.mode = mode;
                after.by_operator = true;
                after.active = active;
                after.change_status = (!active).then_some("unenrolled");
                after.inactive_by_operator = !active;
            }
            Step::RemoveRole(role) => {
                after.roles.remove(role);
            }
        }
        after
    }

    fn agrees_with(&self, found: &Enrollment) {
        let roles: BTreeSet<_> = found.roles.iter().map(|role| role.as_str()).collect();
        assert_eq!(
            (
                found.mode.as_str(),
                found.mode_set_by,
                found.active,
                found.inactive_by_operator,
                found.edx_enrolled
            ),
            (
                self.mode,
                self.by_operator.then_some(ModeSource::Operator),
                self.active,
                self.inactive_by_operator,
                self.edx_enrolled
            )
        );
        assert_eq!(
            (roles, found.change_status.as_deref()),
            (self.roles.clone(), self.change_status)
        );
    }
}

async fn follow(steps: Vec<Step>) {
    let engine = Dynamodb::in_memory().await.unwrap();
    let client = aws::dynamodb(
        &local::sdk::configuration(&engine.url),
        CallLimits::PRODUCTION,
    );
    let table = Enrollments::new(client, "EnrollmentsTable".to_owned());
    let paid_modes: PaidModes = "verified".parse().unwrap();
    let user_id = Uuid::new_v4();
    let (mut model, mut id, mut written) = (Model::default(), None, 0);
    for step in steps {
        let by = Change::Operator {
            name: "grace".to_owned(),
        };
        let change = EnrollmentChange::new(
            user_id,
            "course-v1:a+b+c".parse().unwrap(),
            by,
            "2026-11-22T09:00:00.120Z".parse().unwrap(),
            Uuid::new_v4,
        );
        let announced = |active, mode: Option<&str>, roles: &BTreeSet<&str>| {
            [Announced {
                active,
                mode: mode.map(|mode| mode.parse().unwrap()),
                roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
                delivered_at: None,
            }]
        };
        let decide = |before: Option<&Enrollment>| match &step {
            Step::Announce { mode, roles } => {
                change.announce(before, &announced(true, *mode, roles), &paid_modes)
            }
            Step::Unenroll => change.announce(
                before,
                &announced(false, None, &BTreeSet::new()),
                &paid_modes,
            ),
            Step::Set { mode, active } => {
                change.set(before, &Setting::mode(mode.parse().unwrap(), *active))
            }
            Step::RemoveRole(role) => {
                let setting = Setting {
                    mode: None,
                    active: None,
                    remove_roles: [role.parse().unwrap()].into(),
                };
                change.set(before, &setting)
            }
        };
        let changed = table.change(&change, decide).await.unwrap();

        let after = model.after(&step);
        let Some(changed) = changed else {
            assert_eq!((after.exists, &after), (false, &model), "{step:?}");
            assert!(table.of_user(user_id).await.unwrap().is_empty());
            continue;
        };
        let outcome = match (model.exists, after == model) {
            (false, _) => ChangeOutcome::Created,
            (true, false) => ChangeOutcome::Updated,
            (true, true) => ChangeOutcome::Unchanged,
        };
        assert_eq!(changed.outcome, outcome, "{step:?} on {model:?}");
        written += usize::from(outcome != ChangeOutcome::Unchanged);
        after.agrees_with(&changed.enrollment);
        let [stored] = table.of_user(user_id).await.unwrap().try_into().unwrap();
        assert_eq!(stored, changed.enrollment);
        assert_eq!(stored.history.len(), written);
        assert_eq!(
            stored.enrollment_id,
            *id.get_or_insert(changed.enrollment.enrollment_id)
        );
        model = after;
    }
}

#[test]
fn the_table_agrees_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..12))| {
        runtime.block_on(follow(steps));
    });
}
