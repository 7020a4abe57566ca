//! DynamoDB: an embedded engine that speaks its protocol on a local port.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dynoxide::Database;
use dynoxide::actions::describe_table::DescribeTableRequest;
use dynoxide::actions::list_tables::ListTablesRequest;
use dynoxide::actions::update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest};
use dynoxide::errors::DynoxideError;
use dynoxide::storage_backend::{Clock, SystemClock};
use infra::{Table, Template, TemplateError};
use serde_json::json;

use crate::background::{Background, listen};

/// The period of the removal of expired items. AWS removes them within two days; a minute makes the
/// effect visible.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// A DynamoDB with the template's tables, gone when dropped.
///
/// It never throttles, never has conflicting transactions, and makes every read consistent;
/// [`crate::faults`] produces the first two errors.
#[derive(Debug)]
pub struct Dynamodb {
    /// The endpoint, `http://127.0.0.1:PORT`; it accepts any credentials and region.
    pub url: String,
    _tasks: Vec<Background>,
}

/// Error of starting a DynamoDB.
#[derive(Debug, thiserror::Error)]
pub enum DynamodbError {
    /// `infra/template.yaml` could not be parsed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The port could not be bound; usually another process uses it.
    #[error("the local DynamoDB could not listen on port {port}; choose another: {source}")]
    Port {
        /// The requested port; 0 stands for any free one.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The engine failed, could not open its file, or rejected a table.
    #[error("the local DynamoDB could not make its tables: {0}")]
    Engine(#[from] DynoxideError),
    /// The engine cannot parse a table's properties as those of a CreateTable.
    #[error("the local DynamoDB refused the table {table} of infra/template.yaml: {source}")]
    Definition {
        /// The table's logical id in the template.
        table: String,
        /// The error in the properties.
        source: serde_json::Error,
    },
    /// The file's tables are older than the template.
    #[error(
        "the table {table} was made before infra/template.yaml gave it the index {index}; \
         remove the data folder (.local/data, or what DATA names) to make it again"
    )]
    Stale {
        /// The table's name, which is its logical id in the template.
        table: String,
        /// The first index of the template that the table lacks, or has in another form.
        index: String,
    },
}

impl Dynamodb {
    /// Starts a DynamoDB in memory on a free port, for a test: it starts within milliseconds, so
    /// every test may have its own. It ends with the test's runtime.
    pub async fn in_memory() -> Result<Self, DynamodbError> {
        Self::serve(database(SystemClock::arc())?, 0).await
    }

    /// Starts a DynamoDB that stores its data in a file, which is created if missing, and removes
    /// expired items once a minute. Port 0 is any free one.
    pub async fn on_file(path: &Path, port: u16) -> Result<Self, DynamodbError> {
        let database = Database::new(&path.to_string_lossy())?;
        create_tables(&database)?;
        let mut dynamodb = Self::serve(database.clone(), port).await?;
        dynamodb._tasks.push(Background::start(sweep(database)));
        Ok(dynamodb)
    }

    async fn serve(database: Database, port: u16) -> Result<Self, DynamodbError> {
        let (listener, url) = listen(port)
            .await
            .map_err(|source| DynamodbError::Port { port, source })?;
        let server = Background::start(dynoxide::server::serve_on(listener, database));
        Ok(Self {
            url,
            _tasks: vec![server],
        })
    }
}

/// Returns a database in memory with the template's tables, for a test that calls the engine itself.
/// Time to live goes by `clock`.
///
/// # Errors
/// As of [`Dynamodb::in_memory`].
pub fn database(clock: Arc<dyn Clock>) -> Result<Database, DynamodbError> {
    let database = Database::memory_with_clock(clock)?;
    create_tables(&database)?;
    Ok(database)
}

fn create_tables(database: &Database) -> Result<(), DynamodbError> {
    let existing = database.list_tables(ListTablesRequest::default())?;
    for table in Template::load()?.tables {
        if existing.table_names.contains(&table.name) {
            check(database, &table)?;
        } else {
            create(database, &table)?;
        }
    }
    Ok(())
}

