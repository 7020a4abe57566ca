//! Import of users: the rows that are written, the rows that are left alone, and retries.

use std::collections::BTreeSet;

use app::importing::{Imported, RowRefusedError, UserImport, UserRow, import_users};
use aws_sdk_dynamodb::types::AttributeValue;
use bootstrap::aws;
use domain::User;
use local::{Dynamodb, Fault, FaultyProxy};
use store::users::{UserWrite, Users, Written};
use store::{CallLimits, StoreError};
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

/// A busy table makes an import slower, but no row an error.
#[tokio::test]
async fn a_busy_table_is_waited_for() {
    for code in [
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "TransactionConflict",
    ] {
        let engine = Dynamodb::in_memory().await.unwrap();
        // The read comes first, then the transaction, which is cancelled twice.
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
        assert_eq!(
            imported,
            [Ok(Imported::Created), Ok(Imported::Created)],
            "{code}"
        );
        assert_eq!(proxy.calls().len(), 4, "{code}");
    }
}

/// If no user of a batch existed, the next batch is written without a read. If that was
/// wrong, the batch is read first and written again.
#[tokio::test]
async fn an_import_reads_first_after_a_batch_with_existing_users() {
    const READ: &str = "BatchGetItem";
    const WRITE: &str = "TransactWriteItems";
    let engine = Dynamodb::in_memory().await.unwrap();
    let proxy = FaultyProxy::before(&engine.url, |_| Fault::Pass);
    let proxy = proxy.await.unwrap();
    let import = UserImport::new(users(&proxy.url));
    let (created, unchanged) = (Ok(Imported::Created), Ok(Imported::Unchanged));
    let taken = Err(RowRefusedError::UsernameTaken {
        owner: "aa@x".parse().unwrap(),
        are_two: false,
    });
    let mut calls = Vec::new();
    for (rows, answers, made) in [
        (["a", "b"], [&created, &created], &[READ, WRITE][..]),
        (["c", "d"], [&created, &created], &[WRITE]),
        (["d", "e"], [&unchanged, &created], &[WRITE, READ, WRITE]),
        (["d", "e"], [&unchanged, &unchanged], &[READ]),
        (["f", "g"], [&created, &created], &[READ, WRITE]),
        (["h", "A"], [&created, &taken], &[WRITE, READ, WRITE]),
    ] {
        // "A" is another address that claims a's username.
        let row = |name: &str| row(&format!("{name}{name}@x"), &name.to_lowercase(), None);
        let row = |name: &str| match name {
            "A" => UserRow {
                email: "other@x".parse().unwrap(),
                ..row(name)
            },
            _ => row(name),
        };
        let imported = import.import(&rows.map(row)).await.unwrap();
        assert_eq!(imported.iter().collect::<Vec<_>>(), answers, "{rows:?}");
        calls.extend_from_slice(made);
        assert_eq!(proxy.calls(), calls, "{rows:?}");
    }
}

/// Two spellings of one username are one key, and are found once.
#[tokio::test]
async fn an_owner_is_found_by_two_spellings_of_a_username() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let users = users(&engine.url);
    let rows = [row("ada@example.org", "Ada", None)];
    import_users(&users, &rows).await.unwrap();
    let keys = ["ADA", "ada", "bob"].map(|text| text.parse().unwrap());
    let owners = users.owners(&keys).await.unwrap();
    let owners = Vec::from_iter(owners.into_iter().map(|(key, owner)| {
        let email = String::from(owner.unwrap().email);
        (String::from(key), email)
    }));
    assert_eq!(owners, [("ada".to_owned(), "ada@example.org".to_owned())]);
}

/// An alias of another address must not become a new user, even if the batch is written
/// without a read.
#[tokio::test]
async fn a_former_address_does_not_create_a_second_user() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let users = users(&engine.url);
    let import = UserImport::new(users.clone());
    let rows = [row("ada@example.org", "ada", None)];
    import.import(&rows).await.unwrap();
    let before = users.get(&rows[0].email).await.unwrap().unwrap();
    let after = User {
        email: "countess@example.org".parse().unwrap(),
        former_emails: [before.email.clone()].into(),
        ..before.clone()
    };
    assert_eq!(users.rename(&before, &after).await.unwrap(), Written::Done);
    let rows = [row("bob@example.org", "bob", None), rows[0].clone()];
    let imported = import.import(&rows).await.unwrap();
    assert_eq!(imported, [Ok(Imported::Created), Ok(Imported::Unchanged)]);
}

/// The first attempt was successful, and the second finds the user created.
#[tokio::test]
async fn a_user_is_created_even_if_the_answer_was_lost() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let proxy = FaultyProxy::before(&engine.url, |call| match call.number {
        2 => Fault::LostAnswer,
        3 => Fault::Cancel("ConditionalCheckFailed"),
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let rows = [row("ada@example.org", "ada", None)];
    let imported = import_users(&users(&proxy.url), &rows).await.unwrap();
    assert_eq!(imported, [Ok(Imported::Created)]);
    let again = import_users(&users(&proxy.url), &rows).await.unwrap();
    assert_eq!(again, [Ok(Imported::Unchanged)]);
}

/// An error of the transaction itself fails the import.
#[tokio::test]
async fn an_invalid_transaction_fails_the_import() {
    let engine = Dynamodb::in_memory().await.unwrap();
    let plan = |call: &local::Call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Cancel("ValidationError"),
        _ => Fault::Pass,
    };
    let proxy = FaultyProxy::before(&engine.url, plan).await.unwrap();
    let failed = import_users(&users(&proxy.url), &[row("ada@example.org", "ada", None)]).await;
    assert_eq!(failed.unwrap_err().code(), "ValidationError");
}

/// A user who has changed since they were read is not overwritten.
#[tokio::test]
async fn a_concurrent_change_is_not_overwritten() {
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
    // The username of that transaction was not written either.
    let found = users.find(&[], &["ada.l".parse().unwrap()]).await.unwrap();
    assert!(found.owner_of.is_empty());
}

/// An import does not touch attributes that it does not know, and values that the file
/// does not have.
#[tokio::test]
async fn other_attributes_are_kept() -> Result<(), StoreError> {
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
        assert_eq!(
            item[attribute],
            AttributeValue::S(value.to_owned()),
            "{attribute}"
        );
    }
    Ok(())
}
