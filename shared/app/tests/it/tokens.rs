//! Tokens end to end: the registry that operators change and the check that functions
//! make, on a real Secrets Manager, with a fake clock.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::authenticating::{
    AuthDecision, KNOWN_EVERYWHERE_AFTER, TokenCheck, TokensUnavailableError,
};
use app::issuing_tokens::{Issued, TokenError, TokenRegistry};
use bootstrap::aws;
use common::clock::{Clock, FakeClock, SystemClock};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use local::{Fault, FaultyProxy, SecretsManager};
use secrecy::ExposeSecret;
use secrets::{SecretError, TokenSecret};
use uuid::Uuid;

/// A secret for one test, with a token check that reads it through a proxy.
struct Tokens {
    clock: Arc<FakeClock>,
    registry: TokenRegistry,
    check: TokenCheck,
    proxy: FaultyProxy,
    secret: String,
}

impl Tokens {
    async fn new() -> Self {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let secret = Uuid::new_v4().to_string();
        secrets.create(&secret).await.unwrap();
        let proxy = FaultyProxy::before(&secrets.url, |_| Fault::Pass)
            .await
            .unwrap();
        // A sleeper advances the clock, so that the test sees how long it waited.
        let start = "2026-11-22T09:00:00Z".parse().unwrap();
        let clock = Arc::new(FakeClock::leaping_from(start));
        Self {
            registry: TokenRegistry::new(at(&secrets.url, &secret), clock.clone()),
            check: TokenCheck::new(at(&proxy.url, &secret), clock.clone()),
            clock,
            proxy,
            secret,
        }
    }

    async fn issue(&self) -> Issued {
        self.registry.issue("lms", true, None).await.unwrap()
    }

