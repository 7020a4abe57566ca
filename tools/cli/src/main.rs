//! `coursehook`: the operators' command line.

mod aws_errors;
mod cli;
mod commands;
mod confirm;
mod context;
mod deployment;
mod encoding;
mod failure;
mod gateway;
mod import;
mod listing;
mod lms_errors;
mod log;
mod output;
mod progress;
mod rows;
mod samples;
mod seen;
mod shell;
mod time;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, OutputError};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let only_reads = cli.command.only_reads();
    match run(cli).await {
        Ok(code) => code,
        // The reader of our output has closed it, as `head` does.
        Err(Failure::Output(OutputError(error)))
            if only_reads && error.kind() == ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let mut context = Context::new(cli.deployment)?;
    let output = Output::new(cli.json);
    if cli.command.needs_a_stack() {
        context.open().await?;
    }
    let done = match cli.command {
        Command::Users(command) => commands::users::run(command, &context, output).await,
        Command::Runs(command) => commands::runs::run(command, &context, output).await,
        Command::Enrollments(command) => {
            commands::enrollments::run(command, &context, output).await
        }
        Command::Grades(command) => commands::grades::run(command, &context, output).await,
        Command::Certificates(command) => {
            commands::certificates::run(command, &context, output).await
        }
        Command::Sweep(command) => commands::sweep::run(command, &context, output).await,
        Command::Status { email, course_id } => {
            commands::status::run(email, course_id, &context, output).await
        }
        Command::Doctor { email, course_id } => {
            commands::doctor::run(email.zip(course_id), &mut context, output).await
        }
        Command::Tokens(command) => commands::tokens::run(command, &context, output).await,
        Command::Credential(command) => commands::credential::run(command, &context, output).await,
        Command::Events(command) => commands::events::run(command, &context, output).await,
        Command::Deliveries(command) => commands::deliveries::run(command, &context, output).await,
        Command::Replay { paths } => commands::replay::run(&paths, &context, output).await,
        Command::Completions { shell } => commands::completions::run(shell, output),
    };
    done.map_err(|failure| failure.of_stack(context.deployed()))
}
