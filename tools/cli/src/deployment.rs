//! Reads the outputs and parameters of a deployed stack, as the variables that the
//! functions have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::config::Builder;
use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_sdk_cloudformation::types::{Stack, StackStatus};
use common::AwsError;
use infra::{Template, TemplateError, variable_of};
use thiserror::Error;

use crate::failure::{CommandError, Failure};
use crate::{aws_errors, output};

/// Error of a stack that cannot be used.
#[derive(Debug, Error)]
pub enum DeploymentError {
    #[error(
        "there is no CloudFormation stack {name} in {region} that these credentials can see; \
         --region names another region and --profile another account's credentials, and \
         `aws cloudformation list-stacks` lists the stacks"
    )]
    NoSuchStack { name: String, region: String },
    #[error(
        "the CloudFormation stack {0} is not one of Coursehook's: none of its outputs names a \
         table or a secret; give the name under which Coursehook was deployed"
    )]
    NotCoursehook(String),
    #[error("CloudFormation: {}", aws_errors::describe(.0))]
    CloudFormation(AwsError),
}

impl CommandError for DeploymentError {}

/// The variables of a stack.
pub struct Deployed {
    /// Outputs and parameters, each under the name of the variable that holds it:
    /// `CourseRunsTable` as `COURSE_RUNS_TABLE`, `LmsUrl` as `LMS_URL`, and `Url`, which
    /// no function has, as `COURSEHOOK_URL`.
    pub variables: Vec<(String, String)>,
    /// Those of [`names`] that the stack lacks.
    pub lacking: Vec<String>,
}

/// Returns the names of the variables that a stack has: tables, secrets, the functions'
/// settings and the URL.
pub fn names() -> Result<BTreeSet<String>, TemplateError> {
    let Template {
        tables,
        secrets,
        functions,
        of_all_functions,
        ..
    } = Template::load()?;
    let tables = tables.into_iter().map(|table| table.name);
    let ids = tables.chain(secrets).map(|id| variable_of(&id));
    let settings = functions.into_values().flat_map(BTreeMap::into_keys);
    // A function has these for the stack that it is in, and no command needs them.
    let settings = settings.filter(|name| !of_all_functions.contains_key(name));
    let url = "COURSEHOOK_URL".to_owned();
    Ok(ids.chain(settings).chain([url]).collect())
}

pub async fn read(aws: &SdkConfig, name: &str) -> Result<Deployed, Failure> {
    let stack = describe(aws, name).await?;
    warn(name, stack.stack_status());
    let parameters = stack.parameters().iter().filter_map(|parameter| {
        let key = parameter.parameter_key()?;
        Some((variable_of(key), parameter.parameter_value()?.to_owned()))
    });
    let outputs = stack.outputs().iter().filter_map(|output| {
        let variable = match output.output_key()? {
            "Url" => "COURSEHOOK_URL".to_owned(),
            key => variable_of(key),
        };
        Some((variable, output.output_value()?.to_owned()))
    });
    let variables: Vec<_> = parameters.chain(outputs).collect();

    let is_there = |name: &String| variables.iter().any(|(variable, _)| variable == name);
    let (there, lacking): (Vec<_>, Vec<_>) = names()?.into_iter().partition(is_there);
    let is_ours = |name: &String| name.ends_with("_TABLE") || name.ends_with("_SECRET");
    if !there.iter().any(is_ours) {
        return Err(DeploymentError::NotCoursehook(name.to_owned()).into());
    }
    Ok(Deployed { variables, lacking })
}

async fn describe(aws: &SdkConfig, name: &str) -> Result<Stack, DeploymentError> {
    let described = client(aws).describe_stacks().stack_name(name).send().await;
    let absent = || DeploymentError::NoSuchStack {
        name: name.to_owned(),
        region: aws.region().map(ToString::to_string).unwrap_or_default(),
    };
    match described {
        Ok(answer) => answer
            .stacks
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(absent),
        // The code is that of any bad request; only the message tells which.
        Err(error)
            if error.code() == Some("ValidationError")
                && error
                    .message()
                    .is_some_and(|m| m.contains("does not exist")) =>
        {
            Err(absent())
        }
        Err(error) => Err(DeploymentError::CloudFormation(AwsError::from(&error))),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no function calls CloudFormation, or should be built with its client"
)]
fn client(aws: &SdkConfig) -> Client {
    const ATTEMPT: Duration = Duration::from_secs(10);
    let limits = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    Client::from_conf(Builder::from(aws).timeout_config(limits).build())
}

/// Warns if the last deployment failed, or the stack is being deleted: its outputs may be
/// outdated or gone.
fn warn(name: &str, status: Option<&StackStatus>) {
    let status = status.map_or("", StackStatus::as_str);
    if ["FAILED", "ROLLBACK", "DELETE"]
        .iter()
        .any(|word| status.contains(word))
    {
        output::note(&format!(
            "warning: the stack {name} is in the state {status}; \
             `aws cloudformation describe-stack-events --stack-name {name}` says why"
        ));
    }
}
