//! The processing of a delivery by a webhook, the same for every kind of event:
//! authenticate the caller, parse the body, act on the delivery, answer it, log it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::authenticating::{AuthDecision, TokenCheck};
use common::calls::Counter;
use common::clock::SharedClock;
use common::panic;
use domain::{Change, EventKey, EventKind};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use lambda_http::{Request, RequestExt};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::answer::{HttpResponse, error_answer, json_answer};
use super::bearer::{Bearer, bearer};
use super::delivery::{self, Delivery};
use super::error::{InvalidTokenError, WebhookError};
use super::log::{self, DeliveryLine, UsedToken};
use super::metrics::Metrics;

/// The time limit of an answer in all. The LMS waits for 30 seconds, the gateway for 29,
/// and the function is stopped after 28.
const ANSWER_TIME: Duration = Duration::from_secs(25);

/// The part of that time which is reserved for the answer after the delivery was acted
/// on.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Answers the requests of one webhook.
pub struct Webhook {
    kind: EventKind,
    tokens: TokenCheck,
    metrics: Metrics,
    clock: SharedClock,
    time_limit: Duration,
    warm: AtomicBool,
}

/// A delivery from an authorized caller.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The parsed and valid delivery.
    pub delivery: Delivery,
    /// Lambda's request id; empty outside of Lambda.
    pub request_id: String,
    /// The request and its token, for the history entries.
    pub by: Change,
    /// The time at which it was parsed, to the millisecond.
    pub at: Timestamp,
    /// The time by which acting on it must be over, so that the answer is in time.
    pub until: Instant,
}

/// A delivery that took effect, had taken effect before, or is pending.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The HTTP status: 201 if something was created, 202 if the event will be retried,
    /// otherwise 200.
    pub status: StatusCode,
    /// The JSON body of the answer.
    pub body: Value,
    /// The outcome in the log.
    pub outcome: &'static str,
    /// The reason why the event is pending; absent if the delivery took effect.
    pub reason: Option<&'static str>,
    /// The pending event that the delivery was stored as, if it was.
    pub event_key: Option<EventKey>,
    /// The learner, for the log.
    pub user_id: Uuid,
    /// True if the event's mode differs from the enrollment's mode, which the event does
    /// not change.
    pub mode_differs: bool,
    /// The error code of a failure that did no harm.
    pub error_code: Option<String>,
}

impl Webhook {
    /// Returns a webhook. `time_limit` is the time limit for acting on a delivery after
    /// it was parsed.
    pub fn new(
        kind: EventKind,
        tokens: TokenCheck,
        metrics: Metrics,
        clock: SharedClock,
        time_limit: Duration,
    ) -> Self {
        Self {
            kind,
            tokens,
            metrics,
            clock,
            time_limit,
            warm: AtomicBool::new(false),
        }
    }

    /// Reads the list of tokens ahead of the first request.
    pub async fn warm_up(&self) {
        self.tokens.warm_up().await;
    }

