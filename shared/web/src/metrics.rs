//! The metrics that CloudWatch reads from the log: documents in the embedded metric
//! format, one beside each log line that sums something up.
//!
//! A document says no more than its log line does, and nothing about a learner.
//! `docs/metrics.md` explains each metric.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::BTreeMap;

use app::retry::RetrySummary;
use app::sweeping::Progress;
use common::calls::Counter;
use common::clock::SharedClock;
use domain::{Effect, EventKind, Lane, SweepKind, SweepOutcome};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::log::{DeliveryLine, Swept, ms};

/// The target of the events that are documents. Each has its document in the field
/// `document`.
pub const TARGET: &str = "coursehook::metrics";

/// Defines the metrics: for each its name, its unit, and the dimensions by which it is
/// split.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident, $unit:ident, [$($dimension:ident),*];)*) => {
        /// A metric of ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Metric {
            $($(#[$doc])* $name,)*
        }

        impl Metric {
            /// All metrics.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name of the metric in CloudWatch.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The unit of the metric in CloudWatch.
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$name => stringify!($unit),)* }
            }

            /// The names of its dimensions; empty if there is one metric for the whole
            /// stack.
            pub const fn dimensions(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$(stringify!($dimension)),*],)* }
            }
        }
    };
}

metrics! {
    /// Deliveries that were answered.
    Deliveries, Count, [kind, outcome];
    /// The time that it took to answer a delivery.
    DeliveryTime, Milliseconds, [kind];
    /// Deliveries that were stored as pending events.
    DeliveriesPending, Count, [];
    /// Deliveries that were refused because their token has expired or is revoked.
    KnownTokensRefused, Count, [];
    /// Deliveries with a token in force.
    TokenDeliveries, Count, [token_id];
    /// The number of days for which the token of a delivery is still in force.
    TokenDaysLeft, None, [];
    /// Certificates that were issued or restored.
    CertificatesIssued, Count, [];
    /// Certificates that sweeps have withdrawn.
    CertificatesWithdrawn, Count, [];
    /// Requests to the LMS, including requests for a token.
    LmsRequests, Count, [];
    /// Requests to the LMS that did not return what was asked for.
    LmsFailures, Count, [];
    /// The duration of each request to the LMS, for the first hundred of a call.
    LmsTime, Milliseconds, [];
    /// The time for which the first due event has been due that needs our own tables alone.
    OwnEventsDueFor, Milliseconds, [];
    /// The time for which the first due event has been due for which the LMS is asked.
    LmsEventsDueFor, Milliseconds, [];
    /// The number of waiting pending events.
    WaitingEvents, Count, [];
    /// The number of dead pending events.
    DeadEvents, Count, [];
    /// The number of expired pending events.
    ExpiredEvents, Count, [];
    /// Pending events that were retried.
    EventsRetried, Count, [];
    /// Retried events that took effect.
    EventsDone, Count, [];
    /// Retried events that could not be finished.
    RetriesFailed, Count, [];
    /// Sweeps of course runs that finished.
    SweepsDone, Count, [];
    /// Sweeps that were halted by their safety limit.
    SweepsHalted, Count, [];
    /// Sweeps that failed.
    SweepsFailed, Count, [];
    /// Learners on whom sweeps had an effect.
    SweptLearners, Count, [sweep];
    /// Course runs that cannot be swept because they are malformed.
    UnreadableRuns, Count, [];
}

/// Writes documents into the log.
pub struct Metrics {
    namespace: String,
    clock: SharedClock,
}

impl Metrics {
    /// Returns metrics in this CloudWatch namespace, which is the stack's own.
    pub fn new(namespace: String, clock: SharedClock) -> Self {
        Self { namespace, clock }
    }

    /// Writes the document beside the line `delivery processed`.
    pub fn delivery_processed(&self, kind: EventKind, line: &DeliveryLine) {
        let (record, finished) = (&line.record, &line.finished);
        let token = record.token.as_ref();
        let mut document = Document::default();
        document.dimension("kind", kind.as_str());
        document.dimension("outcome", finished.outcome);
        document.metric(Metric::Deliveries, 1);
        document.metric(Metric::DeliveryTime, finished.duration_ms);
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
        if kind.certifies() {
            document.count(Metric::CertificatesIssued, finished.outcome == "created");
        }
        if kind.asks_lms() {
            document.lms(&finished.calls);
        }
        self.write(document);
    }

    /// Writes the document beside the line `retry batch finished`.
    pub fn retry_batch_finished(&self, summary: &RetrySummary, calls: &Counter) {
        let mut document = Document::default();
        let due_for = match summary.lane {
            Lane::Own => Metric::OwnEventsDueFor,
            Lane::Lms => Metric::LmsEventsDueFor,
        };
        document.metric(due_for, ms(summary.due_for));
        if let Some(counts) = summary.counts {
            document.metric(Metric::WaitingEvents, counts.waiting);
            document.metric(Metric::DeadEvents, counts.dead);
            document.metric(Metric::ExpiredEvents, counts.expired);
        }
        document.metric(Metric::EventsRetried, summary.attempted);
        document.metric(Metric::EventsDone, summary.done);
        document.metric(Metric::RetriesFailed, summary.failed);
        if summary.lane == Lane::Lms {
            document.metric(Metric::CertificatesIssued, summary.certified);
            document.lms(calls);
        }
        self.write(document);
    }

    /// Writes the document beside the line `runs listed`.
    pub fn listed(&self, unreadable: u64) {
        let mut document = Document::default();
        document.metric(Metric::UnreadableRuns, unreadable);
        self.write(document);
    }

    /// Writes the document beside the line `sweep ended` or `sweep suspended`. For a dry
    /// run it has only the requests to the LMS.
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

/// The number of days of a duration.
fn days(duration: SignedDuration) -> f64 {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    duration.as_secs_f64() / DAY.as_secs_f64()
}

/// A document under construction.
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
        let same_dimensions = self.metrics.entry(metric.dimensions()).or_default();
        same_dimensions.push(metric);
    }

    /// Adds a metric with the value 1 if `is_so`, otherwise 0.
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

    /// Returns the finished document. `at` is in milliseconds since 1970.
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
