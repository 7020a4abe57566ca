//! The effect of a sweep on one learner, by the LMS's grade and by the records before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::{Bool, N, S};
use common::clock::Clock;
use domain::{CertificateState, Change, LetterGrade};
use harness::sweep::{id, username};
use harness::{ADA, ADA_ID, FAST_RETRIES, RUN};
use local::Fault;
use local::lms::{At, FaultRule, LmsFault};
use serde_json::{Value, json};

use super::fixture::{Fixture, graded, wired};

/// Ada's records before the sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    /// A paid enrollment, and nothing else.
    Enrolled,
    /// No enrollment at all.
    NotEnrolled,
    /// An unpaid enrollment.
    Unpaid,
    /// An inactive enrollment.
    Inactive,
    /// A certificate in force, issued by a sweep.
    Certified,
    /// The same, withdrawn since the grade became 0.
    Withdrawn,
    /// The same, revoked by an operator.
    Revoked,
    /// A grade that an operator has set, and no certificate.
    Overridden(f64),
}

use Before::{Certified, Enrolled, Inactive, NotEnrolled, Overridden, Revoked, Unpaid, Withdrawn};
use CertificateState::InForce;

async fn prepare(before: Before) -> Fixture {
    let fixture = Fixture::new().await;
    let mode = if before == Unpaid {
        "audit"
    } else {
        "verified"
    };
    if before != NotEnrolled {
        fixture.enroll(mode).await;
    }
    if before == Inactive {
        fixture.set("EnrollmentsTable", "active", Bool(false)).await;
    }
    if matches!(before, Certified | Withdrawn | Revoked) {
        fixture.lms.grade("ada", RUN, graded(0.9));
        assert_eq!(fixture.sweep().await["tally"]["issued"], 1, "{before:?}");
    }
    fixture.lms.enroll("ada", RUN, mode, true);
    if before == Withdrawn {
        fixture.clock.advance(Duration::from_secs(60));
        fixture.lms.grade("ada", RUN, graded(0.0));
        fixture.a_day_passes().await;
        assert_eq!(fixture.sweep().await["tally"]["withdrawn"], 1, "{before:?}");
    }
    if before == Revoked {
        let revoked = S("revoked".to_owned());
        fixture.set("CertificatesTable", "state", revoked).await;
    }
    if let Overridden(percent) = before {
        fixture.override_grade(percent, percent >= 0.5).await;
    }
    fixture.clock.advance(Duration::from_secs(60));
    fixture
}

