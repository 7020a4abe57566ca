//! One client shared by all callers: token and credential, retries, time limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::calls::Counter;
use common::clock::{Clock, FakeClock};
use futures::future::join_all;
use jiff::SignedDuration;
use lms::{ErrorCode, LmsApiError};
use lms::{LmsError, LmsLimits, NoCredentialError};
use local::{Fault, SecretsManager};
use secrets::SecretError;
use serde_json::json;
use tokio::sync::Barrier;

use super::server::{Asked, Reply};
use super::{
    AMPLE, CLIENT, STATIC, Site, assert_discreet, good, is_send, learner, run, score, start,
    throttled, unavailable,
};

const OTHER_CLIENT: &str = r#"{"client_id": "id", "client_secret": "hidden-other"}"#;
const OTHER_STATIC: &str = r#"{"token": "hidden-newer"}"#;

/// Replies with a numbered token, and with the grade for every other request.
fn numbered(asked: &Asked) -> Reply {
    if asked.is_for_a_token() {
        Reply::token(&format!("hidden-{}", asked.number))
    } else {
        good()
    }
}

fn refused(code: &str) -> Reply {
    let text = json!({"developer_message": {"error_code": code, "developer_message": "x"}});
    Reply::json(401, &text)
}

fn unauthorized(code: &str) -> LmsError {
    let error_code = ErrorCode::new(code);
    LmsApiError::Unauthorized { error_code }.into()
}

#[tokio::test]
async fn fifty_concurrent_callers_share_one_token() {
    let site = Site::new(CLIENT, numbered).await;
    let grades = join_all((0..50).map(|_| is_send(site.grade()))).await;
    assert!(grades.iter().all(|grade| *grade == Ok(score())));
    assert_eq!(site.server.counts(), (1, 50));
    assert_eq!(site.reads(), 1);
}

/// If fifty callers wait for a token and the request fails, none of them repeats it.
#[tokio::test]
async fn fifty_concurrent_callers_share_a_failure() {
    let site = Site::new(CLIENT, |_| Reply::html(502)).await;
    let grades = join_all((0..50).map(|_| site.grade())).await;
    let failed = Err(unavailable(502).into());
    assert!(grades.iter().all(|grade| *grade == failed), "{grades:?}");
    assert_eq!(site.server.counts(), (1, 0));
}

#[tokio::test]
async fn warming_up_requests_the_token() {
    let site = Site::new(CLIENT, numbered).await;
    site.client.warm_up().await;
    assert_eq!(site.server.counts(), (1, 0));
    assert_eq!(site.grade().await, Ok(score()));
    assert_eq!(site.server.counts(), (1, 1));

    let broken = Site::new(CLIENT, |_| Reply::BROKEN).await;
    broken.client.warm_up().await;
    assert_eq!(broken.grade().await, Err(LmsApiError::Unreachable.into()));
}

/// A token with a lifetime of an hour is used for 55 minutes, one with a minute for 54
/// seconds.
#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    for (expires_in, used_for) in [(3600, 3300), (60, 54)] {
        let site = Site::new(CLIENT, move |asked| {
            let body = json!({"access_token": "hidden", "expires_in": expires_in});
            if asked.is_for_a_token() {
                Reply::json(200, &body)
            } else {
                good()
            }
        })
        .await;
        for (turn, tokens) in [(0, 1), (used_for - 1, 1), (1, 2), (used_for - 1, 2), (1, 3)] {
            let case = format!("{expires_in}: {tokens} after {turn} s more");
            site.advance(turn);
            assert_eq!(site.grade().await, Ok(score()), "{case}");
            assert_eq!(site.server.counts().0, tokens, "{case}");
        }
        // A clock that is set back does not make the token new again.
        site.clock.set(start());
        assert_eq!(site.grade().await, Ok(score()), "{expires_in}");
        assert_eq!(site.server.counts().0, 4, "{expires_in}");
    }
}

