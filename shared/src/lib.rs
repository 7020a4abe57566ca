//! Code that Coursehook's functions and tools share, in five layers:
//!
//! | layer | holds | may use |
//! |---|---|---|
//! | [`domain`] | identifiers, records, rules | nothing that does I/O |
//! | [`adapters`] | the tables, the secrets, the LMS | `domain`, one outside client each |
//! | [`use_cases`] | enrolling, certifying, retrying, and so on | `domain`, `adapters` |
//! | [`web`] | HTTP in, HTTP out, the log | `domain`, `use_cases` |
//! | [`bootstrap`] | environment, clients, wiring, logging | everything |
//!
//! Three modules belong to no layer because several layers need them: [`clock`], the one
//! source of time, [`calls`], the count of calls made for one request, and [`mod@panic`],
//! which turns a panic into an error. `tests/it/layers.rs` checks that each layer uses
//! only what it may.

pub mod adapters;
pub mod bootstrap;
pub mod calls;
pub mod clock;
pub mod domain;
pub mod panic;
pub mod use_cases;
pub mod web;
