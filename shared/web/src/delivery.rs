//! A delivery of the LMS, in types that hold only valid values.

use domain::{CourseRole, Email, Mode};

use super::course::Course;

/// The largest body in bytes, after decoding.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A delivery of the LMS.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The field `email`, normalized.
    pub email: Email,
    /// The field `course_id`, trimmed.
    pub course: Course,
    /// The field `role`, trimmed; absent if it is missing, null or blank.
    pub role: Option<CourseRole>,
    /// The field `mode`, trimmed; absent if it is missing, null or blank.
    pub mode: Option<Mode>,
    /// The field `is_active`, true if it is missing or null. False says that the learner
    /// was un-enrolled (openedx-events-sender posts it).
    pub is_active: bool,
}