/// If the token of twenty callers is refused at once, one of them renews it for all.
#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all() {
    const CALLERS: usize = 20;
    let barrier = Arc::new(Barrier::new(CALLERS));
    let site = Site::new(CLIENT, move |asked| match asked.authorization() {
        Some("JWT hidden-1") => {
            Reply::Meet(Arc::clone(&barrier), Box::new(refused("token_expired")))
        }
        _ => numbered(asked),
    })
    .await;
    site.client.warm_up().await;
    // The token must be older than a second.
    site.advance(1);
    let grades = join_all((0..CALLERS).map(|_| site.grade())).await;
    assert!(grades.iter().all(|grade| *grade == Ok(score())));
    assert_eq!(site.server.counts(), (2, 2 * CALLERS));
    // The credential was read again for it, although it was read recently.
    assert_eq!(site.reads(), 2);
}

/// A token is renewed at most once. If it is younger than a second, it is retried after a
/// second, because the clock of its issuer may be ahead.
#[tokio::test]
async fn a_new_token_is_retried_and_renewed_once() {
    let failed = || Err(unauthorized("token_nonexistent"));
    let cases = [
        // The credential, the age of its token, the number of refusals, the expected
        // numbers of requests, and the expected duration.
        (CLIENT, 0, 1, (1, 2), 1, Ok(score())),
        (CLIENT, 0, 2, (2, 3), 1, Ok(score())),
        (CLIENT, 0, 3, (2, 4), 2, Ok(score())),
        (CLIENT, 0, 9, (2, 4), 2, failed()),
        (CLIENT, 1, 1, (2, 2), 0, Ok(score())),
        (CLIENT, 1, 2, (2, 3), 1, Ok(score())),
        (CLIENT, 1, 9, (2, 3), 1, failed()),
        (STATIC, 0, 1, (0, 1), 0, failed()),
    ];
    for (credential, age, refusals, counts, seconds, result) in cases {
        let left = Mutex::new(refusals);
        let clock = FakeClock::leaping_from(start());
        let site = Site::with(credential, clock, LmsLimits::NONE, move |asked| {
            let mut left = left.lock().unwrap();
            if asked.is_for_a_token() || *left == 0 {
                return numbered(asked);
            }
            *left -= 1;
            refused("token_nonexistent")
        })
        .await;
        site.client.warm_up().await;
        site.advance(age);
        let case = format!("{credential} {age} {refusals}");
        let began = site.clock.now();
        assert_eq!(site.grade().await, result, "{case}");
        assert_eq!(site.server.counts(), counts, "{case}");
        let took = site.clock.now().duration_since(began);
        assert_eq!(took, SignedDuration::from_secs(seconds), "{case}");
    }
}

/// The LMS need not give the lifetime of a token.
#[tokio::test]
async fn a_token_of_unknown_lifetime_is_used_for_a_minute() {
    let site = Site::new(CLIENT, |asked| {
        if asked.is_for_a_token() {
            Reply::json(200, &json!({"access_token": "hidden"}))
        } else {
            good()
        }
    })
    .await;
    for (turn, tokens) in [(0, 1), (59, 1), (1, 2), (59, 2), (1, 3)] {
        site.advance(turn);
        assert_eq!(site.grade().await, Ok(score()), "{turn} s: {tokens}");
        assert_eq!(site.server.counts().0, tokens, "{turn} s: {tokens}");
    }
}

/// A static token cannot be renewed. Only an operator can replace it.
#[tokio::test]
async fn a_refused_static_token_must_be_replaced() {
    let site = Site::new(STATIC, |asked| match asked.authorization() {
        Some("Bearer hidden-newer") => good(),
        _ => refused("token_malformed"),
    })
    .await;
    let grade = site.grade().await;
    assert_eq!(grade, Err(unauthorized("token_malformed")));
    assert_eq!((site.server.counts(), site.reads()), ((0, 1), 2));

    site.put(OTHER_STATIC).await;
    assert_eq!(site.grade().await, Ok(score()));
    assert_eq!((site.server.counts(), site.reads()), ((0, 3), 3));
}

