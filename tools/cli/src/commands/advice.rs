//! Explains, in sentences, why a pending event waits or how it ended, and how to fix it.

use domain::{BlockedReason, CourseId, Email, EventState, Ineligible, PendingEvent};
use jiff::Timestamp;
use serde::Serialize;

use crate::lms_errors::{self, Remedy};
use crate::{output, shell, time};

/// Advice for an operator about one event, or about a learner in a run.
#[derive(Serialize)]
pub struct Advice {
    /// The state and its cause.
    pub why: String,
    /// The fix.
    pub help: String,
    /// The commands of the fix, in order.
    pub commands: Vec<String>,
}

impl Advice {
    /// Explains the state of an event at `now`.
    pub fn about(event: &PendingEvent, now: Timestamp) -> Self {
        let last_error = event.last_error.as_deref();
        let (cause, remedy) = cause(&event.email, &event.course_id, event.reason, last_error);
        let fate = match event.state {
            EventState::Waiting if event.next_attempt_at <= now => {
                "The event is due: it is retried within a minute.".to_owned()
            }
            EventState::Waiting => {
                format!(
                    "The event's next attempt is at {}.",
                    time::show(event.next_attempt_at)
                )
            }
            EventState::Dead => {
                "The event was given up as dead: it is not retried any more.".to_owned()
            }
            EventState::Expired => {
                "The event has waited too long and is expired: it is not retried any more."
                    .to_owned()
            }
        };
        let Remedy {
            fix,
            command,
            is_noticed,
        } = remedy;
        let mut commands = Vec::from_iter(command);
        let then = if is_noticed && event.state == EventState::Waiting {
            "; nothing else needs to be done"
        } else {
            let key = output::key(&event.event_key);
            commands.push(format!("coursehook events retry {key}"));
            ", and then retry the event"
        };
        let end = if commands.is_empty() { "." } else { ":" };
        Self {
            why: format!("{cause} {fate}"),
            help: format!("{fix}{then}{end}"),
            commands,
        }
    }

    /// Returns all of it, each command on a line of its own.
    pub fn text(&self) -> String {
        let lines = [&self.why, &self.help].into_iter().cloned();
        let commands = self.commands.iter().map(|command| format!("  {command}"));
        Vec::from_iter(lines.chain(commands)).join("\n")
    }
}

/// Returns what blocks an event, and how to unblock it. The error is that of
/// [`PendingEvent::last_error`].
pub fn cause(
    email: &Email,
    course_id: &CourseId,
    reason: BlockedReason,
    error: Option<&str>,
) -> (String, Remedy) {
    match reason {
        BlockedReason::NoSuchUser => (
            format!("There is no user {}.", email.as_str()),
            Remedy::noticed("Import the user with `coursehook users import`"),
        ),
        BlockedReason::NoSuchRun => (
            format!("There is no course run {course_id}."),
            Remedy::noticed("Import the run with `coursehook runs import`"),
        ),
        BlockedReason::NoUsername => (
            "The user has no edX username, so the LMS cannot be asked for a grade.".to_owned(),
            Remedy::noticed("Import the user with an edx_username, with `coursehook users import`"),
        ),
        BlockedReason::Failed => (
            format!(
                "Coursehook itself failed ({}).",
                output::printable(error.unwrap_or_default())
            ),
            Remedy::unnoticed(
                "The function's log has the error under this event's key: fix an item that is not \
                 of the expected shape, or grant the permission that is missing",
            ),
        ),
        BlockedReason::LmsUnavailable => lms_errors::remedy(error.unwrap_or_default()),
        BlockedReason::NotPassed => (
            "The grade is not a pass, or there is none yet.".to_owned(),
            Remedy::noticed("Wait for the LMS to let the learner pass, or set the grade")
                .by(shell::pass(email, course_id)),
        ),
        BlockedReason::NotEligible => {
            let all = [
                Ineligible::NotEnrolled,
                Ineligible::Inactive,
                Ineligible::UnpaidMode,
            ];
            let why = all.into_iter().find(|why| Some(why.as_str()) == error);
            (
                format!("The learner has passed, but {}.", lacking(why)),
                Remedy::noticed("If the learner has paid, set a paid mode")
                    .by(shell::enroll(email, course_id)),
            )
        }
    }
}

/// Returns what an enrollment lacks for a certificate, as a part of a sentence.
pub const fn lacking(why: Option<Ineligible>) -> &'static str {
    match why {
        Some(Ineligible::NotEnrolled) => "is not enrolled in the course run",
        Some(Ineligible::Inactive) => "has an enrollment that is inactive",
        Some(Ineligible::UnpaidMode) => "is enrolled in a mode that is not paid for",
        None => "has no active enrollment in a mode that is paid for",
    }
}

#[cfg(test)]
mod tests {
    use domain::{EventKey, EventKind};

    use super::*;

