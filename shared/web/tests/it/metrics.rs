//! The metrics document beside each log line. The log of the harness checks that
//! CloudWatch would read each document as metrics.

use std::sync::Arc;
use std::time::Duration;

use app::retry::{EventCounts, RetrySummary};
use app::sweeping::Progress;
use common::calls::Counter;
use common::clock::FakeClock;
use domain::{
    Checkpoint, CourseId, Effect, EventKey, EventKind, Lane, Left, SweepEnd, SweepKind,
    SweepOptions, SweepOutcome,
};
use harness::Log;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;
use web::log::{DeliveryLine, DeliveryRecord, LearnerCounts, Swept, UsedToken};
use web::logging::subscriber;
use web::pipeline::{Arrival, Finished};
use web::{Metric, Metrics};

/// The members of the one document that `write` writes, without the metadata.
fn written(write: impl FnOnce(&Metrics)) -> Map<String, Value> {
    let log = Log::default();
    let clock = Arc::new(FakeClock::at(harness::now()));
    let metrics = Metrics::new("Coursehook/local".to_owned(), clock);
    tracing::subscriber::with_default(subscriber(log.clone()), || write(&metrics));
    let [document] = log.metrics().try_into().unwrap();
    let mut members = document.as_object().unwrap().clone();
    let about = members.remove("_aws").unwrap();
    assert_eq!(about["Timestamp"], harness::now().as_millisecond());
    // The document is a line of its own, and no other line is written.
    assert_eq!(log.lines(), Vec::<Value>::new());
    members
}

fn in_days(days: i64) -> Option<Timestamp> {
    Some(harness::now() + SignedDuration::from_hours(24 * days))
}

#[test]
fn a_delivery_has_its_metrics() {
    let key = EventKey::of(
        EventKind::Enrollment,
        &harness::ADA.parse().unwrap(),
        &harness::RUN.parse().unwrap(),
    );
    let live = |expires_at| Some(UsedToken::live("a".to_owned(), expires_at));
    let dead = || Some(UsedToken::dead("a".to_owned()));
    let none = || json!({});
    let of_token = || json!({"token_id": "a", "TokenDeliveries": 1});
    let ends = |days: f64| json!({"token_id": "a", "TokenDeliveries": 1, "TokenDaysLeft": days});
    let half_a_day = Some(harness::now() + SignedDuration::from_hours(12));
    // The outcome, the token, whether the event is pending, the token's metrics, and the
    // refusals of known tokens.
    for (outcome, token, pending, of_tokens, refused) in [
        ("created", live(None), false, of_token(), 0),
        ("pending", live(in_days(14)), true, ends(14.0), 0),
        ("forbidden", live(half_a_day), false, ends(0.5), 0),
        ("unauthorized", dead(), false, none(), 1),
        ("unauthorized", None, false, none(), 0),
    ] {
        for kind in [EventKind::Enrollment, EventKind::Certificate] {
            let line = DeliveryLine {
                arrival: Arrival {
                    request_id: String::new(),
                    cold_start: false,
                    until: Instant::now(),
                },
                record: DeliveryRecord {
                    token: token.clone(),
                    event_key: pending.then(|| key.clone()),
                    ..DeliveryRecord::default()
                },
                finished: Finished {
                    outcome,
                    duration_ms: 25,
                    ..Finished::default()
                },
            };
            let members = written(|metrics| metrics.delivery_processed(kind, &line));
            let mut expected = json!({
                "kind": kind.as_str(),
                "outcome": outcome,
                "Deliveries": 1,
                "DeliveryTime": 25,
                "DeliveriesPending": u64::from(pending),
                "KnownTokensRefused": refused,
            });
            let fields = expected.as_object_mut().unwrap();
            fields.extend(of_tokens.as_object().unwrap().clone());
            if kind == EventKind::Certificate {
                let issued = u64::from(outcome == "created");
                let lms = json!({"CertificatesIssued": issued, "LmsRequests": 0, "LmsFailures": 0});
                fields.extend(lms.as_object().unwrap().clone());
            }
            assert_eq!(
                Value::from(members),
                expected,
                "{outcome} {token:?} {kind:?}"
            );
        }
    }
}

/// Our own lane counts the events of both, and the other one asks the LMS.
#[test]
fn a_retry_batch_has_its_metrics() {
    let summary = RetrySummary {
        lane: Lane::Own,
        attempted: 7,
        done: 4,
        failed: 2,
        certified: 0,
        lms_paused: false,
        due_for: Duration::from_millis(1500),
        counts: Some(EventCounts {
            waiting: 11,
            dead: 5,
            expired: 6,
        }),
    };
    let members = written(|metrics| metrics.retry_batch_finished(&summary, &Counter::default()));
    let expected = json!({
        "OwnEventsDueFor": 1500, "WaitingEvents": 11, "DeadEvents": 5, "ExpiredEvents": 6,
        "EventsRetried": 7, "EventsDone": 4, "RetriesFailed": 2,
    });
    assert_eq!(Value::from(members), expected);
    let summary = RetrySummary {
        lane: Lane::Lms,
        certified: 3,
        lms_paused: true,
        due_for: Duration::from_secs(90),
        counts: None,
        ..summary
    };
    let members = written(|metrics| metrics.retry_batch_finished(&summary, &Counter::default()));
    let expected = json!({
        "LmsEventsDueFor": 90_000,
        "EventsRetried": 7, "EventsDone": 4, "RetriesFailed": 2, "CertificatesIssued": 3,
        "LmsRequests": 0, "LmsFailures": 0,
    });
    assert_eq!(Value::from(members), expected);
}