    async fn authenticate(&self, issued: &Issued) -> Result<AuthDecision, TokensUnavailableError> {
        self.check.authenticate(issued.token.expose_secret()).await
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The number of our labels on the secret.
    async fn labels(&self) -> usize {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let client = aws::secrets_manager(&local::sdk::configuration(&secrets.url));
        let secret = client.describe_secret().secret_id(&self.secret).send();
        let versions = secret.await.unwrap().version_ids_to_stages.unwrap();
        let labels = versions.values().flatten();
        labels.filter(|label| label.starts_with("writing-")).count()
    }

    /// The number of reads of the list so far.
    fn reads(&self) -> usize {
        self.proxy.calls().len()
    }

    fn fail(&self) {
        self.proxy.set(|_| Fault::InternalError);
    }

    fn recover(&self) {
        self.proxy.set(|_| Fault::Pass);
    }
}

fn at(url: &str, secret: &str) -> TokenSecret {
    let client = aws::secrets_manager(&local::sdk::configuration(url));
    TokenSecret::new(client, secret.to_owned())
}

fn staff(issued: &Issued) -> Result<AuthDecision, TokensUnavailableError> {
    Ok(AuthDecision::Staff {
        id: issued.record.id.clone(),
        expires_at: issued.record.expires_at,
    })
}

fn revoked(issued: &Issued) -> Result<AuthDecision, TokensUnavailableError> {
    Ok(AuthDecision::Revoked {
        id: issued.record.id.clone(),
    })
}

fn is_unavailable(decision: &Result<AuthDecision, TokensUnavailableError>) -> bool {
    matches!(
        decision,
        Err(TokensUnavailableError::Secret(SecretError::Aws(_)))
    )
}

#[tokio::test]
async fn a_token_is_issued_authenticated_and_revoked() {
    let tokens = Tokens::new().await;
    let plain = tokens.registry.issue("portal", false, None).await.unwrap();
    let ending = Some(SignedDuration::from_mins(10));
    let ending = tokens.registry.issue("trial", true, ending).await.unwrap();
    let lasting = tokens.issue().await;
    let not_staff = Ok(AuthDecision::NotStaff {
        id: plain.record.id.clone(),
        expires_at: None,
    });
    assert_eq!(tokens.authenticate(&plain).await, not_staff);
    assert_eq!(tokens.authenticate(&ending).await, staff(&ending));
    assert_eq!(tokens.authenticate(&lasting).await, staff(&lasting));
    assert_eq!(tokens.reads(), 1);

    tokens.advance(600);
    assert_eq!(
        tokens.authenticate(&ending).await,
        Ok(AuthDecision::Expired {
            id: ending.record.id.clone()
        })
    );
    assert!(
        tokens
            .registry
            .revoke(&lasting.record.id)
            .await
            .unwrap()
            .changed
    );
    tokens.advance(1);
    assert!(
        !tokens
            .registry
            .revoke(&lasting.record.id)
            .await
            .unwrap()
            .changed
    );
    tokens.advance(59);
    assert_eq!(tokens.authenticate(&lasting).await, revoked(&lasting));
    let unknown = tokens.registry.revoke("no-such-id").await;
    assert!(matches!(unknown, Err(TokenError::NoSuchToken(_))));

    // Only digests are stored.
    let secrets = SecretsManager::for_tests().await.unwrap();
    let stored = secrets.value(&tokens.secret).await.unwrap().unwrap();
    assert!(!stored.contains(lasting.token.expose_secret()));
    assert!(stored.contains(&lasting.record.sha256));
}

/// A new token must work from the moment it is shown, and a revoked one must stop working
/// within a minute, without a restart.
#[tokio::test]
async fn changes_take_effect_without_a_restart() {
    let tokens = Tokens::new().await;
    let old = tokens.issue().await;
    assert_eq!(tokens.authenticate(&old).await, staff(&old));

    // Less than a minute has passed, but more than two seconds: the unknown token causes
    // a read of the list.
    let new = tokens.issue().await;
    tokens.clock.advance(KNOWN_EVERYWHERE_AFTER);
    assert_eq!(tokens.authenticate(&new).await, staff(&new));
    assert_eq!(tokens.reads(), 2);

    tokens.registry.revoke(&old.record.id).await.unwrap();
    tokens.advance(59);
    assert_eq!(tokens.authenticate(&old).await, staff(&old));
    tokens.advance(1);
    assert_eq!(tokens.authenticate(&old).await, revoked(&old));
    assert_eq!(tokens.reads(), 3);
}

/// If Secrets Manager is unavailable at the start, no token can be authenticated. Once it
/// is available again, the next delivery is authenticated without a restart.
#[tokio::test]
async fn an_outage_at_the_start_ends_without_a_restart() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    tokens.fail();
    tokens.check.warm_up().await;
    assert!(is_unavailable(&tokens.authenticate(&issued).await));
    tokens.advance(1);
    tokens.recover();
    assert_eq!(tokens.authenticate(&issued).await, staff(&issued));
}

/// Tokens are unavailable if none was ever issued, or if the stored value is not a list.
#[tokio::test]
async fn without_a_list_no_token_is_authenticated() {
    let tokens = Tokens::new().await;
    assert_eq!(
        tokens.check.authenticate("anything").await,
        Err(TokensUnavailableError::NoTokensYet)
    );
    let secrets = SecretsManager::for_tests().await.unwrap();
    secrets.put(&tokens.secret, "no list").await.unwrap();
    tokens.advance(1);
    let malformed = Err(TokensUnavailableError::Secret(SecretError::Malformed));
    assert_eq!(tokens.check.authenticate("anything").await, malformed);
    // An operator does not overwrite a value that is not a list.
    let issued = tokens.registry.issue("lms", true, None).await;
    assert!(matches!(
        issued,
        Err(TokenError::Secret(SecretError::Malformed))
    ));
    // A missing secret is an error and not an empty list.
    let missing = at(&secrets.url, "no-such-secret").read().await;
    assert!(matches!(missing, Err(SecretError::Aws(_))), "{missing:?}");
}

/// During an outage of an hour the cached list serves for a quarter of an hour, and the
/// rest is 503. An unknown token is 503 from the start, because it may be a new one.
#[tokio::test]
async fn during_an_outage_the_cached_list_serves_for_a_quarter_of_an_hour() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.authenticate(&known).await, staff(&known));
    // The SDK does not retry this fault. It allows a process only a limited number of
    // retries, and the other tests need some.
    tokens.proxy.set(|_| Fault::Garbage);
    tokens.advance(5);
    assert!(is_unavailable(
        &tokens.check.authenticate("a-stranger").await
    ));

    let mut served = 0;
    for _ in 0..360 {
        tokens.advance(10);
        let decision = tokens.authenticate(&known).await;
        if decision == staff(&known) {
            served += 1;
        } else {
            assert!(is_unavailable(&decision));
        }
    }
    // From 15 seconds to 895 seconds after the list was read.
    assert_eq!(served, 89);

    tokens.recover();
    tokens.advance(5);
    assert_eq!(tokens.authenticate(&known).await, staff(&known));
}

