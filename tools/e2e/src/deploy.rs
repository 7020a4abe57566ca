//! Deploys the stack as `make deploy` does, and reads its resources.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::DisplayErrorContext;
use aws_sdk_cloudformation::types::{ResourceStatus, TemplateStage};
use local::Ministack;
use local::ministack::environment;
use local::sdk::configuration;
use local::venv::repository;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::emulator::sam;
use crate::failure::{Failure, none};

/// The deployed environment: the one that matters most.
const ENVIRONMENT: &str = "prod";

/// The one resource whose condition is that addresses are restricted.
const OF_ADDRESSES: &str = "RefusedAddressesAlarm";

/// The parameters in which the two deployments differ.
pub struct Parameters<'a> {
    /// The URL of the LMS.
    pub lms_url: &'a str,
    /// The architecture that the programs were built for.
    pub architecture: &'a str,
    /// The only addresses that may call the API, or all addresses if empty.
    pub addresses: &'a str,
}

/// A deployed stack.
pub struct DeployedStack {
    pub name: String,
    /// The template as CloudFormation holds it, after the SAM transform.
    pub template: Value,
    outputs: BTreeMap<String, String>,
    /// The resources, by their logical ids.
    resources: BTreeMap<String, Resource>,
}

/// The resource of a logical id in the template.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The type, for instance `AWS::Lambda::Function`.
    pub kind: String,
    /// The value of `Ref`.
    pub physical_id: String,
}

/// Returns the environment variables for calls to the emulator as an operator.
pub fn credentials(url: &str) -> [(&'static str, String); 6] {
    [
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("SAM_CLI_TELEMETRY", "0".to_owned()),
    ]
}

impl DeployedStack {
    /// Deploys what `make build` has built, with the script that `make deploy` calls; `folder`
    /// takes its temporary files.
    pub async fn deploy(
        aws: &Ministack,
        parameters: &Parameters<'_>,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let built = repository().join(".aws-sam/build/template.yaml");
        if !built.is_file() {
            return Err(Failure::NotThere(built));
        }
        let name = format!("coursehook-{ENVIRONMENT}");
        let script = repository().join("infra/deploy.sh");
        let Parameters {
            lms_url,
            architecture,
            addresses,
        } = parameters;
        let mut command = Command::new(&script);
        command
            .current_dir(repository())
            .env_clear()
            .envs(environment())
            .env("TMPDIR", folder)
            .env("SAM", sam().join("bin/sam"))
            .env("ENV", ENVIRONMENT)
            .env("STACK", &name)
            .env("LMS_URL", lms_url)
            .env("ARCHITECTURE", architecture)
            .env("PARAMETERS", format!("AllowedAddresses='{addresses}'"))
            .env("YES", "1")
            .envs(credentials(&aws.url))
            .stdin(Stdio::null());
        let output = Group::output(&mut command).await;
        let output = output.map_err(|source| Failure::Run {
            command: script.display().to_string(),
            source,
        })?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].map(|said| last_lines(&said, 40));
            return Err(Failure::Command {
                command: script.display().to_string(),
                output: said.join("\n"),
            });
        }
        let stack = Self::read(aws, name).await?;
        let made = stack.resources.keys().map(String::as_str).collect();
        let differences = differences(&expected(&stack.template, addresses), &made);
        none("template and stack", &differences)?;
        Ok(stack)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "tools have no start-up of shared"
    )]
    async fn read(aws: &Ministack, name: String) -> Result<Self, Failure> {
        fn failed<E: std::error::Error>(error: E) -> Failure {
            Failure::CloudFormation(DisplayErrorContext(error).to_string())
        }
        let client = Client::new(&configuration(&aws.url));
        let described = client.describe_stacks().stack_name(&name);
        let described = described.send().await.map_err(failed)?;
        let outputs = described
            .stacks()
            .iter()
            .flat_map(|stack| stack.outputs())
            .filter_map(|output| {
                let (key, value) = (output.output_key()?, output.output_value()?);
                Some((key.to_owned(), value.to_owned()))
            });
        let resources = client.describe_stack_resources().stack_name(&name);
        let resources = resources.send().await.map_err(failed)?;
        let resources = resources.stack_resources().iter();
        let is_there = |status: Option<&_>| status != Some(&ResourceStatus::DeleteComplete);
        let resources = resources.filter(|resource| is_there(resource.resource_status()));
        let resources = resources.filter_map(|resource| {
            let of = Resource {
                kind: resource.resource_type()?.to_owned(),
                physical_id: resource.physical_resource_id()?.to_owned(),
            };
            Some((resource.logical_resource_id()?.to_owned(), of))
        });
        let template = client.get_template().stack_name(&name);
        let template = template.template_stage(TemplateStage::Processed);
        let template = template.send().await.map_err(failed)?;
        let template = template.template_body().unwrap_or_default();
        let template = serde_json::from_str(template);
        Ok(Self {
            outputs: outputs.collect(),
            resources: resources.collect(),
            template: template
                .map_err(|error| Failure::CloudFormation(format!("the template: {error}")))?,
            name,
        })
    }

    /// Returns an output of the stack.
    pub fn output(&self, key: &str) -> Result<&str, Failure> {
        let value = self.outputs.get(key);
        let value = value.ok_or_else(|| Failure::Lacks(format!("output {key}")))?;
        Ok(value)
    }

    /// Returns all outputs of the stack, by key.
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// Returns the value of `Ref` for a logical id.
    pub fn physical_id(&self, logical_id: &str) -> Result<&str, Failure> {
        let resource = self.resources.get(logical_id);
        let resource = resource.ok_or_else(|| Failure::Lacks(format!("resource {logical_id}")))?;
        Ok(&resource.physical_id)
    }

    /// Returns the logical ids and names of the resources of this type.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let of_kind = self.resources.iter();
        let of_kind = of_kind.filter(move |(_, resource)| resource.kind == kind);
        of_kind.map(|(id, resource)| (id.as_str(), resource.physical_id.as_str()))
    }

    /// Returns the logical id of the resource with this name, or `None`.
    pub fn logical_id(&self, physical_id: &str) -> Option<&str> {
        let mut resources = self.resources.iter();
        let found = resources.find(|(_, resource)| resource.physical_id == physical_id);
        found.map(|(id, _)| id.as_str())
    }

    /// Returns the API's id and its stage.
    pub fn api(&self) -> Result<(&str, &str), Failure> {
        // The path of the URL is the stage.
        let stage = self.output("Url")?.rsplit('/').next();
        Ok((self.physical_id("Api")?, stage.unwrap_or_default()))
    }

    /// Returns the URL of this stack's API in the emulated gateway, without a slash at the end.
    pub fn url(&self, aws: &Ministack) -> Result<String, Failure> {
        let (api, stage) = self.api()?;
        Ok(format!("{}/restapis/{api}/{stage}/_user_request_", aws.url))
    }

    /// Returns the configuration of a function from Lambda.
    pub async fn function(&self, aws: &Ministack, logical_id: &str) -> Result<Value, Failure> {
        let name = self.physical_id(logical_id)?;
        let path = format!("/2015-03-31/functions/{name}/configuration");
        Ok(aws
            .request("lambda", reqwest::Method::GET, &path, &json!(null))
            .await?)
    }
}

