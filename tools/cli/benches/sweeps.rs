//! Measures the speed and the memory of `coursehook sweep grades`, beside a bare loop
//! that makes the same calls and nothing else.
//!
//! DynamoDB and the LMS run in a process of their own: this program, started again. In
//! each round every grade in the LMS changes, so that both have a grade to write for
//! every learner. The bare loop runs in this process.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "it measures time, and what goes wrong ends it"
)]

mod measuring;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue::{Bool, L, N, S};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use futures::{StreamExt, stream};
use infra::Template;
use local::lms::STATIC_TOKEN;
use local::{Dynamodb, Lms, SecretsManager};
use measuring::{LIMITS, StandIns, median, run};
use serde_json::{Value, json};
use uuid::Uuid;

/// The number of learners in the timed run.
const LEARNERS: usize = 100_000;

/// The number of learners in a smaller run, which shows how memory and cost grow with the
/// run.
const FEW_LEARNERS: usize = 10_000;

/// The number of times that each of the two is timed, one after the other.
const ROUNDS: usize = 3;

/// Rows per page, keys per read, and concurrent writes: those of a sweep.
const PAGE: usize = 100;
const LEARNERS_A_READ: usize = 33;
const AT_ONCE: usize = 16;

#[tokio::main]
async fn main() {
    match env::args().nth(1).as_deref() {
        Some(measuring::STAND_INS) => be_the_stand_ins().await,
        // `cargo bench` passes this argument; a test run measures nothing.
        Some("--bench") => measure().await,
        _ => println!("this measures only under `cargo bench -p coursehook-cli`"),
    }
}

/// Returns the run with this many learners.
fn run_of(learners: usize) -> String {
    format!("course-v1:Bench+Sweep+{learners}")
}

fn username(learner: usize) -> String {
    format!("learner{learner:06}")
}

fn user_id(learner: usize) -> String {
    Uuid::from_u128(learner as u128 + 1).to_string()
}

/// Serves an LMS with the grades of a file, and a DynamoDB in which all learners are
/// enrolled, until the parent process ends.
async fn be_the_stand_ins() {
    let grades = PathBuf::from(env::args().nth(2).unwrap());
    let dynamodb = Dynamodb::in_memory().await.unwrap();
    let lms = Lms::on_files(&grades, grades.with_file_name("enrollments.csv"), 0);
    let lms = lms.await.unwrap();
    let client = client(&dynamodb.url);
    for learners in [FEW_LEARNERS, LEARNERS] {
        let run = client.put_item().table_name("CourseRunsTable");
        run.item("course_id", S(run_of(learners)))
            .item("title", S("Sweeping".to_owned()))
            .item("live", Bool(true))
            .item("is_self_paced", Bool(true))
            .send()
            .await
            .unwrap();
    }
    let writes = (0..LEARNERS).flat_map(items).collect::<Vec<_>>();
    stream::iter(writes.chunks(25))
        .map(|some| write_batch(&client, some))
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    println!("{} {}", dynamodb.url, lms.url);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
}

/// Returns the items of a learner before any sweep, each with its table.
fn items(learner: usize) -> Vec<(&'static str, HashMap<String, AttributeValue>)> {
    let (id, name) = (user_id(learner), username(learner));
    let email = format!("{name}@example.org");
    let item = |fields: &[(&str, AttributeValue)]| {
        let fields = fields.iter();
        fields.map(|(n, v)| ((*n).to_owned(), v.clone())).collect()
    };
    let user = [
        ("email", S(email.clone())),
        ("email_as_given", S(email.clone())),
        ("user_id", S(id.clone())),
        ("edx_username", S(name.clone())),
        ("name", S(format!("Learner {learner}"))),
    ];
    let username = [
        ("edx_username", S(name)),
        ("email", S(email)),
        ("user_id", S(id.clone())),
    ];
    let enrollment = |run| {
        item(&[
            ("user_id", S(id.clone())),
            ("course_id", S(run)),
            ("enrollment_id", S(id.clone())),
            ("mode", S("verified".to_owned())),
            ("active", Bool(true)),
            ("edx_enrolled", Bool(true)),
            ("changed_at", S("2026-11-22T09:00:00.000Z".to_owned())),
            ("history", L(Vec::new())),
        ])
    };
    let mut all = vec![
        ("UsersTable", item(&user)),
        ("UsernamesTable", item(&username)),
        ("EnrollmentsTable", enrollment(run_of(LEARNERS))),
    ];
    if learner < FEW_LEARNERS {
        all.push(("EnrollmentsTable", enrollment(run_of(FEW_LEARNERS))));
    }
    all
}

