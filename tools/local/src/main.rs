//! `make run`: the whole product on one machine.

mod run;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make run: {error}");
            ExitCode::FAILURE
        }
    }
}
