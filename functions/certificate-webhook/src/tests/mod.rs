//! Tests of the webhook, from the gateway's request to the tables and the LMS, on the real engine
//! and with the real token check.

mod at_once;
mod calls;
mod contract;
mod fixture;
mod lms;
mod logs;
mod metrics;
mod moved;
mod order;
mod stopped;
mod store;
mod wiring;