/// While Secrets Manager hangs and the list is stale, not every delivery waits for a
/// failure: the list is read once, and again 15 seconds later.
#[tokio::test]
async fn during_an_outage_only_one_delivery_waits_for_each_read() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.authenticate(&known).await, staff(&known));
    let clock = Arc::clone(&tokens.clock);
    tokens.proxy.set(move |_| {
        // The duration of a hanging read, including all attempts.
        clock.advance(Duration::from_secs(6));
        Fault::Garbage
    });
    tokens.advance(60);
    let before = tokens.reads();
    for _ in 0..21 {
        assert_eq!(tokens.authenticate(&known).await, staff(&known));
        tokens.advance(1);
    }
    assert_eq!(tokens.reads() - before, 2);
}

/// Fifty concurrent deliveries that find the list too old cause one read.
#[tokio::test]
async fn concurrent_deliveries_share_one_read() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    for _ in 0..3 {
        let before = tokens.reads();
        let decisions = join_all((0..50).map(|_| tokens.authenticate(&issued))).await;
        assert!(decisions.iter().all(|decision| *decision == staff(&issued)));
        assert_eq!(tokens.reads() - before, 1);
        tokens.advance(61);
    }
}

/// A flood of unknown tokens costs one read in two seconds and makes nobody wait, and a
/// token that is shown meanwhile works.
#[tokio::test]
async fn a_flood_of_unknown_tokens_does_not_block_a_new_token() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.authenticate(&known).await, staff(&known));
    let start = tokens.reads();

    for turn in 1..=6 {
        let new = tokens.issue().await;
        tokens.clock.advance(KNOWN_EVERYWHERE_AFTER);
        let presented_at = tokens.clock.now();
        let strangers: Vec<_> = (0..100).map(|n| format!("stranger-{turn}-{n}")).collect();
        // The same tokens twice, and then others: the list is recent, and the known
        // unknown tokens are remembered.
        for more in ["", "", "-more"] {
            let strangers: Vec<_> = strangers.iter().map(|s| format!("{s}{more}")).collect();
            let flood = join_all(
                strangers
                    .iter()
                    .map(|token| tokens.check.authenticate(token)),
            );
            let (decisions, new_decision) = tokio::join!(flood, tokens.authenticate(&new));
            assert_eq!(new_decision, staff(&new), "turn {turn}, {more:?}");
            assert!(
                decisions
                    .iter()
                    .all(|decision| *decision == Ok(AuthDecision::Unknown)),
                "turn {turn}, {more:?}"
            );
            assert_eq!(
                tokens.authenticate(&known).await,
                staff(&known),
                "turn {turn}, {more:?}"
            );
            assert_eq!(tokens.reads() - start, turn, "turn {turn}, {more:?}");
            assert_eq!(tokens.clock.now(), presented_at, "turn {turn}, {more:?}");
        }
    }
}

