//! The learners and course runs of the test run.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::portal::Portal;

/// The course run of the webhooks.
pub const RUN: &str = "course-v1:E2E+Webhooks+2026";

/// The course run that is swept.
pub const SWEPT_RUN: &str = "course-v1:E2E+Swept+2026";

/// The course run whose sweep is halted: too many learners are to lose their certificate.
pub const HALTED_RUN: &str = "course-v1:E2E+Halted+2026";

/// The number of learners who would lose their certificate in [`HALTED_RUN`].
pub const HALTED: usize = 11;

/// Users with an LMS username, one for each case.
const USERS: [&str; 23] = [
    "ada", "annie", "barbara", "carla", "corrupt", "dijkstra", "edsger", "frances", "grace",
    "hedy", "joan", "karen", "lynn", "margaret", "niklaus", "olga", "peter", "quentin", "radia",
    "sophie", "tony", "ursula", "vint",
];

/// Users without an LMS username.
const WITHOUT_USERNAME: [&str; 1] = ["whitfield"];

/// A part of every address, of every LMS username and of every name.
pub const PLANTED: [&str; 3] = [".e2e@example.org", "_e2e", "of the tests"];

/// Returns the address of a learner.
pub fn email(name: &str) -> String {
    format!("{name}.e2e@example.org")
}

/// Returns the LMS username of a learner.
pub fn username(name: &str) -> String {
    format!("{name}_e2e")
}

/// Returns the learners who would lose their certificate in the halted sweep.
pub fn halted() -> impl Iterator<Item = String> {
    (0..HALTED).map(|number| format!("halted{number}"))
}

/// Returns a delivery about a learner in the run of the webhooks.
pub fn about(name: &str) -> Value {
    json!({"email": email(name), "course_id": RUN})
}

/// Returns the CSV for `users import` with these learners.
pub fn users(names: impl IntoIterator<Item = String>) -> String {
    let rows = names.into_iter().map(|name| {
        let (email, username) = (email(&name), username(&name));
        format!("{email},{username},{name} of the tests\n")
    });
    ["email,edx_username,name\n".to_owned()]
        .into_iter()
        .chain(rows)
        .collect()
}

/// Imports all users but the strangers, and the course runs.
pub async fn import(portal: &Portal<'_>) -> Result<(), Failure> {
    let names = USERS.map(str::to_owned).into_iter().chain(halted());
    portal.import("users", &users(names)).await?;
    for name in WITHOUT_USERNAME {
        let row = format!("email,name\n{},{name} of the tests\n", email(name));
        portal.import("users", &row).await?;
    }
    let rows = [RUN, SWEPT_RUN, HALTED_RUN].map(|run| format!("{run},Tests,true,true\n"));
    let rows = format!("course_id,title,live,is_self_paced\n{}", rows.concat());
    portal.import("runs", &rows).await
}