/// Each row: the records before, the LMS's grade, the sweep's tally, and the state of the
/// certificate afterwards.
#[tokio::test]
async fn each_learner_is_corrected() {
    for (before, percent, did, certificate) in [
        (
            Enrolled,
            0.9,
            json!({"grade_stored": 1, "issued": 1}),
            Some(InForce),
        ),
        (Enrolled, 0.3, json!({"grade_stored": 1}), None),
        (Enrolled, 0.0, json!({"grade_stored": 1}), None),
        (NotEnrolled, 0.9, json!({"grade_stored": 1}), None),
        (Unpaid, 0.9, json!({"grade_stored": 1}), None),
        (Inactive, 0.9, json!({"grade_stored": 1}), None),
        (Certified, 0.9, json!({"unchanged": 1}), Some(InForce)),
        // Between 0 and a pass: a learner who has passed once keeps the certificate.
        (Certified, 0.3, json!({"grade_stored": 1}), Some(InForce)),
        // The LMS reports 0 also for a grade that it lost: one sweep is not enough.
        (
            Certified,
            0.0,
            json!({"grade_stored": 1, "left:zero_seen_once": 1}),
            Some(InForce),
        ),
        (
            Withdrawn,
            0.3,
            json!({"grade_stored": 1}),
            Some(CertificateState::Withdrawn),
        ),
        (
            Withdrawn,
            0.9,
            json!({"grade_stored": 1, "restored": 1}),
            Some(InForce),
        ),
        (
            Revoked,
            0.9,
            json!({"left:revoked": 1}),
            Some(CertificateState::Revoked),
        ),
        (
            Revoked,
            0.0,
            json!({"grade_stored": 1}),
            Some(CertificateState::Revoked),
        ),
        // An operator's grade stays, and decides.
        (
            Overridden(0.9),
            0.0,
            json!({"left:grade_overridden": 1, "issued": 1}),
            Some(InForce),
        ),
        (
            Overridden(0.2),
            0.9,
            json!({"left:grade_overridden": 1}),
            None,
        ),
        (Overridden(0.9), 0.9, json!({"issued": 1}), Some(InForce)),
    ] {
        let case = format!("{before:?} {percent}");
        let fixture = prepare(before).await;
        // An operator's pass has no letter grade.
        let mut row = graded(percent);
        if before == Overridden(percent) {
            row.letter_grade = None;
        }
        fixture.lms.grade("ada", RUN, row);
        let stored = fixture.stored_grade().await;
        let answer = fixture.sweep().await;
        let mut expected = did;
        expected["listed"] = 1.into();
        assert_eq!(answer["tally"], expected, "{case}");
        assert_eq!(answer["status"], "done", "{case}");
        let state = fixture.certificate().await.map(|c| c.state);
        assert_eq!(state, certificate, "{case}");
        let grade = fixture.stored_grade().await.unwrap();
        match before {
            Overridden(_) => assert_eq!(Some(grade), stored, "{case}"),
            _ => assert_eq!(grade.score.percent.get(), percent, "{case}"),
        }

        // A second sweep changes nothing.
        fixture.clock.advance(Duration::from_secs(60));
        let all = fixture.everything().await;
        fixture.sweep().await;
        assert_eq!(fixture.everything().await, all, "{case}");
    }
}

/// A 0 of the LMS withdraws a certificate only if two sweeps a day apart have found it, the LMS
/// lists the learner's enrollment as active, and reports 0 again.
#[tokio::test]
async fn a_zero_withdraws_only_if_it_is_confirmed() {
    const LEFT_ONCE: &str = "left:zero_seen_once";
    for confirm in [false, true] {
        let fixture = prepare(Certified).await;
        let sweep = async |case: &str, did: Value, state: CertificateState| {
            let answer = fixture.sweep_with(json!({"confirm": confirm})).await;
            let mut expected = did;
            expected["listed"] = 1.into();
            assert_eq!(answer["tally"], expected, "{case}, {confirm}");
            assert_eq!(answer["status"], "done", "{case}, {confirm}");
            assert_eq!(
                fixture.certificate().await.unwrap().state,
                state,
                "{case}, {confirm}"
            );
        };
        let says = |percent| fixture.lms.grade("ada", RUN, graded(percent));
        says(0.0);
        sweep("first", json!({"grade_stored": 1, LEFT_ONCE: 1}), InForce).await;
        let grade = fixture.stored_grade().await.unwrap();
        assert_eq!(
            grade.zero_since,
            Some(fixture.clock.now()),
            "confirm: {confirm}"
        );
        fixture.clock.advance(Duration::from_secs(24 * 3600 - 1));
        sweep("a second early", json!({LEFT_ONCE: 1}), InForce).await;
        assert_eq!(
            fixture.stored_grade().await.unwrap(),
            grade,
            "confirm: {confirm}"
        );

        // Another grade in between: the day starts again.
        fixture.clock.advance(Duration::from_secs(60));
        says(0.9);
        sweep("well again", json!({"grade_stored": 1}), InForce).await;
        fixture.clock.advance(Duration::from_secs(60));
        says(0.0);
        sweep("0 again", json!({"grade_stored": 1, LEFT_ONCE: 1}), InForce).await;
        fixture.clock.advance(Duration::from_hours(24));

        // The list is not enough: the LMS is asked twice more.
        for (what, enrolled) in [("inactive", Some(false)), ("unknown", None)] {
            match enrolled {
                Some(active) => fixture.lms.enroll("ada", RUN, "verified", active),
                None => fixture.lms.unlist("ada", RUN),
            }
            sweep(what, json!({"left:unconfirmed": 1}), InForce).await;
        }
        fixture.lms.enroll("ada", RUN, "verified", true);
        fixture
            .lms
            .add_fault(FaultRule::of(LmsFault::Refuse).at(At::Enrollments));
        sweep("not ours to read", json!({"left:unconfirmed": 1}), InForce).await;
        fixture.lms.revoke();
        let lists = fixture.lms.count(At::Enrollments);
        let withdrawn = CertificateState::Withdrawn;
        sweep("sure", json!({"withdrawn": 1}), withdrawn).await;
        assert_eq!(
            fixture.lms.count(At::Enrollments),
            lists + 1,
            "confirm: {confirm}"
        );
        sweep("done", json!({"unchanged": 1}), withdrawn).await;
    }
}

