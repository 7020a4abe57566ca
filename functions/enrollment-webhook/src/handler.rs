//! Handles one delivery: maps what the announcement changed to an HTTP response.

use app::enrolling::{Announcement, Enrolled, Enrolling, EnrollmentEvent};
use app::{ChangeOutcome, StoreError};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde_json::json;
use uuid::Uuid;
use web::start::HttpFunction;
use web::{Accepted, Delivered, EventsPlugin, Webhook, WebhookError};

/// The message in the answer to an enrollment.
const ENROLLED: &str = "Enrollment successful";

/// The message in the answer to an un-enrollment.
const UNENROLLED: &str = "Unenrollment successful";

/// Answers the deliveries of the enrollment webhook.
pub struct EnrollmentWebhook {
    webhook: Webhook<EventsPlugin>,
    enrolling: Enrolling,
}

impl EnrollmentWebhook {
    /// Returns the function, from its parts.
    pub fn new(webhook: Webhook<EventsPlugin>, enrolling: Enrolling) -> Self {
        Self { webhook, enrolling }
    }
}

impl HttpFunction for EnrollmentWebhook {
    /// Opens the connections and reads the tokens, side by side.
    async fn warm_up(&self) {
        tokio::join!(self.webhook.warm_up(), self.enrolling.warm_up());
    }

    /// Answers one request; never fails.
    async fn handle(&self, request: Request) -> Response<Body> {
        self.webhook
            .answer(&request, |delivered| self.enroll(delivered))
            .await
    }
}

impl EnrollmentWebhook {
    async fn enroll(&self, delivered: Delivered) -> Result<Accepted, WebhookError> {
        let Delivered {
            delivery, by, at, ..
        } = delivered;
        let announcement = Announcement {
            email: delivery.email,
            course_id: delivery.course.id().cloned(),
            event: Some(if delivery.is_active {
                EnrollmentEvent::Enrolled {
                    role: delivery.role,
                    mode: delivery.mode,
                }
            } else {
                EnrollmentEvent::Unenrolled
            }),
            by,
            at,
        };
        let (user_id, changed, mode, left_over) = match self.enrolling.enroll(&announcement).await?
        {
            Enrolled::Stands {
                user_id,
                changed,
                mode,
                left_over,
            } => (user_id, changed, mode, left_over),
            Enrolled::NotEnrolled { user_id, left_over } => {
                return Ok(not_enrolled(user_id, left_over));
            }
            Enrolled::NoSuchUser { pending } => return Err(WebhookError::UserNotFound { pending }),
            Enrolled::NoSuchRun {
                user_id, pending, ..
            } => {
                let course = delivery.course;
                return Err(WebhookError::RunNotFound {
                    course,
                    user_id,
                    pending,
                });
            }
        };
        let (status, outcome) = match changed.outcome {
            // A pending event may have had roles, which an un-enrollment leaves as they are.
            ChangeOutcome::Created if !delivery.is_active => (StatusCode::OK, "created"),
            ChangeOutcome::Created => (StatusCode::CREATED, "created"),
            ChangeOutcome::Updated => (StatusCode::OK, "updated"),
            ChangeOutcome::Unchanged => (StatusCode::OK, "unchanged"),
        };
        let enrollment = changed.enrollment;
        Ok(Accepted {
            status,
            body: json!({
                "message": if delivery.is_active { ENROLLED } else { UNENROLLED },
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

/// Returns the answer to an un-enrollment of a learner who was never enrolled.
fn not_enrolled(user_id: Uuid, left_over: Option<StoreError>) -> Accepted {
    Accepted {
        status: StatusCode::OK,
        body: json!({"message": UNENROLLED, "active": false, "edx_enrolled": false}),
        outcome: "unchanged",
        reason: None,
        event_key: None,
        user_id,
        mode_differs: false,
        error_code: left_over.map(|error| error.code().to_owned()),
    }
}