#[test]
fn a_list_of_runs_has_its_metrics() {
    for unreadable in [0, 2] {
        let members = written(|metrics| metrics.listed(unreadable));
        assert_eq!(Value::from(members), json!({"UnreadableRuns": unreadable}));
    }
}

/// The metrics of one call count its four learners. The sweep has counted more, because
/// its tally includes earlier calls.
#[test]
fn a_call_of_a_sweep_has_its_metrics() {
    let (now, id) = (harness::now(), Uuid::from_u128);
    let mut counts = LearnerCounts::default();
    for (learner, effect) in [
        (1, Effect::GradeStored),
        (1, Effect::Issued),
        (2, Effect::Restored),
        (3, Effect::GradeStored),
        (3, Effect::Withdrawn),
        (4, Effect::Left(Left::Revoked)),
    ] {
        counts.note(id(learner), &effect);
    }
    let run: CourseId = harness::RUN.parse().unwrap();
    let outcomes = [
        None,
        Some(SweepOutcome::Done),
        Some(SweepOutcome::Halted),
        Some(SweepOutcome::Failed),
    ];
    for (kind, outcome, dry_run) in [SweepKind::Grades, SweepKind::Enrollments]
        .into_iter()
        .flat_map(|kind| outcomes.map(|outcome| (kind, outcome)))
        .flat_map(|(kind, outcome)| [(kind, outcome, true), (kind, outcome, false)])
    {
        let options = SweepOptions {
            dry_run,
            ..SweepOptions::default()
        };
        let mut checkpoint = Checkpoint::new(id(9), now, options);
        checkpoint.tally.note_many(&Effect::Issued, 99);
        let progress = match outcome {
            None => Progress::Suspended {
                wait: Duration::ZERO,
                reason: None,
                checkpoint,
            },
            Some(outcome) => Progress::Ended(SweepEnd {
                sweep_id: checkpoint.sweep_id,
                began_at: now,
                ended_at: now,
                options,
                outcome,
                reason: None,
                tally: checkpoint.tally,
            }),
        };
        let swept = Swept {
            kind,
            request_id: "",
            course_id: &run,
            progress: &progress,
            counts: &counts,
            duration_ms: 0,
            calls: &Counter::default(),
        };
        let members = written(|metrics| metrics.swept(&swept));
        let mut expected = json!({"LmsRequests": 0, "LmsFailures": 0});
        let fields = expected.as_object_mut().unwrap();
        let mut add = |more: Value| fields.extend(more.as_object().unwrap().clone());
        if !dry_run {
            add(json!({"sweep": kind.as_str(), "SweptLearners": 4}));
            if kind == SweepKind::Grades {
                add(json!({"CertificatesIssued": 2, "CertificatesWithdrawn": 1}));
            }
            if let Some(outcome) = outcome {
                let is = |other| u64::from(outcome == other);
                add(json!({
                    "SweepsDone": is(SweepOutcome::Done),
                    "SweepsHalted": is(SweepOutcome::Halted),
                    "SweepsFailed": is(SweepOutcome::Failed),
                }));
            }
        }
        assert_eq!(
            Value::from(members),
            expected,
            "{kind:?} {outcome:?} {dry_run}"
        );
    }
}

/// A library's event is in no line, whatever its target begins with.
#[test]
fn only_our_own_documents_are_written() {
    let log = Log::default();
    tracing::subscriber::with_default(subscriber(log.clone()), || {
        tracing::info!(target: "coursehook::metrics", document = "{}", "a document");
        tracing::info!(target: "metrics", document = "{}", "a library's");
        tracing::debug!(target: "coursehook::metrics", document = "{}", "too low");
        tracing::info!(target: "coursehook", "a line");
    });
    let text = log.text();
    let [document, line] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(document, "{}");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "a line");
}

/// The page must list every metric with its dimensions and its unit, in the order of the
/// code, and no other metric.
#[test]
fn the_page_lists_every_metric() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| {
        let cells = Vec::from_iter(line.split('|').map(str::trim));
        match cells[..] {
            ["", name, dimensions, unit, _, _, ""] if name.starts_with('`') => {
                Some(format!("{name} | {dimensions} | {unit}"))
            }
            _ => None,
        }
    });
    let expected = Metric::ALL.iter().map(|metric| {
        let dimensions = metric.dimensions().iter();
        let dimensions = dimensions.map(|dimension| format!("`{dimension}`"));
        let dimensions = Vec::from_iter(dimensions).join(", ");
        format!("`{}` | {dimensions} | `{}`", metric.name(), metric.unit())
    });
    assert_eq!(Vec::from_iter(rows), Vec::from_iter(expected));
    for metric in Metric::ALL {
        assert!(
            ["Count", "Milliseconds", "None"].contains(&metric.unit()),
            "{metric:?}"
        );
    }
}