/// A grade of 0 that something other than a sweep stored is found by the first sweep, which records
/// that without a history entry.
#[tokio::test]
async fn a_zero_stored_by_a_delivery_counts_from_the_first_sweep() {
    let fixture = prepare(Certified).await;
    fixture.store_as_delivery(0.0).await;
    fixture.clock.advance(Duration::from_hours(48));
    fixture.lms.grade(
        "ada",
        RUN,
        local::lms::GradeRow {
            letter_grade: None,
            ..graded(0.0)
        },
    );
    let before = fixture.stored_grade().await.unwrap();
    let tally = fixture.sweep().await["tally"].clone();
    assert_eq!(tally, json!({"listed": 1, "left:zero_seen_once": 1}));
    let after = fixture.stored_grade().await.unwrap();
    assert_eq!(after, before.found_zero(after.zero_since.unwrap()));
    fixture.clock.advance(Duration::from_hours(24));
    assert_eq!(fixture.sweep().await["tally"]["withdrawn"], 1);
}

/// A 0 that an operator has set is not a lost grade.
#[tokio::test]
async fn an_operators_zero_withdraws_at_once() {
    let fixture = prepare(Certified).await;
    fixture.override_grade(0.0, false).await;
    fixture.clock.advance(Duration::from_secs(60));
    let tally = fixture.sweep().await["tally"].clone();
    assert_eq!(
        tally,
        json!({"listed": 1, "left:grade_overridden": 2, "withdrawn": 1})
    );
}

/// A sweep of a single learner takes the same precautions.
#[tokio::test]
async fn a_single_learners_sweep_takes_the_same_precautions() {
    let fixture = prepare(Certified).await;
    fixture.lms.grade("ada", RUN, graded(0.0));
    let one = json!({"learner": ADA});
    let tally = fixture.sweep_with(one.clone()).await["tally"].clone();
    assert_eq!(
        tally,
        json!({"listed": 1, "grade_stored": 1, "left:zero_seen_once": 1})
    );
    fixture.clock.advance(Duration::from_hours(24));
    fixture.lms.enroll("ada", RUN, "verified", false);
    let tally = fixture.sweep_with(one.clone()).await["tally"].clone();
    assert_eq!(tally, json!({"listed": 1, "left:unconfirmed": 1}));
    fixture.lms.enroll("ada", RUN, "verified", true);
    let tally = fixture.sweep_with(one).await["tally"].clone();
    assert_eq!(tally, json!({"listed": 1, "withdrawn": 1}));
}

/// A grade of 0 that the LMS marks as passed issues nothing, and withdraws nothing.
#[tokio::test]
async fn a_pass_with_a_grade_of_zero_changes_nothing() {
    for (before, state) in [
        (Enrolled, None),
        (Certified, Some(InForce)),
        (Withdrawn, Some(CertificateState::Withdrawn)),
    ] {
        let fixture = prepare(before).await;
        let row = local::lms::GradeRow {
            passed: true,
            ..graded(0.0)
        };
        fixture.lms.grade("ada", RUN, row);
        let tally = fixture.sweep().await["tally"].clone();
        assert_eq!(tally, json!({"listed": 1, "grade_stored": 1}), "{before:?}");
        assert_eq!(
            fixture.certificate().await.map(|c| c.state),
            state,
            "{before:?}"
        );
    }
}

