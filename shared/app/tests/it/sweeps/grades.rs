//! Sweeps of grades against the model.

use app::operator::{
    CertificateAction, CertificateActionError, correct_certificate, override_grade,
};
use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};
use common::clock::Clock;
use domain::CertificateState::{self, InForce, Revoked, Withdrawn};
use domain::{
    Certificate, CertificateEntry, Change, EnrollmentChange, Grade, GradeEntry, History, Score,
    Setting, SweepOutcome,
};
use harness::sweep::{email, id, username};
use harness::{Portal, RUN, http_client};
use jiff::SignedDuration;
use lms::LmsLimits;
use local::lms::GradeRow;
use proptest::prelude::*;
use uuid::Uuid;

use super::{ListRow, Scene, State, operator, put_learner, runtime, scene};

#[derive(Debug, Clone, PartialEq)]
struct Learner {
    is_known: bool,
    /// True if it is paid, and true if it is active.
    enrollment: Option<(bool, bool)>,
    grade: Option<Graded>,
    certificate: Option<Certified>,
    /// True if the run's certificates may be issued and withdrawn.
    certifies: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Graded {
    percent: f64,
    by_operator: bool,
    /// A sweep found it to be 0 more than a day ago.
    is_zero_for_long: bool,
    entries: usize,
    is_newer: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Certified {
    state: CertificateState,
    entries: usize,
    is_newer: bool,
}

#[derive(Debug, Clone, Copy)]
enum Other {
    /// An operator overrides the grade.
    Override(f64),
    /// A delivery stores the grade that the LMS answered it with.
    Deliver(f64),
    /// An operator revokes the certificate.
    Revoke,
    /// An operator makes the enrollment paid, and active or not.
    Enroll(bool),
}

fn is_pass(percent: f64) -> bool {
    percent >= 0.5
}

impl Learner {
    fn grade(&mut self, percent: f64, by_operator: bool, is_newer: bool) {
        let entries = self.grade.as_ref().map_or(0, |grade| grade.entries);
        self.grade = Some(Graded {
            percent,
            by_operator,
            is_zero_for_long: false,
            entries: entries + 1,
            is_newer,
        });
    }

    fn certify(&mut self, state: CertificateState, is_newer: bool) {
        let held = self.certificate.as_ref();
        self.certificate = Some(Certified {
            state,
            entries: held.map_or(0, |held| held.entries) + 1,
            is_newer,
        });
    }
}

impl State for Learner {
    const CONFIRMED_AT_ONCE: bool = false;

    type Row = f64;
    type Other = Other;

    fn asked(&mut self) {
        if let Some(grade) = &mut self.grade {
            grade.is_newer = false;
        }
        if let Some(certificate) = &mut self.certificate {
            certificate.is_newer = false;
        }
    }

    fn changed(&mut self, other: Other) {
        match other {
            Other::Override(percent) => {
                let is_unchanged = |grade: &Graded| grade.by_operator && grade.percent == percent;
                if !self.grade.as_ref().is_some_and(is_unchanged) {
                    self.grade(percent, true, true);
                }
            }
            Other::Deliver(percent) => {
                let is_unchanged = |grade: &Graded| grade.by_operator || grade.percent == percent;
                if !self.grade.as_ref().is_some_and(is_unchanged) {
                    self.grade(percent, false, true);
                }
            }
            Other::Revoke => {
                if self
                    .certificate
                    .as_ref()
                    .is_some_and(|held| held.state != Revoked)
                {
                    self.certify(Revoked, true);
                }
            }
            Other::Enroll(active) if self.is_known => self.enrollment = Some((true, active)),
            Other::Enroll(_) => {}
        }
    }

    fn swept(&mut self, percent: f64) -> bool {
        if !self.is_known {
            return false;
        }
        match &self.grade {
            Some(grade) if grade.by_operator || grade.percent == percent => {}
            // A grade newer than the answer is not changed, and neither is the
            // certificate that depends on it.
            Some(grade) if grade.is_newer => return false,
            _ => self.grade(percent, false, false),
        }
        let percent = self.grade.as_ref().map_or(0.0, |grade| grade.percent);
        let held = self.certificate.clone();
        if !self.certifies || held.as_ref().is_some_and(|held| held.is_newer) {
            return false;
        }
        let is_eligible = self.enrollment == Some((true, true));
        match held.map(|held| held.state) {
            None | Some(Withdrawn) if is_pass(percent) && is_eligible => {
                self.certify(InForce, false);
                false
            }
            // A grade of 0 counts at once if an operator set it, and a day later if the
            // LMS did.
            Some(InForce) => {
                let grade = self.grade.as_ref();
                percent == 0.0
                    && grade.is_some_and(|grade| grade.by_operator || grade.is_zero_for_long)
            }
            _ => false,
        }
    }

    fn taken(&mut self) {
        let is_newer = self.grade.as_ref().is_some_and(|grade| grade.is_newer)
            || self.certificate.as_ref().is_some_and(|held| held.is_newer);
        if !is_newer {
            self.certify(Withdrawn, false);
        }
    }
}

fn percent() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.0, 0.3, 0.9])
}