    fn event(reason: BlockedReason, last_error: Option<&str>) -> PendingEvent {
        let email: Email = "ada@example.org".parse().unwrap();
        let course_id: CourseId = "course-v1:Org+Bees+2026".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        PendingEvent {
            event_key: EventKey::of(EventKind::Certificate, &email, &course_id),
            kind: EventKind::Certificate,
            email,
            course_id,
            roles: Default::default(),
            mode: None,
            unenrolled: false,
            reason,
            last_error: last_error.map(str::to_owned),
            state: EventState::Waiting,
            claim_id: None,
            claimed_until: None,
            attempts: 0,
            waited: Default::default(),
            next_attempt_at: now,
            made_due: false,
            pending_since: now,
            delivered_at: now,
            version: 1,
        }
    }

    /// Each reason has its advice, and asks for a manual retry only if the fix is not
    /// noticed.
    #[test]
    fn each_reason_has_its_advice() {
        use BlockedReason::{
            LmsUnavailable, NoSuchRun, NoSuchUser, NoUsername, NotEligible, NotPassed,
        };
        for (reason, code, why, help, is_all) in [
            (NoSuchUser, None, "no user ada@", "users import`", true),
            (NoSuchRun, None, "no course run", "runs import`", true),
            (NoUsername, None, "no edX username", "users import`", true),
            (NotPassed, None, "is not a pass", "grades override", true),
            (NotEligible, None, "no active enrollment", "verified", true),
            (
                NotEligible,
                Some("inactive"),
                "is inactive",
                "verified",
                true,
            ),
            (LmsUnavailable, None, "no grade", "error code", false),
            (
                LmsUnavailable,
                Some("Other"),
                "no grade",
                "error code",
                false,
            ),
            (LmsUnavailable, Some("429"), "fewer requests", "Wait", true),
            (LmsUnavailable, Some("Paused"), "were paused", "Wait", true),
            (LmsUnavailable, Some("Timeout"), "in time", "LMS_URL", true),
            (
                LmsUnavailable,
                Some("Unreachable"),
                "in time",
                "LMS_URL",
                true,
            ),
            (LmsUnavailable, Some("502"), "LMS failed", "the LMS", true),
            (LmsUnavailable, Some("404"), "as its API", "LMS_URL", false),
            (LmsUnavailable, Some("302"), "as its API", "LMS_URL", false),
            (LmsUnavailable, Some("200"), "as its API", "LMS_URL", false),
            (LmsUnavailable, Some("400"), "(400)", "LMS_URL", false),
            (
                LmsUnavailable,
                Some("401 not_the_api"),
                "as its API does (401)",
                "LMS_URL",
                false,
            ),
            (
                LmsUnavailable,
                Some("403 not_the_api"),
                "as its API does (403)",
                "LMS_URL",
                false,
            ),
            (
                LmsUnavailable,
                Some("400 username"),
                "does not accept the edX username",
                "edx_username",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:unauthorized_client"),
                "by client credentials",
                "grant type",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:unsupported_grant_type"),
                "does not see the grant type",
                "body of a request",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:invalid_request"),
                "cannot read our request",
                "body of a request",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:invalid_scope"),
                "the scopes",
                "Secret",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:invalid_grant"),
                "(invalid_grant)",
                "Secret",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoToken:other"),
                "gives our client no token",
                "token endpoint",
                false,
            ),
            (LmsUnavailable, Some("401"), "our token", "Secret", false),
            (
                LmsUnavailable,
                Some("401 token_expired"),
                "our token",
                "Secret",
                false,
            ),
            (LmsUnavailable, Some("403"), "read grades", "Secret", false),
            (
                LmsUnavailable,
                Some("BadClient"),
                "client id",
                "Secret",
                false,
            ),
            (
                LmsUnavailable,
                Some("NoCredentialYet"),
                "no credential",
                "Secret",
                false,
            ),
            (
                LmsUnavailable,
                Some("404 course_does_not_exist"),
                "no such course",
                "run",
                false,
            ),
            (
                LmsUnavailable,
                Some("404 user_does_not_exist"),
                "no user with the edX",
                "edx_username",
                false,
            ),
            (
                LmsUnavailable,
                Some("404 user_not_enrolled"),
                "never enrolled",
                "Enroll",
                false,
            ),
            (
                LmsUnavailable,
                Some("InvalidResponse:no_row"),
                "invalid response",
                "version",
                false,
            ),
        ] {
            let mut event = event(reason, code);
            let advice = Advice::about(&event, Timestamp::UNIX_EPOCH);
            let message = format!("{reason:?} {code:?}: {}", advice.text());
            assert!(advice.why.contains(why), "{message}");
            assert!(advice.why.contains("is due"), "{message}");
            assert!(advice.text().contains(help), "{message}");
            let retry = format!(
                "\n  coursehook events retry {}",
                output::key(&event.event_key)
            );
            assert_eq!(advice.text().ends_with(&retry), !is_all, "{message}");
            assert_eq!(advice.help.contains("nothing else"), is_all, "{message}");

            for (state, word) in [(EventState::Dead, "dead"), (EventState::Expired, "expired")] {
                event.state = state;
                let advice = Advice::about(&event, Timestamp::UNIX_EPOCH);
                assert!(advice.why.contains(word), "{}", advice.why);
                assert!(advice.text().ends_with(&retry), "{}", advice.text());
            }
        }
    }
}
