//! Calls of a sweep's function by the state machine, and their answers.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use app::sweeping::{
    Kind, LAST_PAGE_TIME, Progress, Request, SweepError, SweepEvent, Sweeping, Wanted,
};
use common::calls::Counter;
use common::clock::SharedClock;
use domain::LearnerRef;
use domain::{CourseId, SweepOptions};
use jiff::Timestamp;
use lambda_http::lambda_runtime::{Error, LambdaEvent};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::Instant;
use uuid::Uuid;

use super::log;
use super::metrics::Metrics;
use super::start::JsonFunction;

/// One call of a sweep's function.
#[derive(Debug, Clone)]
enum Call {
    /// `{"list": {...}}`: list the runs to sweep, one page of them.
    List {
        wanted: Wanted,
        start: Option<CourseId>,
    },
    /// `{"sweep": {...}}`: sweep this run until the time is over.
    Sweep(Request),
}

/// Error of a call.
#[derive(Debug, Error)]
enum CallError {
    /// The call has neither of the two forms. The text names the defect and no value.
    #[error("the call cannot be read: {0}")]
    Malformed(&'static str),
    /// The call failed.
    #[error(transparent)]
    Sweep(#[from] SweepError),
}

impl CallError {
    /// Returns the reason for the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Sweep(SweepError::Store(_)) => "store",
            Self::Sweep(SweepError::Lms(_)) => "lms",
            Self::Sweep(SweepError::NoSuchUser) => "no_such_user",
            Self::Sweep(SweepError::NoUsername) => "no_username",
        }
    }

    /// Returns the error code for the log: that of the store or of the LMS.
    fn code(&self) -> Option<String> {
        match self {
            Self::Sweep(SweepError::Store(error)) => Some(error.code().to_owned()),
            Self::Sweep(SweepError::Lms(error)) => Some(error.code()),
            Self::Sweep(SweepError::NoSuchUser | SweepError::NoUsername) | Self::Malformed(_) => {
                None
            }
        }
    }
}

/// The function of a sweep, which answers each call of the state machine.
pub struct SweepFunction<K> {
    sweeping: Sweeping<K>,
    metrics: Metrics,
    clock: SharedClock,
}

/// The invocation of the function in which a call came.
#[derive(Debug, Clone)]
struct Invocation {
    /// Lambda's id of the request.
    request_id: String,
    /// The time at which Lambda stops the function.
    deadline: Instant,
}

/// The time for a call without a usable deadline: `cargo lambda watch` gives a deadline
/// in 1970. It equals the functions' timeout in the template.
const CALL_TIME: Duration = Duration::from_mins(15);

impl Invocation {
    /// Returns an invocation. `deadline` is Lambda's, in milliseconds since 1970.
    fn new(request_id: String, deadline: u64, now: Timestamp) -> Self {
        let now = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let left = match deadline.saturating_sub(now) {
            0 => CALL_TIME,
            left_ms => Duration::from_millis(left_ms),
        };
        Self {
            request_id,
            deadline: Instant::now() + left,
        }
    }
}

impl<K: Kind> JsonFunction for SweepFunction<K> {
    /// Opens no connection: a sweep begins with the call that it is to make.
    async fn warm_up(&self) {}

    /// Lists the due runs, or sweeps one until the time is over.
    ///
    /// # Errors
    /// The call cannot be parsed, or failed.
    async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let LambdaEvent { payload, context } = event;
        let invocation = Invocation::new(context.request_id, context.deadline, self.clock.now());
        Ok(self.answer(&payload, &invocation).await?)
    }
}

impl<K: Kind> SweepFunction<K> {
    /// Returns the function of a sweep. Makes no call.
    pub fn new(sweeping: Sweeping<K>, metrics: Metrics, clock: SharedClock) -> Self {
        Self {
            sweeping,
            metrics,
            clock,
        }
    }

    /// Answers one call, and logs its result.
    ///
    /// # Errors
    /// If the call cannot be parsed, or if the tables or, for a list, the LMS cannot be
    /// reached. In the second case the same call may succeed later.
    async fn answer(&self, call: &Value, invocation: &Invocation) -> Result<Value, CallError> {
        let answer = async {
            match parse(call)? {
                Call::List { wanted, start } => self.list(&wanted, start.as_ref()).await,
                Call::Sweep(request) => self.sweep(&request, invocation).await,
            }
        };
        answer.await.inspect_err(|error| {
            let (request_id, code) = (&invocation.request_id, error.code());
            log::sweep_call_failed(K::KIND, request_id, error.reason(), code.as_deref());
        })
    }

