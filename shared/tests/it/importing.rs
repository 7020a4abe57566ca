//! Users from elsewhere: what is written, what is left alone, what waits.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use local::{Dynamodb, Fault, FaultyProxy};
use shared::adapters::store::users::{UserWrite, Users, Written};
use shared::adapters::store::{CallLimits, StoreError};
use shared::domain::User;
use shared::startup::aws;
use shared::use_cases::importing::{Imported, UserRow, import_users};
use uuid::Uuid;

fn client(url: &str) -> aws_sdk_dynamodb::Client {
    aws::dynamodb(&local::sdk::configuration(url), CallLimits::PRODUCTION)
}

fn users(url: &str) -> Users {
    Users::new(
        client(url),
        "UsersTable".to_owned(),
        "UsernamesTable".to_owned(),
    )
}

fn row(email: &str, username: &str, name: Option<&str>) -> UserRow {
    UserRow {
        email: email.parse().unwrap(),
        email_as_given: email.to_owned(),
        edx_username: Some(username.parse().unwrap()),
        name: name.map(str::to_owned),
    }
}

/// A table that is busy makes an import slower; it makes no row a bad one.
#[tokio::test]
async fn a_busy_table_is_waited_for() {
    for code in [
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "TransactionConflict",
    ] {
        let engine = Dynamodb::in_memory().await.unwrap();
        // The read comes first, then the transaction: twice in vain.
        let plan = move |call: &local::Call| match call.number {
            2 | 3 => Fault::Cancel(code),
            _ => Fault::Pass,
        };
        let proxy = FaultyProxy::before(&engine.url, plan).await.unwrap();
        let rows = [
            row("ada@example.org", "ada", None),
            row("bob@example.org", "bob", None),
        ];
        let imported = import_users(&users(&proxy.url), &rows).await.unwrap();
        assert_eq!(imported, [Ok(Imported::Created), Ok(Imported::Created)]);
        assert_eq!(proxy.calls().len(), 4);
    }
}

/// What is wrong with a transaction itself is told as a failure.
#[tokio::test]
async fn a_faulty_transaction_is_a_failure() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let plan = |call: &local::Call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Cancel("ValidationError"),
        _ => Fault::Pass,
    };
    let proxy = FaultyProxy::before(&engine.url, plan).await.unwrap();
    let failed = import_users(&users(&proxy.url), &[row("ada@example.org", "ada", None)]).await;
    assert_eq!(failed.unwrap_err().code(), "ValidationError");
}

/// A user who has changed since they were read is not written over.
#[tokio::test]
async fn a_change_in_between_is_not_undone() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let users = users(&engine.url);
    let user = |name: &str, username: &str| User {
        user_id: Uuid::nil(),
        email: "ada@example.org".parse().unwrap(),
        email_as_given: "ada@example.org".to_owned(),
        edx_username: Some(username.parse().unwrap()),
        name: Some(name.to_owned()),
        former_emails: BTreeSet::new(),
    };
    let write = async |before: Option<User>, after: User| {
        users.write(&[UserWrite { before, after }]).await.unwrap()
    };
    let first = user("Ada", "ada");
    assert_eq!(write(None, first.clone()).await, Written::Done);
    assert_eq!(write(None, first.clone()).await, Written::Moved);
    let second = user("Countess Lovelace", "ada");
    assert_eq!(
        write(Some(first.clone()), second.clone()).await,
        Written::Done
    );
    assert_eq!(
        write(Some(first), user("Ada", "ada.l")).await,
        Written::Moved
    );
    assert_eq!(users.get(&second.email).await.unwrap(), Some(second));
    // Nor was the other half of that transaction written.
    let found = users.find(&[], &[&"ada.l".parse().unwrap()]).await.unwrap();
    assert!(found.owner_of.is_empty());
}

/// An import leaves alone what it does not know, and what the file does not have.
#[tokio::test]
async fn other_attributes_stay() -> Result<(), StoreError> {
    let engine = Dynamodb::in_memory().await.unwrap();
    let (users, client) = (users(&engine.url), client(&engine.url));
    import_users(&users, &[row("ada@example.org", "ada", Some("Ada"))]).await?;
    let key = AttributeValue::S("ada@example.org".to_owned());
    client
        .update_item()
        .table_name("UsersTable")
        .key("email", key.clone())
        .update_expression("SET phone = :phone")
        .expression_attribute_values(":phone", AttributeValue::S("1".to_owned()))
        .send()
        .await?;
    let renamed = import_users(&users, &[row("ada@example.org", "ada.l", None)]).await?;
    assert_eq!(renamed, [Ok(Imported::Updated)]);
    let item = client
        .get_item()
        .table_name("UsersTable")
        .key("email", key)
        .send()
        .await?;
    let item = item.item.unwrap();
    for (attribute, value) in [("phone", "1"), ("name", "Ada"), ("edx_username", "ada.l")] {
        assert_eq!(item[attribute], AttributeValue::S(value.to_owned()));
    }
    Ok(())
}
