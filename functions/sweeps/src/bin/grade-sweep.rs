//! The function that corrects course runs' grades and certificates.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    sweeps::run(sweeps::grade_sweep).await
}
