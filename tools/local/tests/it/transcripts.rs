//! Runs the transcripts of the pages. Each page has a fresh local stack; each command must print
//! what the page shows. With `COURSEHOOK_BLESS=1` the outputs of a page that differs are rewritten.

mod comparison;
mod markdown;
mod shell;

use std::fs;
use std::path::{Path, PathBuf};

use comparison::{Ids, elided};
use futures::future::join_all;
use local::venv::repository;
use markdown::Step;
use shell::{QUESTION, Shell};

use crate::stack::{RunningStack, ports};

/// Lists the pages whose transcripts are run.
const PAGES: [&str; 3] = ["README.md", "docs/operating.md", "tools/local/README.md"];
/// Lists the pages whose transcripts need AWS.
const ON_AWS: [&str; 1] = ["docs/deploying.md"];

/// Lists the commands that read the functions' log, in which a line is a moment after its delivery
/// was answered.
const READ_THE_LOG: [&str; 3] = [
    "coursehook deliveries",
    "coursehook tokens list",
    "coursehook tokens revoke",
];
/// The number of times that such a command is run until it prints what the page shows.
const READS: usize = 20;

#[tokio::test]
async fn the_commands_of_the_pages_print_what_the_pages_show() {
    let runs = join_all(PAGES.map(run_page)).await;
    let differences: String = runs.iter().map(|run| run.differences.as_str()).collect();
    if is_blessed() {
        // Only now: a change in the repository restarts the functions of a running stack.
        for run in runs.iter().filter(|run| !run.differences.is_empty()) {
            fs::write(repository().join(run.page), &run.text).unwrap();
        }
        return;
    }
    assert!(
        differences.is_empty(),
        "these commands print (+) something else than the page shows (-); if the new output is \
         right, run this test with COURSEHOOK_BLESS=1:\n{differences}"
    );
}

#[test]
fn every_page_with_a_transcript_is_run() {
    let mut pages: Vec<_> = pages(&repository())
        .into_iter()
        .filter(|page| fs::read_to_string(page).unwrap().contains("```console"))
        .map(|page| page.strip_prefix(repository()).unwrap().to_owned())
        .collect();
    pages.sort();
    let mut known = [&PAGES[..], &ON_AWS[..]].concat();
    known.sort();
    assert_eq!(pages, known.iter().map(PathBuf::from).collect::<Vec<_>>());
}

/// Returns the Markdown files of a folder and of the folders in it.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            pages.extend(self::pages(&path));
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
    pages
}

/// Holds the outcome of a page's commands.
struct PageRun {
    page: &'static str,
    /// Names the commands that print something else than the page shows; empty if none does.
    differences: String,
    /// The page with what was printed.
    text: String,
}

/// Runs the commands of a page in order on a stack of their own.
async fn run_page(page: &'static str) -> PageRun {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let steps = markdown::steps(&text);

    let folder = tempfile::tempdir().unwrap();
    let stack = RunningStack::without_schedule(&folder.path().join(".local"), ports()).await;
    let mut shell = Shell::start(folder.path(), stack.port).await;
    let mut ids = Ids::default();
    let mut differences = String::new();
    let mut printed = Vec::new();
    for step in &steps {
        let command: Vec<_> = step.command.iter().map(|line| ids.in_run(line)).collect();
        let output = run(&mut shell, &command, step, &ids).await;
        if let Err(difference) = ids.compare(&step.output, &output) {
            let command = step.command.join("\n");
            let line = step.line();
            differences.push_str(&format!("\n{page}:{line}: $ {command}\n{difference}"));
        }
        printed.push((command, output));
    }
    stack.end("TERM").await;
    PageRun {
        page,
        differences,
        text: markdown::with(&text, &steps, &printed),
    }
}

/// Runs a command of a page, and answers its question as the page does. Returns what it printed,
/// without the lines that the page leaves out.
async fn run(shell: &mut Shell, command: &[String], step: &Step, ids: &Ids) -> Vec<String> {
    let command = command.join("\n");
    let mut lines = step.output.iter();
    let answer = lines.find_map(|line| Some(line.split_once(QUESTION)?.1));
    let mut output = elided(shell.run(&command, answer).await, &step.output);
    if READ_THE_LOG.iter().any(|reader| command.contains(reader)) {
        for _ in 1..READS {
            if ids.clone().compare(&step.output, &output).is_ok() {
                break;
            }
            output = elided(shell.run(&command, answer).await, &step.output);
        }
    }
    output
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no start-up of shared"
)]
fn is_blessed() -> bool {
    std::env::var_os("COURSEHOOK_BLESS").is_some_and(|value| !value.is_empty())
}
