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
//! Two things belong to no room because all of them meet there: [`clock`], the
//! one source of time, and [`calls`], the count of calls made for one request.
//! `tests/rooms.rs` holds the rooms apart.

pub mod adapters;
pub mod calls;
pub mod clock;
pub mod domain;
pub mod edge;
pub mod startup;
pub mod use_cases;
