//! Tokens from end to end: the registry that operators change and the check
//! that functions make, on a real Secrets Manager, with time held still.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use local::{Fault, FaultyProxy, SecretsManager};
use secrecy::ExposeSecret;
use shared::adapters::secrets::{SecretError, TokenSecret};
use shared::clock::{HeldClock, SystemClock};
use shared::startup::aws;
use shared::use_cases::authenticating::{Judgement, TokenCheck, Unavailable};
use shared::use_cases::issuing_tokens::{Issued, TokenError, TokenRegistry};
use uuid::Uuid;

/// A secret of the test's own, with a check that reads it through a proxy.
struct Tokens {
    clock: Arc<HeldClock>,
    registry: TokenRegistry,
    check: Arc<TokenCheck>,
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
        let clock = Arc::new(HeldClock::at("2026-11-22T09:00:00Z".parse().unwrap()));
        Self {
            registry: TokenRegistry::new(at(&secrets.url, &secret), clock.clone()),
            check: Arc::new(TokenCheck::new(at(&proxy.url, &secret), clock.clone())),
            clock,
            proxy,
            secret,
        }
    }

    async fn issue(&self) -> Issued {
        self.registry.issue("lms", true, None).await.unwrap()
    }

    async fn judge(&self, issued: &Issued) -> Result<Judgement, Unavailable> {
        self.check.judge(issued.token.expose_secret()).await
    }

    fn turn(&self, seconds: u64) {
        self.clock.turn(Duration::from_secs(seconds));
    }

    /// Waits until so many wait for their turn.
    async fn until_asleep(&self, count: usize) {
        let asleep = async {
            while self.clock.sleepers() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asleep)
            .await
            .unwrap();
    }

    /// How many labels of ours the secret has.
    async fn labels(&self) -> usize {
        let secrets = SecretsManager::for_tests().await.unwrap();
        let client = aws::secrets_manager(&local::sdk::configuration(&secrets.url));
        let secret = client.describe_secret().secret_id(&self.secret).send();
        let versions = secret.await.unwrap().version_ids_to_stages.unwrap();
        let labels = versions.values().flatten();
        labels.filter(|label| label.starts_with("writing-")).count()
    }

    /// How often the list was read so far.
    fn reads(&self) -> usize {
        self.proxy.calls().len()
    }

    fn away(&self) {
        self.proxy.set(|_| Fault::InternalError);
    }

    fn back(&self) {
        self.proxy.set(|_| Fault::Pass);
    }
}

fn at(url: &str, secret: &str) -> TokenSecret {
    let client = aws::secrets_manager(&local::sdk::configuration(url));
    TokenSecret::new(client, secret.to_owned())
}

fn staff(issued: &Issued) -> Result<Judgement, Unavailable> {
    Ok(Judgement::Staff {
        id: issued.record.id.clone(),
        expires_at: issued.record.expires_at,
    })
}

fn revoked(issued: &Issued) -> Result<Judgement, Unavailable> {
    Ok(Judgement::Revoked {
        id: issued.record.id.clone(),
    })
}

fn is_unavailable(judgement: &Result<Judgement, Unavailable>) -> bool {
    matches!(judgement, Err(Unavailable::Secret(SecretError::Aws(_))))
}

