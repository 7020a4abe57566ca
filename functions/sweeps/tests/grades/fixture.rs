//! The fixture of every test: the function as `main` wires it, on a portal of the test's own.

use std::ops::Deref;
use std::time::Duration;

use app::operator::{override_grade, release_grade};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue::Bool;
use common::clock::Clock;
use domain::{CertificateState, Change, Grade, GradeEntry, Score};
use harness::sweep::{Sweep, email, id, username};
use harness::{ADA_ID, Portal, RUN};
use local::lms::GradeRow;
use store::records::{LearnerRecords, Written};
use uuid::Uuid;

pub struct Fixture {
    pub function: Sweep,
}

impl Deref for Fixture {
    type Target = Sweep;

    fn deref(&self) -> &Sweep {
        &self.function
    }
}

/// Returns the function on a portal, whose store it reaches through this client.
pub fn wired(portal: Portal, through: Client) -> Sweep {
    Sweep::wired(portal, through, sweeps::grade_sweep)
}

/// Returns a grade as the LMS has it: a pass from 0.5 on.
pub fn graded(percent: f64) -> GradeRow {
    let passed = percent >= 0.5;
    GradeRow {
        percent,
        passed,
        letter_grade: passed.then(|| "Pass".to_owned()),
    }
}

impl Fixture {
    /// Returns a portal whose run is self-paced, so that certificates are issued at once.
    pub async fn new() -> Self {
        let fixture = Self::on(Portal::new().await);
        fixture.set_run(RUN, "is_self_paced", Bool(true)).await;
        fixture
    }

    pub fn on(portal: Portal) -> Self {
        let client = portal.client();
        Self {
            function: wired(portal, client),
        }
    }

    /// Adds a user with a username, enrolled in the run and paid.
    pub async fn learner(&self, learner: u32) {
        self.put_learner(learner).await;
        self.enroll_user(&email(learner), "verified").await;
    }

    /// Sets the LMS's grade of a learner, who is enrolled there.
    pub fn says(&self, learner: u32, percent: f64) {
        self.lms.grade(&username(learner), RUN, graded(percent));
        self.lms.enroll(&username(learner), RUN, "verified", true);
    }

    /// Sweeps the LMS's present grades and advances a day: the next sweep withdraws the
    /// certificates of learners whose grade is 0.
    pub async fn a_day_passes(&self) {
        self.sweep().await;
        self.clock.advance(Duration::from_hours(24));
    }

    /// Returns a learner's records in the run.
    pub async fn record(&self, learner: u32) -> LearnerRecords {
        let records = self.use_cases().records().unwrap();
        let run = RUN.parse().unwrap();
        records.find(id(learner), &run).await.unwrap()
    }

    /// Returns the state of a learner's certificate, or `None` if there is none.
    pub async fn certificate_state(&self, learner: u32) -> Option<CertificateState> {
        let certificate = self.record(learner).await.certificate;
        certificate.map(|certificate| certificate.state)
    }

    /// Stores Ada's grade as a delivery would now.
    pub async fn store_as_delivery(&self, percent: f64) {
        let records = self.use_cases().records().unwrap();
        let (user_id, run) = (ADA_ID.parse().unwrap(), RUN.parse().unwrap());
        let before = records.find(user_id, &run).await.unwrap().grade;
        let entry = GradeEntry {
            at: self.clock.now(),
            change_id: Uuid::new_v4(),
            by: Change::Delivery {
                request_id: "a-delivery".to_owned(),
                token_id: "a-token".to_owned(),
            },
            score: Score {
                percent: percent.try_into().unwrap(),
                passed: percent >= 0.5,
                letter_grade: None,
            },
            set_by_admin: false,
        };
        let after = Grade::after(before.as_ref(), user_id, &run, entry);
        let written = records.write_grade(before.as_ref(), &after).await.unwrap();
        assert_eq!(written, Written::Done);
    }

    /// Releases Ada's grade to the LMS, as an operator.
    pub async fn release(&self) {
        let records = self.use_cases().records().unwrap();
        let (user_id, run) = (ADA_ID.parse().unwrap(), RUN.parse().unwrap());
        let by = Change::Operator {
            name: "a test".to_owned(),
        };
        let now = self.clock.now();
        let released = release_grade(&records, user_id, &run, &by, now).await;
        assert!(released.unwrap().unwrap().changed);
    }

    /// Sets a learner's grade to a pass, as an operator.
    pub async fn override_grade_of(&self, learner: u32, percent: f64) {
        let records = self.use_cases().records().unwrap();
        let score = Score {
            percent: percent.try_into().unwrap(),
            passed: true,
            letter_grade: None,
        };
        let by = Change::Operator {
            name: "a test".to_owned(),
        };
        let (run, now) = (RUN.parse().unwrap(), self.clock.now());
        let set = override_grade(&records, id(learner), &run, &score, &by, now);
        assert!(set.await.unwrap().changed);
    }
}
