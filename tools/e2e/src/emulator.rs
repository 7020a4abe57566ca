//! The emulator of AWS, `ministack`, with IAM enforced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use local::Ministack;
use local::ministack::Files;
use local::venv::{self, repository};

use crate::failure::{Failure, of_file};
use crate::recorder::{CallLog, Recorder};

/// The services that a deployment needs, and those of the stack.
const SERVICES: &str = "apigateway,cloudformation,cloudwatch,dynamodb,iam,lambda,logs,s3,\
                        scheduler,secretsmanager,sns,sqs,stepfunctions,sts";

/// The emulator, and the recorder of the functions' calls.
pub struct Emulator {
    /// The emulator itself, which is called as the account's root.
    pub aws: Ministack,
    /// The calls of the functions.
    pub call_log: CallLog,
}

/// Returns the path of a file in `.local/logs`, which outlives the program.
pub fn log_file(name: &str) -> Result<PathBuf, Failure> {
    let folder = repository().join(".local/logs");
    fs::create_dir_all(&folder).map_err(of_file(&folder))?;
    Ok(folder.join(name))
}

/// Returns the folder of the SAM CLI's virtual environment.
pub fn sam() -> PathBuf {
    repository().join(".local/sam")
}

impl Emulator {
    /// Starts an emulator that unpacks the functions' code in a folder.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        let recorder = Recorder::listen().await?;
        let python = venv::bin().join("python");
        let launcher = repository().join("tools/e2e/emulator.py");
        let command = [python, launcher, sam_packages()?];
        let path = folder.to_string_lossy();
        let variables = [
            // IAM is enforced, and each function has credentials of its role.
            ("AUTH", "true"),
            // The URL that functions call.
            ("AWS_ENDPOINT_URL", recorder.url.as_str()),
            // State machines do not wait.
            ("SFN_WAIT_SCALE", "0"),
            ("TMPDIR", &path),
        ];
        let log = log_file("e2e-emulator.log")?;
        let files = Files {
            state: None,
            log: Some(&log),
        };
        let aws = Ministack::start_by(&command, SERVICES, &variables, 0, files).await?;
        let call_log = recorder.forward_to(&aws.url);
        Ok(Self { aws, call_log })
    }
}

/// Returns the folder of the SAM CLI's packages, the transform among them.
fn sam_packages() -> Result<PathBuf, Failure> {
    let python = sam().join("bin/python");
    if !python.is_file() {
        return Err(Failure::NotThere(python));
    }
    let mut command = Command::new(&python);
    command.args([
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    ]);
    let output = command.output().map_err(of_file(&python))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}
