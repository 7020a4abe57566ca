//! The layer between HTTP and the use cases: it authenticates callers, parses requests,
//! builds answers, and writes logs and metrics.

pub mod answer;
pub mod bearer;
pub mod course;
pub mod delivery;
pub mod error;
pub mod events_plugin;
pub mod gateway;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod pipeline;
pub mod source;
pub mod start;
pub mod sweep;
pub mod webhook;

pub use answer::HttpResponse;
pub use bearer::BearerCheck;
pub use delivery::Delivery;
pub use error::WebhookError;
pub use events_plugin::EventsPlugin;
pub use metrics::{Metric, Metrics};
pub use webhook::{Accepted, Delivered, Webhook};
