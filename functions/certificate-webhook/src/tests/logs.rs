//! The log lines of a delivery, and the data that must never be in one.

use harness::{ADA, ADA_ID, RUN, STAFF};
use local::lms::{CLIENT_SECRET, FaultRule, GradeRow, LmsFault};
use serde_json::{Value, json};

use super::fixture::{Fixture, passed};

/// A delivery logs three lines with these fields.
#[tokio::test]
async fn a_delivery_logs_three_lines() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.grade(0.9, true);
    fixture.pass().await;
    let [received, accepted, done] = <[Value; 3]>::try_from(fixture.log.lines()).unwrap();
    assert_eq!(received["message"], "delivery received");
    assert_eq!(received["path"], "/api/openedx_webhook/certificate/");
    for (field, value) in [
        ("message", "asking the LMS for the grade"),
        ("level", "INFO"),
        ("kind", "certificate"),
        ("user_id", ADA_ID),
        ("course_id", RUN),
        ("request_id", received["request_id"].as_str().unwrap()),
    ] {
        assert_eq!(accepted[field], value, "{field}");
    }
    for (field, value) in [
        ("message", json!("delivery processed")),
        ("outcome", json!("created")),
        ("user_id", json!(ADA_ID)),
        ("course_id", json!(RUN)),
        ("status", json!(200)),
        ("dynamodb_calls", json!(3)),
        ("lms_calls", json!(2)),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
}

/// The line for the question to the LMS is written before the LMS is asked, and only if it is
/// asked.
#[tokio::test]
async fn the_question_to_the_lms_is_logged_before_it_is_asked() {
    let fixture = Fixture::new().await;
    fixture
        .lms
        .add_fault(FaultRule::of(LmsFault::Hang).at(local::lms::At::All));
    let asked = async {
        while fixture.lms.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = fixture.pass() => panic!("{answer:?}"),
        () = asked => {}
    }
    assert_eq!(
        fixture.log.last("asking the LMS for the grade")["user_id"],
        ADA_ID
    );

    let fixture = Fixture::new().await;
    fixture.deliver(&passed("bob@example.org")).await;
    assert!(!fixture.log.text().contains("\"accepted\""));
}

/// A line names a learner by id only, and holds no part of a credential, in any case.
#[tokio::test]
async fn no_address_username_or_token_is_ever_logged() {
    let planted = "planted-person";
    let email = format!("{planted}@example.com");
    let faults = [
        None,
        Some(LmsFault::Fail { status: 500 }),
        Some(LmsFault::Drop),
        Some(LmsFault::Html),
        Some(LmsFault::Refuse),
        Some(LmsFault::OtherLearner),
        Some(LmsFault::Redirect {
            to: format!("http://127.0.0.1:1/{planted}"),
        }),
    ];
    let fixture = Fixture::new().await;
    let id = "9f0d3a52-6b0c-4f5e-9d0a-2f5f6f1b9c11";
    fixture.put_user(&email, id, Some(planted)).await;
    let row = GradeRow {
        percent: 0.1,
        passed: false,
        letter_grade: None,
    };
    fixture.lms.grade(planted, RUN, row);
    for fault in faults {
        fixture.lms.revoke();
        if let Some(fault) = fault {
            fixture.lms.add_fault(FaultRule::of(fault));
        }
        let answer = fixture.deliver(&passed(&email)).await;
        assert!(!answer.body.to_string().contains(planted), "{answer:?}");
    }
    // A learner unknown to the LMS, and one unknown to the portal.
    fixture.lms.remove(planted, RUN);
    fixture.lms.revoke();
    fixture.deliver(&passed(&email)).await;
    fixture.deliver(&passed(&format!("other-{email}"))).await;
    assert!(!fixture.log.metrics().is_empty());
    let log = fixture.log.text();
    assert!(log.lines().count() >= 20, "{log}");
    for word in [planted, "@", STAFF, CLIENT_SECRET, ADA] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