async fn write_batch(client: &Client, items: &[(&'static str, HashMap<String, AttributeValue>)]) {
    let mut requests: HashMap<String, Vec<WriteRequest>> = HashMap::new();
    for (table, item) in items {
        let put = PutRequest::builder().set_item(Some(item.clone()));
        let request = WriteRequest::builder().put_request(put.build().unwrap());
        let of_table = requests.entry((*table).to_owned()).or_default();
        of_table.push(request.build());
    }
    let write = client.batch_write_item();
    let answer = write.set_request_items(Some(requests)).send().await;
    let unprocessed = answer.unwrap().unprocessed_items;
    assert!(unprocessed.unwrap_or_default().is_empty());
}

fn client(url: &str) -> Client {
    bootstrap::aws::dynamodb(&local::sdk::configuration(url), LIMITS)
}

/// Gives every learner another grade in the LMS, which is not a pass in any round.
fn grade_all(file: &Path, round: usize) {
    let mut out = std::io::BufWriter::new(fs::File::create(file).unwrap());
    writeln!(out, "username,course_id,percent,passed,letter_grade").unwrap();
    for learners in [FEW_LEARNERS, LEARNERS] {
        let (run, percent) = (run_of(learners), 0.01 * (round + 1) as f64);
        for learner in 0..learners {
            writeln!(out, "{},{run},{percent:.2},false,", username(learner)).unwrap();
        }
    }
    out.flush().unwrap();
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let grades = folder.path().join("grades.csv");
    fs::write(
        folder.path().join("enrollments.csv"),
        "username,course_id,mode,is_active\n",
    )
    .unwrap();
    let secrets = SecretsManager::for_tests().await.unwrap();
    let credential = json!({"token": STATIC_TOKEN}).to_string();
    secrets.put("OpenedxApiSecret", &credential).await.unwrap();

    let mut round = 0;
    let mut another_grade = || {
        grade_all(&grades, round);
        round += 1;
    };
    another_grade();
    let stand_ins = StandIns::start(&grades);
    let sweep = |learners| sweep(&stand_ins, &secrets.url, learners);

    let of_few = sweep(FEW_LEARNERS);
    println!("{FEW_LEARNERS} learners: {of_few}");
    let first = sweep(LEARNERS);
    println!("{LEARNERS} learners: {first}");
    let again = sweep(LEARNERS);
    println!("again, and nothing to do: {again}");
    assert_eq!(again.tally["unchanged"], LEARNERS);
    let (mut sweeps, mut loops, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = first.peak_kib;
    for round in 1..=ROUNDS {
        another_grade();
        let of_many = sweep(LEARNERS);
        assert_eq!(of_many.tally["grade_stored"], LEARNERS);
        peak = peak.max(of_many.peak_kib);
        another_grade();
        let bare = bare_loop(&stand_ins, LEARNERS).await;
        let ratio = 100.0 * of_many.rate / bare;
        println!(
            "round {round}: sweep {:.0} learners a second, bare loop {bare:.0}: {ratio:.0} %",
            of_many.rate
        );
        sweeps.push(of_many.rate);
        loops.push(bare);
        ratios.push(ratio);
    }
    println!(
        "medians: sweep {:.0} learners a second, bare loop {:.0}; {:.0} % of the bare loop's rate",
        median(sweeps),
        median(loops),
        median(ratios)
    );
    println!(
        "peak memory of the sweep: {} KiB for {FEW_LEARNERS} learners, {peak} KiB for {LEARNERS}: {:.2} times",
        of_few.peak_kib,
        peak as f64 / of_few.peak_kib as f64
    );
}

/// The measurements of a sweep.
struct Took {
    /// Learners per second, the program's start and end included.
    rate: f64,
    /// The peak memory in KiB.
    peak_kib: u64,
    /// The counts of the sweep.
    tally: Value,
    /// Calls of DynamoDB and of the LMS per learner.
    calls: [f64; 2],
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [dynamodb, lms] = self.calls;
        write!(
            f,
            "{:.0} a second, {dynamodb:.4} calls of DynamoDB and {lms:.4} of the LMS each, {} KiB at most",
            self.rate, self.peak_kib
        )
    }
}

fn sweep(stand_ins: &StandIns, secrets: &str, learners: usize) -> Took {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coursehook"));
    command
        .args(["sweep", "grades", "--json", "--run", &run_of(learners)])
        .envs(Template::load().unwrap().variables())
        .envs([
            ("AWS_ENDPOINT_URL_DYNAMODB", stand_ins.urls[0].as_str()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets),
            ("LMS_URL", stand_ins.urls[1].as_str()),
            // The rate limits must not slow the sweep.
            ("LMS_PER_SECOND", "1000000"),
            ("LMS_ENROLLMENTS_PER_MINUTE", "1000000"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("NO_PROXY", "*"),
        ])
        .stdout(Stdio::piped());
    let (took, peak_kib, out) = run(command);
    // The run's own line comes first, then that of all runs.
    let end: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(end["outcome"], "done", "{end}");
    let each = |name| end[name].as_f64().unwrap() / learners as f64;
    Took {
        rate: learners as f64 / took.as_secs_f64(),
        peak_kib,
        tally: end["tally"].clone(),
        calls: [each("dynamodb_calls"), each("lms_calls")],
    }
}

/// Makes the calls of a sweep that has a grade to write for every learner: the next page
/// is requested while a page is processed.
async fn bare_loop(stand_ins: &StandIns, learners: usize) -> f64 {
    let began = Instant::now();
    let client = client(&stand_ins.urls[0]);
    let http = bootstrap::lms_http::client().unwrap();
    let list = format!(
        "{}/api/grades/v1/courses/{}/?page_size={PAGE}",
        stand_ins.urls[1],
        run_of(learners)
    );
    let mut page = Some(ask(&http, list.clone()).await);
    while let Some(asked) = page {
        let next = asked["next"].as_str();
        let next = next.map(str::to_owned);
        let (_, following) = futures::join!(work(&client, &asked, learners), async {
            match next {
                Some(next) => Some(ask(&http, next).await),
                None => None,
            }
        });
        page = following;
    }
    learners as f64 / began.elapsed().as_secs_f64()
}

async fn ask(http: &reqwest::Client, url: String) -> Value {
    let request = http.get(url).timeout(Duration::from_secs(15));
    let answer = request.bearer_auth(STATIC_TOKEN).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn work(client: &Client, page: &Value, learners: usize) {
    let rows = page["results"].as_array().unwrap();
    let names = rows.iter().map(|row| row["username"].as_str().unwrap());
    let keys = names.map(|name| HashMap::from([("edx_username".to_owned(), S(name.to_owned()))]));
    let owners = read(client, [("UsernamesTable", keys.collect())]).await;
    let ids: Vec<_> = owners["UsernamesTable"]
        .iter()
        .map(|owner| owner["user_id"].clone())
        .collect();
    let reads = ids.chunks(LEARNERS_A_READ).map(|ids| {
        let keys = ids.iter().map(|id| {
            let run = ("course_id".to_owned(), S(run_of(learners)));
            HashMap::from([("user_id".to_owned(), id.clone()), run])
        });
        let keys: Vec<_> = keys.collect();
        let tables = ["EnrollmentsTable", "GradesTable", "CertificatesTable"];
        read(client, tables.map(|table| (table, keys.clone())))
    });
    let found = futures::future::join_all(reads).await;
    let percent = N(rows[0]["percent"].to_string());
    let grades = found.iter().flat_map(|found| &found["GradesTable"]);
    let writes = grades.map(|grade| {
        let mut after = grade.clone();
        let version: u64 = grade["version"].as_n().unwrap().parse().unwrap();
        after.insert("percent".to_owned(), percent.clone());
        after.insert("version".to_owned(), N((version + 1).to_string()));
        let put = client.put_item().table_name("GradesTable");
        put.set_item(Some(after))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", N(version.to_string()))
            .send()
    });
    let written = stream::iter(writes).buffer_unordered(AT_ONCE);
    written.for_each(async |put| drop(put.unwrap())).await;
}

async fn read<const TABLES: usize>(
    client: &Client,
    keys: [(&str, Vec<HashMap<String, AttributeValue>>); TABLES],
) -> HashMap<String, Vec<HashMap<String, AttributeValue>>> {
    let requests = keys.map(|(table, keys)| {
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true);
        (table.to_owned(), keys.build().unwrap())
    });
    let read = client.batch_get_item();
    let answer = read.set_request_items(Some(requests.into())).send().await;
    answer.unwrap().responses.unwrap()
}
