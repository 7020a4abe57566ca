//! The metrics of deliveries and of the tokens that they bear.

use harness::{ADA, EXPIRED, NOT_STAFF, REVOKED, RUN, STAFF, tokens};
use lambda_http::Body;
use serde_json::{Value, json};
use web::Metric;

use super::fixture::{Fixture, request};

/// Sends a delivery about this address, with this token.
async fn deliver(fixture: &Fixture, token: &str, email: &str) {
    let body = json!({"email": email, "course_id": RUN});
    let request = request()
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string()));
    fixture.send(request.unwrap()).await;
}

/// A delivery writes one document, with its outcome and whether it became pending.
#[tokio::test]
async fn deliveries_are_counted_by_outcome() {
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
            // This webhook does not ask the LMS, and issues no certificate.
            ("LmsRequests", Value::Null),
            ("CertificatesIssued", Value::Null),
        ] {
            assert_eq!(document[member], value, "{outcome}: {member}");
        }
        assert!(document["DeliveryTime"].is_u64(), "{outcome}");
    }
    assert_eq!(fixture.log.metrics().len(), 4);
}

/// A valid token, also one without rights, is counted under its id; an expired or revoked one as a
/// known token that was rejected; an unknown one not at all.
#[tokio::test]
async fn used_and_rejected_tokens_are_counted() {
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
    // None of these tokens has an expiry ahead.
    let left = fixture.log.metric(Metric::TokenDaysLeft);
    assert_eq!(left, Vec::<Value>::new());
}

/// A token close to its expiry has a sample with each delivery.
#[tokio::test]
async fn the_days_left_of_a_token_are_measured() {
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
