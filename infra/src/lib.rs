//! Parses the template: the tables, secrets and functions of `template.yaml`, and the state machine
//! of `sweep.asl.yaml`.
//!
//! The stand-ins are made from it, so a table on this machine has the same keys and indexes as on
//! AWS. `coursehook doctor` compares the deployed stack with it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The text of the template, included when this crate is compiled, so that tests need no working
/// directory.
const TEXT: &str = include_str!("../template.yaml");

/// The text of the definition that the state machines of the sweeps share.
const SWEEP: &str = include_str!("../sweep.asl.yaml");

/// The tables, secrets and functions of `infra/template.yaml`, each sorted by name.
#[derive(Debug, Clone)]
pub struct Template {
    /// The resources of the type `AWS::DynamoDB::Table`.
    pub tables: Vec<Table>,
    /// The logical ids of the secrets; on this machine they are their names too.
    pub secrets: Vec<String>,
    /// The environment of each function, by its logical id, including the variables of all
    /// functions. A parameter with a default is replaced by the default.
    pub functions: BTreeMap<String, BTreeMap<String, String>>,
    /// The variables that every function has, of the stack as a whole; on this machine the stack's
    /// name is `local`.
    pub of_all_functions: BTreeMap<String, String>,
    /// The defaults of the parameters that have one.
    defaults: BTreeMap<String, String>,
}

/// One table of the template.
#[derive(Debug, Clone)]
pub struct Table {
    /// The logical id in the template; on this machine it is the table's name too.
    pub name: String,
    /// The properties for a CreateTable, without the name.
    pub definition: TableDefinition,
    /// The attribute with the expiry time of an item, in seconds since 1970.
    pub ttl_attribute: Option<String>,
    /// True if the table can be restored to any time of the last weeks.
    pub has_point_in_time_recovery: bool,
}

/// The properties of a table that `CreateTable` takes exactly as CloudFormation writes them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TableDefinition {
    /// `PAY_PER_REQUEST` for every table of the template.
    pub billing_mode: String,
    /// True if the table is protected against deletion.
    #[serde(default)]
    pub deletion_protection_enabled: bool,
    /// The attributes that are keys, of the table or of an index.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The partition key, and the sort key if there is one.
    pub key_schema: Vec<KeyPart>,
    /// The global secondary indexes; an empty list is left out of a CreateTable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global_secondary_indexes: Vec<Index>,
}

/// The type of an attribute that is a key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    /// The name of the attribute.
    pub attribute_name: String,
    /// `S` for a string.
    pub attribute_type: String,
}

/// A part of a key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPart {
    /// The name of the attribute.
    pub attribute_name: String,
    /// `HASH` for the partition key, `RANGE` for the sort key.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Index {
    /// The name of the index, for instance `by_due`.
    pub index_name: String,
    /// The partition key, and the sort key if there is one.
    pub key_schema: Vec<KeyPart>,
    /// The attributes of an item that the index holds.
    pub projection: Projection,
}

/// The attributes of an item that an index holds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `KEYS_ONLY`, `INCLUDE` or `ALL`.
    pub projection_type: String,
    /// The attributes that an `INCLUDE` adds to the keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_key_attributes: Vec<String>,
}

/// Error of reading the template or the definition of the state machines.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid YAML, or its resources have an unexpected form.
    #[error("infra/template.yaml is no YAML that can be read; `make check` says where: {0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// The definition of the state machines is not valid YAML.
    #[error("infra/sweep.asl.yaml is no YAML that can be read: {0}")]
    SweepMachine(#[source] Box<serde_saphyr::Error>),
    /// A table's properties are not those of [`TableDefinition`].
    #[error("the table {table} in infra/template.yaml lacks what CreateTable needs: {source}")]
    Table {
        /// The logical id of the table.
        table: String,
        /// The property that is missing or of another form.
        source: serde_json::Error,
    },
}

