//! Construction of the use cases from the variables that each of them needs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use app::authenticating::TokenCheck;
use app::certifying::Certifying;
use app::enrolling::Enrolling;
use app::erasing::Erasing;
use app::retry::RetryWorker;
use app::sweeping::{EnrollmentSweep, GradeSweep, SweepTables, Sweeping};
use common::clock::SharedClock;
use domain::PaidModes;
use jiff::SignedDuration;
use lms::LmsApi;
use lms::{LmsClient, LmsLimits};
use secrets::{CredentialSecret, TokenSecret};
use store::certificates::Certificates;
use store::course_runs::CourseRuns;
use store::enrollments::Enrollments;
use store::grades::Grades;
use store::lookup::Lookup;
use store::pending_events::PendingEvents;
use store::records::Records;
use store::sweeps::Sweeps;
use store::users::Users;

use super::environment::{Environment, Missing, SettingError};

/// The part of the LMS request budget of the worker that retries passes: a half. One batch at a time
/// uses it, by its lease.
const HALVES: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The part of that budget of each kind of sweep: a quarter.
const QUARTERS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// Builds the tables that the environment names and the use cases that work on them.
/// Nothing here makes a call. An error names the variable at fault.
pub struct Wiring<'a> {
    environment: &'a Environment,
    dynamodb: aws_sdk_dynamodb::Client,
    clock: SharedClock,
}

impl<'a> Wiring<'a> {
    /// Returns a wiring that reaches the tables through `dynamodb`.
    pub fn new(
        environment: &'a Environment,
        dynamodb: aws_sdk_dynamodb::Client,
        clock: SharedClock,
    ) -> Self {
        Self {
            environment,
            dynamodb,
            clock,
        }
    }

    fn client(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.clone()
    }

    fn variable(&self, name: &'static str) -> Result<String, Missing> {
        self.environment.required(name)
    }

    /// The namespace of the metrics, from `METRICS_NAMESPACE`.
    pub fn metrics_namespace(&self) -> Result<String, Missing> {
        self.variable("METRICS_NAMESPACE")
    }

    /// The table of users, from `USERS_TABLE` and `USERNAMES_TABLE`.
    pub fn users(&self) -> Result<Users, Missing> {
        let (users, usernames) = (
            self.variable("USERS_TABLE")?,
            self.variable("USERNAMES_TABLE")?,
        );
        Ok(Users::new(self.client(), users, usernames))
    }

    /// The table of course runs, from `COURSE_RUNS_TABLE`.
    pub fn course_runs(&self) -> Result<CourseRuns, Missing> {
        let table = self.variable("COURSE_RUNS_TABLE")?;
        Ok(CourseRuns::new(self.client(), table))
    }

    /// The table of enrollments, from `ENROLLMENTS_TABLE`.
    pub fn enrollments(&self) -> Result<Enrollments, Missing> {
        let table = self.variable("ENROLLMENTS_TABLE")?;
        Ok(Enrollments::new(self.client(), table))
    }

    /// The table of grades, from `GRADES_TABLE`.
    pub fn grades(&self) -> Result<Grades, Missing> {
        let table = self.variable("GRADES_TABLE")?;
        Ok(Grades::new(self.client(), table))
    }

    /// The table of certificates, from `CERTIFICATES_TABLE`.
    pub fn certificates(&self) -> Result<Certificates, Missing> {
        let table = self.variable("CERTIFICATES_TABLE")?;
        Ok(Certificates::new(self.client(), table))
    }

    /// The table of pending events, from `PENDING_EVENTS_TABLE`.
    pub fn pending_events(&self) -> Result<PendingEvents, Missing> {
        let table = self.variable("PENDING_EVENTS_TABLE")?;
        Ok(PendingEvents::new(self.client(), table))
    }

    /// The table of sweeps, from `SWEEPS_TABLE`.
    pub fn sweeps(&self) -> Result<Sweeps, Missing> {
        let table = self.variable("SWEEPS_TABLE")?;
        Ok(Sweeps::new(self.client(), table))
    }