fn learner() -> impl Strategy<Value = Learner> {
    let grade = (percent(), prop::bool::weighted(0.2), any::<bool>());
    let state = prop::sample::select(vec![InForce, InForce, Withdrawn, Revoked]);
    let paid_and_active = (prop::bool::weighted(0.8), prop::bool::weighted(0.8));
    (
        prop::bool::weighted(0.9),
        prop::option::weighted(0.9, paid_and_active),
        prop::option::weighted(0.8, grade),
        prop::option::weighted(0.6, state),
    )
        .prop_map(|(is_known, enrollment, grade, state)| {
            let grade = grade.map(|(percent, by_operator, for_long)| Graded {
                percent,
                by_operator,
                is_zero_for_long: for_long && percent == 0.0 && !by_operator,
                entries: 1,
                is_newer: false,
            });
            let certificate = state.map(|state| Certified {
                state,
                entries: 1,
                is_newer: false,
            });
            Learner {
                is_known,
                enrollment,
                grade,
                certificate,
                certifies: true,
            }
        })
}

fn other() -> impl Strategy<Value = Other> {
    // Not tested here: a grade of 0 set by somebody else, which may withdraw a
    // certificate without the sweep.
    let percent = || prop::sample::select(vec![0.3, 0.9]);
    prop_oneof![
        percent().prop_map(Other::Override),
        percent().prop_map(Other::Deliver),
        Just(Other::Revoke),
        any::<bool>().prop_map(Other::Enroll),
    ]
}

/// True if the run is self-paced, and the number of days until its certificates are
/// available.
type RunDates = (bool, Option<i64>);

fn run_dates() -> impl Strategy<Value = RunDates> {
    let days = prop::sample::select(vec![-1, 1]);
    (prop::bool::weighted(0.6), prop::option::of(days))
}

fn score(percent: f64) -> Score {
    Score {
        percent: percent.try_into().unwrap(),
        passed: is_pass(percent),
        letter_grade: None,
    }
}

/// Writes the initial records of a learner, dated yesterday.
async fn put(portal: &Portal, learner: u32, start: &Learner) {
    let wiring = portal.use_cases();
    if start.is_known {
        put_learner(portal, learner).await;
    }
    let at = portal.clock.now() - SignedDuration::from_hours(24);
    let (user_id, course_id) = (id(learner), RUN.parse().unwrap());
    if let Some((is_paid, active)) = start.enrollment {
        let mode = if is_paid { "verified" } else { "audit" };
        let mode = mode.parse().unwrap();
        let change =
            EnrollmentChange::new(user_id, RUN.parse().unwrap(), operator(), at, Uuid::new_v4);
        let enrollments = wiring.enrollments().unwrap();
        let setting = Setting::mode(mode, active);
        let set = enrollments.change(&change, |before| change.set(before, &setting));
        set.await.unwrap();
    }
    if let Some(grade) = &start.grade {
        let entry = GradeEntry {
            at,
            change_id: Uuid::new_v4(),
            by: operator(),
            score: score(grade.percent),
            set_by_admin: grade.by_operator,
        };
        let zero_since = grade.is_zero_for_long.then_some(at);
        let grade = Grade {
            zero_since,
            ..Grade::after(None, user_id, &course_id, entry)
        };
        wiring.grades().unwrap().add(&[grade]).await.unwrap();
    }
    if let Some(held) = &start.certificate {
        let entry = CertificateEntry {
            at,
            change_id: Uuid::new_v4(),
            by: operator(),
            state: held.state,
            renamed: None,
        };
        let certificate = Certificate {
            certificate_id: Uuid::new_v4(),
            user_id,
            course_id,
            state: held.state,
            issued_at: at,
            learner_name: None,
            run_title: None,
            version: 1,
            history: History::new(entry),
        };
        wiring
            .certificates()
            .unwrap()
            .add(&[certificate])
            .await
            .unwrap();
    }
}

