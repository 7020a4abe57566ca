//! Measures the speed and the memory of `coursehook users import`, beside a bare loop
//! that makes the same transactions and nothing else.
//!
//! For both, DynamoDB is the embedded engine in a process of its own, fresh each time:
//! this program, started again. The bare loop runs in this process.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "it measures time, and what goes wrong ends it"
)]

mod measuring;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use futures::{StreamExt, stream};
use infra::Template;
use local::Dynamodb;
use measuring::{LIMITS, StandIns, median, run};
use uuid::Uuid;

/// The number of users in the timed file.
const USERS: usize = 100_000;

/// The number of users in a smaller file, which shows how memory grows with the file.
const FEW_USERS: usize = 10_000;

/// The number of times that each of the two is timed, one after the other.
const ROUNDS: usize = 5;

/// Users per transaction: DynamoDB takes 100 items, and each user is two.
const USERS_A_TRANSACTION: usize = 50;

/// Concurrent transactions, as many as an import has.
const AT_ONCE: usize = 8;

#[tokio::main]
async fn main() {
    match env::args().nth(1).as_deref() {
        Some(measuring::STAND_INS) => be_the_engine().await,
        // `cargo bench` passes this argument; a test run measures nothing.
        Some("--bench") => measure().await,
        _ => println!("this measures only under `cargo bench -p coursehook-cli`"),
    }
}

/// Serves an empty DynamoDB, until the parent process ends.
async fn be_the_engine() {
    let dynamodb = Dynamodb::in_memory().await.unwrap();
    println!("{}", dynamodb.url);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (
        folder.path().join("few.csv"),
        folder.path().join("many.csv"),
    );
    write_users(&few, FEW_USERS);
    write_users(&many, USERS);

    let of_few = import(&few, FEW_USERS);
    let (mut imports, mut loops, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = 0;
    for round in 1..=ROUNDS {
        let of_many = import(&many, USERS);
        peak = peak.max(of_many.peak_kib);
        imports.push(of_many.rate);
        loops.push(bare_loop(&many, USERS).await);
        ratios.push(100.0 * imports[round - 1] / loops[round - 1]);
        println!(
            "round {round}: import {:.0} users a second, bare loop {:.0}: {:.0} %",
            imports[round - 1],
            loops[round - 1],
            ratios[round - 1]
        );
    }
    // The median is that of the rounds' ratios, and not of the rates: other load on the
    // machine in a round slows both.
    println!(
        "medians: import {:.0} users a second, bare loop {:.0}; {:.0} % of the bare loop's rate",
        median(imports),
        median(loops),
        median(ratios)
    );
    println!(
        "peak memory of the import: {} KiB for {FEW_USERS} users, {peak} KiB for {USERS}",
        of_few.peak_kib
    );
}

/// The measurements of an import.
struct Took {
    /// Users per second, the program's start and end included.
    rate: f64,
    /// The peak memory in KiB.
    peak_kib: u64,
}

fn import(file: &Path, users: usize) -> Took {
    let engine = StandIns::start(file);
    let mut command = Command::new(env!("CARGO_BIN_EXE_coursehook"));
    command
        .args(["users", "import"])
        .arg(file)
        .envs(Template::load().unwrap().variables())
        .envs([
            ("AWS_ENDPOINT_URL_DYNAMODB", engine.urls[0].as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("NO_PROXY", "*"),
        ])
        .stdout(Stdio::piped());
    let (took, peak_kib, out) = run(command);
    assert!(out.starts_with(&format!("{users} created")), "{out}");
    Took {
        rate: users as f64 / took.as_secs_f64(),
        peak_kib,
    }
}

async fn bare_loop(file: &Path, users: usize) -> f64 {
    let engine = StandIns::start(file);
    let began = Instant::now();
    let aws = local::sdk::configuration(&engine.urls[0]);
    let client = bootstrap::aws::dynamodb(&aws, LIMITS);
    let transactions = (0..users).step_by(USERS_A_TRANSACTION);
    let written = transactions.map(|first| {
        let users = first..users.min(first + USERS_A_TRANSACTION);
        let items = users.flat_map(items).collect();
        write(&client, items)
    });
    stream::iter(written)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    users as f64 / began.elapsed().as_secs_f64()
}

async fn write(client: &Client, items: Vec<TransactWriteItem>) {
    let write = client.transact_write_items();
    write.set_transact_items(Some(items)).send().await.unwrap();
}

/// Returns a user and the username, as the import writes them.
fn items(user: usize) -> [TransactWriteItem; 2] {
    let text = |text: String| AttributeValue::S(text);
    let (email, name) = (
        format!("learner{user}@example.org"),
        format!("learner{user}"),
    );
    let user_id = Uuid::new_v4().to_string();
    let of_user = Put::builder()
        .table_name("UsersTable")
        .item("email", text(email.clone()))
        .item("user_id", text(user_id.clone()))
        .item("email_as_given", text(email.clone()))
        .item("edx_username", text(name.clone()))
        .item("name", text(format!("Learner {user}")))
        .condition_expression("attribute_not_exists(#email)")
        .expression_attribute_names("#email", "email");
    let of_username = Put::builder()
        .table_name("UsernamesTable")
        .item("edx_username", text(name))
        .item("email", text(email))
        .item("user_id", text(user_id.clone()))
        .condition_expression("attribute_not_exists(#edx_username) OR #user_id = :user_id")
        .expression_attribute_names("#edx_username", "edx_username")
        .expression_attribute_names("#user_id", "user_id")
        .expression_attribute_values(":user_id", text(user_id));
    [of_user, of_username].map(|put| {
        let put = put.build().unwrap();
        TransactWriteItem::builder().put(put).build()
    })
}

fn write_users(file: &Path, users: usize) {
    let mut out = std::io::BufWriter::new(fs::File::create(file).unwrap());
    writeln!(out, "email,edx_username,name").unwrap();
    for user in 0..users {
        writeln!(
            out,
            "learner{user}@example.org,learner{user},Learner {user}"
        )
        .unwrap();
    }
    out.flush().unwrap();
}
