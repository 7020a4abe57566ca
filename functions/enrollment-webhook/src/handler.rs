//! One delivery: what was announced, and what it did, in HTTP's words.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde_json::json;
use shared::edge::{Accepted, Delivered, Refusal, Webhook};
use shared::use_cases::Outcome;
use shared::use_cases::enrolling::{Announcement, Enrolled, Enrolling};

/// Answers `POST /api/openedx_webhook/enrollment/`.
pub struct EnrollmentWebhook {
    webhook: Webhook,
    enrolling: Enrolling,
}

impl EnrollmentWebhook {
    pub fn new(webhook: Webhook, enrolling: Enrolling) -> Self {
        Self { webhook, enrolling }
    }

    /// Opens the connections and reads the tokens, side by side.
    pub async fn warm_up(&self) {
        tokio::join!(self.webhook.warm_up(), self.enrolling.warm_up());
    }

    /// Answers one request; never fails.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        self.webhook
            .answer(request, |delivered| self.enroll(delivered))
            .await
    }

    async fn enroll(&self, delivered: Delivered) -> Result<Accepted, Refusal> {
        let Delivered {
            delivery, by, at, ..
        } = delivered;
        let announcement = Announcement {
            email: delivery.email,
            course_id: delivery.course.id().cloned(),
            role: delivery.role,
            mode: delivery.mode,
            by,
            at,
            yields_to: None,
        };
        let (user_id, changed, mode, left_over) = match self.enrolling.enroll(&announcement).await?
        {
            Enrolled::Stands {
                user_id,
                changed,
                mode,
                left_over,
            } => (user_id, changed, mode, left_over),
            Enrolled::NoSuchUser { kept } => return Err(Refusal::UserNotFound { kept }),
            Enrolled::NoSuchRun { user_id, kept, .. } => {
                let course = delivery.course;
                return Err(Refusal::RunNotFound {
                    course,
                    user_id,
                    kept,
                });
            }
        };
        let (status, outcome) = match changed.outcome {
            Outcome::Created => (StatusCode::CREATED, "created"),
            Outcome::Updated => (StatusCode::OK, "updated"),
            Outcome::Unchanged => (StatusCode::OK, "unchanged"),
        };
        let enrollment = changed.enrollment;
        Ok(Accepted {
            status,
            body: json!({
                "message": "Enrollment successful",
                "enrollment_id": enrollment.enrollment_id,
                "active": enrollment.active,
                "edx_enrolled": enrollment.edx_enrolled,
            }),
            outcome,
            reason: None,
            event_key: None,
            user_id,
            mode_differs: mode.is_some_and(|mode| mode != enrollment.mode),
            error_code: left_over.map(|error| error.code().to_owned()),
        })
    }
}
