//! Checks that a function reads the variables that the template gives it.

use std::sync::Arc;

use bootstrap::environment::{Environment, Missing, SettingError};
use bootstrap::{aws, lms_http};
use common::clock::{SharedClock, SystemClock};
use infra::Template;

use crate::FAST_RETRIES;

/// Clients of servers that do not exist: wiring makes no call.
pub struct Clients {
    /// Of DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Of Secrets Manager.
    pub secrets: aws_sdk_secretsmanager::Client,
    /// Of the LMS.
    pub lms: reqwest::Client,
    /// The system's clock.
    pub clock: SharedClock,
}

impl Clients {
    fn of_nothing() -> Self {
        let nowhere = "http://127.0.0.1:1";
        Self {
            dynamodb: crate::client(nowhere, FAST_RETRIES),
            secrets: aws::secrets_manager(&local::sdk::configuration(nowhere)),
            lms: lms_http::client().unwrap(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Wires a function of the template with all of its variables, and without each of them.
///
/// # Panics
/// A variable is missing in the template, or is there and not read.
pub fn needs_all_and_no_more<F>(
    function: &str,
    wire: impl Fn(&Environment, Clients) -> Result<F, SettingError>,
) {
    let template = Template::load().unwrap();
    let mut given = template.functions[function].clone();
    // This parameter has no default.
    if let Some(url) = given.get_mut("LMS_URL") {
        "https://lms.example.org".clone_into(url);
    }
    let wired = |without: Option<&str>| {
        let given = given.iter().filter(|(name, _)| without != Some(name));
        let given = given.map(|(name, value)| (name.clone(), value.clone()));
        wire(&given.collect(), Clients::of_nothing()).map(drop)
    };
    assert_eq!(wired(None), Ok(()));
    for name in given.keys() {
        let missing = match wired(Some(name)) {
            Err(SettingError::Missing(Missing(missing))) => Some(missing),
            _ => None,
        };
        assert_eq!(missing, Some(name.as_str()));
    }
}
