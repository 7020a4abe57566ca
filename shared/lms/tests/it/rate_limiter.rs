//! Rate limits of requests to the LMS, and the circuit breaker.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use common::clock::{Clock, FakeClock};
use futures::future::join_all;
use jiff::SignedDuration;
use lms::{About, LmsError, LmsLimits};
use lms::{InvalidResponse, LmsApiError};
use serde_json::json;
use tokio::sync::Barrier;

use super::server::{Reply, Server};
use super::{CLIENT, STATIC, Site, good, run, score, start, throttled, unavailable};

fn limits(concurrency: u32, per_second: u32, failures: u32) -> LmsLimits {
    LmsLimits {
        concurrency: NonZeroU32::new(concurrency).unwrap(),
        spacing: Duration::from_secs(1) / per_second,
        enrollment_spacing: Duration::ZERO,
        circuit_breaker_threshold: NonZeroU32::new(failures),
    }
}

/// At most four requests may run at once: of twenty callers, four are served at once, and
/// no more.
#[tokio::test]
async fn concurrent_requests_are_limited() {
    let barrier = Arc::new(Barrier::new(4));
    let limits = limits(4, u32::MAX, 0);
    let site = Site::with(STATIC, FakeClock::at(start()), limits, move |_| {
        Reply::Meet(Arc::clone(&barrier), Box::new(good()))
    })
    .await;
    let grades = join_all((0..20).map(|_| site.grade())).await;
    assert!(grades.iter().all(|grade| *grade == Ok(score())));
    assert_eq!(site.server.most_at_once(), 4);
}

/// At five requests per second, requests start 200 ms apart, including requests for
/// tokens and retries. The first starts at once.
#[tokio::test]
async fn requests_per_second_are_limited() {
    let limits = limits(100, 5, 0);
    let clock = FakeClock::leaping_from(start());
    let site = Site::with(CLIENT, clock, limits, |asked| {
        if asked.is_for_a_token() {
            Reply::token("hidden")
        } else if asked.number == 2 {
            Reply::BROKEN
        } else {
            good()
        }
    })
    .await;
    let since = || site.clock.now().duration_since(start());
    for requests in [3, 4, 5, 6] {
        assert_eq!(site.grade().await, Ok(score()), "{requests} requests");
        let spaces = requests - 1;
        assert_eq!(
            since(),
            SignedDuration::from_millis(200) * spaces,
            "{requests} requests"
        );
    }
    // After a pause a caller need not wait, but cannot catch up on unused requests.
    site.advance(600);
    let before = since();
    for _ in 0..2 {
        assert_eq!(site.grade().await, Ok(score()));
    }
    assert_eq!(since() - before, SignedDuration::from_millis(200));
    // A clock that is set back delays nobody either, except for the one interval between
    // the request for another token and the grade.
    let back = SignedDuration::from_hours(-1);
    site.clock.set(start() + back);
    assert_eq!(site.grade().await, Ok(score()));
    assert_eq!(since(), back + SignedDuration::from_millis(200));
}

/// A share is exact even if it is not a whole number of requests per second, or less than
/// one. Each share allows at least one request at once.
#[tokio::test]
async fn a_share_of_the_limits_is_exact() {
    for (parties, at_once, spacing) in [(1, 10, 100), (4, 2, 400), (7, 1, 700), (12, 1, 1200)] {
        let limits = limits(10, 10, 3).shared_by(NonZeroU32::new(parties).unwrap());
        assert_eq!(limits.concurrency.get(), at_once, "{parties}");
        assert_eq!(
            limits.circuit_breaker_threshold,
            NonZeroU32::new(3),
            "{parties}"
        );
        let clock = FakeClock::leaping_from(start());
        let site = Site::with(STATIC, clock, limits, |_| good()).await;
        for _ in 0..4 {
            assert_eq!(site.grade().await, Ok(score()), "{parties}");
        }
        let since = site.clock.now().duration_since(start());
        assert_eq!(since, SignedDuration::from_millis(spacing) * 3, "{parties}");
    }
}

/// Waiting for a permit does not use up the time of the call. A call without any time
/// waits for its permit, and only then times out.
#[tokio::test]
async fn waiting_for_a_permit_does_not_use_up_the_time_of_the_call() {
    let limits = limits(1, 1, 0);
    let site = Site::with(STATIC, FakeClock::at(start()), limits, |asked| {
        if asked.number == 1 {
            good()
        } else {
            Reply::Hang
        }
    })
    .await;
    assert_eq!(site.grade().await, Ok(score()));
    let mut grade = Box::pin(site.grade_within(Duration::ZERO));
    for _ in 0..100 {
        assert!(futures::poll!(&mut grade).is_pending());
        tokio::task::yield_now().await;
    }
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(grade.await, Err(LmsApiError::Timeout.into()));
}

