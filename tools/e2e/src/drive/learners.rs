//! Who learns what.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::portal::Portal;

/// The course run of the webhooks.
pub const RUN: &str = "course-v1:E2E+Webhooks+2026";

/// The one that is swept.
pub const SWEPT_RUN: &str = "course-v1:E2E+Swept+2026";

/// The one whose sweep is halted: so many are to lose something.
pub const BRAKED_RUN: &str = "course-v1:E2E+Halted+2026";

/// How many.
pub const BRAKED: usize = 11;

/// Users with an LMS username, each for one matter.
const USERS: [&str; 23] = [
    "ada", "annie", "barbara", "carla", "corrupt", "dijkstra", "edsger", "frances", "grace",
    "hedy", "joan", "karen", "lynn", "margaret", "niklaus", "olga", "peter", "quentin", "radia",
    "sophie", "tony", "ursula", "vint",
];

/// Users without one.
const WITHOUT_USERNAME: [&str; 1] = ["whitfield"];

/// What every address, every LMS username and every name has.
pub const PLANTED: [&str; 3] = [".e2e@example.org", "_e2e", "of the tests"];

/// The address of somebody.
pub fn email(name: &str) -> String {
    format!("{name}.e2e@example.org")
}

/// The LMS username of somebody.
pub fn username(name: &str) -> String {
    format!("{name}_e2e")
}

/// Who loses something where the sweep is halted.
pub fn halted() -> impl Iterator<Item = String> {
    (0..BRAKED).map(|number| format!("halted{number}"))
}

/// A delivery about somebody in the run of the webhooks.
pub fn about(name: &str) -> Value {
    json!({"email": email(name), "course_id": RUN})
}

/// The rows of `users import` for these.
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

/// Imports all but the strangers, and the course runs.
pub async fn import(portal: &Portal<'_>) -> Result<(), Failure> {
    let names = USERS.map(str::to_owned).into_iter().chain(halted());
    portal.import("users", &users(names)).await?;
    for name in WITHOUT_USERNAME {
        let row = format!("email,name\n{},{name} of the tests\n", email(name));
        portal.import("users", &row).await?;
    }
    let rows = [RUN, SWEPT_RUN, BRAKED_RUN].map(|run| format!("{run},Tests,true,true\n"));
    let rows = format!("course_id,title,live,is_self_paced\n{}", rows.concat());
    portal.import("runs", &rows).await
}
