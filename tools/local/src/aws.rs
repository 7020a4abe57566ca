//! The form of a call to DynamoDB, Secrets Manager or Step Functions, without
//! an SDK.

use serde_json::Value;

/// A call of `SERVICE.OPERATION`. Its signature has the right form and is
/// none: the stand-ins look only at the service it names.
pub(crate) fn call(
    client: &reqwest::Client,
    url: &str,
    target: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    let service = match target {
        target if target.starts_with("DynamoDB") => "dynamodb",
        target if target.starts_with("AWSStepFunctions") => "states",
        _ => "secretsmanager",
    };
    let scope = format!("local/20260101/us-east-1/{service}/aws4_request");
    let signature =
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none");
    client
        .post(url)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", signature)
        .body(body.to_string())
}