#[tokio::test]
async fn a_token_through_its_life() {
    let tokens = Tokens::new().await;
    let plain = tokens.registry.issue("portal", false, None).await.unwrap();
    let ending = Some(SignedDuration::from_mins(10));
    let ending = tokens.registry.issue("trial", true, ending).await.unwrap();
    let lasting = tokens.issue().await;
    let not_staff = Ok(Judgement::NotStaff {
        id: plain.record.id.clone(),
        expires_at: None,
    });
    assert_eq!(tokens.judge(&plain).await, not_staff);
    assert_eq!(tokens.judge(&ending).await, staff(&ending));
    assert_eq!(tokens.judge(&lasting).await, staff(&lasting));
    assert_eq!(tokens.reads(), 1);

    tokens.turn(600);
    assert_eq!(
        tokens.judge(&ending).await,
        Ok(Judgement::Expired {
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
    tokens.turn(1);
    assert!(
        !tokens
            .registry
            .revoke(&lasting.record.id)
            .await
            .unwrap()
            .changed
    );
    tokens.turn(59);
    assert_eq!(tokens.judge(&lasting).await, revoked(&lasting));
    let unknown = tokens.registry.revoke("no-such-id").await;
    assert!(matches!(unknown, Err(TokenError::NoSuchToken(_))));

    // Nothing but digests is stored.
    let secrets = SecretsManager::for_tests().await.unwrap();
    let stored = secrets.value(&tokens.secret).await.unwrap().unwrap();
    assert!(!stored.contains(lasting.token.expose_secret()));
    assert!(stored.contains(&lasting.record.sha256));
}

/// A new token works at once, a revoked one dies within a minute, with no restart.
#[tokio::test]
async fn changes_arrive_without_a_restart() {
    let tokens = Tokens::new().await;
    let old = tokens.issue().await;
    assert_eq!(tokens.judge(&old).await, staff(&old));

    // A minute has not passed, and five seconds have: the unknown token makes the list be read.
    tokens.turn(5);
    let new = tokens.issue().await;
    assert_eq!(tokens.judge(&new).await, staff(&new));
    assert_eq!(tokens.reads(), 2);

    tokens.registry.revoke(&old.record.id).await.unwrap();
    tokens.turn(59);
    assert_eq!(tokens.judge(&old).await, staff(&old));
    tokens.turn(1);
    assert_eq!(tokens.judge(&old).await, revoked(&old));
    assert_eq!(tokens.reads(), 3);
}

/// Secrets Manager away at start: no token can be judged; once it is back,
/// the next delivery is, with no restart.
#[tokio::test]
async fn away_at_start() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    tokens.away();
    tokens.check.warm_up().await;
    assert!(is_unavailable(&tokens.judge(&issued).await));
    tokens.turn(1);
    tokens.back();
    assert_eq!(tokens.judge(&issued).await, staff(&issued));
}

/// No token was ever issued, or what is stored is no list.
#[tokio::test]
async fn no_list_yet_and_no_list_at_all() {
    let tokens = Tokens::new().await;
    assert_eq!(
        tokens.check.judge("anything").await,
        Err(Unavailable::NoTokensYet)
    );
    let secrets = SecretsManager::for_tests().await.unwrap();
    secrets.put(&tokens.secret, "no list").await.unwrap();
    tokens.turn(1);
    let malformed = Err(Unavailable::Secret(SecretError::Malformed));
    assert_eq!(tokens.check.judge("anything").await, malformed);
    // An operator does not write over what is no list.
    let issued = tokens.registry.issue("lms", true, None).await;
    assert!(matches!(
        issued,
        Err(TokenError::Secret(SecretError::Malformed))
    ));
    // A secret that is not there at all is a failure, not an empty list.
    let missing = at(&secrets.url, "no-such-secret").read().await;
    assert!(matches!(missing, Err(SecretError::Aws(_))), "{missing:?}");
}

/// Away for an hour: a quarter of it is served by the list as it was, the rest
/// is 503; an unknown token is 503 from the start, since it may be a new one.
#[tokio::test]
async fn away_for_an_hour() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.judge(&known).await, staff(&known));
    // The SDK does not try this one again: it allows a process only so many
    // retries, and the other tests need some.
    tokens.proxy.set(|_| Fault::Garbage);
    tokens.turn(5);
    assert!(is_unavailable(&tokens.check.judge("a-stranger").await));

    let mut served = 0;
    for _ in 0..360 {
        tokens.turn(10);
        let judgement = tokens.judge(&known).await;
        if judgement == staff(&known) {
            served += 1;
        } else {
            assert!(is_unavailable(&judgement));
        }
    }
    // From second 15 to second 895 after the list was read.
    assert_eq!(served, 89);

    tokens.back();
    tokens.turn(5);
    assert_eq!(tokens.judge(&known).await, staff(&known));
}

/// While Secrets Manager hangs and the list is stale, deliveries do not each
/// wait for another failure: it is asked once, and again a quarter of a minute later.
#[tokio::test]
async fn an_outage_is_not_waited_for_by_everyone() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.judge(&known).await, staff(&known));
    let clock = Arc::clone(&tokens.clock);
    tokens.proxy.set(move |_| {
        // What a read that hangs takes, all attempts together.
        clock.turn(Duration::from_secs(6));
        Fault::Garbage
    });
    tokens.turn(60);
    let before = tokens.reads();
    for _ in 0..21 {
        assert_eq!(tokens.judge(&known).await, staff(&known));
        tokens.turn(1);
    }
    assert_eq!(tokens.reads() - before, 2);
}

/// Fifty deliveries that find the list too old cause one read.
#[tokio::test]
async fn one_reads_for_all() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    for _ in 0..3 {
        let before = tokens.reads();
        let judgements = join_all((0..50).map(|_| tokens.judge(&issued))).await;
        assert!(
            judgements
                .iter()
                .all(|judgement| *judgement == staff(&issued))
        );
        assert_eq!(tokens.reads() - before, 1);
        tokens.turn(61);
    }
}