/// The pass is graded and certified with any label that the LMS has, and a second sweep finds the
/// label as it was stored.
#[tokio::test]
async fn any_letter_grade_is_certified() {
    let (longest, too_long) = ("é".repeat(255), "é".repeat(256));
    for (letter, stored) in [
        (" ", None),
        ("Distinction", Some("Distinction")),
        (" A (Very Good)\n", Some("A (Very Good)")),
        ("B\u{7}+", Some("B\u{7}+")),
        (&longest, Some(longest.as_str())),
        (&too_long, None),
    ] {
        let fixture = prepare(Enrolled).await;
        let mut row = graded(0.9);
        row.letter_grade = Some(letter.to_owned());
        fixture.lms.grade("ada", RUN, row);
        let tally = json!({"grade_stored": 1, "issued": 1, "listed": 1});
        assert_eq!(fixture.sweep().await["tally"], tally, "{letter:?}");
        let grade = fixture.stored_grade().await.unwrap();
        let label = grade.score.letter_grade.as_ref().map(LetterGrade::as_str);
        assert_eq!(label, stored, "{letter:?}");

        fixture.clock.advance(Duration::from_secs(60));
        let tally = json!({"unchanged": 1, "listed": 1});
        assert_eq!(fixture.sweep().await["tally"], tally, "{letter:?}");
    }
}

/// The certificate keeps its id, and every history entry names its sweep.
#[tokio::test]
async fn histories_name_the_sweep() {
    let fixture = prepare(Withdrawn).await;
    fixture.lms.grade("ada", RUN, graded(0.9));
    fixture.sweep().await;
    let certificate = fixture.certificate().await.unwrap();
    let states: Vec<_> = certificate.history.iter().map(|e| e.state).collect();
    assert_eq!(states, [InForce, CertificateState::Withdrawn, InForce]);
    let grade = fixture.stored_grade().await.unwrap();
    let by = certificate.history.iter().map(|entry| &entry.by);
    let ids: std::collections::HashSet<_> = by
        .chain(grade.history.iter().map(|entry| &entry.by))
        .map(|by| match by {
            Change::Sweep { sweep_id, name } => {
                assert_eq!(*name, None);
                *sweep_id
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(certificate.learner_name.as_deref(), Some("A Learner"));
    assert_eq!(certificate.run_title.as_deref(), Some("Rust on Lambda"));
}

/// Certificates wait for their date if the run is not self-paced; grades do not.
#[tokio::test]
async fn certificates_wait_for_their_date() {
    for (self_paced, days, force, issued) in [
        (true, None, false, true),
        (false, None, false, false),
        (false, Some(1), false, false),
        (true, Some(1), false, true),
        (false, Some(0), false, true),
        (false, Some(-1), false, true),
        (false, None, true, true),
        (false, Some(1), true, true),
    ] {
        let fixture = Fixture::new().await;
        fixture.enroll("verified").await;
        fixture.lms.grade("ada", RUN, graded(0.9));
        fixture
            .set_run(RUN, "is_self_paced", Bool(self_paced))
            .await;
        if let Some(days) = days {
            let date = fixture.clock.now() + jiff::SignedDuration::from_hours(24 * days);
            let date = S(date.to_string());
            fixture
                .set_run(RUN, "certificate_available_date", date)
                .await;
        }
        let tally = &fixture.sweep_with(json!({"force": force})).await["tally"];
        assert_eq!(tally["grade_stored"], 1, "{self_paced} {days:?} {force}");
        let expected = if issued { json!(1) } else { Value::Null };
        assert_eq!(tally["issued"], expected, "{self_paced} {days:?} {force}");
    }
}

/// A pending pass is completed by the sweep that issues its certificate.
#[tokio::test]
async fn a_pending_pass_is_completed_by_the_sweep() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse));
    fixture.add_pending_pass().await;
    fixture.lms.revoke();
    fixture.clock.advance(Duration::from_secs(60));
    fixture.lms.grade("ada", RUN, graded(0.9));
    assert_eq!(fixture.sweep().await["tally"]["issued"], 1);
    assert_eq!(fixture.pending().await, []);
}

