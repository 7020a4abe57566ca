//! The template, read: what `template.yaml` says about tables, secrets and
//! functions.
//!
//! The stand-ins are made from it, so a table that the functions use on AWS is
//! the one they meet on this machine: same keys, same indexes. What is deployed
//! is held against it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The text of the template, read when this crate was compiled, so that tests
/// need no working directory.
const TEXT: &str = include_str!("../template.yaml");

/// The tables, secrets and functions of `infra/template.yaml`, each sorted by name.
#[derive(Debug, Clone)]
pub struct Template {
    /// What is of the type `AWS::DynamoDB::Table`.
    pub tables: Vec<Table>,
    /// Logical ids of the secrets; on this machine they are their names too.
    pub secrets: Vec<String>,
    /// The environment of each function, by its logical id. Where a value is
    /// a parameter with a default, it is that.
    pub functions: BTreeMap<String, BTreeMap<String, String>>,
    /// Defaults of the parameters that have one.
    defaults: BTreeMap<String, String>,
}

/// One table of the template.
#[derive(Debug, Clone)]
pub struct Table {
    /// Logical id in the template; on this machine it is the table's name too.
    pub name: String,
    /// What a CreateTable says besides the name.
    pub definition: TableDefinition,
    /// The attribute whose time, in seconds since 1970, ends an item's life.
    pub ttl_attribute: Option<String>,
    /// Whether it can be had back as it was at any moment of the last weeks.
    pub has_point_in_time_recovery: bool,
}

/// The properties of a table that `CreateTable` takes just as CloudFormation
/// writes them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TableDefinition {
    /// `PAY_PER_REQUEST` for each of ours.
    pub billing_mode: String,
    /// Whether it refuses to be deleted.
    #[serde(default)]
    pub deletion_protection_enabled: bool,
    /// The attributes that are keys, of the table or of an index.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The partition key, and the sort key where there is one.
    pub key_schema: Vec<KeyPart>,
    /// Empty where there are none, and then no part of a CreateTable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global_secondary_indexes: Vec<Index>,
}

/// The type of an attribute that is a key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    /// Its name.
    pub attribute_name: String,
    /// `S` for a text.
    pub attribute_type: String,
}

/// A part of a key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPart {
    /// Its name.
    pub attribute_name: String,
    /// `HASH` for the partition key, `RANGE` for the sort key.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Index {
    /// Its name, `by_state` for instance.
    pub index_name: String,
    /// The partition key, and the sort key where there is one.
    pub key_schema: Vec<KeyPart>,
    /// What it has of an item.
    pub projection: Projection,
}

/// What an index has of an item.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `KEYS_ONLY`, `INCLUDE` or `ALL`.
    pub projection_type: String,
    /// The attributes that an `INCLUDE` has besides the keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_key_attributes: Vec<String>,
}

/// The template is not what this crate can read.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is no YAML, or has no resources of the expected form.
    #[error("infra/template.yaml is no YAML that can be read; run `cfn-lint` on it: {0}")]
    Yaml(#[from] Box<serde_saphyr::Error>),
    /// A table's properties are not those of [`TableDefinition`].
    #[error("the table {table} in infra/template.yaml lacks what CreateTable needs: {source}")]
    Table {
        /// Its logical id.
        table: String,
        /// What is missing or of another form.
        source: serde_json::Error,
    },
}

impl Template {
    /// The template that this crate was compiled with, which is read once.
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
                    let variables = &resource.properties["Environment"]["Variables"];
                    let variables = variables.as_object().into_iter().flatten();
                    let text = |value: &Value| {
                        let text = value.as_str().unwrap_or_default();
                        template.defaults.get(text).map_or(text, |d| d).to_owned()
                    };
                    let variables = variables.map(|(name, value)| (name.clone(), text(value)));
                    template.functions.insert(name, variables.collect());
                }
                _ => {}
            }
        }
        Ok(template)
    }

    /// The environment variables that carry the names of tables and secrets to
    /// the functions, `("COURSE_RUNS_TABLE", "CourseRunsTable")` and so on, and
    /// the settings that have a default, such as `("PAID_MODES", "verified")`.
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

/// The environment variable that carries a logical id: `CourseRunsTable` is
/// carried by `COURSE_RUNS_TABLE`.
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
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "Default", default)]
    default: Value,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Parameters")]
    parameters: BTreeMap<String, Parameter>,
    #[serde(rename = "Resources")]
    resources: BTreeMap<String, Resource>,
}

fn document() -> Result<Document, TemplateError> {
    // The parser drops tags, so `!Ref UsersTable` reads as `UsersTable`.
    Ok(serde_saphyr::from_str(TEXT).map_err(Box::new)?)
}

#[cfg(test)]
mod tests {
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
        let kept_events = table("KeptEventsTable").unwrap();
        assert_eq!(kept_events.ttl_attribute.as_deref(), Some("expires_at"));
        assert_eq!(kept_events.definition.global_secondary_indexes.len(), 2);
        assert!(kept_events.definition.deletion_protection_enabled);
        assert!(kept_events.has_point_in_time_recovery);
        assert_eq!(table("UsersTable").unwrap().ttl_attribute, None);
        let users = ("USERS_TABLE".to_owned(), "UsersTable".to_owned());
        assert!(template.variables().contains(&users));
        let paid = ("PAID_MODES".to_owned(), "verified".to_owned());
        assert!(template.variables().contains(&paid));
        assert_eq!(
            template.functions["KeptEventsFunction"]["PAID_MODES"],
            "verified"
        );
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

    /// What no linter knows: who is called again, how often at once, and what
    /// the alarms go by.
    #[test]
    fn kept_events_are_called_each_minute_and_never_again() {
        let resources = document().unwrap().resources;
        let function = &resources["KeptEventsFunction"].properties;
        assert_eq!(function["ReservedConcurrentExecutions"], 2);
        assert_eq!(function["Timeout"], 120);
        let invoked = &function["EventInvokeConfig"];
        assert_eq!(invoked["MaximumRetryAttempts"], 0);
        assert!(invoked["DestinationConfig"]["OnFailure"]["Destination"].is_string());
        let of_kind = |kind: &'static str| {
            let resources = resources.values();
            resources.filter(move |resource| resource.kind == kind)
        };
        let schedule = &resources["KeptEventsSchedule"].properties;
        assert_eq!(schedule["ScheduleExpression"], "rate(1 minute)");
        assert_eq!(schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"], 0);

        // Each metric of ours has an alarm, and each filter a field of the log.
        let filters: Vec<_> = of_kind("AWS::Logs::MetricFilter")
            .map(|filter| &filter.properties)
            .collect();
        let alarms: Vec<_> = of_kind("AWS::CloudWatch::Alarm")
            .map(|alarm| &alarm.properties["MetricName"])
            .collect();
        let mut patterns = String::new();
        for filter in filters {
            let metric = &filter["MetricTransformations"][0]["MetricName"];
            assert!(alarms.contains(&metric), "{metric}");
            patterns.push_str(filter["FilterPattern"].as_str().unwrap());
        }
        for field in [
            "$.dead",
            "\"looked\"",
            "$.level",
            "expired_token",
            "revoked_token",
        ] {
            assert!(patterns.contains(field), "{field}: {patterns}");
        }
    }
}