impl Template {
    /// Returns the template that this crate was compiled with; it is parsed once.
    pub fn load() -> Result<Self, TemplateError> {
        static READ: OnceLock<Template> = OnceLock::new();
        if let Some(template) = READ.get() {
            return Ok(template.clone());
        }
        let template = Self::read()?;
        Ok(READ.get_or_init(|| template).clone())
    }

    fn read() -> Result<Self, TemplateError> {
        let mut template = Self {
            tables: Vec::new(),
            secrets: Vec::new(),
            functions: BTreeMap::new(),
            of_all_functions: BTreeMap::new(),
            defaults: BTreeMap::new(),
        };
        let document = document()?;
        for (name, parameter) in document.parameters {
            let default = match parameter.default {
                Value::Null => continue,
                Value::String(text) => text,
                other => other.to_string(),
            };
            template.defaults.insert(name, default);
        }
        let defaults = &template.defaults;
        let variables = |properties: &Value| {
            let variables = &properties["Environment"]["Variables"];
            let variables = variables.as_object().into_iter().flatten();
            let text = |value: &Value| {
                let text = value.as_str().unwrap_or_default();
                let text = defaults.get(text).map_or(text, |d| d);
                text.replace("${AWS::StackName}", "local")
            };
            let variables = variables.map(|(name, value)| (name.clone(), text(value)));
            variables.collect::<BTreeMap<_, _>>()
        };
        template.of_all_functions = variables(&document.globals["Function"]);
        for (name, resource) in document.resources {
            match resource.kind.as_str() {
                "AWS::DynamoDB::Table" => {
                    let table = Table::new(name.clone(), resource.properties);
                    let named = |source| TemplateError::Table {
                        table: name,
                        source,
                    };
                    template.tables.push(table.map_err(named)?);
                }
                "AWS::SecretsManager::Secret" => template.secrets.push(name),
                "AWS::Serverless::Function" => {
                    let mut of_function = template.of_all_functions.clone();
                    of_function.extend(variables(&resource.properties));
                    template.functions.insert(name, of_function);
                }
                _ => {}
            }
        }
        Ok(template)
    }

    /// Returns the environment variables that pass the names of tables and secrets to the
    /// functions, `("COURSE_RUNS_TABLE", "CourseRunsTable")` and so on, the settings that have a
    /// default, such as `("PAID_MODES", "verified")`, and the variables of every function.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let tables = self.tables.iter().map(|table| &table.name);
        let names = tables
            .chain(&self.secrets)
            .map(|id| (variable_of(id), id.clone()));
        let is_read = |variable: &String| {
            let mut functions = self.functions.values();
            functions.any(|variables| variables.contains_key(variable))
        };
        let defaults = self.defaults.iter();
        let settings = defaults.map(|(id, default)| (variable_of(id), default.clone()));
        names
            .chain(settings.filter(|(variable, _)| is_read(variable)))
            .chain(self.of_all_functions.clone())
            .collect()
    }
}

impl Table {
    fn new(name: String, properties: Value) -> Result<Self, serde_json::Error> {
        let ttl_attribute = properties["TimeToLiveSpecification"]["AttributeName"]
            .as_str()
            .map(str::to_owned);
        let recovery = &properties["PointInTimeRecoverySpecification"];
        let recovery = recovery["PointInTimeRecoveryEnabled"].as_bool();
        Ok(Self {
            name,
            has_point_in_time_recovery: recovery.unwrap_or_default(),
            definition: serde_json::from_value(properties)?,
            ttl_attribute,
        })
    }
}

/// Returns the definition of a state machine in the Amazon States Language that makes a function
/// sweep course runs, `concurrency` at the same time. As in CloudFormation, the values are
/// substituted in the text before it is parsed, so that a number stays a number.
///
/// # Errors
/// The text is not valid YAML.
pub fn sweep_machine(function_arn: &str, concurrency: u32) -> Result<Value, TemplateError> {
    let definition = SWEEP
        .replace("${FunctionArn}", function_arn)
        .replace("${Partition}", "aws")
        .replace("${SweepConcurrency}", &concurrency.to_string());
    serde_saphyr::from_str(&definition).map_err(|e| TemplateError::SweepMachine(Box::new(e)))
}

