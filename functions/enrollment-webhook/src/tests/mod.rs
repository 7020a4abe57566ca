//! Tests of the webhook, from the gateway's request to the tables, on the real engine and with the
//! real token check.

mod at_once;
mod calls;
mod contract;
mod effects;
mod erased;
mod faults;
mod fixture;
mod logs;
mod metrics;
mod unenrolled;
mod upgraded;
mod wiring;
