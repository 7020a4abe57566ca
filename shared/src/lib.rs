//! What Coursehook's functions and tools have in common, in five rooms:
//!
//! | room | holds | may use |
//! |---|---|---|
//! | [`domain`] | identifiers, records, rules | nothing that does I/O |
//! | [`adapters`] | the tables, the secrets, the LMS | `domain`, one outside client each |
//! | [`use_cases`] | enrolling, authenticating, importing, fetching grades | `domain`, `adapters` |
//! | [`edge`] | HTTP in, HTTP out, the log | `domain`, `use_cases` |
//! | [`startup`] | environment, clients, logging | everything |
//!
//! Three things belong to no room because several need them: [`clock`], the one
//! source of time, [`calls`], the count of calls made for one request, and
//! [`panic`], which makes an error of a panic.
//! `tests/rooms.rs` holds the rooms apart.

pub mod adapters;
pub mod calls;
pub mod clock;
pub mod domain;
pub mod edge;
pub mod panic;
pub mod startup;
pub mod use_cases;