    async fn list(&self, wanted: &Wanted, start: Option<&CourseId>) -> Result<Value, CallError> {
        let chosen = self.sweeping.choose(wanted, start).await?;
        log::runs_listed(K::KIND, chosen.requests.len(), chosen.unreadable);
        self.metrics.listed(chosen.unreadable);
        let sweeps = chosen.requests.iter().map(|request| {
            json!({"sweep": fields(Some(&request.run), request.learner.as_ref(), request.options)})
        });
        let next = chosen.next.map(|start| {
            let mut list = fields(wanted.run.as_ref(), wanted.learner.as_ref(), wanted.options);
            list.insert("start".to_owned(), start.as_str().into());
            json!({"list": list})
        });
        Ok(json!({
            "sweeps": sweeps.collect::<Vec<_>>(),
            "next": next,
        }))
    }

    async fn sweep(&self, request: &Request, invocation: &Invocation) -> Result<Value, CallError> {
        let began = self.clock.now();
        let until = invocation.deadline.checked_sub(LAST_PAGE_TIME);
        let calls = Counter::default();
        let is_dry_run = Cell::new(false);
        let counts = RefCell::new(log::LearnerCounts::default());
        let on_event = |event: SweepEvent<'_>| match event {
            SweepEvent::Begins { checkpoint, .. } => is_dry_run.set(checkpoint.options.dry_run),
            SweepEvent::Learner {
                sweep_id,
                user_id: Some(user_id),
                effect,
                ..
            } => {
                counts.borrow_mut().note(user_id, effect);
                let line = log::SweptLearner {
                    kind: K::KIND,
                    sweep_id,
                    course_id: &request.run,
                    user_id,
                    effect,
                    is_dry_run: is_dry_run.get(),
                };
                line.write();
            }
            SweepEvent::ByName(checkpoint) => {
                log::sweeping_by_username(K::KIND, checkpoint.sweep_id, &request.run);
            }
            SweepEvent::Learner { .. } | SweepEvent::Page(_) => {}
        };
        let may_continue = || until.is_some_and(|until| Instant::now() < until);
        // Boxed, because the future of a sweep is large.
        let work = Box::pin(self.sweeping.sweep(request, &may_continue, &on_event));
        let progress = calls.count(work).await?;
        let took = self.clock.now().duration_since(began).as_millis();
        let line = log::Swept {
            kind: K::KIND,
            request_id: &invocation.request_id,
            course_id: &request.run,
            progress: &progress,
            counts: &counts.borrow(),
            duration_ms: u64::try_from(took).unwrap_or_default(),
            calls: &calls,
        };
        line.write();
        self.metrics.swept(&line);
        Ok(answer(&request.run, &progress))
    }
}

/// Returns the answer, which the state machine acts on and people read in its executions.
fn answer(run: &CourseId, progress: &Progress) -> Value {
    let (status, wait, reason, options, tally) = match progress {
        Progress::Suspended {
            wait,
            reason,
            checkpoint,
        } => (
            "suspended",
            *wait,
            reason,
            checkpoint.options,
            &checkpoint.tally,
        ),
        Progress::Ended(end) => {
            let status = end.outcome.as_str();
            (status, Duration::ZERO, &end.reason, end.options, &end.tally)
        }
    };
    let tally: Map<_, _> = tally
        .iter()
        .map(|(word, count)| (word.to_owned(), count.into()))
        .collect();
    json!({
        "run": run,
        "status": status,
        // Rounded up, so that the next call need not wait out a remainder.
        "wait_seconds": wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        "reason": reason,
        "dry_run": options.dry_run,
        "tally": tally,
    })
}

/// Returns the fields that both forms of a call have.
fn fields(
    run: Option<&CourseId>,
    learner: Option<&LearnerRef>,
    options: SweepOptions,
) -> Map<String, Value> {
    let SweepOptions {
        force,
        dry_run,
        confirm,
    } = options;
    let texts = [
        ("run", run.map(|run| run.as_str().to_owned())),
        ("learner", learner.map(LearnerRef::to_text)),
    ];
    let flags = [("force", force), ("dry_run", dry_run), ("confirm", confirm)];
    let texts = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
    texts
        .chain(flags.map(|(name, _)| (name.to_owned(), true.into())))
        .collect()
}

