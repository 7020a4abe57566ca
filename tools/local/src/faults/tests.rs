use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::aws;
use crate::dynamodb::Dynamodb;

async fn ask(url: &str, target: &str, body: Value) -> reqwest::Result<(u16, String)> {
    let answer = aws::call(&client()?, url, target, &body).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

const LIST: &str = "DynamoDB_20120810.ListTables";
const PUT: &str = "DynamoDB_20120810.PutItem";
const GET: &str = "DynamoDB_20120810.GetItem";
const SECRET: &str = "secretsmanager.GetSecretValue";

/// Returns a proxy with one fault for every call, in front of an unused port.
async fn always(fault: Fault) -> FaultyProxy {
    let nobody = "http://127.0.0.1:1";
    FaultyProxy::before(nobody, move |_| fault).await.unwrap()
}

async fn code_of(fault: Fault, target: &str) -> (u16, String) {
    let proxy = always(fault).await;
    let (status, body) = ask(&proxy.url, target, json!({})).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(body["message"].is_string());
    let code = body["__type"].as_str().unwrap();
    (status, code.split_once('#').unwrap().1.to_owned())
}

#[tokio::test]
async fn errors_have_the_status_and_the_code_of_aws() {
    for (fault, target, status, code) in [
        (Fault::Conflict, PUT, 400, "TransactionConflictException"),
        (
            Fault::Throttle,
            PUT,
            400,
            "ProvisionedThroughputExceededException",
        ),
        (Fault::Throttle, SECRET, 400, "ThrottlingException"),
        (Fault::InternalError, PUT, 500, "InternalServerError"),
        (Fault::InternalError, SECRET, 500, "InternalServiceError"),
        (
            Fault::Refuse("AccessDeniedException"),
            PUT,
            400,
            "AccessDeniedException",
        ),
    ] {
        let expected = (status, code.to_owned());
        assert_eq!(code_of(fault, target).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_call_passes_and_the_plan_sees_it_and_can_be_replaced() {
    let dynamodb = Dynamodb::in_memory().await.unwrap();
    let plan = |call: &Call| match (call.number, call.operation.as_str()) {
        (2, "ListTables") => Fault::Throttle,
        _ if call.body == "{\"Limit\":1}" => Fault::Conflict,
        _ => Fault::Pass,
    };
    let proxy = FaultyProxy::before(&dynamodb.url, plan).await.unwrap();
    let list = |body| ask(&proxy.url, LIST, body);
    let (status, body) = list(json!({})).await.unwrap();
    assert_eq!(status, 200);
    assert!(body.contains("UsersTable"));
    assert_eq!(list(json!({})).await.unwrap().0, 400);
    assert_eq!(list(json!({"Limit": 1})).await.unwrap().0, 400);
    proxy.set(|_| Fault::Pass);
    assert_eq!(list(json!({"Limit": 1})).await.unwrap().0, 200);
    assert_eq!(proxy.calls(), ["ListTables"; 4]);
}

#[tokio::test]
async fn a_lost_answer_breaks_the_connection_after_the_effect() {
    let dynamodb = Dynamodb::in_memory().await.unwrap();
    let lose = |_: &Call| Fault::LostAnswer;
    let proxy = FaultyProxy::before(&dynamodb.url, lose).await.unwrap();
    let user = json!({"email": {"S": "ada@example.org"}});
    let put = json!({"TableName": "UsersTable", "Item": user});
    ask(&proxy.url, PUT, put).await.unwrap_err();
    let get = json!({"TableName": "UsersTable", "Key": user});
    let (_, body) = ask(&dynamodb.url, GET, get).await.unwrap();
    assert!(body.contains("ada@example.org"));
}

#[tokio::test]
async fn a_hanging_call_is_never_answered() {
    let proxy = always(Fault::Hang).await;
    let call = ask(&proxy.url, LIST, json!({}));
    let waited = tokio::time::timeout(Duration::from_millis(200), call).await;
    assert!(waited.is_err());
    assert_eq!(proxy.calls(), ["ListTables"]);
}

#[tokio::test]
async fn garbage_is_a_200_without_json() {
    let proxy = always(Fault::Garbage).await;
    let (status, body) = ask(&proxy.url, LIST, json!({})).await.unwrap();
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(&body).is_err());
}
