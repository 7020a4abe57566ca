//! The function that corrects course runs' enrollments.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    sweeps::run(sweeps::enrollment_sweep).await
}
