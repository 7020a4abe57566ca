//! `make e2e`: deploys the template to an emulator of AWS as `make deploy` does, with the same
//! programs built without optimization, and drives it.

mod bounds;
mod deploy;
mod drive;
mod emulator;
mod failure;
mod logs;
mod metrics;
mod operator;
mod portal;
mod recorder;
mod roles;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use local::Lms;

use crate::bounds::Bounds;
use crate::deploy::{DeployedStack, Parameters};
use crate::emulator::Emulator;
use crate::failure::{Failure, of_file};
use crate::portal::Portal;

/// Deploys the template to an emulator of AWS, and drives it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave it running at the end, until Ctrl-C, and say how to reach it
    #[arg(long)]
    keep: bool,
    /// Write docs/permissions.md instead of comparing with it
    #[arg(long)]
    write: bool,
    /// The architecture that the programs were built for
    #[arg(long, env, default_value = "x86_64", value_parser = ["x86_64", "arm64"])]
    architecture: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("make e2e: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the next step.
pub fn step(what: &str) {
    println!("e2e: {what}");
}

/// Runs all steps, and leaves nothing running and no temporary file, however they end.
async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut bounds = Bounds::new()?;
    let folder = tempfile::tempdir().map_err(of_file("a temporary folder".as_ref()))?;
    step("start the emulator, and an LMS");
    let lms = Lms::start(0).await.map_err(Failure::Port)?;
    let emulator = Emulator::start(folder.path()).await?;
    let done = bounded(&emulator, &lms, folder.path(), arguments, &mut bounds).await;
    emulator.aws.stop().await;
    let path = folder.path().to_owned();
    done.and(folder.close().map_err(of_file(&path)))
}

async fn bounded(
    emulator: &Emulator,
    lms: &Lms,
    folder: &Path,
    arguments: &Arguments,
    bounds: &mut Bounds,
) -> Result<(), Failure> {
    let deployed = deploy(emulator, lms, folder, &arguments.architecture);
    let stack = bounds.within(deployed).await?;
    let portal = Portal::new(&emulator.aws, &stack, lms, folder)?;
    let proved = bounds.within(prove(emulator, &portal, arguments)).await;
    if arguments.keep && !matches!(proved, Err(Failure::Interrupted)) {
        if let Err(failure) = &proved {
            eprintln!("make e2e: {failure}");
        }
        keep(&portal).await?;
        bounds.signalled().await;
    }
    proved
}

/// Deploys the stack twice: the answers to addresses that are not allowed are checked in between.
async fn deploy(
    emulator: &Emulator,
    lms: &Lms,
    folder: &Path,
    architecture: &str,
) -> Result<DeployedStack, Failure> {
    let aws = &emulator.aws;
    let mut parameters = Parameters {
        lms_url: &lms.url,
        architecture,
        addresses: "203.0.113.0/24",
    };
    step("deploy the stack, for addresses that are not ours");
    let stack = DeployedStack::deploy(aws, &parameters, folder).await?;
    let portal = Portal::new(aws, &stack, lms, folder)?;
    drive::from_elsewhere(&portal).await?;
    step("deploy it again, for all addresses");
    parameters.addresses = "";
    DeployedStack::deploy(aws, &parameters, folder).await
}

/// Drives the stack, and checks logs, metrics and calls afterwards.
async fn prove(
    emulator: &Emulator,
    portal: &Portal<'_>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    portal.schedules(false).await?;
    let driven = drive::all(portal).await;
    let logs = portal.logs().await?;
    logs::write(&logs)?;
    let planted = driven?;
    step("hold the logs against what must not be in them");
    logs::hold(&logs, &planted)?;
    step("hold dashboard and alarms against the metrics that were emitted");
    metrics::hold(&emulator.aws, portal.stack, &logs).await?;
    step("hold the roles against the calls that were made");
    roles::hold(emulator, portal.stack, arguments.write).await
}

/// Prints how to reach the running stack.
async fn keep(portal: &Portal<'_>) -> Result<(), Failure> {
    portal.schedules(true).await?;
    println!("\nIt runs until Ctrl-C. In another terminal:");
    for (name, value) in deploy::credentials(&portal.aws.url) {
        println!("  export {name}={value}");
    }
    println!("  export COURSEHOOK_STACK={}", portal.stack.name);
    println!("  export COURSEHOOK_URL={}", portal.url);
    println!("  export LMS_URL={}", portal.lms.url);
    println!("The stack puts out:");
    for (key, value) in portal.stack.outputs() {
        println!("  {key:30} {value}");
    }
    Ok(())
}
