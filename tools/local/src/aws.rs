//! Builds calls to a service of AWS without an SDK.

use serde_json::Value;

/// The access key of every call. If `ministack` enforces IAM, it is told that this is the account's
/// root, whose signature it does not check.
pub(crate) const ACCESS_KEY: &str = "local";

/// Returns a call of `SERVICE.OPERATION`.
pub(crate) fn call(
    client: &reqwest::Client,
    url: &str,
    target: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    let service = match target {
        target if target.starts_with("DynamoDB") => "dynamodb",
        target if target.starts_with("AWSStepFunctions") => "states",
        target if target.starts_with("Logs") => "logs",
        target if target.starts_with("GraniteService") => "monitoring",
        _ => "secretsmanager",
    };
    signed(client.post(url), service)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .body(body.to_string())
}

/// Adds a signature that has the right form and is not valid: the stand-ins read only the service
/// that it names.
pub(crate) fn signed(request: reqwest::RequestBuilder, service: &str) -> reqwest::RequestBuilder {
    let scope = format!("{ACCESS_KEY}/20260101/us-east-1/{service}/aws4_request");
    let signature =
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none");
    request
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", signature)
}