/// If ten requests with a static token are refused, the secret is read once for all of
/// them.
#[tokio::test]
async fn a_static_token_is_read_again_once_for_all() {
    let barrier = Arc::new(Barrier::new(10));
    let refusal = refused("token_malformed");
    let site = Site::new(STATIC, move |_| {
        Reply::Meet(Arc::clone(&barrier), Box::new(refusal.clone()))
    })
    .await;
    let grades = join_all((0..10).map(|_| site.grade())).await;
    let failed = Err(unauthorized("token_malformed"));
    assert!(grades.iter().all(|grade| *grade == failed));
    assert_eq!((site.server.counts(), site.reads()), ((0, 10), 2));
}

/// A replaced credential takes effect within a minute, and the token of the old
/// credential is not used any more.
#[tokio::test]
async fn a_replaced_credential_takes_effect_within_a_minute() {
    let site = Site::new(CLIENT, numbered).await;
    assert_eq!(site.grade().await, Ok(score()));
    site.put(OTHER_CLIENT).await;
    site.advance(59);
    assert_eq!(site.grade().await, Ok(score()));
    site.advance(1);
    assert_eq!(site.grade().await, Ok(score()));
    site.put(STATIC).await;
    site.advance(60);
    assert_eq!(site.grade().await, Ok(score()));
    let asked = site.server.asked();
    let shown: Vec<_> = asked.iter().filter_map(Asked::authorization).collect();
    assert_eq!(
        shown,
        [
            "JWT hidden-1",
            "JWT hidden-1",
            "JWT hidden-4",
            "Bearer hidden-static"
        ]
    );
    assert!(asked[3].body.contains("client_secret=hidden-other"));
}

/// There is an error without a credential and with a malformed one. During an outage of
/// Secrets Manager the last credential serves for a quarter of an hour.
#[tokio::test]
async fn without_a_usable_credential_nothing_is_asked() {
    let site = Site::new("", numbered).await;
    let none = LmsError::from(NoCredentialError::NoneYet);
    assert_eq!(site.grade().await, Err(none.clone()));
    assert_eq!(none.code(), "NoCredentialYet");
    site.put("{}").await;
    let malformed = LmsError::from(NoCredentialError::Unreadable("MalformedSecret".to_owned()));
    assert_eq!(site.grade().await, Err(malformed.clone()));
    assert_eq!(malformed.code(), "MalformedSecret");
    assert!(none.is_lms_wide() && malformed.is_lms_wide());
    assert_eq!(site.server.counts(), (0, 0));

    site.put(CLIENT).await;
    assert_eq!(site.grade().await, Ok(score()));
    // The SDK does not retry this fault. It allows a process only a limited number of
    // retries, and the other tests need some.
    site.secrets.set(|_| Fault::Garbage);
    let before = site.reads();
    site.advance(60);
    for _ in 0..20 {
        assert_eq!(site.grade().await, Ok(score()));
        site.advance(1);
    }
    // Not every caller waits for a failure: only one does in 15 seconds.
    assert_eq!(site.reads() - before, 2);
    site.advance(900 - 60 - 20 - 1);
    assert_eq!(site.grade().await, Ok(score()));
    site.advance(1);
    let away = LmsError::from(NoCredentialError::Unreadable("UnreadableAnswer".to_owned()));
    assert_eq!(site.grade().await, Err(away.clone()));
    assert_discreet("unreadable", away.clone());
    site.secrets.set(|_| Fault::Pass);
    assert_eq!(site.grade().await, Ok(score()));
    // A refusal is not an outage.
    site.secrets.set(|_| Fault::Refuse("AccessDeniedException"));
    site.advance(60);
    assert_eq!(
        site.grade().await.unwrap_err().code(),
        "AccessDeniedException"
    );
}

