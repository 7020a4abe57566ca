//! Starts everything in order, waits, and stops it in the reverse order.

mod env_file;
mod gateway;
mod operator;
mod schedule;
mod settings;

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use domain::EventKind;
use env_file::EnvFile;
use gateway::Gateway;
use infra::Template;
use local::lms::{CLIENT_ID, CLIENT_SECRET, SAMPLE_ENROLLMENTS, SAMPLE_GRADES};
use local::ministack::Files;
use local::{Dynamodb, Lms, SecretsManager};
use operator::Operator;
use serde_json::json;
use settings::Settings;
use tokio::signal::unix::{SignalKind, signal};

/// Error that ended the run; Ctrl-C is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    #[error("{} cannot be used: {source}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("another run uses {}; stop it, or choose another: DATA=folder make run", .0.display())]
    DataInUse(PathBuf),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Template(#[from] infra::TemplateError),
    #[error(transparent)]
    Dynamodb(#[from] local::dynamodb::DynamodbError),
    #[error(transparent)]
    SecretsManager(#[from] local::ministack::MinistackError),
    #[error(transparent)]
    NotInstalled(#[from] local::venv::NotInstalledError),
    #[error("the LMS stand-in could not be started: {0}")]
    Lms(io::Error),
    #[error(transparent)]
    Operator(#[from] operator::OperatorError),
    #[error(transparent)]
    Gateway(#[from] gateway::GatewayError),
    #[error("{name} ended by itself; its log is {}", .log.display())]
    Died { name: &'static str, log: PathBuf },
}

/// Runs until Ctrl-C or SIGTERM, which is a success.
pub async fn run() -> Result<(), Error> {
    let mut stack = LocalStack::default();
    let result = tokio::select! {
        biased;
        stopped = stop_signal() => stopped,
        ended = stack.run() => ended,
    };
    stack.stop().await;
    result
}

/// The running parts. The fields are filled in the order of the start.
#[derive(Default)]
struct LocalStack {
    lock: Option<File>,
    dynamodb: Option<Dynamodb>,
    secrets_manager: Option<SecretsManager>,
    lms: Option<Lms>,
    gateway: Option<Gateway>,
    env_file: Option<EnvFile>,
}

impl LocalStack {
    /// Starts everything, and returns only if something fails.
    async fn run(&mut self) -> Result<(), Error> {
        let settings = Settings::read()?;
        local::venv::program("cargo-lambda")?;
        settings.check_ports().await?;
        let logs = settings::folder().join("logs");
        let secrets = settings.data.join("secrets");
        create(&logs)?;
        create(&secrets)?;
        self.lock = Some(lock(&settings.data)?);

        let step = Step::start("DynamoDB");
        let file = settings.data.join("dynamodb.db");
        let dynamodb = Dynamodb::on_file(&file, settings.dynamodb_port()).await?;
        let dynamodb = self.dynamodb.insert(dynamodb);
        step.done();

        let step = Step::start("Secrets Manager");
        let secrets_log = logs.join("secrets-manager.log");
        let files = Files {
            state: Some(&secrets),
            log: Some(&secrets_log),
        };
        let secrets_manager = SecretsManager::start(settings.secrets_manager_port(), files).await?;
        let secrets_manager = self.secrets_manager.insert(secrets_manager);
        step.done();

        let lms_url = match &settings.lms_url {
            Some(url) => url.clone(),
            None => {
                let step = Step::start("LMS stand-in");
                let (grades, enrollments) = (settings.grades(), settings.enrollments());
                give(&grades, SAMPLE_GRADES)?;
                give(&enrollments, SAMPLE_ENROLLMENTS)?;
                let lms = Lms::on_files(grades, enrollments, settings.lms_port()).await;
                let lms = lms.map_err(Error::Lms)?;
                give_credential(secrets_manager).await?;
                step.done();
                self.lms.insert(lms).url.clone()
            }
        };

        let variables = variables(&settings, &dynamodb.url, &secrets_manager.url, lms_url)?;
        let step = Step::start("Users, runs and a token");
        let operator = Operator {
            cli: &settings.cli,
            variables: &variables,
        };
        operator.import_samples(&settings.data).await?;
        let token = operator.token(&settings.data.join("token")).await?;
        step.done();

        let step = Step::start("Gateway and functions");
        let gateway = self
            .gateway
            .insert(Gateway::start(&settings, &variables, &logs).await?);
        gateway.wait_until_up().await?;
        step.done();

        // The functions check tokens and need none of their own, and they write the log.
        let log = logs.join(gateway::FUNCTIONS_LOG);
        let others = [
            ("COURSEHOOK_TOKEN".into(), token),
            ("COURSEHOOK_LOG".into(), log.to_string_lossy().into_owned()),
        ];
        let with_others = [&variables[..], &others].concat();
        self.env_file = Some(EnvFile::write(
            &settings::folder().join("env"),
            &with_others,
        )?);

        print!("{}", hints(&settings));
        gateway.show_log_lines();
        let url = settings.gateway_url();
        tokio::select! {
            () = gateway.ended() => {
                Err(Error::Died { name: "The gateway", log: gateway.log().to_owned() })
            }
            () = secrets_manager.ended() => {
                Err(Error::Died { name: "Secrets Manager", log: secrets_log })
            }
            never = schedule::run(&url), if settings.is_scheduled => match never {
                Ok(never) => match never {},
                Err(source) => Err(gateway::GatewayError::from(source).into()),
            }
        }
    }

    /// Ends all running parts, the last one first, so that none loses one that it uses.
    async fn stop(self) {
        if let Some(env_file) = self.env_file {
            env_file.remove();
        }
        if let Some(gateway) = self.gateway {
            gateway.stop().await;
        }
        if let Some(secrets_manager) = self.secrets_manager {
            secrets_manager.stop().await;
        }
    }
}

async fn stop_signal() -> Result<(), Error> {
    let receive = |kind| signal(kind).map_err(Error::Signals);
    let mut interrupt = receive(SignalKind::interrupt())?;
    let mut terminate = receive(SignalKind::terminate())?;
    let mut hangup = receive(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    println!("Stopping.");
    Ok(())
}

/// Creates a folder that only its owner can read, since secrets may be in it.
fn create(folder: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(folder);
    created.map_err(|source| Error::Folder {
        path: folder.into(),
        source,
    })
}

/// Locks the data folder, since two runs on the same data would lose each other's secrets. The lock
/// ends with the process, however that ends.
fn lock(data: &Path) -> Result<File, Error> {
    let path = data.join("lock");
    let failed = |source| Error::Folder {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::DataInUse(data.into())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Writes a sample, unless the file exists: it may have been edited.
fn give(file: &Path, sample: &str) -> Result<(), Error> {
    if file.exists() {
        return Ok(());
    }
    env_file::write_private(file, sample).map_err(|source| Error::Folder {
        path: file.to_owned(),
        source,
    })
}

/// Stores the stand-in's client, unless there is another credential.
async fn give_credential(secrets_manager: &SecretsManager) -> Result<(), Error> {
    const SECRET: &str = "OpenedxApiSecret";
    if secrets_manager.value(SECRET).await?.is_none() {
        let credential = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        secrets_manager.put(SECRET, &credential.to_string()).await?;
    }
    Ok(())
}

/// Returns the variables for all processes: those in `.local/env` except the token and the log.
fn variables(
    settings: &Settings,
    dynamodb_url: &str,
    secrets_manager_url: &str,
    lms_url: String,
) -> Result<Vec<(String, String)>, Error> {
    let mut variables: Vec<(String, String)> = [
        ("COURSEHOOK_URL", settings.gateway_url().as_str()),
        ("LMS_URL", lms_url.as_str()),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_url),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets_manager_url),
        ("AWS_REGION", "us-east-1"),
        // The only one that boto3 reads.
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    variables.extend(Template::load()?.variables());
    Ok(variables)
}

/// A line of output for a step of the start: its name and its duration.
struct Step(tokio::time::Instant);

impl Step {
    fn start(name: &str) -> Self {
        print!("{name} ... ");
        // Without a flush the line would appear only when the step is done.
        let _ = io::stdout().flush();
        Self(tokio::time::Instant::now())
    }

    fn done(self) {
        println!("{:.1} s", self.0.elapsed().as_secs_f64());
    }
}

fn hints(settings: &Settings) -> String {
    let url = settings.gateway_url();
    let lms = match settings.lms_url {
        Some(_) => String::new(),
        None => format!(
            "\nWhat the LMS says of learners is in {grades} and\n\
             {enrollments}; an edit counts at once.\n\
             How to make the LMS misbehave is in tools/local/README.md.\n",
            grades = relative(&settings.grades()),
            enrollments = relative(&settings.enrollments()),
        ),
    };
    format!(
        r#"
Coursehook answers at {url}. In another terminal, try:

  set -a; . .local/env; set +a
  curl -i -X POST $COURSEHOOK_URL{enrollment}/ \
    -H "Authorization: Bearer $COURSEHOOK_TOKEN" -H 'Content-Type: application/json' \
    -d '{{"email": "ada@example.org", "course_id": "course-v1:Demo+RustOnLambda+2026_T3", "mode": "verified"}}'
  curl -i -X POST $COURSEHOOK_URL{certificate}/ \
    -H "Authorization: Bearer $COURSEHOOK_TOKEN" -H 'Content-Type: application/json' \
    -d '{{"email": "ada@example.org", "course_id": "course-v1:Demo+RustOnLambda+2026_T3"}}'
  {cli} certificates show ada@example.org
  {cli} sweep grades --dry-run
  make replay
{lms}
Events that have to wait are retried each minute. Data are in {data}, logs in
.local/logs; the functions' log lines follow here.
A change to their code builds them again; builds are in .local/logs/gateway.log.
Ctrl-C stops everything.

"#,
        enrollment = EventKind::Enrollment.path(),
        certificate = EventKind::Certificate.path(),
        cli = relative(&settings.cli),
        data = relative(&settings.data),
    )
}

/// Returns a path as a person in the repository would type it.
fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(local::venv::repository());
    inside.unwrap_or(path).display().to_string()
}
