//! Tests the program as operators run it: as a process, against DynamoDB and Secrets
//! Manager on this machine.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong here fails a test"
)]

mod certificates;
mod credential;
mod deliveries;
mod deployment;
mod doctor;
mod enrollments;
mod erasing;
mod events;
mod failures;
mod grades;
mod harness;
mod imports;
mod layers;
mod lists;
mod renaming;
mod replay;
mod runs;
mod status;
mod sweep_list;
mod sweeps;
mod tables;
mod tokens;
mod users;
