//! Stand-ins for the services around the functions: DynamoDB, Secrets Manager and the LMS. `make
//! run` and every test use the same ones. Only tests use [`StepFunctions`], with functions that are
//! programs.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use infra::Template;
//! use local::{Dynamodb, Fault, FaultyProxy, SecretsManager};
//!
//! // One DynamoDB for each test, with the template's tables.
//! let dynamodb = Dynamodb::in_memory().await?;
//! // One Secrets Manager for each test process; take a name of your own.
//! let secrets = SecretsManager::for_tests().await?;
//! secrets.create("tokens-of-this-test").await?;
//! // The second call is throttled.
//! let proxy = FaultyProxy::before(&dynamodb.url, |call| match call.number {
//!     2 => Fault::Throttle,
//!     _ => Fault::Pass,
//! })
//! .await?;
//! // The variables that the functions read from their environment.
//! let variables = Template::load()?.variables();
//! # Ok(())
//! # }
//! ```
//!
//! The LMS needs no proxy to fail: it has fault rules, as [`lms`] shows.

mod aws;
mod background;
pub mod dynamodb;
pub mod faults;
pub mod lms;
pub mod ministack;
pub mod process;
pub mod rest_api;
pub mod sdk;
pub mod secrets_manager;
pub mod step_functions;
pub mod terminal;
pub mod venv;

pub use background::client;
pub use dynamodb::Dynamodb;
pub use faults::{Call, Fault, FaultyProxy};
pub use lms::Lms;
pub use ministack::Ministack;
pub use rest_api::RestApi;
pub use secrets_manager::SecretsManager;
pub use step_functions::StepFunctions;
