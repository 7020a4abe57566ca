//! A process that is stopped before or after any outside call never leaves two certificates, never
//! one without its grade, and never loses an accepted event; the sender's next attempt ends as if
//! nothing had happened.

use std::time::Duration;

use app::certifying::CERTIFYING_TIME;
use aws_sdk_dynamodb::types::AttributeValue::S;
use domain::CertificateState;
use harness::stop::{Stop, stopped};
use harness::{FAST_RETRIES, Portal};
use local::lms::{At, FaultRule, LmsFault};

use super::fixture::Fixture;

/// The state before the delivery that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A paid enrollment and a pass.
    Fresh,
    /// The same, and a pending event since the LMS failed.
    Pending,
    /// A certificate that was withdrawn.
    Withdrawn,
    /// An LMS that fails.
    LmsFault,
    /// A grade that is not a pass yet.
    NotPassed,
    /// An enrollment that is not paid for.
    NotEligible,
}

use Scenario::{Fresh, LmsFault as Faulty, NotEligible, NotPassed, Pending, Withdrawn};

const SCENARIOS: [Scenario; 6] = [Fresh, Pending, Withdrawn, Faulty, NotPassed, NotEligible];

impl Scenario {
    async fn prepare(self) -> Portal {
        let fixture = Fixture::new().await;
        let mode = if self == NotEligible {
            "audit"
        } else {
            "verified"
        };
        fixture.enroll(mode).await;
        fixture.grade(0.9, true);
        match self {
            Fresh | NotEligible => {}
            Pending => {
                fixture
                    .lms
                    .add_fault(FaultRule::of(LmsFault::Refuse).times(1));
                assert_eq!(fixture.pass().await.status, 202, "{self:?}");
            }
            Withdrawn => {
                assert_eq!(
                    fixture.pass().await.body["certificate_status"],
                    "created",
                    "{self:?}"
                );
                let withdrawn = S("withdrawn".to_owned());
                fixture.set("CertificatesTable", "state", withdrawn).await;
            }
            Faulty => fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse)),
            NotPassed => fixture.grade(0.1, false),
        }
        fixture.portal
    }

    /// Removes what blocked the event.
    async fn resolve(self, portal: &Portal) {
        portal.lms.revoke();
        portal.grade(0.9, true);
        portal.enroll("verified").await;
    }

    /// The number of entries in the certificate's history and in the grade's at the end.
    fn entries(self) -> (usize, usize) {
        match self {
            Withdrawn => (2, 1),
            _ => (1, 1),
        }
    }
}

/// Asserts that a certificate in force has a passing grade.
async fn check(portal: &Portal, case: &str) {
    let grade = portal.stored_grade().await;
    if let Some(certificate) = portal.certificate().await
        && certificate.state == CertificateState::InForce
    {
        assert!(grade.unwrap().score.passed, "{case}");
    }
}

#[tokio::test]
async fn the_senders_next_attempt_ends_the_same() {
    for scenario in SCENARIOS {
        // The calls are those of an uninterrupted delivery.
        let portal = scenario.prepare().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        Fixture::wired(portal, client, CERTIFYING_TIME).pass().await;
        let calls = proxy.calls().len();
        assert!(
            (3..=4).contains(&calls),
            "{scenario:?}: {:?}",
            proxy.calls()
        );

        let mut stops = 0;
        for stop in Stop::all(calls, At::Grades) {
            let case = format!("{scenario:?}, {stop:?}");
            let portal = scenario.prepare().await;
            let (proxy, client) = portal.proxy(FAST_RETRIES).await;
            let fixture = Fixture::wired(portal, client, CERTIFYING_TIME);
            let came_there = stopped(stop, &proxy, &fixture.lms, fixture.pass()).await;
            stops += usize::from(came_there);
            check(&fixture, &case).await;
            if scenario == Pending {
                let is_done = fixture.certificate().await.is_some();
                assert!(is_done || fixture.pending().await.len() == 1, "{case}");
            }

            // Another process gets the sender's next attempt.
            let next = Fixture::on(fixture.beside());
            scenario.resolve(&next).await;
            let answer = next.pass().await;
            assert_eq!(answer.status, 200, "{case}");
            check(&next, &case).await;
            // An event that the first attempt made pending may be found done at its next attempt.
            next.clock.advance(Duration::from_secs(90));
            next.retry_due().await;

            let certificate = next.certificate().await.unwrap();
            let grade = next.stored_grade().await.unwrap();
            assert_eq!(certificate.state, CertificateState::InForce, "{case}");
            let (certificates, grades) = scenario.entries();
            assert_eq!(certificate.history.len(), certificates, "{case}");
            // A failing grade, if it was written, has a history entry of its own.
            let more = usize::from(scenario == NotPassed);
            assert!(
                (grades..=grades + more).contains(&grade.history.len()),
                "{case}"
            );
            assert_eq!(next.pending().await, [], "{case}");
        }
        // Stops at each call, and at each request to the LMS.
        assert!(stops > 2 * calls, "{scenario:?}: {stops} stops");
    }
}

/// An event that was accepted before takes effect without another attempt of the sender.
#[tokio::test]
async fn an_accepted_event_takes_effect_without_the_sender() {
    for stop in Stop::all(4, At::Grades) {
        let portal = Pending.prepare().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let fixture = Fixture::wired(portal, client, CERTIFYING_TIME);
        assert!(
            stopped(stop, &proxy, &fixture.lms, fixture.pass()).await,
            "{stop:?}"
        );
        fixture.clock.advance(Duration::from_secs(90));
        let next = fixture.beside();
        next.retry_due().await;
        let certificate = next.certificate().await.unwrap();
        assert_eq!(certificate.history.len(), 1, "{stop:?}");
        assert_eq!(next.pending().await, [], "{stop:?}");
    }
}

/// The grade and the certificate are one write: one is never stored without the other.
#[tokio::test]
async fn grade_and_certificate_are_stored_together() {
    for stop in Stop::all(3, At::Grades) {
        let portal = Fresh.prepare().await;
        let (proxy, client) = portal.proxy(FAST_RETRIES).await;
        let fixture = Fixture::wired(portal, client, CERTIFYING_TIME);
        assert!(
            stopped(stop, &proxy, &fixture.lms, fixture.pass()).await,
            "{stop:?}"
        );
        let is_graded = fixture.stored_grade().await.is_some();
        let is_certified = fixture.certificate().await.is_some();
        assert_eq!(
            (is_graded, is_certified),
            (stop == Stop::After(3), stop == Stop::After(3)),
            "{stop:?}"
        );
    }
}
