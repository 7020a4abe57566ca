//! The work of each action: a delivery, an invocation, a command.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app::certifying::{CERTIFYING_TIME, CertifyOutcome, Pass, Source};
use app::importing::{
    CertificateRow, EnrollmentRow, GradeRow, Imported, RecordImport, RowRefusedError, import_runs,
    import_users, wake_waiting_of_runs, wake_waiting_of_users,
};
use app::operator::{
    CertificateAction, correct_certificate, override_grade, release_grade, retry_event,
};
use app::renaming::{NewAddress, RenameError, rename_email};
use app::sweeping::{EnrollmentSweep, GradeSweep};
use bootstrap::environment::SettingError;
use bootstrap::wiring::Wiring;
use common::clock::Clock;
use domain::{
    CertificateState, Change, CourseId, CourseRunChange, Email, EventKey, EventKind, LearnerRef,
    Percent, Score, Setting, UserRow,
};
use lambda_http::{Body, Context, LambdaEvent, RequestExt};
use pending_events::PendingEvents;
use serde_json::{Value, json};
use store::pending_events::Removal;
use store::{CallLimits, StoreError};
use tokio::time::Instant;
use uuid::Uuid;
use web::start::{HttpFunction, JsonFunction};
use web::sweep::SweepFunction;

use super::secrets::TOKEN;
use super::services::Services;
use super::{Answer, Instances, World, course_id, email, environment, other_email, username};
use crate::steps::{self, Action, Of, Op, Role, Sweep};

/// The limits of the command line's calls.
const TERMINAL: CallLimits = CallLimits {
    attempt: Duration::from_secs(10),
    attempts: 6,
    first_backoff: Duration::from_millis(100),
    longest_backoff: Duration::from_secs(2),
};

/// The times of a call of a sweep: as deployed, and enough for one page.
const CALL: u64 = 900;
const SHORT_CALL: u64 = 91;

/// The time of a retry batch.
const BATCH: u64 = 120;

/// The most calls of one sweep.
const CALLS: usize = 200;

pub(super) type Acting = Pin<Box<dyn Future<Output = Answer>>>;

