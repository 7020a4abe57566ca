//! A portal as it is deployed: several instances of the real functions and operators' commands, on
//! the embedded engine, with simulated calls between them.

mod act;
mod clock;
mod engine;
mod lms;
mod op;
mod secrets;
mod services;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bootstrap::environment::{Environment, SettingError};
use certificate_webhook::CertificateWebhook;
use enrollment_webhook::EnrollmentWebhook;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use infra::Template;
use local::dynamodb::DynamodbError;
use pending_events::PendingEvents;
use serde_json::Value;
use uuid::Uuid;
use web::sweep::SweepFunction;

use app::sweeping::{EnrollmentSweep, GradeSweep};

pub use self::clock::StormClock;
pub use self::engine::Engine;
pub use self::lms::StormLms;
pub use self::op::{Counts, SharedCounts, lock};
use self::op::{Mortal, Struck};
use crate::steps::{Action, Fault, Mood, Of, Op, Service, Step};

impl Ran {
    /// True if a fault struck it, or it died.
    pub fn is_struck(&self) -> bool {
        !self.struck.is_empty() || matches!(self.answer, Answer::Died)
    }

    /// True if a fault struck a call that was not to the tables.
    pub fn is_struck_outside(&self) -> bool {
        self.struck
            .iter()
            .any(|(service, _)| *service != Service::Tables)
    }

    /// True if the LMS gave it a grade of before.
    pub fn has_old_grade(&self) -> bool {
        self.struck.contains(&(Service::Lms, Fault::Stale))
    }
}

/// The number of instances of each function.
const INSTANCES: usize = 3;

/// Returns the address of a learner.
pub fn email(learner: u8) -> String {
    format!("learner{learner}@example.org")
}

/// Returns the address that a learner gets by [`Action::Rename`].
pub fn other_email(learner: u8) -> String {
    format!("renamed{learner}@example.org")
}

/// Returns the username of a learner in the LMS.
pub fn username(learner: u8) -> String {
    format!("learner{learner}")
}

/// Returns the id of a run.
pub fn course_id(run: u8) -> String {
    format!("course-v1:Storm+Run{run}+2026")
}

/// Returns the id of the certificate that an import gives a learner in a run.
pub fn certificate_id(Of(learner, run): Of) -> Uuid {
    Uuid::from_u64_pair(learner.into(), run.into())
}

/// What came of an op.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The op.
    pub op: Op,
    /// Its answer.
    pub answer: Answer,
    /// The faults that struck it.
    pub struck: Vec<Struck>,
}

/// The answer to an action.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A webhook answered, with this status and body.
    Http(u16, Value),
    /// A function was invoked, and returned this or an error.
    Invoked(Result<Value, String>),
    /// An operator's command is done, is refused by the portal, or failed.
    Command(Result<bool, String>),
    /// The action concerns the world alone, and is done.
    World,
    /// The process died.
    Died,
}

/// A function's instances; one that died is replaced at its next use.
struct Instances<F>([Option<Arc<F>>; INSTANCES]);

impl<F> Default for Instances<F> {
    fn default() -> Self {
        Self([const { None }; INSTANCES])
    }
}

/// A portal with all that is around it.
pub struct World {
    /// The clock of everybody.
    pub clock: StormClock,
    /// The tables.
    pub engine: Arc<Engine>,
    /// The LMS.
    pub lms: Arc<StormLms>,
    /// The counts of calls, faults and deaths.
    pub counts: SharedCounts,
    secrets: Arc<secrets::Secrets>,
    seed: u64,
    enrollment: Instances<EnrollmentWebhook>,
    certificate: Instances<CertificateWebhook>,
    own_events: Instances<PendingEvents>,
    lms_events: Instances<PendingEvents>,
    grades: Instances<SweepFunction<GradeSweep>>,
    enrollments: Instances<SweepFunction<EnrollmentSweep>>,
}

/// Error of building a world.
#[derive(Debug)]
pub enum WorldError {
    /// The engine refuses the tables.
    Engine(DynamodbError),
    /// The template lacks a variable.
    Setting(SettingError),
}

impl From<SettingError> for WorldError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let own = [("LMS_URL", "http://lms.test"), ("LMS_CONCURRENCY", "8")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // Without the template, the wiring names what is missing.
        let template = Template::load().map(|template| template.variables());
        template
            .unwrap_or_default()
            .into_iter()
            .chain(own)
            .collect()
    })
}

impl World {
    /// Returns a portal without users and runs. It must run on a paused clock of one thread.
    ///
    /// # Errors
    /// The template is wrong.
    pub fn new(seed: u64) -> Result<Self, WorldError> {
        fastrand::seed(seed);
        let clock = StormClock::begin();
        let counts = SharedCounts::default();
        let engine = Engine::new(clock, Arc::clone(&counts)).map_err(WorldError::Engine)?;
        Ok(Self {
            clock,
            engine: Arc::new(engine),
            lms: Arc::new(StormLms::new(Arc::clone(&counts), seed)),
            secrets: Arc::new(secrets::Secrets::new(Arc::clone(&counts))),
            counts,
            seed,
            enrollment: Instances::default(),
            certificate: Instances::default(),
            own_events: Instances::default(),
            lms_events: Instances::default(),
            grades: Instances::default(),
            enrollments: Instances::default(),
        })
    }

    /// Returns true if everything around the portal works.
    pub fn is_calm(&self) -> bool {
        self.lms.mood() == Mood::Up && self.secrets.up.load(Ordering::SeqCst)
    }

    /// Runs the ops of a step at once, and waits until all have ended. `number` is the step's.
    pub async fn run(&mut self, step: &Step, number: u64) -> Vec<Ran> {
        let mut works = Vec::with_capacity(step.len());
        for (place, op) in step.iter().enumerate() {
            let work = self.act(op, place % INSTANCES);
            let after = Duration::from_millis(op.after.into());
            let seed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place as u64;
            works.push(async move {
                let work = async {
                    tokio::time::sleep(after).await;
                    work.await
                };
                let work = common::random::seeded(seed, Mortal::new(work, op.dies));
                let (answer, struck) = op::scope(op, seed, work).await;
                (place, answer, struck)
            });
        }
        let mut works: FuturesUnordered<_> = works.into_iter().collect();
        let mut ran = Vec::with_capacity(step.len());
        while let Some(one) = works.next().await {
            ran.push(one);
        }
        drop(works);
        self.engine.settle().await;
        ran.sort_by_key(|(place, ..)| *place);
        let ran = ran.into_iter().map(|(place, answer, struck)| {
            if answer.is_none() {
                lock(&self.counts).deaths += 1;
                self.bury(place % INSTANCES);
            }
            Ran {
                op: step[place].clone(),
                answer: answer.unwrap_or(Answer::Died),
                struck,
            }
        });
        ran.collect()
    }

    /// Replaces the instances of a place.
    fn bury(&mut self, place: usize) {
        self.enrollment.0[place] = None;
        self.certificate.0[place] = None;
        self.own_events.0[place] = None;
        self.lms_events.0[place] = None;
        self.grades.0[place] = None;
        self.enrollments.0[place] = None;
    }
}

/// True if the action changes the world around the portal, and not the portal.
pub fn is_of_the_world(action: Action) -> bool {
    matches!(
        action,
        Action::LmsGrade(..)
            | Action::LmsForgets(_)
            | Action::LmsEnrollment(..)
            | Action::LmsIs(_)
            | Action::Secrets(_)
            | Action::Restart
            | Action::TimeToLive
            | Action::Wait(_)
    )
}
