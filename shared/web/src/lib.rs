//! The layer between HTTP and the use cases: it authenticates callers, parses requests,
//! builds answers, and writes logs and metrics.

pub mod answer;
pub mod bearer;
pub mod course;
pub mod delivery;
pub mod error;
pub mod gateway;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod start;
pub mod sweep;
pub mod webhook;

pub use answer::HttpResponse;
pub use delivery::Delivery;
pub use error::WebhookError;
pub use metrics::{Metric, Metrics};
pub use webhook::{Accepted, Delivered, Webhook};