/// A token must work at every instance from the moment it is shown, however old the
/// instance's list is, and with or without unknown tokens meanwhile.
#[tokio::test]
async fn a_new_token_works_at_every_instance_once_it_is_shown() {
    const BEFORE_THE_WRITE: [u64; 8] = [59_000, 30_000, 5_000, 2_500, 2_000, 1_500, 500, 0];
    const STEP: Duration = Duration::from_millis(100);
    for (unknown_tokens_come, presented_after) in [
        (true, 0),
        (false, 0),
        (true, 1),
        (false, 1),
        (true, 5),
        (false, 5),
    ] {
        let case = format!("{unknown_tokens_come}, {presented_after} s");
        let tokens = Tokens::new().await;
        tokens.issue().await;
        let written_at = tokens.clock.now() + SignedDuration::from_mins(1);
        let mut instances = Vec::new();
        for before in BEFORE_THE_WRITE {
            let read_at = written_at - SignedDuration::from_millis(before as i64);
            tokens.clock.set(read_at);
            let instance =
                TokenCheck::new(at(&tokens.proxy.url, &tokens.secret), tokens.clock.clone());
            instance.warm_up().await;
            instances.push(instance);
        }
        tokens.clock.set(written_at);
        let new = tokens.issue().await;
        let shown_at = written_at + SignedDuration::try_from(KNOWN_EVERYWHERE_AFTER).unwrap();
        let presented_at = shown_at + SignedDuration::from_secs(presented_after);
        while tokens.clock.now() < presented_at {
            if unknown_tokens_come {
                let stranger = tokens.clock.now().to_string();
                let authenticated = instances
                    .iter()
                    .map(|instance| instance.authenticate(&stranger));
                let authenticated = join_all(authenticated).await;
                assert!(
                    authenticated
                        .iter()
                        .all(|decision| *decision == Ok(AuthDecision::Unknown)),
                    "{case}"
                );
            }
            tokens.clock.advance(STEP);
        }
        for (instance, before) in instances.iter().zip(BEFORE_THE_WRITE) {
            let authenticated = instance.authenticate(new.token.expose_secret()).await;
            assert_eq!(authenticated, staff(&new), "{before} ms, {case}");
            // Nobody has waited either.
            assert_eq!(tokens.clock.now(), presented_at, "{before} ms, {case}");
        }
    }
}

/// A thousand unknown tokens in a minute, one after the other, must cause few reads of
/// the list and little waiting.
#[tokio::test]
async fn a_thousand_unknown_tokens_cause_few_reads() {
    type Stranger = fn(u64) -> String;
    let another: Stranger = |n| format!("stranger-{n}");
    let same: Stranger = |_| "stranger".to_owned();
    let in_turn: Stranger = |n| format!("stranger-{}", n % 100);
    // The unknown token, the duration of a read, whether reads fail, and the expected
    // number of reads.
    for (case, stranger, takes, fails, expected) in [
        ("each another one", another, 500, false, 25..=30),
        ("always the same", same, 500, false, 1..=1),
        ("a hundred in turn", in_turn, 500, false, 25..=30),
        // The duration of a hanging read, including all attempts.
        ("Secrets Manager hangs", another, 6_000, true, 3..=3),
    ] {
        let tokens = Tokens::new().await;
        let known = tokens.issue().await;
        assert_eq!(tokens.authenticate(&known).await, staff(&known), "{case}");
        tokens.advance(5);
        let clock = Arc::clone(&tokens.clock);
        tokens.proxy.set(move |_| {
            clock.advance(Duration::from_millis(takes));
            if fails { Fault::Garbage } else { Fault::Pass }
        });
        let (began, reads) = (tokens.clock.now(), tokens.reads());
        let mut waited = SignedDuration::ZERO;
        for n in 0..1000 {
            let arrives_at = began + SignedDuration::from_millis(60 * n as i64);
            if tokens.clock.now() < arrives_at {
                tokens.clock.set(arrives_at);
            }
            let before = tokens.clock.now();
            let authenticated = tokens.check.authenticate(&stranger(n)).await;
            assert!(
                !matches!(authenticated, Ok(AuthDecision::Staff { .. })),
                "{case}"
            );
            waited += tokens.clock.now().duration_since(before);
        }
        let reads = tokens.reads() - reads;
        assert!(
            waited < SignedDuration::from_secs(20),
            "{case}: {waited:?}, {reads} reads"
        );
        assert!(expected.contains(&reads), "{case}: {reads} reads");
    }
}

/// A clock that is set back must not make the list recent again.
#[tokio::test]
async fn a_clock_set_back_does_not_make_the_list_recent_again() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    assert_eq!(tokens.authenticate(&issued).await, staff(&issued));
    tokens.registry.revoke(&issued.record.id).await.unwrap();
    tokens
        .clock
        .set("2026-11-22T08:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(tokens.authenticate(&issued).await, revoked(&issued));
}

