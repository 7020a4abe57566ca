//! Checks that the tables match the template.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{KeySchemaElement, PointInTimeRecoveryStatus, TableDescription};
use common::AwsError;
use futures::future::join_all;
use infra::{KeyPart, Table, Template, variable_of};
use store::StoreError;

use super::finding::Finding;
use crate::context::Context;
use crate::failure::Failure;

/// The properties of a table, each under a name, in words that are equal if the table
/// matches.
type Facts = BTreeMap<String, String>;

pub async fn check(context: &Context) -> Vec<Finding> {
    let template = match Template::load() {
        Ok(template) => template,
        Err(error) => return vec![Finding::failed(context, "template", error)],
    };
    let client = context.dynamodb().await;
    let tables = template.tables.iter();
    let tables: Vec<_> = tables
        .map(|table| (table, context.optional(&variable_of(&table.name))))
        .collect();
    let checks = tables
        .iter()
        .map(|(table, name)| check_one(context, &client, table, *name));
    let recovery = recovery(context, &client, &tables);
    let (mut findings, recovery) = tokio::join!(join_all(checks), recovery);
    findings.push(recovery);
    findings
}

async fn check_one(
    context: &Context,
    client: &Client,
    table: &Table,
    name: Option<&str>,
) -> Finding {
    let check = &table.name;
    let Some(name) = name else {
        return Finding::failed(context, check, Failure::missing(variable_of(check)));
    };
    let found = match facts_of(client, name).await {
        Ok(found) => found,
        Err(error) => return Finding::failed(context, check, error),
    };
    let differences = differences(&wanted(table), &found);
    if differences.is_empty() {
        return Finding::ok(check, format!("{name} matches the template"));
    }
    let advice = if differences.iter().any(|text| text.starts_with("the index")) {
        "deploy infra/template.yaml again; an index that projects something else must be removed \
         first, or get another name"
    } else {
        "deploy infra/template.yaml again"
    };
    Finding::fix(check, format!("{name}: {}", differences.join(", ")), advice)
}

fn differences(wanted: &Facts, found: &Facts) -> Vec<String> {
    let differing = wanted
        .iter()
        .filter_map(|(what, wanted)| match found.get(what) {
            Some(found) if found == wanted => None,
            Some(found) => Some(format!("{what} is {found} and not {wanted}")),
            None => Some(format!("{what} is missing")),
        });
    let foreign = found.keys().filter(|what| !wanted.contains_key(*what));
    let foreign = foreign.map(|what| format!("{what} is not in the template"));
    differing.chain(foreign).collect()
}

/// Returns the properties of a table in the template.
fn wanted(table: &Table) -> Facts {
    let definition = &table.definition;
    let types = definition.attribute_definitions.iter();
    let types: Facts = types
        .map(|a| (a.attribute_name.clone(), a.attribute_type.clone()))
        .collect();
    let key = |parts: &[KeyPart]| {
        let parts = parts.iter();
        key(
            &types,
            parts.map(|part| (part.key_type.as_str(), part.attribute_name.as_str())),
        )
    };
    let mut facts = general(
        "ACTIVE",
        key(&definition.key_schema),
        &definition.billing_mode,
        table.ttl_attribute.as_deref(),
        definition.deletion_protection_enabled,
    );
    for index in &definition.global_secondary_indexes {
        let projection = &index.projection;
        facts.extend(of_index(
            &index.index_name,
            "ACTIVE",
            key(&index.key_schema),
            &projection.projection_type,
            &projection.non_key_attributes,
        ));
    }
    facts
}

