//! The fixture of every test: the function as `main` wires it, on a portal of the test's own.

use std::ops::Deref;

use aws_sdk_dynamodb::Client;
use domain::Enrollment;
use harness::sweep::{Sweep, email, id, username};
use harness::{Portal, RUN};

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
    Sweep::wired(portal, through, sweeps::enrollment_sweep)
}

impl Fixture {
    /// Returns a portal whose run has had a dry run, so that the next sweep writes.
    pub async fn new() -> Self {
        let fixture = Self::never_swept().await;
        fixture.dry_run().await;
        fixture
    }

    pub async fn never_swept() -> Self {
        Self::on(Portal::new().await)
    }

    pub fn on(portal: Portal) -> Self {
        let client = portal.client();
        Self {
            function: wired(portal, client),
        }
    }

    /// Runs the first sweep of the run, which writes nothing.
    pub async fn dry_run(&self) {
        let answer = self.sweep().await;
        assert_eq!(
            (answer["dry_run"] == true, &answer["status"]),
            (true, &"done".into())
        );
    }

    /// Adds a learner whose enrollment in this mode the LMS has announced, and lists.
    pub async fn enrolled(&self, learner: u32, mode: &str) {
        self.put_learner(learner).await;
        self.announce(&email(learner), None, Some(mode)).await;
        self.lists(learner, mode, true);
    }

    /// Makes the LMS list a learner with this mode, active or not.
    pub fn lists(&self, learner: u32, mode: &str, is_active: bool) {
        self.lms.enroll(&username(learner), RUN, mode, is_active);
    }

    /// Returns a learner's enrollment in the run, or `None`.
    pub async fn enrollment_of(&self, learner: u32) -> Option<Enrollment> {
        let mut all = self.enrollments(&id(learner).to_string()).await;
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }
}