fn create(database: &Database, table: &Table) -> Result<(), DynamodbError> {
    let refused = |source| DynamodbError::Definition {
        table: table.name.clone(),
        source,
    };
    let mut request = serde_json::to_value(&table.definition).map_err(refused)?;
    request["TableName"] = json!(table.name);
    database.create_table(serde_json::from_value(request).map_err(refused)?)?;
    if let Some(attribute) = &table.ttl_attribute {
        database.update_time_to_live(UpdateTimeToLiveRequest {
            table_name: table.name.clone(),
            time_to_live_specification: TimeToLiveSpecification {
                attribute_name: attribute.clone(),
                enabled: true,
            },
        })?;
    }
    Ok(())
}

/// Fails if a table is that of an older template, which would otherwise fail only later, at a
/// query.
fn check(database: &Database, table: &Table) -> Result<(), DynamodbError> {
    let request = DescribeTableRequest {
        table_name: table.name.clone(),
    };
    let found = database.describe_table(request)?.table;
    let found = found.global_secondary_indexes.unwrap_or_default();
    for index in &table.definition.global_secondary_indexes {
        let name = &index.index_name;
        let found = found.iter().find(|found| found.index_name == *name);
        let found = found.and_then(|found| serde_json::to_value(&found.projection).ok());
        if found.is_none() || found != serde_json::to_value(&index.projection).ok() {
            return Err(DynamodbError::Stale {
                table: table.name.clone(),
                index: name.clone(),
            });
        }
    }
    Ok(())
}

/// Removes expired items periodically; the engine does not do so by itself.
async fn sweep(database: Database) {
    let mut period = tokio::time::interval(SWEEP_PERIOD);
    loop {
        period.tick().await;
        let database = database.clone();
        // If a sweep fails, the next one removes the items; AWS may leave them for two days.
        let _ = tokio::task::spawn_blocking(move || database.sweep_ttl()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws;
    use crate::background::client;

    async fn call(url: &str, operation: &str, body: serde_json::Value) -> serde_json::Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let call = aws::call(&client().unwrap(), url, &target, &body);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    #[tokio::test]
    async fn the_templates_tables_are_there_with_their_indexes_and_time_to_live() {
        let dynamodb = Dynamodb::in_memory().await.unwrap();
        let table = json!({"TableName": "PendingEventsTable"});
        let description = call(&dynamodb.url, "DescribeTable", table.clone()).await;
        let indexes = &description["Table"]["GlobalSecondaryIndexes"];
        assert_eq!(indexes.as_array().unwrap().len(), 2);
        let ttl = call(&dynamodb.url, "DescribeTimeToLive", table).await;
        let ttl = &ttl["TimeToLiveDescription"];
        assert_eq!(ttl["AttributeName"], "expires_at");
        assert_eq!(ttl["TimeToLiveStatus"], "ENABLED");
    }

    #[tokio::test]
    async fn a_file_keeps_items_and_expired_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dynamodb.db");
        let item = |key: &str| json!({"event_key": {"S": key}, "expires_at": {"N": "1"}});
        let user = json!({"email": {"S": "ada@example.org"}});
        {
            let dynamodb = Dynamodb::on_file(&file, 0).await.unwrap();
            let put = json!({"TableName": "UsersTable", "Item": user});
            call(&dynamodb.url, "PutItem", put).await;
            let put = json!({"TableName": "PendingEventsTable", "Item": item("old")});
            call(&dynamodb.url, "PutItem", put).await;
        }
        let dynamodb = Dynamodb::on_file(&file, 0).await.unwrap();
        let get = json!({"TableName": "UsersTable", "Key": user});
        let found = call(&dynamodb.url, "GetItem", get).await;
        assert_eq!(found["Item"], user);
        let scan = json!({"TableName": "PendingEventsTable", "Select": "COUNT"});
        for _ in 0..50 {
            if call(&dynamodb.url, "Scan", scan.clone()).await["Count"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the expired item is still there");
    }
}