fn parse(call: &Value) -> Result<Call, CallError> {
    const FORMS: CallError =
        CallError::Malformed("it is neither {\"list\": {}} nor {\"sweep\": {}}");
    let mut forms = call.as_object().ok_or(FORMS)?.iter();
    let (Some((form, fields)), None) = (forms.next(), forms.next()) else {
        return Err(FORMS);
    };
    let fields = fields.as_object().ok_or(FORMS)?;
    let is_list = match form.as_str() {
        "list" => true,
        "sweep" => false,
        _ => return Err(FORMS),
    };
    // A misspelled option would otherwise make the sweep do more than was intended.
    let is_known = |name: &str| match name {
        "run" | "learner" | "force" | "dry_run" | "confirm" => true,
        "start" => is_list,
        _ => false,
    };
    if !fields.keys().all(|name| is_known(name)) {
        return Err(CallError::Malformed("it has a field that is not known"));
    }
    let run = |name, wrong| match text(fields, name).ok_or(CallError::Malformed(wrong))? {
        None => Ok(None),
        Some(text) => {
            let run: Result<CourseId, _> = text.parse();
            run.map(Some).map_err(|_| CallError::Malformed(wrong))
        }
    };
    let wanted = Wanted {
        run: run("run", "`run` is no course id")?,
        learner: learner(fields)?,
        options: SweepOptions {
            force: flag(fields, "force")?,
            dry_run: flag(fields, "dry_run")?,
            confirm: flag(fields, "confirm")?,
        },
    };
    // An operator confirms the sweep of one run after checking it, and never of all runs
    // at once.
    if wanted.options.confirm && wanted.run.is_none() {
        return Err(CallError::Malformed("`confirm` needs a `run`"));
    }
    if is_list {
        let start = run("start", "`start` is no course id")?;
        return Ok(Call::List { wanted, start });
    }
    Ok(Call::Sweep(Request {
        run: wanted.run.ok_or(CallError::Malformed("`run` is missing"))?,
        learner: wanted.learner,
        options: wanted.options,
        operator: None,
    }))
}

fn learner(fields: &Map<String, Value>) -> Result<Option<LearnerRef>, CallError> {
    const WRONG: CallError = CallError::Malformed("`learner` is neither an address nor a user id");
    let Some(text) = text(fields, "learner").ok_or(WRONG)? else {
        return Ok(None);
    };
    let learner = match text.parse::<Uuid>() {
        Ok(user_id) => LearnerRef::User(user_id),
        Err(_) => LearnerRef::Address(text.parse().map_err(|_| WRONG)?),
    };
    Ok(Some(learner))
}

/// A text that may be absent or null; the outer `None` if it is anything else.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<Option<&'a str>> {
    match fields.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, CallError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_set)) => Ok(*is_set),
        Some(_) => Err(CallError::Malformed(
            "`force`, `dry_run` or `confirm` is neither true nor false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_as_it_is_read() {
        let user = "6f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
        for call in [
            json!({"run": "course-v1:a+b+c"}),
            json!({"run": "a/b/c", "learner": "ada@example.org", "force": true}),
            json!({"run": "a/b/c", "learner": user, "dry_run": true, "confirm": true}),
        ] {
            let Call::Sweep(request) = parse(&json!({"sweep": call})).unwrap() else {
                panic!("{call}");
            };
            let written = fields(
                Some(&request.run),
                request.learner.as_ref(),
                request.options,
            );
            assert_eq!(Value::Object(written), call, "{call}");
        }
        let list = |call: Value| match parse(&json!({"list": call})).unwrap() {
            Call::List { wanted, start } => (wanted, start),
            Call::Sweep(request) => panic!("{request:?}"),
        };
        let (wanted, start) = list(json!({"run": null, "force": false, "start": "a/b/c"}));
        assert!(wanted.run.is_none() && wanted.options == SweepOptions::default());
        assert_eq!(start.unwrap().as_str(), "a/b/c");
    }

    #[test]
    fn an_error_of_a_malformed_call_repeats_no_value() {
        for call in [
            json!({}),
            json!([]),
            json!("list"),
            json!({"list": {}, "sweep": {"run": "a/b/c"}}),
            json!({"swep": {}}),
            json!({"list": []}),
            json!({"list": {"forse": true}}),
            json!({"list": {"force": "ada"}}),
            json!({"list": {"run": "ada"}}),
            json!({"list": {"run": 7}}),
            json!({"list": {"learner": "ada"}}),
            json!({"list": {"learner": 7}}),
            json!({"list": {"start": "ada"}}),
            json!({"list": {"confirm": true}}),
            json!({"list": {"confirm": true, "learner": "ada@example.org"}}),
            json!({"sweep": {}}),
            json!({"sweep": {"run": "a/b/c", "start": "a/b/c"}}),
        ] {
            let error = parse(&call).unwrap_err().to_string();
            assert!(!error.contains("ada"), "{call}: {error}");
        }
    }
}