/// Returns the properties of a table in DynamoDB.
async fn facts_of(client: &Client, name: &str) -> Result<Facts, Failure> {
    let (table, ttl) = tokio::join!(
        client.describe_table().table_name(name).send(),
        client.describe_time_to_live().table_name(name).send(),
    );
    let table = table.map_err(StoreError::from)?.table;
    let table = table.unwrap_or_else(|| TableDescription::builder().build());
    let ttl = ttl.map_err(StoreError::from)?.time_to_live_description;
    let ttl = ttl.filter(|ttl| {
        let status = ttl.time_to_live_status().map(|status| status.as_str());
        matches!(status, Some("ENABLED" | "ENABLING"))
    });

    let types = table.attribute_definitions().iter();
    let types: Facts = types
        .map(|a| (a.attribute_name.clone(), a.attribute_type.to_string()))
        .collect();
    let key = |parts: &[KeySchemaElement]| {
        let parts = parts.iter();
        key(
            &types,
            parts.map(|part| (part.key_type.as_str(), part.attribute_name.as_str())),
        )
    };
    // A table that was never on demand has no summary.
    let billing = table
        .billing_mode_summary()
        .and_then(|billing| billing.billing_mode());
    let mut facts = general(
        table.table_status().map_or("", |status| status.as_str()),
        key(table.key_schema()),
        billing.map_or("PROVISIONED", |billing| billing.as_str()),
        ttl.as_ref().and_then(|ttl| ttl.attribute_name()),
        table.deletion_protection_enabled().unwrap_or_default(),
    );
    for index in table.global_secondary_indexes() {
        let projection = index.projection();
        let kind = projection.and_then(|projection| projection.projection_type());
        facts.extend(of_index(
            index.index_name().unwrap_or_default(),
            index.index_status().map_or("", |status| status.as_str()),
            key(index.key_schema()),
            kind.map_or("", |kind| kind.as_str()),
            projection.map_or(&[][..], |projection| projection.non_key_attributes()),
        ));
    }
    Ok(facts)
}

fn general(
    state: &str,
    key: String,
    billing: &str,
    ttl_attribute: Option<&str>,
    is_protected: bool,
) -> Facts {
    let protection = if is_protected { "on" } else { "off" };
    [
        ("the state", state.to_owned()),
        ("the key", key),
        ("the billing mode", billing.to_owned()),
        (
            "the time to live",
            ttl_attribute.unwrap_or("off").to_owned(),
        ),
        ("the deletion protection", protection.to_owned()),
    ]
    .map(|(what, fact)| (what.to_owned(), fact))
    .into()
}

fn of_index(
    name: &str,
    state: &str,
    key: String,
    projection: &str,
    attributes: &[String],
) -> [(String, String); 1] {
    let mut attributes = attributes.to_vec();
    attributes.sort();
    let projected = if attributes.is_empty() {
        projection.to_owned()
    } else {
        format!("{projection} {}", attributes.join(" "))
    };
    [(
        format!("the index {name}"),
        format!("{state} ({key}; {projected})"),
    )]
}

/// Returns a key in words, the partition key first: `HASH state S, RANGE due_order
/// S`.
fn key<'a>(types: &Facts, parts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let of_type = |name: &str| types.get(name).map_or("", String::as_str);
    let mut parts: Vec<_> = parts
        .map(|(kind, name)| format!("{kind} {name} {}", of_type(name)))
        .collect();
    parts.sort();
    parts.join(", ")
}

/// Checks that the tables have point-in-time recovery, if the endpoint supports the
/// check.
async fn recovery(
    context: &Context,
    client: &Client,
    tables: &[(&Table, Option<&str>)],
) -> Finding {
    const CHECK: &str = "backups";
    let wanted = tables
        .iter()
        .filter(|(table, _)| table.has_point_in_time_recovery);
    let asked = wanted.filter_map(|(_, name)| {
        let name = (*name)?;
        Some(async move {
            let asked = client.describe_continuous_backups().table_name(name);
            (name, asked.send().await)
        })
    });
    let (mut on, mut off) = (0, Vec::new());
    for (name, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => {
                let backups = answer.continuous_backups_description();
                let recovery = backups.and_then(|b| b.point_in_time_recovery_description());
                let status = recovery.and_then(|r| r.point_in_time_recovery_status());
                if status == Some(&PointInTimeRecoveryStatus::Enabled) {
                    on += 1;
                } else {
                    off.push(name);
                }
            }
            // The check of the table itself has reported this.
            Err(error)
                if matches!(
                    error.code(),
                    Some("TableNotFoundException" | "ResourceNotFoundException")
                ) => {}
            Err(error) if error.code() == Some("UnknownOperationException") => {
                return Finding::skip(CHECK, "this DynamoDB cannot report it", "on AWS it can");
            }
            Err(error) => {
                return Finding::failed(context, CHECK, StoreError::Aws(AwsError::from(&error)));
            }
        }
    }
    if !off.is_empty() {
        let detail = format!("point-in-time recovery is off for {}", off.join(", "));
        return Finding::fix(CHECK, detail, "deploy infra/template.yaml again");
    }
    if on == 0 {
        return Finding::skip(CHECK, "no table was found", "fix the tables first");
    }
    Finding::ok(
        CHECK,
        format!("point-in-time recovery is on for {on} tables"),
    )
}
