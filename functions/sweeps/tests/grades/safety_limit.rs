//! A sweep that would withdraw too many certificates withdraws none.

use std::time::Duration;

use app::operator::{CertificateAction, correct_certificate};
use common::clock::Clock;
use domain::CertificateState::{InForce, Withdrawn};
use domain::Change;
use harness::sweep::{id, username};
use harness::{FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::json;

use super::fixture::{Fixture, wired};

/// Returns a run with `certified` learners who have certificates, and `others` who have none.
async fn with_certificates(certified: u32, others: u32) -> Fixture {
    let fixture = Fixture::new().await;
    for learner in 0..certified {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    assert_eq!(fixture.sweep().await["tally"]["issued"], certified);
    fixture.put_others(certified..certified + others).await;
    fixture.clock.advance(Duration::from_secs(60));
    fixture
}

/// Returns how many of the first `learners` learners' certificates are withdrawn.
async fn withdrawn(fixture: &Fixture, learners: u32) -> u32 {
    let mut count = 0;
    for learner in 0..learners {
        match fixture.certificate_state(learner).await.unwrap() {
            Withdrawn => count += 1,
            state => assert_eq!(state, InForce, "{learner} of {learners}"),
        }
    }
    count
}

/// Ten withdrawals are within the limit in any run. Eleven are above it if they are all
/// certificates, however many other learners are enrolled.
#[tokio::test]
async fn more_than_ten_and_more_than_two_percent_halt_the_sweep() {
    for (losing, halted) in [(10, false), (11, true)] {
        let fixture = with_certificates(losing, 600).await;
        for learner in 0..losing {
            fixture.says(learner, 0.0);
        }
        fixture.a_day_passes().await;
        let answer = fixture.sweep().await;
        let expected = if halted {
            ("halted", "left:safety_limit", 0)
        } else {
            ("done", "withdrawn", losing)
        };
        let (status, did, lost) = expected;
        assert_eq!(answer["status"], status, "{losing}");
        assert_eq!(answer["tally"][did], losing, "{losing}");
        assert_eq!(withdrawn(&fixture, losing).await, lost, "{losing}");
    }
}

/// A grader that reports 0 for all, on several pages: everything else is done, the alarm is raised,
/// and the sweeps stay halted until an operator confirms, or the LMS works again.
#[tokio::test]
async fn a_grader_that_reports_0_for_all_halts_the_sweep() {
    let fixture = with_certificates(20, 0).await;
    fixture.lms.pages_of(7);
    // A learner who was never graded before.
    fixture.learner(20).await;
    fixture.says(20, 0.9);
    fixture.lms.add_fault(FaultRule::of(LmsFault::Zero));
    fixture.a_day_passes().await;
    let before = fixture.everything().await;
    let dry_run = fixture.sweep_with(json!({"dry_run": true})).await;
    let found = json!({"listed": 21, "unchanged": 1, "withdrawn": 20});
    assert_eq!(
        (&dry_run["status"], &dry_run["tally"]),
        (&json!("halted"), &found)
    );
    assert_eq!(fixture.everything().await, before);

    for _ in 0..2 {
        let answer = fixture.sweep().await;
        assert_eq!(answer["status"], "halted");
        assert_eq!(answer["tally"]["left:safety_limit"], 20);
        assert_eq!(withdrawn(&fixture, 20).await, 0);
        let line = fixture.log.last("sweep ended");
        assert_eq!(
            (&line["level"], &line["outcome"]),
            (&json!("ERROR"), &json!("halted"))
        );
        assert_eq!(
            (&line["left"], &line["course_id"]),
            (&json!(20), &json!(RUN))
        );
        fixture.clock.advance(Duration::from_secs(60));
    }

    // The LMS works again: no certificate has changed.
    fixture.lms.revoke();
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    assert_eq!(
        answer["tally"],
        json!({"listed": 21, "grade_stored": 21, "issued": 1})
    );
    assert_eq!(withdrawn(&fixture, 21).await, 0);

    // An operator confirms that the grades are right.
    fixture.clock.advance(Duration::from_secs(60));
    fixture.lms.add_fault(FaultRule::of(LmsFault::Zero));
    let confirm = json!({"confirm": true});
    let answer = fixture.sweep_with(confirm.clone()).await;
    assert_eq!(answer["tally"]["left:zero_seen_once"], 21);
    assert_eq!(withdrawn(&fixture, 21).await, 0);
    fixture.clock.advance(Duration::from_hours(24));
    let answer = fixture.sweep_with(confirm).await;
    assert_eq!(answer["status"], "done");
    assert_eq!(answer["tally"]["withdrawn"], 21);
    assert_eq!(withdrawn(&fixture, 21).await, 21);
}

/// Much may change until the end of the list: the LMS is asked again for each learner who would
/// lose something, and this later answer counts.
#[tokio::test]
async fn the_lms_is_asked_again_before_a_withdrawal() {
    let fixture = with_certificates(4, 0).await;
    for learner in 0..4 {
        fixture.says(learner, 0.0);
    }
    fixture.a_day_passes().await;
    fixture.lms.pages_of(2);
    // The call processes one page, then its time is over.
    let call = json!({"sweep": {"run": RUN}});
    for _ in 0..2 {
        let answer = fixture.call_for(call.clone(), 1).await.unwrap();
        assert_eq!(answer["status"], "suspended");
        fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(withdrawn(&fixture, 4).await, 0);
    // 0: it was a mistake. 1: an operator has set the grade. 2: she has left the LMS. 3: the grade
    // is right.
    fixture.says(0, 0.9);
    fixture.override_grade_of(1, 0.8).await;
    fixture.lms.remove(&username(2), RUN);
    fixture.clock.advance(Duration::from_secs(1));
    let answer = fixture.sweep().await;
    let tally = &answer["tally"];
    assert_eq!(tally["withdrawn"], 1, "{tally}");
    assert_eq!(tally["left:changed_meanwhile"], 1, "{tally}");
    assert_eq!(tally["left:grade_overridden"], 1, "{tally}");
    for (learner, state) in [(0, InForce), (1, InForce), (2, InForce), (3, Withdrawn)] {
        assert_eq!(
            fixture.certificate_state(learner).await,
            Some(state),
            "{learner}"
        );
    }
}

/// The LMS fails while it is asked again: the sweep waits, and then asks for the remaining
/// learners.
#[tokio::test]
async fn the_sweep_waits_if_the_lms_fails_when_asked_again() {
    let fixture = with_certificates(3, 0).await;
    for learner in 0..3 {
        fixture.says(learner, 0.0);
    }
    fixture.a_day_passes().await;
    // The list and the first of the three succeed, then the fault sets in.
    let fault = LmsFault::Fail { status: 503 };
    fixture
        .lms
        .add_fault(FaultRule::of(fault).after(2).times(2));
    let answer = fixture.call(json!({"sweep": {"run": RUN}})).await.unwrap();
    assert_eq!(
        (&answer["status"], &answer["reason"]),
        (&json!("suspended"), &json!("503"))
    );
    assert_eq!(withdrawn(&fixture, 3).await, 1);
    fixture.clock.advance(Duration::from_secs(30));
    let answer = fixture.sweep().await;
    assert_eq!(
        (&answer["status"], &answer["tally"]["withdrawn"]),
        (&json!("done"), &json!(3))
    );
    assert_eq!(withdrawn(&fixture, 3).await, 3);
}

/// The LMS fails while it is asked for the learners' enrollments: the sweep waits, too.
#[tokio::test]
async fn the_sweep_waits_if_the_lms_fails_when_asked_for_enrollments() {
    let fixture = with_certificates(2, 0).await;
    for learner in 0..2 {
        fixture.says(learner, 0.0);
    }
    fixture.a_day_passes().await;
    let fault = LmsFault::Fail { status: 503 };
    fixture
        .lms
        .add_fault(FaultRule::of(fault).at(At::Enrollments).times(2));
    let answer = fixture.call(json!({"sweep": {"run": RUN}})).await.unwrap();
    let found = (&answer["status"], &answer["reason"]);
    assert_eq!(found, (&json!("suspended"), &json!("503")));
    assert_eq!(withdrawn(&fixture, 2).await, 0);
    fixture.clock.advance(Duration::from_secs(30));
    assert_eq!(fixture.sweep().await["tally"]["withdrawn"], 2);
}

/// A certificate that an operator has changed since the page was requested stays as it is.
#[tokio::test]
async fn a_certificate_that_changed_meanwhile_stays() {
    let fixture = with_certificates(1, 0).await;
    fixture.says(0, 0.0);
    fixture.a_day_passes().await;
    let records = fixture.use_cases().records().unwrap();
    let certificates = fixture.use_cases().certificates().unwrap();
    let about = (id(0), &RUN.parse().unwrap());
    let by = Change::Operator {
        name: "a test".to_owned(),
    };
    let now = fixture.clock.now();
    for word in [CertificateAction::Revoke, CertificateAction::Restore] {
        let corrected = correct_certificate(&records, &certificates, about, &word, &by, now);
        assert!(corrected.await.unwrap().changed);
    }
    let answer = fixture.sweep().await;
    let found = json!({"listed": 1, "left:changed_meanwhile": 1});
    assert_eq!(answer["tally"], found);
    assert_eq!(fixture.certificate_state(0).await, Some(InForce));
}

/// If a sweep that was believed to be stopped is still running, both it and the one that resumes it
/// hold back all learners: neither takes a part of them for the whole.
#[tokio::test]
async fn two_processes_on_one_sweep_both_keep_the_limit() {
    let fixture = with_certificates(12, 0).await;
    fixture.lms.pages_of(3);
    fixture.lms.add_fault(FaultRule::of(LmsFault::Zero));
    fixture.a_day_passes().await;
    let call = json!({"sweep": {"run": RUN}});
    let answer = fixture.call_for(call.clone(), 1).await.unwrap();
    assert_eq!(answer["status"], "suspended");

    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let slow = wired(fixture.beside(), client);
    // It has taken over the learners whom the first call held back, and reads its second page.
    proxy.set(|call| match call.operation.as_str() {
        "BatchGetItem" if call.body.windows(10).any(|part| part == b"learner000") => Fault::Hold,
        _ => Fault::Pass,
    });
    let other = async {
        proxy.stuck(1).await;
        let answer = fixture.sweep().await;
        proxy.set(|_| Fault::Pass);
        answer
    };
    let (slow, other) = tokio::join!(slow.sweep(), other);
    for answer in [slow, other] {
        assert_eq!(answer["status"], "halted", "{answer}");
        assert_eq!(answer["tally"]["left:safety_limit"], 12, "{answer}");
    }
    assert_eq!(withdrawn(&fixture, 12).await, 0);
}