/// Error of a command.
enum CommandError {
    Failed(String),
    /// The portal refuses it; nothing is changed.
    Refused,
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<SettingError> for CommandError {
    fn from(error: SettingError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<bootstrap::environment::Missing> for CommandError {
    fn from(error: bootstrap::environment::Missing) -> Self {
        Self::Failed(error.to_string())
    }
}

type Done = Result<(), CommandError>;

type Made<F> = Result<Arc<F>, SettingError>;

fn operator() -> Change {
    Change::Operator {
        name: "operator".to_owned(),
    }
}

fn import() -> Change {
    Change::Import {
        name: "operator".to_owned(),
    }
}

fn parsed_email(learner: u8) -> Result<Email, CommandError> {
    let parsed = email(learner).parse();
    parsed.map_err(|_| CommandError::Failed("an address".to_owned()))
}

fn parsed_run(run: u8) -> Result<CourseId, CommandError> {
    let parsed = course_id(run).parse();
    parsed.map_err(|_| CommandError::Failed("a course id".to_owned()))
}

fn score(steps::Score(percent, passed): steps::Score) -> Result<Score, CommandError> {
    let percent = Percent::try_from(f64::from(percent) / 100.0);
    Ok(Score {
        percent: percent.map_err(|_| CommandError::Refused)?,
        passed,
        letter_grade: None,
    })
}

/// Returns the keys of all events of a learner in a run, under both addresses.
fn keys(of: Of) -> Result<Vec<EventKey>, CommandError> {
    let run = parsed_run(of.1)?;
    let other = other_email(of.0)
        .parse()
        .map_err(|_| CommandError::Refused)?;
    let emails = [parsed_email(of.0)?, other];
    let keys = emails.iter().flat_map(|email| {
        EventKind::ALL
            .iter()
            .map(|kind| EventKey::of(*kind, email, &run))
    });
    Ok(keys.collect())
}

impl World {
    /// Returns the work of an op, by the instances of this place.
    pub(super) fn act(&mut self, op: &Op, place: usize) -> Acting {
        match op.action {
            Action::Enroll(of, role, mode) => {
                let mut body = body(of);
                if let Some(role) = role {
                    body["role"] = json!(role.as_str());
                }
                if let Some(mode) = mode {
                    body["mode"] = json!(mode.as_str());
                }
                self.deliver(EventKind::Enrollment, place, &body, TOKEN)
            }
            Action::Unenroll(of) => {
                let mut body = body(of);
                body["is_active"] = json!(false);
                self.deliver(EventKind::Enrollment, place, &body, TOKEN)
            }
            Action::Pass(of) => self.deliver(EventKind::Certificate, place, &body(of), TOKEN),
            Action::Intrude(of) => {
                let kind = EventKind::ALL[usize::from(of.0) % EventKind::ALL.len()];
                self.deliver(kind, place, &body(of), "chk_other")
            }
            Action::Retry => match (self.own_events(place), self.lms_events(place)) {
                (Ok(own), Ok(lms)) => self.retry(own, lms),
                (Err(error), _) | (_, Err(error)) => failed(error),
            },
            Action::SweepGrades(run, sweep) => match self.grades(place) {
                Ok(function) => self.sweep(function, run, sweep),
                Err(error) => failed(error),
            },
            Action::SweepEnrollments(run, sweep) => match self.enrollments(place) {
                Ok(function) => self.sweep(function, run, sweep),
                Err(error) => failed(error),
            },
            Action::LmsGrade(of, score) => {
                self.lms.set_grade(of, Some(score));
                world()
            }
            Action::LmsForgets(of) => {
                self.lms.set_grade(of, None);
                world()
            }
            Action::LmsEnrollment(of, mode, active) => {
                self.lms.set_enrollment(of, mode, active);
                world()
            }
            Action::LmsIs(mood) => {
                self.lms.is(mood);
                world()
            }
            Action::Secrets(up) => {
                self.secrets.up.store(up, Ordering::SeqCst);
                world()
            }
            Action::Restart => {
                (0..super::INSTANCES).for_each(|place| self.bury(place));
                world()
            }
            Action::TimeToLive => {
                self.engine.expire();
                world()
            }
            Action::Wait(seconds) => Box::pin(async move {
                tokio::time::advance(Duration::from_secs(seconds.into())).await;
                Answer::World
            }),
            command => self.command(command),
        }
    }

    fn deliver(&mut self, kind: EventKind, place: usize, body: &Value, token: &str) -> Acting {
        let request = http::Request::post(format!("https://hooks.test{}/", kind.path()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        let Ok(request) = request else {
            return failed("a request");
        };
        let mut context = Context::default();
        context.request_id = format!("request-{}", self.clock.ms());
        let request = request.with_lambda_context(context);
        match kind {
            EventKind::Enrollment => match self.enrollment(place) {
                Ok(webhook) => Box::pin(async move { answered(webhook.handle(request).await) }),
                Err(error) => failed(error),
            },
            EventKind::Certificate => match self.certificate(place) {
                Ok(webhook) => Box::pin(async move { answered(webhook.handle(request).await) }),
                Err(error) => failed(error),
            },
        }
    }

    fn enrollment(&mut self, place: usize) -> Made<enrollment_webhook::EnrollmentWebhook> {
        let at = Services::of(self);
        instance(&mut self.enrollment, place, || {
            let time = enrollment_webhook::STORE_TIME;
            enrollment_webhook::wire(environment(), at.tables(), at.secrets(), at.clock(), time)
        })
    }

    fn certificate(&mut self, place: usize) -> Made<certificate_webhook::CertificateWebhook> {
        let at = Services::of(self);
        instance(&mut self.certificate, place, || {
            let (environment, time) = (environment(), CERTIFYING_TIME);
            let (tables, secrets) = (at.tables(), at.secrets());
            certificate_webhook::wire(environment, tables, secrets, at.lms(), at.clock(), time)
        })
    }

    fn own_events(&mut self, place: usize) -> Made<PendingEvents> {
        let at = Services::of(self);
        instance(&mut self.own_events, place, || {
            pending_events::own_events(environment(), at.tables(), at.clock())
        })
    }

    fn lms_events(&mut self, place: usize) -> Made<PendingEvents> {
        let at = Services::of(self);
        instance(&mut self.lms_events, place, || {
            let (tables, secrets) = (at.tables(), at.secrets());
            pending_events::lms_events(environment(), tables, secrets, at.lms(), at.clock())
        })
    }

    fn grades(&mut self, place: usize) -> Made<SweepFunction<GradeSweep>> {
        let at = Services::of(self);
        instance(&mut self.grades, place, || {
            let (tables, secrets) = (at.tables(), at.secrets());
            sweeps::grade_sweep(environment(), tables, secrets, at.lms(), at.clock())
        })
    }

    fn enrollments(&mut self, place: usize) -> Made<SweepFunction<EnrollmentSweep>> {
        let at = Services::of(self);
        instance(&mut self.enrollments, place, || {
            let (tables, secrets) = (at.tables(), at.secrets());
            sweeps::enrollment_sweep(environment(), tables, secrets, at.lms(), at.clock())
        })
    }

    /// Runs a batch of each lane, side by side, as the schedules do.
    fn retry(&self, own: Arc<PendingEvents>, lms: Arc<PendingEvents>) -> Acting {
        let clock = self.clock;
        Box::pin(async move {
            let batch = |function| call(function, &clock, json!({}), BATCH);
            Answer::Invoked(match tokio::join!(batch(&*own), batch(&*lms)) {
                (Ok(mut own), Ok(lms)) => {
                    own["lms"] = lms;
                    Ok(own)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            })
        })
    }

    /// Sweeps a run, in as many calls as the state machine makes.
    fn sweep<F: JsonFunction + 'static>(&self, function: Arc<F>, run: u8, sweep: Sweep) -> Acting {
        let clock = self.clock;
        let mut request = json!({"sweep": {"run": course_id(run)}});
        match sweep {
            Sweep::Full | Sweep::Short => {}
            Sweep::Dry => request["sweep"]["dry_run"] = json!(true),
            Sweep::Forced => request["sweep"]["force"] = json!(true),
            Sweep::Alone(learner) => request["sweep"]["learner"] = json!(email(learner)),
        }
        let seconds = if sweep == Sweep::Short {
            SHORT_CALL
        } else {
            CALL
        };
        Box::pin(async move {
            for _ in 0..CALLS {
                let answer = call(&*function, &clock, request.clone(), seconds).await;
                let Ok(said) = &answer else {
                    return Answer::Invoked(answer);
                };
                if said["status"] != "suspended" {
                    return Answer::Invoked(answer);
                }
                let wait = said["wait_seconds"].as_u64().unwrap_or_default();
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
            Answer::Invoked(Err(format!("still suspended after {CALLS} calls")))
        })
    }

    fn command(&self, command: Action) -> Acting {
        let at = Services::of(self);
        Box::pin(async move {
            let clock = at.clock();
            let tables = at.tables_within(TERMINAL);
            let wiring = Wiring::new(environment(), tables, Arc::clone(&clock));
            let done = match command {
                Action::Issue(of) => issue(&wiring, &*clock, of, &at).await,
                _ => perform(command, &wiring, &*clock).await,
            };
            Answer::Command(match done {
                Ok(()) => Ok(true),
                Err(CommandError::Refused) => Ok(false),
                Err(CommandError::Failed(error)) => Err(error),
            })
        })
    }
}

/// Returns the instance of a place, which is made if it is missing.
fn instance<F>(
    instances: &mut Instances<F>,
    place: usize,
    make: impl FnOnce() -> Result<F, SettingError>,
) -> Made<F> {
    let slot = &mut instances.0[place];
    let instance = match slot.take() {
        Some(instance) => instance,
        None => Arc::new(make()?),
    };
    *slot = Some(Arc::clone(&instance));
    Ok(instance)
}

fn body(of: Of) -> Value {
    json!({"email": email(of.0), "course_id": course_id(of.1)})
}

fn answered(response: lambda_http::Response<Body>) -> Answer {
    let status = response.status().as_u16();
    Answer::Http(
        status,
        serde_json::from_slice(response.body()).unwrap_or_default(),
    )
}

fn failed(error: impl ToString) -> Acting {
    let error = error.to_string();
    Box::pin(async { Answer::Command(Err(error)) })
}

fn world() -> Acting {
    Box::pin(async { Answer::World })
}

async fn call<F: JsonFunction>(
    function: &F,
    clock: &super::StormClock,
    payload: Value,
    seconds: u64,
) -> Result<Value, String> {
    let mut context = Context::default();
    context.request_id = format!("request-{}", clock.ms());
    context.deadline = clock.ms().unsigned_abs() + seconds * 1000;
    let answer = function.handle(LambdaEvent::new(payload, context)).await;
    answer.map_err(|error| error.to_string())
}

/// Does what an operator's command does.
async fn perform(command: Action, wiring: &Wiring<'_>, clock: &dyn Clock) -> Done {
    match command {
        Action::ImportUser(learner, with_username) => {
            let row = UserRow {
                email: parsed_email(learner)?,
                email_as_given: email(learner),
                edx_username: if with_username {
                    username(learner).parse().ok()
                } else {
                    None
                },
                name: Some(format!("Learner {learner}")),
            };
            import_one(import_users(&wiring.users()?, &[row]).await?.pop())?;
            let events = wiring.pending_events()?;
            wake_waiting_of_users(&events, &wiring.users()?, clock.now()).await?;
        }
        Action::ImportRun(run) => {
            let row = CourseRunChange {
                course_id: parsed_run(run)?,
                title: format!("Run {run}"),
                live: Some(true),
                is_self_paced: Some(run == 0),
                start_date: None,
                end_date: None,
                certificate_available_date: None,
            };
            let runs = wiring.course_runs()?;
            import_one(import_runs(&runs, &[row]).await?.pop())?;
            let events = wiring.pending_events()?;
            wake_waiting_of_runs(&events, &runs, clock.now()).await?;
        }
        Action::ImportEnrollment(of, mode, active) => {
            let row = EnrollmentRow {
                email: parsed_email(of.0)?,
                course_id: parsed_run(of.1)?,
                mode: mode.as_str().parse().map_err(|_| CommandError::Refused)?,
                active,
                edx_enrolled: None,
                roles: BTreeSet::new(),
                change_status: None,
                enrollment_id: None,
            };
            let import = RecordImport::new(
                wiring.users()?,
                wiring.course_runs()?,
                wiring.enrollments()?,
                import(),
                false,
            );
            let events = wiring.pending_events()?;
            let (mut answers, _) = import.import(&events, &[row], clock.now()).await?;
            import_one(answers.pop())?;
        }
        Action::ImportGrade(of, given) => {
            let score = score(given)?;
            let row = GradeRow {
                email: parsed_email(of.0)?,
                course_id: parsed_run(of.1)?,
                percent: score.percent,
                passed: score.passed,
                letter_grade: None,
                set_by_admin: None,
            };
            let (users, runs) = (wiring.users()?, wiring.course_runs()?);
            let import = RecordImport::new(users, runs, wiring.grades()?, import(), false);
            import_one(import.import(&[row], clock.now()).await?.pop())?;
        }
        Action::ImportCertificate(of) => {
            let row = CertificateRow {
                email: parsed_email(of.0)?,
                course_id: parsed_run(of.1)?,
                certificate_id: super::certificate_id(of),
                issued_at: clock.now(),
                state: CertificateState::InForce,
                learner_name: None,
                run_title: None,
            };
            let (users, runs) = (wiring.users()?, wiring.course_runs()?);
            let import = RecordImport::new(users, runs, wiring.certificates()?, import(), false);
            import_one(import.import(&[row], clock.now()).await?.pop())?;
        }
        Action::Set(of, mode, active) => {
            let mode = mode.and_then(|mode| mode.as_str().parse().ok());
            set(wiring, clock, of, mode, active, None).await?;
        }
        Action::RemoveRole(of, role) => set(wiring, clock, of, None, None, Some(role)).await?,
        Action::Override(of, given) => {
            let (user, run) = known(wiring, of).await?;
            let records = wiring.records()?;
            override_grade(
                &records,
                user,
                &run,
                &score(given)?,
                &operator(),
                clock.now(),
            )
            .await?;
        }
        Action::Release(of) => {
            let (user, run) = known(wiring, of).await?;
            let records = wiring.records()?;
            let released = release_grade(&records, user, &run, &operator(), clock.now()).await?;
            released.ok_or(CommandError::Refused)?;
        }
        Action::Revoke(of) => correct(wiring, clock, of, CertificateAction::Revoke).await?,
        Action::Restore(of) => correct(wiring, clock, of, CertificateAction::Restore).await?,
        Action::RetryEvents => {
            let events = wiring.pending_events()?;
            for of in steps::all() {
                for event in events.get_many(&keys(of)?).await? {
                    retry_event(&events, event?, clock.now()).await?;
                }
            }
        }
        Action::DropEvents(of) => {
            let events = wiring.pending_events()?;
            for event in events.get_many(&keys(of)?).await? {
                if events.remove(&event?).await? == Removal::Changed {
                    return Err(CommandError::Failed("changed meanwhile".to_owned()));
                }
            }
        }
        Action::Rename(learner) => {
            let (users, events) = (wiring.users()?, wiring.pending_events()?);
            let user = users.get(&parsed_email(learner)?).await?;
            let user = user.ok_or(CommandError::Refused)?;
            let other = [email(learner), other_email(learner)]
                .into_iter()
                .find(|address| address != user.email.as_str())
                .ok_or(CommandError::Refused)?;
            let new = NewAddress {
                email: other.parse().map_err(|_| CommandError::Refused)?,
                as_given: other,
            };
            match rename_email(&users, &events, &user.email, &new, false, clock.now()).await {
                Ok(_) => {}
                Err(RenameError::Store(error)) => return Err(error.into()),
                Err(_) => return Err(CommandError::Refused),
            }
        }
        Action::Erase(learner) => {
            let learner = LearnerRef::Address(parsed_email(learner)?);
            wiring.erasing()?.erase(&learner, false, |_| {}).await?;
        }
        _ => return Err(CommandError::Failed("no command".to_owned())),
    }
    Ok(())
}

fn import_one(answer: Option<Result<Imported, RowRefusedError>>) -> Done {
    match answer {
        Some(Ok(_)) => Ok(()),
        Some(Err(RowRefusedError::Contended)) => Err(CommandError::Failed("Contended".to_owned())),
        Some(Err(_)) | None => Err(CommandError::Refused),
    }
}

async fn set(
    wiring: &Wiring<'_>,
    clock: &dyn Clock,
    of: Of,
    mode: Option<domain::Mode>,
    active: Option<bool>,
    remove: Option<Role>,
) -> Done {
    let setting = Setting {
        mode,
        active,
        remove_roles: remove
            .and_then(|role| role.as_str().parse().ok())
            .into_iter()
            .collect(),
    };
    let (email, run) = (parsed_email(of.0)?, parsed_run(of.1)?);
    let enrolling = wiring.enrolling()?;
    match enrolling
        .set(&email, &run, setting, operator(), clock.now())
        .await?
    {
        app::enrolling::Set::Stands(_) => Ok(()),
        _ => Err(CommandError::Refused),
    }
}

/// Returns the user's id and the run, if the portal knows both.
async fn known(wiring: &Wiring<'_>, of: Of) -> Result<(Uuid, CourseId), CommandError> {
    let run = parsed_run(of.1)?;
    let user = wiring.users()?.get(&parsed_email(of.0)?).await?;
    let user = user.ok_or(CommandError::Refused)?;
    let runs = wiring
        .course_runs()?
        .get_many(std::slice::from_ref(&run))
        .await?;
    if runs.is_empty() {
        return Err(CommandError::Refused);
    }
    Ok((user.user_id, run))
}

/// Does what `certificates issue` does.
async fn issue(wiring: &Wiring<'_>, clock: &dyn Clock, of: Of, at: &Services) -> Done {
    let (_, run) = known(wiring, of).await?;
    let lms = wiring.lms_client(at.secrets(), at.lms(), wiring.lms_limits()?)?;
    let pass = Pass {
        email: parsed_email(of.0)?,
        course_id: Some(run),
        by: operator(),
        at: clock.now(),
    };
    let source = Source::Lms {
        lms: &lms,
        asking: &|_| {},
    };
    let until = Instant::now() + CERTIFYING_TIME;
    let certified = wiring.certifying()?.attempt(&pass, source, until).await?;
    match certified.outcome {
        CertifyOutcome::Created(_) | CertifyOutcome::Exists(_) => Ok(()),
        CertifyOutcome::Revoked | CertifyOutcome::Blocked(_) => Err(CommandError::Refused),
    }
}

async fn correct(
    wiring: &Wiring<'_>,
    clock: &dyn Clock,
    of: Of,
    action: CertificateAction,
) -> Done {
    let (user, run) = known(wiring, of).await?;
    let (records, certificates) = (wiring.records()?, wiring.certificates()?);
    let corrected = correct_certificate(
        &records,
        &certificates,
        (user, &run),
        &action,
        &operator(),
        clock.now(),
    )
    .await;
    match corrected {
        Ok(_) => Ok(()),
        Err(app::operator::CertificateActionError::Store(error)) => Err(error.into()),
        Err(_) => Err(CommandError::Refused),
    }
}
