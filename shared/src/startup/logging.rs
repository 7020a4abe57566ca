//! The log: JSON lines, ours alone.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::edge::log::TARGET;

/// A subscriber that writes our own lines to `writer`, one JSON object each.
///
/// What libraries have to say is left out, at every level: the SDK logs
/// requests, and those hold addresses.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    tracing_subscriber::registry().with(lines)
}

/// Writes this process's log to standard output, which Lambda hands to CloudWatch.
pub fn to_stdout() {
    // It can be set once; a second call finds the same one in place.
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stdout));
}

/// Writes a panic as one error that tells its place; what it says could hold
/// anything.
pub fn panics_by_their_place() {
    std::panic::set_hook(Box::new(|info| {
        let location = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()));
        tracing::error!(target: TARGET, location, "panicked");
    }));
}

/// Writes why the start failed, and hands it on.
pub fn start_failed<E: std::fmt::Display>(error: E) -> E {
    tracing::error!(target: TARGET, reason = %error, "start failed");
    error
}