/// Returns the environment variable for a logical id: `COURSE_RUNS_TABLE` for `CourseRunsTable`.
#[must_use]
pub fn variable_of(logical_id: &str) -> String {
    let mut variable = String::with_capacity(logical_id.len() + 4);
    for letter in logical_id.chars() {
        if letter.is_uppercase() && !variable.is_empty() {
            variable.push('_');
        }
        variable.extend(letter.to_uppercase());
    }
    variable
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Properties", default)]
    properties: Value,
    /// The way in which SAM builds a function.
    #[cfg(test)]
    #[serde(rename = "Metadata", default)]
    metadata: Value,
    /// The condition of a resource that is not always created.
    #[cfg(test)]
    #[serde(rename = "Condition", default)]
    condition: Option<String>,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "Default", default)]
    default: Value,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Globals", default)]
    globals: Value,
    #[serde(rename = "Parameters")]
    parameters: BTreeMap<String, Parameter>,
    #[serde(rename = "Resources")]
    resources: BTreeMap<String, Resource>,
    #[cfg(test)]
    #[serde(rename = "Outputs")]
    outputs: BTreeMap<String, Value>,
}

fn document() -> Result<Document, TemplateError> {
    // The parser drops tags, so `!Ref UsersTable` reads as `UsersTable`.
    Ok(serde_saphyr::from_str(TEXT).map_err(Box::new)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::EventKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_is_its_logical_id_in_capitals() {
        assert_eq!(variable_of("CourseRunsTable"), "COURSE_RUNS_TABLE");
        assert_eq!(variable_of("WebhookTokensSecret"), "WEBHOOK_TOKENS_SECRET");
    }

    #[test]
    fn the_template_names_tables_indexes_and_secrets() {
        let template = Template::load().unwrap();
        assert!(template.secrets.contains(&"WebhookTokensSecret".into()));
        let table = |name| template.tables.iter().find(|table| table.name == name);
        let pending_events = table("PendingEventsTable").unwrap();
        assert_eq!(pending_events.ttl_attribute.as_deref(), Some("expires_at"));
        assert_eq!(pending_events.definition.global_secondary_indexes.len(), 2);
        assert!(pending_events.definition.deletion_protection_enabled);
        assert!(pending_events.has_point_in_time_recovery);
        let sweeps = table("SweepsTable").unwrap();
        assert_eq!(sweeps.ttl_attribute.as_deref(), Some("expires_at"));
        assert_eq!(table("UsersTable").unwrap().ttl_attribute, None);
        let users = ("USERS_TABLE".to_owned(), "UsersTable".to_owned());
        assert!(template.variables().contains(&users));
        for (setting, default) in [("PAID_MODES", "verified"), ("SWEEP_CONCURRENCY", "1")] {
            let variable = (setting.to_owned(), default.to_owned());
            assert!(template.variables().contains(&variable));
        }
        let function = &template.functions["OwnEventsFunction"];
        assert_eq!(function["PAID_MODES"], "verified");
        assert_eq!(function["METRICS_NAMESPACE"], "Coursehook/local");
        let of_all = (
            "METRICS_NAMESPACE".to_owned(),
            "Coursehook/local".to_owned(),
        );
        assert!(template.variables().contains(&of_all));
    }

    #[test]
    fn every_functions_variables_follow_the_convention() {
        let template = Template::load().unwrap();
        let tables = template.tables.iter().map(|table| &table.name);
        let known: Vec<_> = tables.chain(&template.secrets).collect();
        let mut seen = 0;
        for (function, variables) in &template.functions {
            for (variable, value) in variables {
                let names_one = variable.ends_with("_TABLE") || variable.ends_with("_SECRET");
                if names_one || known.contains(&value) {
                    assert_eq!(*variable, variable_of(value), "in {function}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 0, "no function has a table or a secret");
    }

    /// The template must have the webhooks of the table in `shared/domain/src/event.rs`, and no
    /// others.
    #[test]
    fn the_webhooks_are_those_of_the_table() {
        let document = document().unwrap();
        let paths = &document.resources["Api"].properties["DefinitionBody"]["paths"];
        let paths = paths.as_object().unwrap().iter().map(|(path, methods)| {
            let [method] = Vec::from_iter(methods.as_object().unwrap().values())[..] else {
                panic!("{path}: {methods}");
            };
            let uri = method["x-amazon-apigateway-integration"]["uri"].as_str();
            let (_, function) = uri.unwrap().split_once("functions/${").unwrap();
            let function = function.strip_suffix(".Arn}/invocations").unwrap();
            (path.as_str(), function)
        });
        let expected = EventKind::ALL.map(|kind| (kind.path(), kind.function()));
        assert_eq!(BTreeMap::from_iter(paths), BTreeMap::from(expected));

        let functions = document.resources.iter().filter_map(|(id, resource)| {
            let program = resource.metadata["BuildProperties"]["Binary"].as_str()?;
            let role = resource.properties["Role"].as_str()?.to_owned();
            let group = resource.properties["LoggingConfig"]["LogGroup"].as_str()?;
            let is_webhook = program.ends_with("-webhook");
            is_webhook.then_some((id.as_str(), (program, role, group)))
        });
        let expected = EventKind::ALL.map(|kind| {
            let role = format!("{}.Arn", kind.role());
            (
                kind.function(),
                (kind.program(), role, kind.log_group_output()),
            )
        });
        assert_eq!(BTreeMap::from_iter(functions), BTreeMap::from(expected));

        let of_webhooks = ["WebhookUrl", "WebhookLogGroup"];
        let outputs = document.outputs.keys().map(String::as_str);
        let outputs = outputs.filter(|id| of_webhooks.iter().any(|end| id.ends_with(end)));
        let expected = EventKind::ALL.map(|kind| [kind.url_output(), kind.log_group_output()]);
        let expected = expected.into_iter().flatten();
        assert_eq!(BTreeSet::from_iter(outputs), BTreeSet::from_iter(expected));
        for kind in EventKind::ALL {
            let url = document.outputs[kind.url_output()]["Value"]
                .as_str()
                .unwrap();
            assert!(url.ends_with(&format!("{}/", kind.path())), "{url}");
            let group = &document.outputs[kind.log_group_output()]["Value"];
            assert_eq!(group, kind.log_group_output());
        }
    }

    /// The retries and the concurrency of the schedule's function must be right, which no linter
    /// checks.
    #[test]
    fn pending_events_are_called_each_minute_and_never_retried() {
        let resources = document().unwrap().resources;
        for lane in ["OwnEvents", "LmsEvents"] {
            let function = &resources[&format!("{lane}Function")].properties;
            // An `!If` is a list: the condition, the value if it holds, and the other value.
            assert_eq!(function["ReservedConcurrentExecutions"][1], 2, "{lane}");
            assert_eq!(function["Timeout"], 120, "{lane}");
            let invoked = &function["EventInvokeConfig"];
            assert_eq!(invoked["MaximumRetryAttempts"], 0, "{lane}");
            let on_failure = &invoked["DestinationConfig"]["OnFailure"]["Destination"];
            assert!(on_failure.is_string(), "{lane}");
            let schedule = &resources[&format!("{lane}Schedule")].properties;
            assert_eq!(schedule["ScheduleExpression"], "rate(1 minute)", "{lane}");
            let retries = &schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"];
            assert_eq!(*retries, 0, "{lane}");
        }
    }

    /// Returns the names in `${}` in the definition.
    fn names(definition: &str) -> BTreeSet<&str> {
        let names = definition.split("${").skip(1);
        names.filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn both_sweeps_share_one_definition() {
        let resources = document().unwrap().resources;
        for (kind, condition) in [
            ("GradeSweep", "GradesAreSwept"),
            ("EnrollmentSweep", "EnrollmentsAreSwept"),
        ] {
            let of = |suffix: &str| &resources[&format!("{kind}{suffix}")];
            let machine = &of("Machine").properties;
            assert_eq!(machine["DefinitionUri"], "sweep.asl.yaml");
            let values = machine["DefinitionSubstitutions"].as_object().unwrap();
            let given: BTreeSet<_> = values.keys().map(String::as_str).collect();
            assert_eq!(given, names(SWEEP), "{kind}");
            assert_eq!(values["FunctionArn"], format!("{kind}Function.Arn"));
            assert_eq!(machine["Logging"]["IncludeExecutionData"], false);

            let function = &of("Function").properties;
            assert_eq!(function["Timeout"], 900);
            let at_once = &function["ReservedConcurrentExecutions"][1];
            assert_eq!(at_once, "SweepConcurrency");
            for scheduled in ["MachineSchedule", "SilentAlarm"] {
                assert_eq!(of(scheduled).condition.as_deref(), Some(condition));
            }
            let schedule = &of("MachineSchedule").properties;
            assert_eq!(schedule["ScheduleExpression"], format!("{kind}Schedule"));
            assert_eq!(schedule["Target"]["Arn"], format!("{kind}Machine"));
            assert_eq!(schedule["Target"]["Input"], "{}");
        }
    }

    /// Returns the states of a machine and of its map states, by name.
    fn states(machine: &Value) -> BTreeMap<&str, &Value> {
        let mut all = BTreeMap::new();
        for (name, state) in machine["States"].as_object().unwrap() {
            if let Some(inner) = state.get("ItemProcessor") {
                all.extend(states(inner));
            }
            all.insert(name.as_str(), state);
        }
        all
    }

    /// The definition must stay within the limits of AWS, which the emulator does not check: it
    /// knows neither limits nor time.
    #[test]
    fn the_definition_keeps_to_the_limits_of_aws() {
        let machine = sweep_machine("arn:aws:lambda:us-east-1:000000000000:function:f", 3).unwrap();
        assert_eq!(names(&machine.to_string()), BTreeSet::new());
        assert_eq!(machine["QueryLanguage"], "JSONata");
        let states = states(&machine);
        for (name, state) in &states {
            assert!(state["Comment"].is_string(), "{name}");
        }

        let runs = states["Runs"];
        assert_eq!(runs["MaxConcurrency"], 3);
        assert_eq!(runs["ToleratedFailurePercentage"], 100);
        let each = &runs["ItemProcessor"]["ProcessorConfig"];
        assert_eq!(each["Mode"], "DISTRIBUTED");
        assert_eq!(each["ExecutionType"], "STANDARD");

        let template = document().unwrap().resources;
        let longest_call = &template["GradeSweepFunction"].properties["Timeout"];
        let longest_call = longest_call.as_u64().unwrap();
        for name in ["ListRuns", "SweepRun"] {
            let calls = states[name];
            assert!(calls["TimeoutSeconds"].as_u64().unwrap() > longest_call);
            let [throttled, failed] = calls["Retry"].as_array().unwrap().as_slice() else {
                panic!("{calls}");
            };
            let errors = json!(["Lambda.TooManyRequestsException"]);
            assert_eq!(throttled["ErrorEquals"], errors);
            // With full jitter a backoff is half as long on average.
            let waits = throttled["MaxAttempts"].as_u64().unwrap() - 5;
            let wait = throttled["MaxDelaySeconds"].as_u64().unwrap() / 2;
            assert!(waits * wait > longest_call);
            let errors = json!(["States.TaskFailed", "States.Timeout"]);
            assert_eq!(failed["ErrorEquals"], errors);
        }
        assert!(states["ListRuns"].get("Catch").is_none());
        assert_eq!(states["SweepRun"]["Catch"][0]["Next"], "Skipped");
        // No other state fails or ends an execution.
        let ends = |kind: &str| {
            let ends = states.iter().filter(|(_, state)| state["Type"] == kind);
            ends.map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(ends("Fail"), ["Busy", "Skipped"]);
        assert_eq!(ends("Succeed"), ["AnotherIsRunning", "Done", "Swept"]);
    }
}