async fn change(portal: &Portal, learner: u32, other: Other) {
    let wiring = portal.use_cases();
    let records = wiring.records().unwrap();
    let (user_id, course_id) = (id(learner), RUN.parse().unwrap());
    let now = portal.clock.now();
    match other {
        Other::Override(percent) => {
            let (score, by) = (score(percent), operator());
            let set = override_grade(&records, user_id, &course_id, &score, &by, now);
            set.await.unwrap();
        }
        Other::Deliver(percent) => {
            let before = records.find(user_id, &course_id).await.unwrap().grade;
            let score = score(percent);
            let is_unchanged = |grade: &Grade| grade.set_by_admin || grade.score == score;
            if before.as_ref().is_some_and(is_unchanged) {
                return;
            }
            let entry = GradeEntry {
                at: now,
                change_id: Uuid::new_v4(),
                by: Change::Delivery {
                    request_id: "a-delivery".to_owned(),
                    token_id: "a-token".to_owned(),
                },
                score,
                set_by_admin: false,
            };
            let after = Grade::after(before.as_ref(), user_id, &course_id, entry);
            records.write_grade(before.as_ref(), &after).await.unwrap();
        }
        Other::Revoke => {
            let certificates = wiring.certificates().unwrap();
            let of = (user_id, &course_id);
            let by = operator();
            let revoke = correct_certificate(
                &records,
                &certificates,
                of,
                &CertificateAction::Revoke,
                &by,
                now,
            );
            // A learner may have no certificate that could be revoked.
            let revoked = revoke.await;
            let is_store_error = matches!(revoked, Err(CertificateActionError::Store(_)));
            assert!(!is_store_error, "{revoked:?}");
        }
        Other::Enroll(active) => {
            let enrolling = wiring.enrolling().unwrap();
            let (email, mode) = (email(learner).parse().unwrap(), "verified".parse().unwrap());
            let set = enrolling.set(
                &email,
                &course_id,
                Setting::mode(mode, active),
                operator(),
                now,
            );
            set.await.unwrap();
        }
    }
}

async fn assert_agrees_with_model(
    mut scene: Scene<Learner, f64, Other>,
    (is_self_paced, days): RunDates,
) {
    let portal = Portal::new().await;
    portal.lms.pages_of(scene.rows_of_a_page);
    portal
        .set_run(RUN, "is_self_paced", Bool(is_self_paced))
        .await;
    if let Some(days) = days {
        let date = portal.clock.now() + SignedDuration::from_hours(24 * days);
        let date = S(date.to_string());
        portal
            .set_run(RUN, "certificate_available_date", date)
            .await;
    }
    // The LMS knows the run, even if it lists no learner.
    set_lms_row(&portal, u32::MAX, 0.0);
    portal.lms.remove(&username(u32::MAX), RUN);
    let certifies = is_self_paced || days == Some(-1) || scene.options.force;
    for (learner, (start, row)) in (0..).zip(&mut scene.learners) {
        start.certifies = certifies;
        put(&portal, learner, start).await;
        let row = match row {
            ListRow::Absent => continue,
            ListRow::Wrong => f64::NAN,
            ListRow::Sound(percent) => *percent,
        };
        set_lms_row(&portal, learner, row);
    }
    if !certifies {
        scene.losers = 0;
    }
    let held = Certified {
        state: InForce,
        entries: 1,
        is_newer: false,
    };
    for learner in scene.losers() {
        let start = Learner {
            is_known: true,
            enrollment: None,
            grade: Some(Graded {
                percent: 0.0,
                by_operator: false,
                is_zero_for_long: true,
                entries: 1,
                is_newer: false,
            }),
            certificate: Some(held.clone()),
            certifies,
        };
        put(&portal, learner, &start).await;
        set_lms_row(&portal, learner, 0.0);
    }

    let wiring = portal.use_cases();
    let sweeping = wiring.grade_sweeping(portal.secrets_client(), http_client(), LmsLimits::NONE);
    let others = async |learner, other| change(&portal, learner, other).await;
    let outcome = scene.sweep(&sweeping.unwrap(), &portal.clock, others).await;
    let (ends, expected) = scene.end();
    assert_eq!(outcome, expected);

    let records = wiring.records().unwrap();
    let run = RUN.parse().unwrap();
    for (learner, end) in (0..).zip(ends) {
        let found = records.find(id(learner), &run).await.unwrap();
        let grade = found.grade.map(|grade| {
            let percent = grade.score.percent.get();
            (percent, grade.set_by_admin, grade.history.len())
        });
        let expected = end
            .grade
            .map(|end| (end.percent, end.by_operator, end.entries));
        assert_eq!(grade, expected, "learner {learner}");
        let certificate = found
            .certificate
            .map(|held| (held.state, held.history.len()));
        let expected = end.certificate.map(|end| (end.state, end.entries));
        assert_eq!(certificate, expected, "learner {learner}");
    }
    let is_taken = outcome == SweepOutcome::Done && !scene.options.dry_run;
    let state = if is_taken { Withdrawn } else { InForce };
    for learner in scene.losers() {
        let found = records.find(id(learner), &run).await.unwrap();
        assert_eq!(found.certificate.unwrap().state, state, "loser {learner}");
    }
}

fn set_lms_row(portal: &Portal, learner: u32, percent: f64) {
    let row = GradeRow {
        percent,
        passed: is_pass(percent),
        letter_grade: None,
    };
    portal.lms.grade(&username(learner), RUN, row);
    portal.lms.enroll(&username(learner), RUN, "verified", true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_sweep_of_grades_agrees_with_the_model(
        scene in scene(learner(), percent(), other()),
        run_dates in run_dates(),
    ) {
        runtime().block_on(assert_agrees_with_model(scene, run_dates));
    }
}
