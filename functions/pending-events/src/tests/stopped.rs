//! A batch that is stopped before or after any outside call, and run again when the lease is over,
//! ends as if nothing had happened.

use std::time::Duration;

use app::certifying::{Pass, Source};
use app::enrolling::{Announcement, EnrollmentEvent};
use common::clock::Clock;
use domain::{BlockedReason, Change, EventState, Lane, Setting};
use harness::stop::{Stop, stopped};
use harness::{ADA, ADA_ID, FAST_RETRIES, Portal, RUN};
use local::lms::{At, FaultRule, LmsFault};

use super::fixture::Fixture;

/// The event that is pending and due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A pass, and the LMS works again.
    Pass,
    /// A pass, and the LMS is still unavailable.
    Faulty,
    /// A pass, and the LMS was unavailable for seven days.
    Dies,
    /// A course role of a user who is known by now.
    Role,
}

use Scenario::{Dies, Faulty, Pass as Passed, Role};

impl Scenario {
    async fn prepare(self) -> Portal {
        let portal = Portal::new().await;
        match self {
            Passed | Faulty | Dies => {
                portal.enroll("verified").await;
                portal.lms.add_fault(FaultRule::of(LmsFault::Refuse));
                portal.add_pending_pass().await;
            }
            Role => {
                let user = portal.dynamodb.delete_item().table_name("UsersTable");
                let email = aws_sdk_dynamodb::types::AttributeValue::S(ADA.to_owned());
                user.key("email", email).send().await.unwrap();
                portal.announce(ADA, Some("instructor"), None).await;
                portal.put_user(ADA, ADA_ID, Some("ada")).await;
            }
        }
        portal.clock.advance(Duration::from_secs(90));
        match self {
            Passed => self.resolve(&portal),
            Dies => {
                // An attempt, so that the LMS is known to have been unavailable.
                Fixture::on(portal.beside()).run().await;
                portal.clock.advance(Duration::from_hours(8 * 24));
            }
            Faulty | Role => {}
        }
        portal
    }

    fn lane(self) -> Lane {
        match self {
            Passed | Faulty | Dies => Lane::Lms,
            Role => Lane::Own,
        }
    }

    /// Removes what blocked the event.
    fn resolve(self, portal: &Portal) {
        portal.lms.revoke();
        portal.grade(0.9, true);
    }
}

#[tokio::test]
async fn the_next_batch_ends_the_same() {
    for scenario in [Passed, Faulty, Dies, Role] {
        let portal = scenario.prepare().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let fixture = Fixture::wired(portal, client);
        fixture.run_lane(scenario.lane(), 120).await.unwrap();
        let calls = proxy.calls();
        // Of the queries of the lane the first and the last, of those that count the first.
        let counted = if scenario == Role { 4 * 16 } else { 0 };
        let [first, last, end] = [1, 16, calls.len() - counted];
        let mut queries = calls[..last].iter().chain(&calls[end..]);
        assert!(queries.all(|call| call == "Query"), "{calls:?}");
        let stopped_at = |n: usize| n == first || (last..=end + 1).contains(&n);
        let stopped_at = Vec::from_iter((1..=calls.len()).filter(|n| stopped_at(*n)));
        assert!(
            (5..=9).contains(&stopped_at.len()),
            "{scenario:?}: {calls:?}"
        );

        let mut stops = 0;
        let all = Stop::all(calls.len(), At::Grades).into_iter();
        let all = all.filter(|stop| match stop {
            Stop::Before(n) | Stop::After(n) => stopped_at.contains(n),
            Stop::Asking(_) => true,
        });
        for stop in all {
            let case = format!("{scenario:?}, {stop:?}");
            let portal = scenario.prepare().await;
            let (proxy, client) = portal.proxy(FAST_RETRIES).await;
            let fixture = Fixture::wired(portal, client);
            let run = fixture.run_lane(scenario.lane(), 120);
            let came_there = stopped(stop, &proxy, &fixture.lms, run).await;
            stops += usize::from(came_there);
            let certificate = fixture.certificate().await;
            assert!(
                certificate.is_none() || fixture.stored_grade().await.is_some(),
                "{case}"
            );
            let is_done = match scenario {
                Role => !fixture.enrollments(ADA_ID).await.is_empty(),
                _ => certificate.is_some(),
            };
            assert!(
                is_done || fixture.pending().await.len() == 1,
                "{case}: it is gone"
            );

            // The lease is over, and nothing blocks the event any more.
            scenario.resolve(&fixture);
            if scenario == Dies && fixture.pending_event().await.state == EventState::Dead {
                retry(&fixture).await;
            }
            fixture.clock.advance(Duration::from_hours(20));
            let next = Fixture::on(fixture.beside());
            next.run().await;
            assert_eq!(next.pending().await, [], "{case}");
            match scenario {
                Role => {
                    let enrollment = next.enrollment().await;
                    assert_eq!(enrollment.history.len(), 1, "{case}");
                    assert_eq!(enrollment.roles.len(), 1, "{case}");
                }
                _ => {
                    let certificate = next.certificate().await.unwrap();
                    assert_eq!(certificate.history.len(), 1, "{case}");
                    let grade = next.stored_grade().await.unwrap();
                    assert_eq!(grade.history.len(), 1, "{case}");
                }
            }
        }
        let at_the_lms = if scenario == Role { 0 } else { 2 };
        assert_eq!(stops, 2 * stopped_at.len() + at_the_lms, "{scenario:?}");
    }
}

/// Makes the event due, as an operator would.
async fn retry(portal: &Portal) {
    let event = portal.pending_event().await;
    let pending_events = portal.use_cases().pending_events().unwrap();
    let now = portal.clock.now();
    assert!(pending_events.save(&event.retried(now)).await.unwrap());
}