/// A secret that does not exist is an error of its own.
#[tokio::test]
async fn a_missing_secret_is_an_error() {
    let manager = SecretsManager::for_tests().await.unwrap();
    let manager = bootstrap::aws::secrets_manager(&local::sdk::configuration(&manager.url));
    let secret = secrets::CredentialSecret::new(manager, "none".to_owned());
    assert!(matches!(secret.read().await, Err(SecretError::Aws(_))));
}

/// A request is retried once if its connection breaks, and not for a status.
#[tokio::test]
async fn a_broken_connection_is_retried_once() {
    let half = || Reply::Half(json!([super::row(super::LEARNER)]));
    let rows: Vec<(Reply, usize, Result<_, LmsError>)> = vec![
        (Reply::BROKEN, 1, Ok(score())),
        (half(), 1, Ok(score())),
        (Reply::BROKEN, 2, Err(LmsApiError::Unreachable.into())),
        (half(), 2, Err(LmsApiError::Unreachable.into())),
        (Reply::html(500), 1, Err(unavailable(500).into())),
        (Reply::html(503), 1, Err(unavailable(503).into())),
        (Reply::html(429), 1, Err(throttled(None).into())),
    ];
    for (n, (reply, times, result)) in rows.into_iter().enumerate() {
        let requests = match &reply {
            Reply::Bytes(bytes) if !bytes.is_empty() => 1,
            _ => 2,
        };
        // The same holds for requests for tokens and for grades.
        for of_tokens in [true, false] {
            let case = format!("row {n}, of tokens: {of_tokens}");
            let (reply, left) = (reply.clone(), Mutex::new(times));
            let site = Site::new(CLIENT, move |asked| {
                let mut left = left.lock().unwrap();
                if asked.is_for_a_token() != of_tokens || *left == 0 {
                    return numbered(asked);
                }
                *left -= 1;
                reply.clone()
            })
            .await;
            let calls = Counter::default();
            let grade = calls.count(site.grade()).await;
            assert_eq!(grade, result, "{case}");
            let (tokens, grades) = site.server.counts();
            assert_eq!(if of_tokens { tokens } else { grades }, requests, "{case}");
            assert_eq!(calls.lms() as usize, tokens + grades, "{case}");
        }
    }
}

/// Failed requests are counted as failures, and valid answers are not.
#[tokio::test]
async fn only_failures_are_counted_as_failures() {
    let not_enrolled = json!({"error_code": "user_not_enrolled"});
    for (reply, requests, failures) in [
        (good(), 2, 0),
        (Reply::json(404, &not_enrolled), 2, 0),
        (Reply::html(404), 2, 1),
        (Reply::html(502), 2, 1),
        (Reply::html(429), 2, 1),
        (Reply::html(403), 2, 1),
        (Reply::json(200, &json!([])), 2, 1),
        (Reply::new(200, &[], "<"), 2, 1),
        // The token is retried, renewed and retried again. A broken connection is
        // replaced by a new one.
        (refused("token_expired"), 6, 4),
        (Reply::BROKEN, 3, 2),
    ] {
        let clock = FakeClock::leaping_from(start());
        let site = Site::with(CLIENT, clock, LmsLimits::NONE, move |asked| {
            match asked.is_for_a_token() {
                true => numbered(asked),
                false => reply.clone(),
            }
        })
        .await;
        let calls = Counter::default();
        let result = calls.count(site.grade()).await;
        let counted = (calls.lms(), calls.lms_failures());
        assert_eq!(counted, (requests, failures), "{result:?}");
        assert_eq!(calls.lms_times().len(), requests as usize, "{result:?}");
    }
}