/// After three consecutive failures no request is sent until the next invocation.
#[tokio::test]
async fn after_three_failures_the_circuit_breaker_opens() {
    let status = Arc::new(AtomicU16::new(503));
    let limits = limits(10, u32::MAX, 3);
    let site = Site::with(STATIC, FakeClock::at(start()), limits, {
        let status = Arc::clone(&status);
        move |_| match status.load(Ordering::Relaxed) {
            200 => good(),
            404 => Reply::json(404, &json!({"error_code": "user_not_enrolled"})),
            204 => Reply::json(200, &json!([])),
            status => Reply::html(status),
        }
    })
    .await;
    // An error of one learner ends the series of failures just as a grade does.
    for (answer, result) in [
        (200, Ok(score())),
        (404, Err(LmsApiError::NotEnrolled.into())),
        (204, Err(InvalidResponse::NoRow.into())),
    ] {
        status.store(503, Ordering::Relaxed);
        for _ in 0..2 {
            let failed = Err(unavailable(503).into());
            assert_eq!(site.grade().await, failed, "{answer}");
        }
        status.store(answer, Ordering::Relaxed);
        assert_eq!(site.grade().await, result, "{answer}");
        assert!(!site.client.is_paused(), "{answer}");
    }
    status.store(503, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(!site.client.is_paused());
        site.grade().await.unwrap_err();
    }
    assert!(site.client.is_paused());
    let asked = site.server.asked().len();
    status.store(200, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(
            site.grade().await,
            Err(LmsError::Paused { retry_after: None })
        );
    }
    assert_eq!(site.server.asked().len(), asked);
    site.client.begin_invocation();
    assert_eq!(site.grade().await, Ok(score()));
}

/// A caller that waits for a permit when the circuit breaker opens sends no request
/// either.
#[tokio::test]
async fn an_open_circuit_breaker_stops_waiting_requests_too() {
    let limits = limits(1, 5, 3);
    let clock = FakeClock::leaping_from(start());
    let site = Site::with(STATIC, clock, limits, |_| Reply::html(500)).await;
    let grades = join_all((0..100).map(|_| site.grade())).await;
    let paused = grades
        .iter()
        .filter(|g| **g == Err(LmsError::Paused { retry_after: None }));
    assert_eq!(paused.count(), 97);
    assert_eq!(site.server.asked().len(), 3);
    // Nobody has waited only to learn that requests are paused.
    let waited = site.clock.now().duration_since(start());
    assert_eq!(waited, SignedDuration::from_millis(400));
}