/// A refusal by Secrets Manager is not an outage: an emergency stop by policy, or by a
/// value that is not a list, takes effect within a minute.
#[tokio::test]
async fn a_refusal_by_secrets_manager_is_not_an_outage() {
    for cause in ["denied", "no list"] {
        let tokens = Tokens::new().await;
        let issued = tokens.issue().await;
        assert_eq!(
            tokens.authenticate(&issued).await,
            staff(&issued),
            "{cause}"
        );
        if cause == "denied" {
            tokens.proxy.set(|_| Fault::Refuse("AccessDeniedException"));
        } else {
            let secrets = SecretsManager::for_tests().await.unwrap();
            secrets.put(&tokens.secret, cause).await.unwrap();
        }
        tokens.advance(60);
        assert!(tokens.authenticate(&issued).await.is_err(), "{cause}");
    }
}

/// AWS allows a secret twenty labels. A change leaves none behind, and labels of
/// interrupted changes are removed when there are too many.
#[tokio::test]
async fn no_label_is_left_behind() {
    let tokens = Tokens::new().await;
    tokens.issue().await;
    assert_eq!(tokens.labels().await, 0);
    let registry = TokenRegistry::new(at(&tokens.proxy.url, &tokens.secret), tokens.clock.clone());
    // Every call after the write of the new version fails.
    tokens.proxy.set(|call| match call.operation.as_str() {
        "UpdateSecretVersionStage" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 1);

    // There is no room for another label. A label younger than an hour may belong to a
    // change in progress.
    let full = |call: &local::Call| match call.operation.as_str() {
        "PutSecretValue" => Fault::Refuse("LimitExceededException"),
        _ => Fault::Pass,
    };
    tokens.proxy.set(full);
    tokens.advance(3599);
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 1);
    tokens.advance(1);
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 0);

    // The second put of a change finds the room that the change has made.
    let puts = AtomicUsize::new(0);
    tokens.proxy.set(move |call| match call.operation.as_str() {
        "PutSecretValue" if puts.fetch_add(1, Ordering::Relaxed) == 0 => {
            Fault::Refuse("LimitExceededException")
        }
        _ => Fault::Pass,
    });
    registry.issue("x", true, None).await.unwrap();
    assert_eq!(tokens.registry.list().await.unwrap().len(), 2);
}

/// Operators who issue and revoke concurrently lose no change, even if an answer is lost
/// after its effect.
#[tokio::test]
async fn concurrent_operators_lose_no_change() {
    for answers_get_lost in [false, true] {
        let tokens = Tokens::new().await;
        let (first, second) = (tokens.issue().await, tokens.issue().await);
        // The first answer to each write is lost. A second attempt sends the same body.
        let sent = Mutex::new(HashSet::new());
        tokens.proxy.set(move |call| {
            let is_write = call.operation != "GetSecretValue";
            if answers_get_lost && is_write && sent.lock().unwrap().insert(call.body.clone()) {
                Fault::LostAnswer
            } else {
                Fault::Pass
            }
        });
        let operator =
            || TokenRegistry::new(at(&tokens.proxy.url, &tokens.secret), Arc::new(SystemClock));
        let operators: Vec<_> = (0..4).map(|_| operator()).collect();
        let (issued, revoked) =
            tokio::join!(
                join_all(operators[..2].iter().map(|operator| async {
                    let mut ids = Vec::new();
                    for _ in 0..3 {
                        ids.push(
                            operator
                                .issue("another", true, None)
                                .await
                                .unwrap()
                                .record
                                .id,
                        );
                    }
                    ids
                })),
                join_all(operators[2..].iter().zip([&first, &second]).map(
                    |(operator, token)| async {
                        operator
                            .revoke(&token.record.id)
                            .await
                            .unwrap()
                            .record
                            .revoked_at
                    }
                )),
            );
        assert!(
            revoked.iter().all(Option::is_some),
            "answers get lost: {answers_get_lost}"
        );
        let listed = tokens.registry.list().await.unwrap();
        let live: BTreeSet<_> = listed
            .iter()
            .filter(|record| record.revoked_at.is_none())
            .map(|record| record.id.clone())
            .collect();
        assert_eq!(
            live,
            issued.into_iter().flatten().collect(),
            "answers get lost: {answers_get_lost}"
        );
        assert_eq!(listed.len(), 8, "answers get lost: {answers_get_lost}");
    }
}