/// A process that makes an enrollment paid is stopped at any call: if the enrollment is paid in the
/// end, the certificate is issued without further action.
#[tokio::test]
async fn an_operator_who_makes_an_enrollment_paid_may_be_stopped() {
    becomes_paid(
        "an operator",
        async |portal| portal.enroll("audit").await,
        async |portal, client| {
            let enrolling = portal.wiring(client).enrolling().unwrap();
            let (email, run) = (ADA.parse().unwrap(), RUN.parse().unwrap());
            let by = Change::Operator {
                name: "a test".to_owned(),
            };
            let mode = "verified".parse().unwrap();
            let now = portal.clock.now();
            let set = enrolling.set(&email, &run, Setting::mode(mode, true), by, now);
            set.await.unwrap();
        },
    )
    .await;
}

/// The same holds where the LMS announces the enrollment.
#[tokio::test]
async fn a_delivery_that_makes_an_enrollment_paid_may_be_stopped() {
    for mode in [None, Some("audit")] {
        a_delivery_makes_it_paid(mode).await;
    }
}

/// Asserts this for an enrollment that is created, or upgraded from this mode.
async fn a_delivery_makes_it_paid(before: Option<&str>) {
    becomes_paid(
        &format!("{before:?}"),
        async |portal| {
            if before.is_some() {
                portal.announce(ADA, None, before).await;
            }
        },
        async |portal, client| {
            let enrolling = portal.wiring(client).enrolling().unwrap();
            let announcement = Announcement {
                email: ADA.parse().unwrap(),
                course_id: Some(RUN.parse().unwrap()),
                event: Some(EnrollmentEvent::Enrolled {
                    role: None,
                    mode: Some("verified".parse().unwrap()),
                }),
                by: Change::Operator {
                    name: "a test".to_owned(),
                },
                at: portal.clock.now(),
            };
            enrolling.enroll(&announcement).await.unwrap();
        },
    )
    .await;
}

async fn becomes_paid(
    case: &str,
    before: impl AsyncFn(&Portal),
    set: impl AsyncFn(&Portal, aws_sdk_dynamodb::Client),
) {
    let prepare = async || {
        let portal = Portal::new().await;
        before(&portal).await;
        portal.grade(0.9, true);
        portal.add_pending_pass().await;
        assert_eq!(
            portal.pending_event().await.reason,
            BlockedReason::NotEligible,
            "{case}"
        );
        // One attempt without success: from now on only the enrollment makes the event due.
        portal.clock.advance(Duration::from_secs(90));
        Fixture::on(portal.beside()).run().await;
        portal.clock.advance(Duration::from_hours(24));
        portal
    };
    let portal = prepare().await;
    let (proxy, client) = portal.proxy(FAST_RETRIES).await;
    set(&portal, client).await;
    let calls = proxy.calls();
    // One more call if there was an enrollment: a rejected write reads it.
    let was_there = !prepare().await.enrollments(ADA_ID).await.is_empty();
    let writes = 3 + usize::from(was_there);
    assert_eq!(calls[0], "BatchGetItem", "{case}");
    assert_eq!(calls[1..], vec!["UpdateItem"; writes], "{case}");

    let mut paid = 0;
    for stop in Stop::all(calls.len(), At::Grades) {
        if matches!(stop, Stop::Asking(_)) {
            continue;
        }
        let portal = prepare().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        assert!(
            stopped(stop, &proxy, &portal.lms, set(&portal, client)).await,
            "{case}, {stop:?}"
        );
        portal.clock.advance(Duration::from_secs(100));
        Fixture::on(portal.beside()).run().await;
        let enrollments = portal.enrollments(ADA_ID).await;
        let mut modes = enrollments
            .iter()
            .map(|enrollment| enrollment.mode.as_str());
        let is_paid = modes.any(|mode| mode == "verified");
        assert_eq!(
            portal.certificate().await.is_some(),
            is_paid,
            "{case}, {stop:?}"
        );
        paid += usize::from(is_paid);
        if !is_paid {
            // The same action again issues the certificate.
            set(&portal, portal.client()).await;
            Fixture::on(portal.beside()).run().await;
            assert!(portal.certificate().await.is_some(), "{case}, {stop:?}");
        }
        assert_eq!(portal.pending().await, [], "{case}, {stop:?}");
    }
    assert_eq!(paid, 3, "{case}");
}

/// A delivery that succeeds while the same event is retried: both end, and the effect occurs once.
#[tokio::test]
async fn a_delivery_and_a_retry_at_once_take_effect_once() {
    let portal = Passed.prepare().await;
    let fixture = Fixture::on(portal);
    let certifying = fixture.use_cases().certifying().unwrap();
    let http = harness::http_client();
    let limits = lms::LmsLimits::NONE;
    let lms = fixture
        .use_cases()
        .lms_client(fixture.secrets_client(), http, limits);
    let lms = lms.unwrap();
    let pass = Pass {
        email: ADA.parse().unwrap(),
        course_id: Some(RUN.parse().unwrap()),
        by: Change::Operator {
            name: "a test".to_owned(),
        },
        at: fixture.clock.now(),
    };
    let source = Source::Lms {
        lms: &lms,
        asking: &|_| {},
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let (_, certified) = tokio::join!(fixture.run(), certifying.certify(&pass, source, until));
    certified.unwrap();
    fixture.clock.advance(Duration::from_secs(180));
    fixture.run().await;
    assert_eq!(fixture.certificate().await.unwrap().history.len(), 1);
    assert_eq!(fixture.pending().await, []);
}