/// If the LMS gives a time to wait, no request is sent until then, and every caller gets
/// the remaining time. This holds for every refusal and every form of the time.
#[tokio::test]
async fn no_request_is_sent_before_retry_after() {
    const NOW: (&str, &str) = ("Date", "Sun, 22 Nov 2026 09:00:00 GMT");
    struct Case<'a> {
        of_tokens: bool,
        status: u16,
        headers: Vec<(&'a str, &'a str)>,
        body: &'a str,
        /// How long no request is sent.
        seconds: u64,
    }
    let headers = vec![("Retry-After", "100")];
    let refused = json!({"error": "invalid_client"}).to_string();
    let waits = |of_tokens, status, headers| Case {
        of_tokens,
        status,
        headers,
        body: "",
        seconds: 100,
    };
    let mut cases = vec![Case {
        seconds: 43_200,
        ..waits(false, 429, vec![("Retry-After", "1000000")])
    }];
    for date in [
        "Sun, 22 Nov 2026 09:01:40 GMT",
        "Sunday, 22-Nov-26 09:01:40 GMT",
        "Sun Nov 22 09:01:40 2026",
    ] {
        cases.push(waits(false, 503, vec![NOW, ("Retry-After", date)]));
    }
    for of_tokens in [false, true] {
        for status in [429, 500, 502, 503, 504, 599] {
            cases.push(waits(of_tokens, status, headers.clone()));
        }
    }
    for status in [401, 400] {
        cases.push(Case {
            body: &refused,
            ..waits(true, status, headers.clone())
        });
    }
    for Case {
        of_tokens,
        status,
        headers,
        body,
        seconds,
    } in cases
    {
        let case = format!("{of_tokens} {status} {headers:?}");
        let answer = Reply::new(status, &headers, body);
        let refuses = Arc::new(AtomicBool::new(true));
        let site = Site::new(CLIENT, {
            let refuses = Arc::clone(&refuses);
            move |asked| {
                let is_refused_kind = asked.is_for_a_token() == of_tokens;
                if is_refused_kind && refuses.load(Ordering::Relaxed) {
                    answer.clone()
                } else if asked.is_for_a_token() {
                    Reply::token("hidden")
                } else {
                    good()
                }
            }
        })
        .await;
        let error = site.grade().await.unwrap_err();
        let lasts = Some(Duration::from_secs(seconds));
        assert_eq!(error.retry_after(), lasts, "{case}");
        refuses.store(false, Ordering::Relaxed);
        let asked = site.server.asked().len();
        for elapsed in [0, 1, seconds - 1] {
            site.clock
                .set(start() + SignedDuration::from_secs(elapsed as i64));
            // A new invocation does not end the pause.
            site.client.begin_invocation();
            let left = Duration::from_secs(seconds - elapsed);
            let paused = LmsError::Paused {
                retry_after: Some(left),
            };
            assert_eq!(site.grade().await, Err(paused.clone()), "{case}");
            let page = site.client.grades_page(&run(), None).await;
            assert_eq!(page, Err(paused), "{case}");
        }
        assert_eq!(site.server.asked().len(), asked, "{case}");
        site.advance(1);
        assert_eq!(site.grade().await, Ok(score()), "{case}");
    }
}

/// Requests for enrollments start 600 ms apart, including the second of two attempts.
/// Requests for tokens and grades do not count, and are not slowed down.
#[tokio::test]
async fn enrollments_have_a_limit_of_their_own() {
    for (parties, spacing) in [(1, 600), (4, 2400)] {
        let limits = LmsLimits {
            enrollment_spacing: Duration::from_mins(1) / 100,
            ..limits(100, 10, 0)
        };
        let limits = limits.shared_by(NonZeroU32::new(parties).unwrap());
        let clock = FakeClock::leaping_from(start());
        let site = Site::with(CLIENT, clock, limits, |asked| {
            if asked.is_for_a_token() {
                Reply::token("hidden")
            } else if asked.number == 4 {
                Reply::BROKEN
            } else if asked.line.contains("/api/enrollment/") {
                Reply::json(200, &json!({"next": null, "results": []}))
            } else {
                good()
            }
        })
        .await;
        let since = || site.clock.now().duration_since(start());
        let [spacing, general] =
            [spacing, i64::from(parties) * 100].map(SignedDuration::from_millis);
        // The token, then two grades.
        for _ in 0..2 {
            assert_eq!(site.grade().await, Ok(score()), "{parties}");
        }
        assert_eq!(since(), general * 2, "{parties}");
        let about = About::Run(run());
        let began = since();
        // The first page takes two attempts.
        for spaces in [1, 2, 3] {
            site.client.enrollments_page(&about, None).await.unwrap();
            assert_eq!(since() - began, spacing * spaces, "{parties}");
        }
        // Other requests do not wait for that limit.
        let before = since();
        for _ in 0..2 {
            assert_eq!(site.grade().await, Ok(score()), "{parties}");
        }
        assert!(since() - before <= general * 2, "{parties}");
    }
}

/// If the LMS throttles without a time to wait, the next request is sent.
#[tokio::test]
async fn throttling_without_a_time_does_not_pause_requests() {
    let site = Site::new(STATIC, |asked| match asked.number {
        1 => Reply::html(429),
        _ => good(),
    })
    .await;
    assert_eq!(site.grade().await, Err(throttled(None).into()));
    assert_eq!(site.grade().await, Ok(score()));
}

/// The test server counts concurrent requests, so it would show more than allowed.
#[tokio::test]
async fn the_server_counts_concurrent_requests() {
    let barrier = Arc::new(Barrier::new(3));
    let server = Server::start(move |_| Reply::Meet(Arc::clone(&barrier), Box::new(good()))).await;
    let lms = super::lms(&server.url);
    let token = lms::Authorization::jwt(&"x".into()).unwrap();
    let (run, learner) = (run(), super::learner());
    join_all((0..3).map(|_| lms.grade(&token, &run, &learner))).await;
    assert_eq!(server.most_at_once(), 3);
}
