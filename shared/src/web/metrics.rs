//! What is counted and timed, as CloudWatch reads it from the log: documents of
//! the embedded metric format, one beside each line that sums something up.
//!
//! A document says no more than its line does, and nothing of a learner.
//! `docs/metrics.md` says what each metric tells.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::log::{DeliveryLine, Swept};
use crate::calls::Counter;
use crate::clock::SharedClock;
use crate::domain::{Effect, EventKind, SweepKind, SweepOutcome};
use crate::use_cases::retry::RetrySummary;
use crate::use_cases::sweeping::Progress;

/// The target of the events that are documents, each in the field `document`.
pub const TARGET: &str = "coursehook::metrics";

/// The metrics that there are: for each its name, its unit, and the dimensions
/// by which it is split.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident, $unit:ident, [$($dimension:ident),*];)*) => {
        /// A metric of ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Metric {
            $($(#[$doc])* $name,)*
        }

        impl Metric {
            /// All that there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in CloudWatch.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Its unit in CloudWatch.
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$name => stringify!($unit),)* }
            }

            /// The names of its dimensions; none where it is one for the whole stack.
            pub const fn dimensions(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$(stringify!($dimension)),*],)* }
            }
        }
    };
}

metrics! {
    /// Deliveries that were answered.
    Deliveries, Count, [kind, outcome];
    /// How long answering a delivery took.
    DeliveryTime, Milliseconds, [kind];
    /// Deliveries that were pending as events.
    DeliveriesPending, Count, [];
    /// Deliveries that were refused since their token has expired or is revoked.
    KnownTokensRefused, Count, [];
    /// Deliveries with a token in force.
    TokenDeliveries, Count, [token_id];
    /// How many days the token of a delivery is in force for.
    TokenDaysLeft, None, [];
    /// Certificates that were issued or restored.
    CertificatesIssued, Count, [];
    /// Certificates that sweeps have withdrawn.
    CertificatesWithdrawn, Count, [];
    /// Requests to the LMS, those for a token included.
    LmsRequests, Count, [];
    /// Of these, those that did not give what was asked.
    LmsFailures, Count, [];
    /// How long each of them took, or the first hundred of a call.
    LmsTime, Milliseconds, [];
    /// How many pending events there are that wait.
    WaitingEvents, Count, [];
    /// How many dead ones there are.
    DeadEvents, Count, [];
    /// How many expired ones there are.
    ExpiredEvents, Count, [];
    /// Pending events that were retried.
    EventsRetried, Count, [];
    /// Of these, those that took effect.
    EventsDone, Count, [];
    /// Of these, those that could not be finished.
    RetriesFailed, Count, [];
    /// Sweeps of course runs that came to their end.
    SweepsDone, Count, [];
    /// Those that stopped at their safety limit.
    SweepsHalted, Count, [];
    /// Those that failed.
    SweepsFailed, Count, [];
    /// Learners something became of in sweeps.
    SweptLearners, Count, [sweep];
    /// Course runs that cannot be swept, being of another shape.
    UnreadableRuns, Count, [];
}

/// Writes documents into the log.
pub struct Metrics {
    namespace: String,
    clock: SharedClock,
}

impl Metrics {
    /// The metrics are in this namespace of CloudWatch, which is the stack's own.
    pub fn new(namespace: String, clock: SharedClock) -> Self {
        Self { namespace, clock }
    }

    /// Writes the document beside the line `delivery processed`.
    pub fn done(&self, kind: EventKind, record: &DeliveryLine, calls: &Counter) {
        let token = record.token.as_ref();
        let mut document = Document::default();
        document.dimension("kind", kind.as_str());
        document.dimension("outcome", record.outcome);
        document.metric(Metric::Deliveries, 1);
        document.metric(Metric::DeliveryTime, record.duration_ms);
        document.count(Metric::DeliveriesPending, record.event_key.is_some());
        document.count(
            Metric::KnownTokensRefused,
            token.is_some_and(|token| !token.is_live),
        );
        if let Some(token) = token.filter(|token| token.is_live) {
            document.dimension("token_id", &token.id);
            document.metric(Metric::TokenDeliveries, 1);
            if let Some(end) = token.expires_at {
                let left = end.duration_since(self.clock.now());
                document.metric(Metric::TokenDaysLeft, days(left));
            }
        }
        if kind == EventKind::Certificate {
            document.count(Metric::CertificatesIssued, record.outcome == "created");
            document.lms(calls);
        }
        self.write(document);
    }

