//! Handles one delivery: maps what certifying the pass did to an HTTP response.

use app::certifying::{BlockedBy, CertifyOutcome, Certifying, Pass, Source};
use domain::EventKind;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use lms::LmsClient;
use serde_json::json;
use web::start::HttpFunction;
use web::{Accepted, Delivered, EventsPlugin, Webhook, WebhookError, log};

/// Answers the deliveries of the certificate webhook.
pub struct CertificateWebhook {
    webhook: Webhook<EventsPlugin>,
    certifying: Certifying,
    lms: LmsClient,
}

impl CertificateWebhook {
    /// Returns the function, from its parts.
    pub fn new(webhook: Webhook<EventsPlugin>, certifying: Certifying, lms: LmsClient) -> Self {
        Self {
            webhook,
            certifying,
            lms,
        }
    }
}

impl HttpFunction for CertificateWebhook {
    /// Opens the connections and reads the tokens, side by side.
    async fn warm_up(&self) {
        tokio::join!(
            self.webhook.warm_up(),
            self.certifying.warm_up(),
            self.lms.warm_up()
        );
    }

    /// Answers one request; never fails.
    async fn handle(&self, request: Request) -> Response<Body> {
        self.webhook
            .answer(&request, |delivered| self.certify(delivered))
            .await
    }
}

impl CertificateWebhook {
    async fn certify(&self, delivered: Delivered) -> Result<Accepted, WebhookError> {
        let Delivered {
            delivery,
            request_id,
            by,
            at,
            until,
        } = delivered;
        let course_id = delivery.course.id().cloned();
        let asking = |user_id| {
            if let Some(course_id) = &course_id {
                log::asking_for_grade(EventKind::Certificate, &request_id, user_id, course_id);
            }
        };
        let pass = Pass {
            email: delivery.email,
            course_id: course_id.clone(),
            by,
            at,
        };
        let source = Source::Lms {
            lms: &self.lms,
            asking: &asking,
        };
        let certified = self.certifying.certify(&pass, source, until).await?;

        let pending = certified.pending;
        let Some(user_id) = certified.user_id else {
            return Err(WebhookError::UserNotFound { pending });
        };
        let mut error_code = certified.left_over.map(|error| error.code().to_owned());
        let (outcome, certificate_id, reason) = match certified.outcome {
            CertifyOutcome::Exists(id) => ("exists", Some(id), None),
            CertifyOutcome::Created(id) => ("created", Some(id), None),
            CertifyOutcome::Revoked => ("revoked", None, None),
            CertifyOutcome::Blocked(BlockedBy::NotPassed) => ("not_passed", None, None),
            CertifyOutcome::Blocked(BlockedBy::NotEligible(why)) => {
                ("not_eligible", None, Some(why.as_str()))
            }
            CertifyOutcome::Blocked(BlockedBy::NoUsername) => {
                ("pending", None, Some("no_username"))
            }
            CertifyOutcome::Blocked(BlockedBy::Lms(error)) => {
                error_code = Some(error.code());
                ("pending", None, Some(error.reason()))
            }
            CertifyOutcome::Blocked(BlockedBy::NoSuchUser) => {
                return Err(WebhookError::UserNotFound { pending });
            }
            CertifyOutcome::Blocked(BlockedBy::NoSuchRun) => {
                return Err(WebhookError::RunNotFound {
                    course: delivery.course,
                    user_id,
                    pending,
                });
            }
        };
        let mut body = json!({ "certificate_status": outcome });
        if let Some(id) = certificate_id {
            body["certificate_id"] = json!(id);
        }
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        Ok(Accepted {
            status: match outcome {
                "pending" => StatusCode::ACCEPTED,
                _ => StatusCode::OK,
            },
            body,
            outcome,
            reason,
            event_key: pending,
            user_id,
            mode_differs: false,
            error_code,
        })
    }
}