/// One learner goes through the same code as a page of them, and the others stay as they are.
#[tokio::test]
async fn a_single_learner_can_be_swept() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.lms.grade("ada", RUN, graded(0.9));
    fixture.learner(1).await;
    fixture.says(1, 0.9);
    for learner in [ADA, ADA_ID] {
        let answer = fixture.sweep_with(json!({"learner": learner})).await;
        assert_eq!(answer["tally"]["listed"], 1, "{learner}");
        assert!(fixture.certificate().await.is_some(), "{learner}");
        assert!(fixture.record(1).await.grade.is_none(), "{learner}");
    }
    // She is gone from the LMS: that proves nothing.
    fixture.clock.advance(Duration::from_secs(60));
    fixture.lms.remove("ada", RUN);
    let answer = fixture.sweep_with(json!({"learner": ADA})).await;
    let found = json!({"failed:404 user_does_not_exist": 1});
    assert_eq!(
        (&answer["status"], &answer["tally"]),
        (&json!("done"), &found)
    );
    let certificate = fixture.certificate().await.unwrap();
    assert_eq!(certificate.state, InForce);

    for learner in ["nobody@example.org", "6f0d3a52-0000-4f5e-9d0a-2f5f6f1b9c11"] {
        let call = json!({"sweep": {"run": RUN, "learner": learner}});
        let error = fixture.call(call).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the portal knows no such user",
            "{learner}"
        );
    }
    assert!(!fixture.log.text().contains('@'));
}

/// Learners who are only in the LMS's list or only in the portal, and an item of an unexpected
/// shape, are each counted or left, and all others are corrected.
#[tokio::test]
async fn a_broken_row_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    for learner in 0..6 {
        fixture.learner(learner).await;
        fixture.says(learner, 0.9);
    }
    // No user is called `stranger`. 1: gone from the list. 2: a grade of an unexpected shape.
    fixture.lms.grade("stranger", RUN, graded(0.9));
    fixture.lms.remove(&username(1), RUN);
    fixture
        .dynamodb
        .put_item()
        .table_name("GradesTable")
        .item("user_id", S(id(2).to_string()))
        .item("course_id", S(RUN.to_owned()))
        .item("percent", N("7".to_owned()))
        .send()
        .await
        .unwrap();
    // 3: an invalid row.
    let broken = local::lms::GradeRow {
        percent: f64::NAN,
        ..graded(0.9)
    };
    fixture.lms.grade(&username(3), RUN, broken);
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({
            "listed": 6, "grade_stored": 3, "issued": 3, "no_user": 1,
            "failed:CorruptItem": 1, "failed:InvalidResponse:percent": 1,
        })
    );
    assert_eq!(answer["status"], "done");
    for learner in [0, 4, 5] {
        assert_eq!(
            fixture.certificate_state(learner).await,
            Some(InForce),
            "{learner}"
        );
    }
    assert!(fixture.record(1).await.grade.is_none());
}

