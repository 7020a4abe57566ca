//! Integration tests of the web layer, in one program.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod metrics;