/// Returns the resources that production creates from a template: those with a condition as well,
/// since all conditions hold there except that addresses are restricted.
fn expected<'a>(template: &'a Value, addresses: &str) -> BTreeSet<&'a str> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .map(|(id, _)| id.as_str())
        .filter(|id| !addresses.is_empty() || *id != OF_ADDRESSES)
        .collect()
}

fn differences(expected: &BTreeSet<&str>, made: &BTreeSet<&str>) -> Vec<String> {
    let missing = expected.difference(made);
    let missing = missing.map(|id| format!("{id} is in the template, and not in the stack"));
    let more = made.difference(expected);
    let more = more.map(|id| format!("{id} is in the stack, and should not be"));
    missing.chain(more).collect()
}

/// A command and all processes that it starts; they are killed together if it is dropped.
struct Group(Option<u32>);

impl Group {
    async fn output(command: &mut Command) -> io::Result<Output> {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command.spawn()?;
        let mut group = Self(child.id());
        let output = child.wait_with_output().await;
        group.0 = None;
        output
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let kill = ["-c", "kill -s KILL -- \"-$0\"", &id.to_string()];
            // An error means that the group no longer exists.
            let _ = std::process::Command::new("sh").args(kill).status();
        }
    }
}

fn last_lines(text: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::unix::pipe::Receiver;

    use super::*;

    #[test]
    fn the_expected_resources_depend_on_the_addresses() {
        let template = json!({"Resources": {
            "Api": {},
            "GradeSweepSilentAlarm": {"Condition": "GradesAreSwept"},
            OF_ADDRESSES: {"Condition": "AddressesAreRestricted"},
        }});
        let all = ["Api", "GradeSweepSilentAlarm", OF_ADDRESSES];
        for (addresses, made, count) in [
            ("203.0.113.0/24", &all[..], 0),
            ("203.0.113.0/24", &all[..2], 1),
            ("", &all[..2], 0),
            ("", &all[..1], 1),
            ("", &all[..], 1),
        ] {
            let made = made.iter().copied().collect();
            let differences = differences(&expected(&template, addresses), &made);
            assert_eq!(differences.len(), count, "{addresses} {differences:?}");
        }
    }

    #[tokio::test]
    async fn a_dropped_command_is_killed_with_all_its_processes() {
        let (reader, writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        // The process that it starts holds the pipe open.
        let script = "exec 3>&0; { echo up; exec sleep 600; } >&3 & wait";
        command.args(["-c", script]).stdin(writer);
        let reader = Receiver::from_owned_fd(reader.into()).unwrap();
        let mut lines = BufReader::new(reader).lines();
        tokio::select! {
            _ = Group::output(&mut command) => panic!("it ended by itself"),
            line = lines.next_line() => assert_eq!(line.unwrap().as_deref(), Some("up")),
        }
        drop(command);
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
}