/// A record that changed after the page was requested is left as it is, whatever changed it; a
/// change by a delivery also shortly before.
#[tokio::test]
async fn a_record_that_changed_meanwhile_is_left_as_it_is() {
    for (seconds, by_delivery, left) in [
        (0, false, true),
        (1, false, false),
        (20, true, true),
        (31, true, false),
    ] {
        let fixture = prepare(Certified).await;
        fixture.lms.grade("ada", RUN, graded(0.8));
        fixture.sweep().await;
        fixture.clock.advance(Duration::from_secs(60));
        let case = format!("{seconds} {by_delivery}");
        if by_delivery {
            fixture.lms.grade("ada", RUN, graded(0.7));
            fixture.store_as_delivery(0.7).await;
        } else {
            fixture.override_grade(0.7, true).await;
            fixture.release().await;
        }
        fixture.clock.advance(Duration::from_secs(seconds));
        fixture.lms.grade("ada", RUN, graded(0.0));
        let answer = fixture.sweep().await;
        let expected = if left {
            json!({"listed": 1, "left:changed_meanwhile": 1})
        } else {
            json!({"listed": 1, "grade_stored": 1, "left:zero_seen_once": 1})
        };
        assert_eq!(answer["tally"], expected, "{case}");
    }
}

/// A write whose answer is lost is recognized when it is sent again.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_recognized() {
    for (percent, did) in [(0.3, "grade_stored"), (0.9, "issued")] {
        let before = prepare(Enrolled).await;
        before.lms.grade("ada", RUN, graded(percent));
        let (proxy, client) = before.proxy(FAST_RETRIES).await;
        let is_lost = AtomicBool::new(false);
        proxy.set(move |call| {
            let is_write = ["PutItem", "TransactWriteItems"].contains(&&*call.operation);
            if is_write && !is_lost.swap(true, Ordering::Relaxed) {
                Fault::LostAnswer
            } else {
                Fault::Pass
            }
        });
        let tally = &wired(before.beside(), client).sweep().await["tally"];
        let found = (&tally[did], &tally["left:changed_meanwhile"]);
        assert_eq!(found, (&json!(1), &Value::Null), "{did}: {tally}");
        assert_eq!(
            before.stored_grade().await.unwrap().history.len(),
            1,
            "{did}"
        );
    }
}

/// The LMS may spell a username in another case than the portal: the row is the learner's, also
/// where the LMS is asked again because they lose something, and where the learner is named.
#[tokio::test]
async fn the_case_of_the_username_in_the_lms_is_ignored() {
    for (here, there) in [("Kepler", "kepler"), ("kepler", "KEPLER")] {
        for fields in [json!({}), json!({"learner": ADA})] {
            let fixture = Fixture::new().await;
            fixture.put_user(ADA, ADA_ID, Some(here)).await;
            fixture.enroll("verified").await;
            for (percent, did) in [(0.9, "issued"), (0.0, "withdrawn"), (0.8, "restored")] {
                fixture.lms.grade(there, RUN, graded(percent));
                fixture.lms.enroll(there, RUN, "verified", true);
                let mut tally = json!({"listed": 1, "grade_stored": 1, did: 1});
                if did == "withdrawn" {
                    fixture.sweep_with(fields.clone()).await;
                    fixture.clock.advance(Duration::from_hours(24));
                    tally = json!({"listed": 1, did: 1});
                }
                let answer = fixture.sweep_with(fields.clone()).await;
                assert_eq!(answer["tally"], tally, "{here} {there} {fields} {did}");
                fixture.clock.advance(Duration::from_secs(60));
            }
            // A learner who is named is requested in the portal's spelling.
            let calls = fixture.lms.calls();
            let mut asked = calls.iter().filter_map(|call| call.username.as_deref());
            let spelling = if fields == json!({}) { there } else { here };
            assert!(
                asked.all(|asked| asked == spelling),
                "{here} {there} {fields}: {calls:?}"
            );
        }
    }
}

/// Two spellings of one username in a list are one learner, and only one row counts.
#[tokio::test]
async fn two_rows_of_one_learner_count_once() {
    let fixture = Fixture::new().await;
    fixture.enroll("verified").await;
    fixture.lms.grade("ada", RUN, graded(0.9));
    fixture.lms.grade("ADA", RUN, graded(0.8));
    let answer = fixture.sweep().await;
    assert_eq!(
        answer["tally"],
        json!({"listed": 1, "grade_stored": 1, "issued": 1})
    );
}