    /// Writes the document beside the line `retry batch finished`.
    pub fn retry_batch_finished(&self, summary: &RetrySummary, calls: &Counter) {
        let mut document = Document::default();
        document.metric(Metric::WaitingEvents, summary.waiting);
        document.metric(Metric::DeadEvents, summary.dead);
        document.metric(Metric::ExpiredEvents, summary.expired);
        document.metric(Metric::EventsRetried, summary.attempted);
        document.metric(Metric::EventsDone, summary.done);
        document.metric(Metric::RetriesFailed, summary.failed);
        document.metric(Metric::CertificatesIssued, summary.certified);
        document.lms(calls);
        self.write(document);
    }

    /// Writes the document beside the line `runs listed`.
    pub fn listed(&self, unreadable: u64) {
        let mut document = Document::default();
        document.metric(Metric::UnreadableRuns, unreadable);
        self.write(document);
    }

    /// Writes the document beside the line `sweep ended` or `sweep suspended`. What only
    /// reports has asked the LMS, and done nothing else.
    pub fn swept(&self, swept: &Swept<'_>) {
        let mut document = Document::default();
        document.lms(swept.calls);
        let (options, outcome) = match swept.progress {
            Progress::Suspended { checkpoint, .. } => (checkpoint.options, None),
            Progress::Ended(end) => (end.options, Some(end.outcome)),
        };
        if !options.dry_run {
            document.dimension("sweep", swept.kind.as_str());
            document.metric(Metric::SweptLearners, swept.counts.learners);
            if swept.kind == SweepKind::Grades {
                let of = |effect| swept.counts.tally.of(effect);
                let issued = of(&Effect::Issued) + of(&Effect::Restored);
                document.metric(Metric::CertificatesIssued, issued);
                document.metric(Metric::CertificatesWithdrawn, of(&Effect::Withdrawn));
            }
            if let Some(outcome) = outcome {
                document.count(Metric::SweepsDone, outcome == SweepOutcome::Done);
                document.count(Metric::SweepsHalted, outcome == SweepOutcome::Halted);
                document.count(Metric::SweepsFailed, outcome == SweepOutcome::Failed);
            }
        }
        self.write(document);
    }

    fn write(&self, document: Document) {
        let document = document.finish(&self.namespace, self.clock.now().as_millisecond());
        tracing::info!(target: TARGET, document = document.to_string());
    }
}

/// Of a duration, how many days it is.
fn days(duration: SignedDuration) -> f64 {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    duration.as_secs_f64() / DAY.as_secs_f64()
}

/// A document that is being put together.
#[derive(Default)]
struct Document {
    /// The metrics with their values, and the dimensions with theirs.
    members: Map<String, Value>,
    metrics: BTreeMap<&'static [&'static str], Vec<Metric>>,
}

impl Document {
    fn dimension(&mut self, name: &str, value: &str) {
        self.members.insert(name.to_owned(), value.into());
    }

    fn metric(&mut self, metric: Metric, value: impl Into<Value>) {
        self.members.insert(metric.name().to_owned(), value.into());
        let alike = self.metrics.entry(metric.dimensions()).or_default();
        alike.push(metric);
    }

    /// One where it is so, else none.
    fn count(&mut self, metric: Metric, is_so: bool) {
        self.metric(metric, u64::from(is_so));
    }

    fn lms(&mut self, calls: &Counter) {
        self.metric(Metric::LmsRequests, calls.lms());
        self.metric(Metric::LmsFailures, calls.lms_failures());
        let times = calls.lms_times();
        if !times.is_empty() {
            let times = times.iter().map(|time| time.as_millis());
            let times = times.map(|time| u64::try_from(time).unwrap_or(u64::MAX));
            self.metric(Metric::LmsTime, Vec::from_iter(times));
        }
    }

    /// The document; `at` is in milliseconds since 1970.
    fn finish(self, namespace: &str, at: i64) -> Value {
        let directives = self.metrics.into_iter().map(|(dimensions, metrics)| {
            let metrics = metrics.into_iter();
            let metrics =
                metrics.map(|metric| json!({"Name": metric.name(), "Unit": metric.unit()}));
            json!({
                "Namespace": namespace,
                "Dimensions": [dimensions],
                "Metrics": Vec::from_iter(metrics),
            })
        });
        let directives = Vec::from_iter(directives);
        let mut document = self.members;
        let about = json!({"Timestamp": at, "CloudWatchMetrics": directives});
        document.insert("_aws".to_owned(), about);
        document.into()
    }
}
