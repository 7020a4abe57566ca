//! The answers that the gateway gives by itself have the contract's form and statuses.

use domain::EventKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::contract::{has_header, is_error};
use super::learners::about;
use crate::failure::{Failure, same};
use crate::portal::Portal;

pub async fn hold(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    unknown_paths(portal, token).await?;
    throttled(portal, token).await?;
    functions_that_do_not_answer(portal, token).await
}

/// Checks that an address that is not allowed is only told that, whatever it requests.
pub async fn refuses(portal: &Portal<'_>) -> Result<(), Failure> {
    let token = format!("chk_{}", "0".repeat(64));
    for kind in EventKind::ALL {
        let answer = portal.deliver(kind, &token, &json!({})).await?;
        let word = kind.as_str();
        let what = format!("{word} from an address that is not allowed: {answer:?}");
        same(&what, &answer.status, &403)?;
        is_error(&what, &answer)?;
    }
    Ok(())
}

/// Checks that any other path is answered 404, whatever the header holds: a 403 would make the
/// sender check its token.
async fn unknown_paths(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let bearer = format!("Bearer {token}");
    let kind = EventKind::Enrollment;
    let below = format!("{}/more", kind.path());
    let above = kind.path().trim_end_matches(kind.as_str());
    for path in ["/", "/api", above, below.as_str()] {
        for authorization in [None, Some(bearer.as_str())] {
            let headers = authorization.map(|value| ("authorization", value));
            let answer = portal
                .request(Method::POST, path, headers.as_slice(), "{}")
                .await?;
            same(path, &answer.status, &404)?;
            same(path, &answer.body, &json!({"error": "Not found"}))?;
        }
    }
    Ok(())
}

/// Checks the answers while the stage's throttle is set to zero.
async fn throttled(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    let stage = portal.stage()?;
    let limits = async |burst: &str, rate: &str| -> Result<(), Failure> {
        let replace = |what: &str, value: &str| {
            let path = format!("/*/*/throttling/{what}");
            json!({"op": "replace", "path": path, "value": value})
        };
        let patch = json!({"patchOperations": [
            replace("burstLimit", burst),
            replace("rateLimit", rate),
        ]});
        let patched = portal
            .aws
            .request("apigateway", Method::PATCH, &stage, &patch);
        patched.await.map(drop).map_err(Failure::from)
    };
    let before = portal
        .aws
        .request("apigateway", Method::GET, &stage, &json!(null))
        .await?;
    let before = &before["methodSettings"]["*/*"];
    limits("0", "0").await?;
    for kind in EventKind::ALL {
        let answer = portal.deliver(kind, token, &about("stranger")).await?;
        let what = format!("{}, throttled by the gateway", kind.as_str());
        same(&what, &answer.status, &429)?;
        has_header(&what, &answer, "retry-after", "")?;
        is_error(&what, &answer)?;
    }
    let text = |name: &str| before[name].to_string();
    limits(&text("throttlingBurstLimit"), &text("throttlingRateLimit")).await
}

/// Checks the answers of a function of which no instance may or can start. The emulator passes on
/// Lambda's answer, while AWS gives a gateway response; only the status, which makes the sender
/// retry, is checked.
async fn functions_that_do_not_answer(portal: &Portal<'_>, token: &str) -> Result<(), Failure> {
    for kind in EventKind::ALL {
        let function = kind.function();
        let name = portal.stack.physical_id(function)?;
        let configured = portal.stack.function(portal.aws, function).await?;
        let lambda = async |method, version: &str, what: &str, body: Value| {
            let path = format!("/{version}/functions/{name}/{what}");
            let answer = portal.aws.request("lambda", method, &path, &body).await;
            answer.map(drop).map_err(Failure::from)
        };
        let nobody = json!({"ReservedConcurrentExecutions": 0});
        lambda(Method::PUT, "2017-10-31", "concurrency", nobody).await?;
        asks_to_retry(portal, kind, token, "throttled").await?;
        lambda(Method::DELETE, "2017-10-31", "concurrency", json!(null)).await?;

        let nothing = json!({"Environment": {"Variables": {}}});
        lambda(Method::PUT, "2015-03-31", "configuration", nothing).await?;
        asks_to_retry(portal, kind, token, "without its variables").await?;
        let all = json!({"Environment": configured["Environment"]});
        lambda(Method::PUT, "2015-03-31", "configuration", all).await?;

        let answer = portal.deliver(kind, token, &about("stranger")).await?;
        same("a webhook that is itself again", &answer.status, &404)?;
    }
    Ok(())
}

async fn asks_to_retry(
    portal: &Portal<'_>,
    kind: EventKind,
    token: &str,
    what: &str,
) -> Result<(), Failure> {
    let answer = portal.deliver(kind, token, &about("stranger")).await?;
    let is_retried = answer.status == 429 || answer.status >= 500;
    let what = format!("{}, {what}: {answer:?}", kind.as_str());
    same(&what, &is_retried, &true)
}
