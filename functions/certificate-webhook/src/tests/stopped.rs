//! Stopped before and after each call to the outside: never two certificates,
//! never one without its grade, never an accepted event gone; and the sender's
//! next try ends as if nothing had happened.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::S;
use harness::stop::{Stop, stopped};
use harness::{FAST_RETRIES, Portal};
use local::lms::{At, FaultRule, LmsFault};
use shared::domain::CertificateState;
use shared::use_cases::certifying::CERTIFYING_TIME;

use super::fixture::Fixture;

/// What there is before the delivery that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A paid enrollment and a pass.
    Fresh,
    /// The same, and an pending event since the LMS failed.
    Pending,
    /// A certificate that was withdrawn.
    Withdrawn,
    /// An LMS that fails.
    LmsFault,
    /// A grade that is no pass yet.
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
                assert_eq!(fixture.pass().await.status, 202);
            }
            Withdrawn => {
                assert_eq!(fixture.pass().await.body["certificate_status"], "created");
                let withdrawn = S("withdrawn".to_owned());
                fixture.set("CertificatesTable", "state", withdrawn).await;
            }
            Faulty => fixture.lms.add_fault(FaultRule::of(LmsFault::Refuse)),
            NotPassed => fixture.grade(0.1, false),
        }
        fixture.portal
    }

    /// What was in the way is so no more.
    async fn resolve(self, portal: &Portal) {
        portal.lms.revoke();
        portal.grade(0.9, true);
        portal.enroll("verified").await;
    }

    /// Entries of the certificate's history and of the grade's, in the end.
    fn entries(self) -> (usize, usize) {
        match self {
            Withdrawn => (2, 1),
            _ => (1, 1),
        }
    }
}

/// Never a certificate in force without a passing grade.
async fn check(portal: &Portal, case: &str) {
    let grade = portal.stored_grade().await;
    if let Some(certificate) = portal.certificate().await
        && certificate.state == CertificateState::InForce
    {
        assert!(grade.unwrap().score.passed, "{case}");
    }
}

#[tokio::test]
async fn the_senders_next_try_ends_the_same() {
    for scenario in SCENARIOS {
        // The calls are those that the work makes when nothing stops it.
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

            // Another process gets the sender's next try.
            let next = Fixture::on(fixture.beside());
            scenario.resolve(&next).await;
            let answer = next.pass().await;
            assert_eq!(answer.status, 200, "{case}");
            check(&next, &case).await;
            // What was pending by the first try may be found done at its next attempt.
            next.clock.advance(Duration::from_secs(90));
            next.retry_due().await;

            let certificate = next.certificate().await.unwrap();
            let grade = next.stored_grade().await.unwrap();
            assert_eq!(certificate.state, CertificateState::InForce, "{case}");
            let (certificates, grades) = scenario.entries();
            assert_eq!(certificate.history.len(), certificates, "{case}");
            // A grade that was no pass has an entry of its own, where it was written.
            let more = usize::from(scenario == NotPassed);
            assert!(
                (grades..=grades + more).contains(&grade.history.len()),
                "{case}"
            );
            assert_eq!(next.pending().await, [], "{case}");
        }
        // At each call, and at the LMS wherever it is asked.
        assert!(stops > 2 * calls, "{scenario:?}: {stops} stops");
    }
}

/// Where the event had been accepted before, nobody has to try again.
#[tokio::test]
async fn an_accepted_event_comes_true_by_itself() {
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

/// The grade and the certificate are one write: one is never there without the other.
#[tokio::test]
async fn grade_and_certificate_come_together() {
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
            (stop == Stop::After(3), stop == Stop::After(3))
        );
    }
}