/// A request for a token counts too. The durations of only the first hundred requests are
/// recorded.
#[tokio::test]
async fn token_requests_count_and_a_hundred_durations_are_recorded() {
    let site = Site::new(CLIENT, |_| Reply::html(502)).await;
    let calls = Counter::default();
    calls.count(site.grade()).await.unwrap_err();
    assert_eq!((calls.lms(), calls.lms_failures()), (1, 1));

    let site = Site::new(STATIC, |_| good()).await;
    let calls = Counter::default();
    for _ in 0..101 {
        calls.count(site.grade()).await.unwrap();
    }
    assert_eq!((calls.lms(), calls.lms_failures()), (101, 0));
    assert_eq!(calls.lms_times().len(), 100);
    // Outside of a request nothing is counted, and nothing fails.
    site.grade().await.unwrap();
    assert_eq!(calls.lms(), 101);
}

/// A request that is cancelled while it waits for the answer counts as failed.
#[tokio::test]
async fn a_cancelled_request_counts_as_failed() {
    let site = Site::new(STATIC, |_| Reply::Hang).await;
    let calls = Counter::default();
    let asked = async {
        while site.server.counts() == (0, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        grade = calls.count(site.grade()) => panic!("{grade:?}"),
        () = asked => {}
    }
    assert_eq!((calls.lms(), calls.lms_failures()), (1, 1));
    assert_eq!(calls.lms_times().len(), 1);
}

/// No wait exceeds the time limit: not for a token, a grade, the rest of a body, or
/// another caller's request for a token.
#[tokio::test]
async fn every_wait_is_limited() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[".to_vec();
    for (case, of_tokens, reply) in [
        ("no answer about a token", true, Reply::Hang),
        ("no answer about a grade", false, Reply::Hang),
        (
            "half an answer about a token",
            true,
            Reply::Open(head.clone()),
        ),
        ("half an answer about a grade", false, Reply::Open(head)),
    ] {
        let hangs = Arc::new(AtomicBool::new(false));
        let site = Site::new(CLIENT, {
            let hangs = Arc::clone(&hangs);
            move |asked| match asked.is_for_a_token() {
                of if of == of_tokens && hangs.load(Ordering::Relaxed) => reply.clone(),
                true => Reply::json(200, &json!({"access_token": "hidden", "expires_in": 20})),
                false => good(),
            }
        })
        .await;
        // From here on the secret is cached, and the token for 18 seconds.
        assert_eq!(site.grade().await, Ok(score()), "{case}");
        if of_tokens {
            site.advance(30);
        }
        hangs.store(true, Ordering::Relaxed);
        // The time limit passes as soon as nothing else is left to do.
        tokio::time::pause();
        let grades = join_all((0..3).map(|_| site.grade())).await;
        tokio::time::resume();
        for grade in grades {
            assert_eq!(grade, Err(LmsApiError::Timeout.into()), "{case}");
        }
        let (tokens, grades) = site.server.counts();
        if of_tokens {
            assert!(tokens > 1 && grades == 1, "{case}: {tokens}, {grades}");
        } else {
            assert_eq!((tokens, grades), (1, 4), "{case}");
        }
        // The cancelled calls do not block later ones.
        hangs.store(false, Ordering::Relaxed);
        assert_eq!(site.grade().await, Ok(score()), "{case}");
    }
    assert_eq!(LmsApiError::Timeout.code(), "Timeout");
}

/// An answer about a learner or a permission does not make the token invalid.
#[tokio::test]
async fn other_refusals_do_not_renew_the_token() {
    for (status, code) in [
        (403, ""),
        (404, "user_not_enrolled"),
        (404, "course_does_not_exist"),
    ] {
        let site = Site::new(CLIENT, move |asked| {
            if asked.is_for_a_token() {
                numbered(asked)
            } else {
                Reply::json(status, &json!({"error_code": code}))
            }
        })
        .await;
        let grade = site.client.grade(&run(), &learner(), AMPLE).await;
        assert_eq!(
            grade.unwrap_err().code(),
            format!("{status} {code}").trim(),
            "{status} {code}"
        );
        assert_eq!(
            (site.server.counts(), site.reads()),
            ((1, 1), 1),
            "{status} {code}"
        );
    }
}