    /// The lookup, from `USERS_TABLE`, `COURSE_RUNS_TABLE` and `PENDING_EVENTS_TABLE`.
    fn lookup(&self) -> Result<Lookup, Missing> {
        let users = self.variable("USERS_TABLE")?;
        let course_runs = self.variable("COURSE_RUNS_TABLE")?;
        let pending_events = self.variable("PENDING_EVENTS_TABLE")?;
        Ok(Lookup::new(
            self.client(),
            users,
            course_runs,
            pending_events,
        ))
    }

    /// The records, from `ENROLLMENTS_TABLE`, `GRADES_TABLE` and `CERTIFICATES_TABLE`.
    pub fn records(&self) -> Result<Records, Missing> {
        let enrollments = self.variable("ENROLLMENTS_TABLE")?;
        let grades = self.variable("GRADES_TABLE")?;
        let certificates = self.variable("CERTIFICATES_TABLE")?;
        Ok(Records::new(
            self.client(),
            enrollments,
            grades,
            certificates,
        ))
    }

    /// The use case of enrolling, from the variables of the lookup and of the
    /// enrollments, and `PAID_MODES`.
    pub fn enrolling(&self) -> Result<Enrolling, SettingError> {
        Ok(Enrolling::new(
            self.lookup()?,
            self.enrollments()?,
            self.pending_events()?,
            self.paid_modes()?,
        ))
    }

    /// The use case of erasing, from the variables of users, enrollments, grades,
    /// certificates and pending events.
    pub fn erasing(&self) -> Result<Erasing, Missing> {
        Ok(Erasing::new(
            self.users()?,
            self.enrollments()?,
            self.grades()?,
            self.certificates()?,
            self.pending_events()?,
            Arc::clone(&self.clock),
        ))
    }

    /// The paid modes, from `PAID_MODES`.
    pub fn paid_modes(&self) -> Result<PaidModes, SettingError> {
        self.environment.parsed("PAID_MODES")
    }

    /// The use case of certifying, from the variables of the lookup and of the records,
    /// and `PAID_MODES`.
    pub fn certifying(&self) -> Result<Certifying, SettingError> {
        Ok(Certifying::new(
            self.lookup()?,
            self.records()?,
            self.pending_events()?,
            self.paid_modes()?,
            Arc::clone(&self.clock),
        ))
    }

    /// The check of webhook tokens, from `WEBHOOK_TOKENS_SECRET`.
    pub fn tokens(&self, secrets: aws_sdk_secretsmanager::Client) -> Result<TokenCheck, Missing> {
        let secret = self.variable("WEBHOOK_TOKENS_SECRET")?;
        let secret = TokenSecret::new(secrets, secret);
        Ok(TokenCheck::new(secret, Arc::clone(&self.clock)))
    }

    /// The LMS client, from `OPENEDX_API_SECRET` and `LMS_URL`.
    pub fn lms_client(
        &self,
        secrets: aws_sdk_secretsmanager::Client,
        lms: impl Into<lms::HttpClient>,
        limits: LmsLimits,
    ) -> Result<LmsClient, SettingError> {
        let secret = self.variable("OPENEDX_API_SECRET")?;
        let lms = LmsApi::new(lms, self.environment.parsed("LMS_URL")?);
        let secret = CredentialSecret::new(secrets, secret);
        let clock = Arc::clone(&self.clock);
        Ok(LmsClient::new(lms, secret, clock, limits))
    }

    /// The limits that all background jobs together keep to, from `LMS_CONCURRENCY`,
    /// `LMS_PER_SECOND` and `LMS_ENROLLMENTS_PER_MINUTE`. Each job takes its share.
    pub fn lms_limits(&self) -> Result<LmsLimits, SettingError> {
        let per_second: NonZeroU32 = self.environment.parsed("LMS_PER_SECOND")?;
        let of_enrollments: NonZeroU32 = self.environment.parsed("LMS_ENROLLMENTS_PER_MINUTE")?;
        Ok(LmsLimits {
            concurrency: self.environment.parsed("LMS_CONCURRENCY")?,
            spacing: Duration::from_secs(1) / per_second.get(),
            enrollment_spacing: Duration::from_mins(1) / of_enrollments.get(),
            circuit_breaker_threshold: NonZeroU32::new(3),
        })
    }

