//! Where HTTP meets the use cases: who calls, what was sent, what is answered,
//! what is logged and measured.

pub mod answer;
pub mod bearer;
pub mod delivery;
pub mod error;
pub mod gateway;
pub mod log;
pub mod metrics;
pub mod sweep;
pub mod webhook;

pub use answer::HttpResponse;
pub use delivery::Delivery;
pub use error::WebhookError;
pub use metrics::{Metric, Metrics};
pub use webhook::{Accepted, Delivered, Webhook};
