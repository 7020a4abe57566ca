//! A sweep that is stopped before or after any outside call, and started again, ends as if nothing
//! had happened.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use harness::sweep::{ends_the_same, id, settled};
use harness::{FAST_RETRIES, Portal, RUN};
use local::Fault;
use local::lms::At;
use serde_json::json;

use super::fixture::{Fixture, wired};

/// Returns a run whose next sweep has an effect of each kind, in pages of two.
async fn prepare() -> Portal {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(2);
    // 0 is missing.
    fixture.put_learner(0).await;
    for learner in 1..4 {
        fixture.enrolled(learner, "audit").await;
    }
    fixture.lists(2, "audit", false);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.sweep().await["tally"]["deactivated"], 1);
    fixture.clock.advance(Duration::from_secs(60));
    fixture.lists(0, "verified", true);
    // To be reactivated, and to be deactivated, on two pages.
    fixture.lists(2, "verified", true);
    fixture.lists(1, "audit", false);
    fixture.lists(3, "audit", false);
    fixture.function.portal
}

/// Calls that are short of time process a page each, and write their checkpoint.
#[tokio::test]
async fn a_stopped_sweep_ends_the_same() {
    let before = prepare().await;
    let end = ends_the_same(&before, At::Enrollments, 1, wired).await;
    for (learner, mode, active, entries) in [
        (0, "verified", true, 1),
        (1, "audit", false, 2),
        (2, "verified", true, 3),
        (3, "audit", false, 2),
    ] {
        let enrollment = &end[&format!("EnrollmentsTable {} {RUN}", id(learner))];
        assert_eq!(enrollment["mode"], mode, "{learner}");
        assert_eq!(enrollment["active"], active, "{learner}");
        let history = enrollment["history"].as_array().unwrap();
        assert_eq!(history.len(), entries, "{learner}");
    }
}

/// A first sweep that was interrupted stays a dry run when it is resumed, and is resumed from its
/// checkpoint.
#[tokio::test]
async fn an_interrupted_first_sweep_stays_a_dry_run() {
    let fixture = Fixture::never_swept().await;
    fixture.lms.pages_of(2);
    for learner in 0..6 {
        fixture.put_learner(learner).await;
        fixture.lists(learner, "verified", true);
    }
    let before = settled(fixture.everything().await);
    let call = json!({"sweep": {"run": RUN}});
    let answer = fixture.call_for(call, 1).await.unwrap();
    assert_eq!(answer["status"], "suspended");
    assert_eq!(answer["dry_run"], true);
    fixture.clock.advance(Duration::from_secs(60));
    let next = Fixture::on(fixture.beside());
    let answer = next.sweep().await;
    assert_eq!(answer["dry_run"], true);
    assert_eq!(answer["tally"], json!({"listed": 6, "created": 6}));
    assert_eq!(fixture.lms.count(At::Enrollments), 3);
    assert_eq!(settled(fixture.everything().await), before);

    let answer = next.sweep().await;
    assert_eq!(answer["dry_run"], false);
    assert_eq!(answer["tally"], json!({"listed": 6, "created": 6}));
}

/// A learner whom a sweep deactivated before it was stopped, without recording that, is as the LMS
/// lists them, and is written once.
#[tokio::test]
async fn effects_before_the_stop_are_not_repeated() {
    let fixture = Fixture::new().await;
    for learner in 0..3 {
        fixture.enrolled(learner, "audit").await;
        fixture.lists(learner, "audit", false);
    }
    fixture.clock.advance(Duration::from_secs(60));
    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let first = wired(fixture.beside(), client);
    proxy.set(|call| match call.operation.as_str() {
        "DeleteItem" => Fault::Hang,
        _ => Fault::Pass,
    });
    tokio::select! {
        answer = first.sweep() => panic!("{answer}"),
        () = proxy.stuck(1) => {}
    }
    fixture.clock.advance(Duration::from_secs(60));
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    assert_eq!(answer["tally"], json!({"listed": 3, "unchanged": 3}));
    for learner in 0..3 {
        let enrollment = fixture.enrollment_of(learner).await.unwrap();
        assert_eq!(enrollment.history.len(), 2);
    }
}

/// A checkpoint that is half a day old is not resumed, and neither is that of a sweep with other
/// options: the list is read from its beginning.
#[tokio::test]
async fn old_checkpoints_and_those_with_other_options_are_not_resumed() {
    for (passed, fields, listed) in [
        (Duration::from_hours(11), json!({}), 2),
        (Duration::from_hours(12), json!({}), 3),
        (Duration::from_secs(60), json!({"confirm": true}), 3),
        (Duration::from_secs(60), json!({"dry_run": true}), 3),
    ] {
        let fixture = Fixture::new().await;
        fixture.lms.pages_of(1);
        for learner in 0..3 {
            fixture.enrolled(learner, "audit").await;
        }
        let call = json!({"sweep": {"run": RUN}});
        fixture.call_for(call, 1).await.unwrap();
        let asked = fixture.lms.count(At::Enrollments);
        fixture.clock.advance(passed);
        let answer = fixture.sweep_with(fields.clone()).await;
        assert_eq!(
            answer["tally"],
            json!({"listed": 3, "unchanged": 3}),
            "{passed:?} {fields}"
        );
        let asked = fixture.lms.count(At::Enrollments) - asked;
        assert_eq!(asked, listed, "{passed:?} {fields}");
    }
}

/// The held-back learners of a page without a checkpoint are determined again by the next sweep: a
/// learner who is active again by then does not count towards the safety limit.
#[tokio::test]
async fn held_back_learners_of_a_repeated_page_are_determined_again() {
    let fixture = Fixture::new().await;
    fixture.lms.pages_of(6);
    for learner in 0..12 {
        fixture.enrolled(learner, "audit").await;
        fixture.lists(learner, "audit", false);
    }
    fixture.clock.advance(Duration::from_secs(60));
    let call = json!({"sweep": {"run": RUN}});
    fixture.call_for(call.clone(), 1).await.unwrap();
    // The held-back learners of the next page are written, and its checkpoint is not.
    let (proxy, client) = fixture.proxy(FAST_RETRIES).await;
    let second = wired(fixture.beside(), client);
    let pages = AtomicUsize::new(0);
    proxy.set(move |call| {
        let holds = String::from_utf8_lossy(&call.body).contains("usernames");
        match call.operation.as_str() {
            "PutItem" if holds => drop(pages.fetch_add(1, SeqCst)),
            "PutItem" if pages.load(SeqCst) == 2 => return Fault::Hang,
            _ => {}
        }
        Fault::Pass
    });
    tokio::select! {
        answer = second.call_for(call, 1) => panic!("{answer:?}"),
        () = proxy.stuck(1) => {}
    }
    for learner in 6..12 {
        fixture.lists(learner, "audit", true);
    }
    fixture.clock.advance(Duration::from_secs(60));
    let answer = fixture.sweep().await;
    assert_eq!(answer["status"], "done");
    assert_eq!(
        answer["tally"],
        json!({"listed": 12, "deactivated": 6, "unchanged": 6})
    );
}