    /// The tables that every sweep uses, from their variables.
    fn sweep_tables(&self) -> Result<SweepTables, Missing> {
        Ok(SweepTables {
            runs: self.course_runs()?,
            users: self.users()?,
            sweeps: self.sweeps()?,
        })
    }

    /// The sweep window, from `SWEEP_WINDOW_DAYS`.
    fn sweep_window(&self) -> Result<SignedDuration, SettingError> {
        let days: u16 = self.environment.parsed("SWEEP_WINDOW_DAYS")?;
        Ok(SignedDuration::from_hours(24 * i64::from(days)))
    }

    /// The worker that retries the pending events of our own lane, from the variables of
    /// enrolling.
    pub fn own_worker(&self) -> Result<RetryWorker, SettingError> {
        let clock = Arc::clone(&self.clock);
        Ok(RetryWorker::own(
            self.pending_events()?,
            self.enrolling()?,
            clock,
        ))
    }

    /// The worker that retries the pending events of the lane that asks the LMS, from the variables
    /// of certifying, of the LMS and of [`Wiring::lms_limits`]. It has half of the limits.
    pub fn lms_worker(
        &self,
        secrets: aws_sdk_secretsmanager::Client,
        lms: impl Into<lms::HttpClient>,
    ) -> Result<RetryWorker, SettingError> {
        let limits = self.lms_limits()?.shared_by(HALVES);
        let at_once = usize::try_from(limits.concurrency.get()).unwrap_or(usize::MAX);
        Ok(RetryWorker::lms(
            self.pending_events()?,
            self.certifying()?,
            self.lms_client(secrets, lms, limits)?,
            Arc::clone(&self.clock),
            at_once,
        ))
    }

    /// The limits on LMS requests of one sweep, from the same variables and
    /// `SWEEP_CONCURRENCY`, the number of sweeps of each kind that run at once. The
    /// sweeps of one kind together have a quarter of the budget of all background jobs.
    pub fn sweep_limits(&self) -> Result<LmsLimits, SettingError> {
        let at_once: NonZeroU32 = self.environment.parsed("SWEEP_CONCURRENCY")?;
        let parties = at_once.saturating_mul(QUARTERS);
        Ok(self.lms_limits()?.shared_by(parties))
    }

    /// The sweep of grades, from the variables of the tables, of the LMS and of
    /// certifying.
    pub fn grade_sweeping(
        &self,
        secrets: aws_sdk_secretsmanager::Client,
        lms: impl Into<lms::HttpClient>,
        limits: LmsLimits,
    ) -> Result<Sweeping<GradeSweep>, SettingError> {
        let grade_sweep = GradeSweep::new(
            self.lookup()?,
            self.records()?,
            self.enrollments()?,
            self.pending_events()?,
            self.paid_modes()?,
        );
        Ok(Sweeping::new(
            grade_sweep,
            self.lms_client(secrets, lms, limits)?,
            self.sweep_tables()?,
            self.sweep_window()?,
            Arc::clone(&self.clock),
        ))
    }

    /// The sweep of enrollments, from the variables of the tables and of the LMS, and
    /// `PAID_MODES`.
    pub fn enrollment_sweeping(
        &self,
        secrets: aws_sdk_secretsmanager::Client,
        lms: impl Into<lms::HttpClient>,
        limits: LmsLimits,
    ) -> Result<Sweeping<EnrollmentSweep>, SettingError> {
        let enrollment_sweep = EnrollmentSweep::new(
            self.enrollments()?,
            self.pending_events()?,
            self.paid_modes()?,
        );
        Ok(Sweeping::new(
            enrollment_sweep,
            self.lms_client(secrets, lms, limits)?,
            self.sweep_tables()?,
            self.sweep_window()?,
            Arc::clone(&self.clock),
        ))
    }
}
