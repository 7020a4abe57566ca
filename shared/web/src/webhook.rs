//! The endpoint of a webhook, the same for every kind of event and every source: authenticate the
//! caller, parse the body, act on the delivery, answer it, log it.

use std::time::Duration;

use common::clock::SharedClock;
use domain::{Change, EventKey, EventKind};
use http::{Method, StatusCode};
use jiff::Timestamp;
use lambda_http::Request;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::answer::{HttpResponse, json_answer};
use super::delivery::Delivery;
use super::error::WebhookError;
use super::log::{self, DeliveryRecord};
use super::metrics::Metrics;
use super::pipeline::{Answer, Arrival, Endpoint, Finished, Pipeline};
use super::source::Source;

/// Answers the requests of one webhook.
pub struct Webhook<S> {
    kind: EventKind,
    source: S,
    metrics: Metrics,
    clock: SharedClock,
    time_limit: Duration,
    pipeline: Pipeline,
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

impl<S: Source> Webhook<S> {
    /// Returns a webhook. `time_limit` is the time limit for acting on a delivery after
    /// it was parsed.
    pub fn new(
        kind: EventKind,
        source: S,
        metrics: Metrics,
        clock: SharedClock,
        time_limit: Duration,
    ) -> Self {
        Self {
            kind,
            source,
            metrics,
            pipeline: Pipeline::new(clock.clone()),
            clock,
            time_limit,
        }
    }

    /// Reads ahead of the first request what authenticating takes.
    pub async fn warm_up(&self) {
        self.source.warm_up().await;
    }

    /// Answers one request. `act` is called only if the caller is authorized and the delivery
    /// is valid.
    pub async fn answer<F, A>(&self, request: &Request, act: F) -> HttpResponse
    where
        F: Fn(Delivered) -> A + Sync,
        A: Future<Output = Result<Accepted, WebhookError>> + Send,
    {
        let endpoint = DeliveryEndpoint { webhook: self, act };
        self.pipeline.answer(&endpoint, request).await
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

/// The endpoint of a webhook, with the function that acts on a delivery.
struct DeliveryEndpoint<'a, S, F> {
    webhook: &'a Webhook<S>,
    act: F,
}

impl<S, F, A> DeliveryEndpoint<'_, S, F>
where
    S: Source,
    F: Fn(Delivered) -> A + Sync,
    A: Future<Output = Result<Accepted, WebhookError>> + Send,
{
    async fn process(
        &self,
        request: &Request,
        arrival: &Arrival,
        record: &mut DeliveryRecord,
    ) -> Result<Accepted, WebhookError> {
        let Webhook { source, clock, .. } = self.webhook;
        let authentication = source.authenticate(request.headers()).await;
        record.token = authentication.token;
        let token_id = authentication.result?;
        if request.method() != Method::POST {
            return Err(WebhookError::MethodNotAllowed);
        }
        let delivery = source.parse(request.headers(), request.body())?;
        record.delivery(&delivery);
        let until = arrival.until.min(Instant::now() + self.webhook.time_limit);
        let delivered = Delivered {
            delivery,
            request_id: arrival.request_id.clone(),
            by: Change::Delivery {
                request_id: arrival.request_id.clone(),
                token_id,
            },
            at: clock.now(),
            until,
        };
        tokio::time::timeout_at(until, (self.act)(delivered))
            .await
            .unwrap_or(Err(WebhookError::OutOfTime))
    }
}

impl<S, F, A> Endpoint for DeliveryEndpoint<'_, S, F>
where
    S: Source,
    F: Fn(Delivered) -> A + Sync,
    A: Future<Output = Result<Accepted, WebhookError>> + Send,
{
    type Record = DeliveryRecord;
    type Error = WebhookError;

    fn arrived(&self, request: &Request, arrival: &Arrival) {
        let path = self.webhook.path(request);
        log::delivery_received(self.webhook.kind, &arrival.request_id, &path);
    }

    async fn answer(
        &self,
        request: &Request,
        arrival: &Arrival,
        record: &mut DeliveryRecord,
    ) -> Result<Answer, WebhookError> {
        let accepted = match self.process(request, arrival, record).await {
            Ok(accepted) => accepted,
            Err(error) => {
                record.user_id = error.user_id();
                record.event_key = error.pending().cloned();
                return Err(error);
            }
        };
        record.user_id = Some(accepted.user_id);
        record.event_key = accepted.event_key;
        record.mode_differs = accepted.mode_differs;
        Ok(Answer {
            response: json_answer(accepted.status, &accepted.body),
            outcome: accepted.outcome,
            reason: accepted.reason.map(str::to_owned),
            error_code: accepted.error_code,
        })
    }

    fn finished(&self, arrival: Arrival, record: DeliveryRecord, finished: Finished) {
        let line = log::DeliveryLine {
            arrival,
            record,
            finished,
        };
        log::delivery_processed(self.webhook.kind, &line);
        self.webhook
            .metrics
            .delivery_processed(self.webhook.kind, &line);
    }
}
