//! What is counted of deliveries, and of the tokens that they come with.

use harness::{ADA, EXPIRED, NOT_STAFF, REVOKED, RUN, STAFF, tokens};
use lambda_http::Body;
use serde_json::{Value, json};
use shared::web::Metric;

use super::fixture::{Fixture, request};

/// A delivery about this address, with this token.
async fn deliver(fixture: &Fixture, token: &str, email: &str) {
    let body = json!({"email": email, "course_id": RUN});
    let request = request()
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string()));
    fixture.send(request.unwrap()).await;
}

/// One document a delivery, with its outcome and whether it was pending.
#[tokio::test]
async fn deliveries_by_outcome() {
    let fixture = Fixture::new().await;
    for (email, outcome, pending) in [
        (ADA, "created", 0),
        (ADA, "unchanged", 0),
        ("bob@example.org", "pending", 1),
        ("no address", "invalid", 0),
    ] {
        deliver(&fixture, STAFF, email).await;
        let document = fixture.log.metrics().pop().unwrap();
        for (member, value) in [
            ("kind", json!("enrollment")),
            ("outcome", json!(outcome)),
            ("Deliveries", json!(1)),
            ("DeliveriesPending", json!(pending)),
            // It asks the LMS nothing, and issues nothing.
            ("LmsRequests", Value::Null),
            ("CertificatesIssued", Value::Null),
        ] {
            assert_eq!(document[member], value, "{email}: {member}");
        }
        assert!(document["DeliveryTime"].is_u64());
    }
    assert_eq!(fixture.log.metrics().len(), 4);
}

/// By a token in force, also without rights; a dead one is known, and a stranger's
/// belongs to no user.
#[tokio::test]
async fn tokens_in_use_and_refused() {
    let fixture = Fixture::new().await;
    for (token, token_id, refused) in [
        (STAFF, Some("staff"), 0),
        (NOT_STAFF, Some("not-staff"), 0),
        (EXPIRED, None, 1),
        (REVOKED, None, 1),
        ("chk_nobodys", None, 0),
        ("not a token", None, 0),
    ] {
        deliver(&fixture, token, ADA).await;
        let document = fixture.log.metrics().pop().unwrap();
        assert_eq!(document["token_id"].as_str(), token_id, "{token}");
        let delivered = token_id.map(|_| 1);
        assert_eq!(document["TokenDeliveries"].as_u64(), delivered, "{token}");
        assert_eq!(document["KnownTokensRefused"], refused, "{token}");
    }
    // None of these has an end to come.
    let left = fixture.log.metric(Metric::TokenDaysLeft);
    assert_eq!(left, Vec::<Value>::new());
}

/// A token that nears its end tells so with each delivery.
#[tokio::test]
async fn a_token_near_its_end() {
    let fixture = Fixture::new().await;
    let mut list = tokens();
    list["tokens"][0]["expires_at"] = json!("2026-12-02T21:00:00Z");
    let secrets = fixture.secrets;
    secrets
        .put(&fixture.secret, &list.to_string())
        .await
        .unwrap();
    deliver(&fixture, STAFF, ADA).await;
    deliver(&fixture, STAFF, "bob@example.org").await;
    let left = fixture.log.metric(Metric::TokenDaysLeft);
    assert_eq!(left, [json!(10.5), json!(10.5)]);
}