/// A stranger's flood of bad tokens causes a read in five seconds, keeps no
/// known token waiting, and a token that is issued meanwhile gets in with the
/// next turn.
#[tokio::test]
async fn a_flood_keeps_no_new_token_out() {
    let tokens = Tokens::new().await;
    let known = tokens.issue().await;
    assert_eq!(tokens.judge(&known).await, staff(&known));
    let start = tokens.reads();

    for turn in 1..=6 {
        let new = tokens.issue().await;
        let flood: Vec<_> = (0..100)
            .map(|n| {
                let check = Arc::clone(&tokens.check);
                tokio::spawn(async move { check.judge(&format!("stranger-{turn}-{n}")).await })
            })
            .collect();
        let check = Arc::clone(&tokens.check);
        let token = new.token.expose_secret().to_owned();
        let newcomer = tokio::spawn(async move { check.judge(&token).await });
        tokens.until_asleep(101).await;

        // Nobody's turn has come, and whoever is known is served all the same.
        assert_eq!(tokens.judge(&known).await, staff(&known));
        assert_eq!(tokens.reads() - start, turn - 1);
        tokens.turn(5);
        assert_eq!(newcomer.await.unwrap(), staff(&new));
        for stranger in flood {
            assert_eq!(stranger.await.unwrap(), Ok(Judgement::Unknown));
        }
        assert_eq!(tokens.reads() - start, turn);
    }
}

/// A clock that is set back makes no list young again.
#[tokio::test]
async fn a_clock_set_back_is_no_reason_to_trust() {
    let tokens = Tokens::new().await;
    let issued = tokens.issue().await;
    assert_eq!(tokens.judge(&issued).await, staff(&issued));
    tokens.registry.revoke(&issued.record.id).await.unwrap();
    tokens
        .clock
        .set("2026-11-22T08:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(tokens.judge(&issued).await, revoked(&issued));
}

/// Secrets Manager that is there and says no is not an outage: an emergency
/// stop by policy, or by a value that is no list, stops within a minute.
#[tokio::test]
async fn a_no_is_no_outage() {
    for how in ["denied", "no list"] {
        let tokens = Tokens::new().await;
        let issued = tokens.issue().await;
        assert_eq!(tokens.judge(&issued).await, staff(&issued));
        if how == "denied" {
            tokens.proxy.set(|_| Fault::Refuse("AccessDeniedException"));
        } else {
            let secrets = SecretsManager::for_tests().await.unwrap();
            secrets.put(&tokens.secret, how).await.unwrap();
        }
        tokens.turn(60);
        assert!(tokens.judge(&issued).await.is_err(), "{how}");
    }
}

/// AWS allows a secret twenty labels: none is left behind, and those that
/// interrupted changes left are removed when there are too many.
#[tokio::test]
async fn no_label_is_left_behind() {
    let tokens = Tokens::new().await;
    tokens.issue().await;
    assert_eq!(tokens.labels().await, 0);
    let registry = TokenRegistry::new(at(&tokens.proxy.url, &tokens.secret), tokens.clock.clone());
    // Everything fails after the new version is written.
    tokens.proxy.set(|call| match call.operation.as_str() {
        "UpdateSecretVersionStage" => Fault::Refuse("AccessDeniedException"),
        _ => Fault::Pass,
    });
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 1);

    // No room for another: one as young as this may still be at work.
    let full = |call: &local::Call| match call.operation.as_str() {
        "PutSecretValue" => Fault::Refuse("LimitExceededException"),
        _ => Fault::Pass,
    };
    tokens.proxy.set(full);
    tokens.turn(3599);
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 1);
    tokens.turn(1);
    assert!(registry.issue("x", true, None).await.is_err());
    assert_eq!(tokens.labels().await, 0);

    // The second put of a change finds the room that it has made.
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

/// Operators who issue and revoke at once lose neither change, also where an
/// answer is lost after its effect.
#[tokio::test]
async fn operators_at_once_lose_no_change() {
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
        assert!(revoked.iter().all(Option::is_some));
        let listed = tokens.registry.list().await.unwrap();
        let live: BTreeSet<_> = listed
            .iter()
            .filter(|record| record.revoked_at.is_none())
            .map(|record| record.id.clone())
            .collect();
        assert_eq!(live, issued.into_iter().flatten().collect());
        assert_eq!(listed.len(), 8);
    }
}
