//! The structured log: JSON lines that only this program writes.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::log::TARGET;
use crate::metrics;

/// Returns a subscriber that writes our own lines to `writer`, one JSON object each, and
/// between them the documents of the metrics.
///
/// It leaves out the log lines of libraries at every level: the SDK logs requests, and
/// requests hold email addresses.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let of = |target, level| Targets::new().with_target(target, level);
    // A filter for a target also matches every target whose name begins with it.
    let our_lines = of(TARGET, LevelFilter::INFO).with_target(metrics::TARGET, LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer.clone())
        .with_filter(our_lines);
    let documents = tracing_subscriber::fmt::layer()
        .event_format(Documents)
        .with_writer(writer)
        .with_filter(of(metrics::TARGET, LevelFilter::INFO));
    tracing_subscriber::registry().with(lines).with(documents)
}

/// Writes the document of an event and nothing else. CloudWatch reads it as metrics only
/// if it is a line of its own.
struct Documents;

impl<S, N> FormatEvent<S, N> for Documents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut document = Document::default();
        event.record(&mut document);
        let Document(document) = document;
        writeln!(writer, "{document}")
    }
}

#[derive(Default)]
struct Document(String);

impl Visit for Document {
    fn record_str(&mut self, _: &Field, text: &str) {
        self.0.push_str(text);
    }

    /// Ignores every field that is not text, because a document is always text.
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Writes this process's log to standard output, which Lambda hands to CloudWatch.
pub fn to_stdout() {
    // The global subscriber can be set once. A second call finds the same one in place.
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stdout));
}

/// Writes each panic as one log line at level ERROR with its location. The message is
/// left out, because it could hold anything.
pub fn panics_by_their_place() {
    std::panic::set_hook(Box::new(|info| {
        let location = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()));
        tracing::error!(target: TARGET, location, "panicked");
    }));
}

/// Writes a log line with the reason why the start failed, and returns the error.
pub fn start_failed<E: fmt::Display>(error: E) -> E {
    tracing::error!(target: TARGET, reason = %error, "start failed");
    error
}