    /// Answers one request. `act` is called only if the caller has staff rights and the
    /// delivery is valid.
    pub async fn answer<F, A>(&self, request: Request, act: F) -> HttpResponse
    where
        F: FnOnce(Delivered) -> A,
        A: Future<Output = Result<Accepted, WebhookError>>,
    {
        let began = self.clock.now();
        let until = Instant::now() + ANSWER_TIME - LAST_SECOND;
        let request_id = request
            .lambda_context_ref()
            .map_or_else(String::new, |context| context.request_id.clone());
        let mut record = DeliveryLine {
            request_id,
            cold_start: !self.warm.swap(true, Ordering::Relaxed),
            ..DeliveryLine::default()
        };
        log::delivery_received(self.kind, &record.request_id, &self.path(&request));

        let calls = Counter::default();
        let work = calls.count(self.process(&request, &mut record, until, act));
        let result = match panic::caught(tokio::time::timeout(ANSWER_TIME, work)).await {
            Ok(in_time) => in_time.unwrap_or(Err(WebhookError::OutOfTime)),
            Err(location) => Err(WebhookError::Panicked { location }),
        };

        let answer = match result {
            Ok(accepted) => {
                record.outcome = accepted.outcome;
                record.reason = accepted.reason.map(str::to_owned);
                record.event_key = accepted.event_key;
                record.user_id = Some(accepted.user_id);
                record.mode_differs = accepted.mode_differs;
                record.error_code = accepted.error_code;
                json_answer(accepted.status, &accepted.body)
            }
            Err(error) => {
                let response = error.response();
                record.outcome = response.outcome;
                record.user_id = error.user_id();
                record.event_key = error.pending().cloned();
                record.error_code = error.error_code().map(str::to_owned);
                let answer = error_answer(&response);
                record.reason = Some(response.reason);
                answer
            }
        };
        record.status = answer.status().as_u16();
        record.dynamodb_calls = calls.dynamodb();
        record.lms_calls = self.kind.asks_lms().then(|| calls.lms());
        let took = self.clock.now().duration_since(began).as_millis();
        record.duration_ms = u64::try_from(took).unwrap_or_default();
        log::delivery_processed(self.kind, &record);
        self.metrics.delivery_processed(self.kind, &record, &calls);
        answer
    }

    async fn process<F, A>(
        &self,
        request: &Request,
        record: &mut DeliveryLine,
        until: Instant,
        act: F,
    ) -> Result<Accepted, WebhookError>
    where
        F: FnOnce(Delivered) -> A,
        A: Future<Output = Result<Accepted, WebhookError>>,
    {
        let token_id = self.caller(request.headers(), record).await?;
        if request.method() != Method::POST {
            return Err(WebhookError::MethodNotAllowed);
        }
        let delivery = delivery::parse(request.headers(), request.body())?;
        record.delivery(&delivery);
        let by = Change::Delivery {
            request_id: record.request_id.clone(),
            token_id,
        };
        let at = self.clock.now();
        let until = until.min(Instant::now() + self.time_limit);
        let delivered = Delivered {
            delivery,
            request_id: record.request_id.clone(),
            by,
            at,
            until,
        };
        tokio::time::timeout_at(until, act(delivered))
            .await
            .unwrap_or(Err(WebhookError::OutOfTime))
    }

    /// Authenticates the caller. Returns the id of the staff token of the request.
    async fn caller(
        &self,
        headers: &HeaderMap,
        record: &mut DeliveryLine,
    ) -> Result<String, WebhookError> {
        let token = match bearer(headers).map_err(WebhookError::NoBearer)? {
            Bearer::Token(token) => token,
            Bearer::Malformed => {
                return Err(WebhookError::InvalidToken(InvalidTokenError::Malformed));
            }
        };
        let decision = self
            .tokens
            .authenticate(token.expose_secret())
            .await
            .map_err(WebhookError::TokensUnavailable)?;
        let invalid = |why| Some(WebhookError::InvalidToken(why));
        let (token, error) = match decision {
            AuthDecision::Unknown => {
                return Err(WebhookError::InvalidToken(InvalidTokenError::Unknown));
            }
            AuthDecision::Staff { id, expires_at } => (UsedToken::live(id, expires_at), None),
            AuthDecision::NotStaff { id, expires_at } => (
                UsedToken::live(id, expires_at),
                Some(WebhookError::NotStaff),
            ),
            AuthDecision::Expired { id } => {
                (UsedToken::dead(id), invalid(InvalidTokenError::Expired))
            }
            AuthDecision::Revoked { id } => {
                (UsedToken::dead(id), invalid(InvalidTokenError::Revoked))
            }
        };
        let id = token.id.clone();
        record.token = Some(token);
        error.map_or(Ok(id), Err)
    }

    /// The request's path for the log: one of our two spellings, or `other`. The gateway
    /// may have put its stage before it.
    fn path(&self, request: &Request) -> String {
        let ours = self.kind.path();
        let called = request.uri().path();
        match called.strip_suffix('/') {
            Some(called) if called.ends_with(ours) => format!("{ours}/"),
            None if called.ends_with(ours) => ours.to_owned(),
            _ => "other".to_owned(),
        }
    }
}
