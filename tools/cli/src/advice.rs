//! Explains, in sentences, why a pending event waits or how it ended, and how to fix it.

use app::sweeping::{Request, Wanted};
use domain::LearnerRef;
use domain::{
    Blocked, BlockedReason, CourseId, Effect, Email, EventState, Ineligible, Left, PendingEvent,
    SweepEnd, SweepKind, SweepOptions, SweepOutcome,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{output, time};

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

/// The fix that unblocks an event.
struct Remedy {
    /// The fix in the imperative, without a full stop.
    fix: String,
    /// The command of the fix, if there is one to copy.
    command: Option<String>,
    /// True if a waiting event then takes effect soon without a manual retry.
    is_noticed: bool,
}

impl Remedy {
    fn noticed(fix: impl Into<String>) -> Self {
        Self {
            fix: fix.into(),
            command: None,
            is_noticed: true,
        }
    }

    fn unnoticed(fix: impl Into<String>) -> Self {
        Self {
            is_noticed: false,
            ..Self::noticed(fix)
        }
    }

    fn by(self, command: String) -> Self {
        Self {
            command: Some(command),
            ..self
        }
    }
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

    /// Explains why an attempt to issue a certificate was blocked, for which no event is
    /// pending.
    pub fn about_attempt(
        email: &Email,
        course_id: &CourseId,
        blocked: &Blocked,
        by_operator: bool,
    ) -> Self {
        let (why, remedy) = match blocked.reason {
            BlockedReason::NotPassed if by_operator => (
                "The grade is not a pass, and since an operator has set it, the LMS was not asked."
                    .to_owned(),
                Remedy::unnoticed("Hand the grade back to the LMS").by(release(email, course_id)),
            ),
            reason => cause(email, course_id, reason, blocked.error.as_deref()),
        };
        let Remedy { fix, command, .. } = remedy;
        let commands = command.into_iter().chain([issue(email, course_id)]);
        Self {
            why: format!("No certificate was issued. {why}"),
            help: format!("{fix}, and then try again:"),
            commands: commands.collect(),
        }
    }

    /// Explains a certificate that no pass restores.
    pub fn about_revoked(email: &Email, course_id: &CourseId) -> Self {
        Self {
            why: "An operator has revoked the certificate, and no pass restores it.".to_owned(),
            help: "To restore it:".to_owned(),
            commands: vec![restore(email, course_id)],
        }
    }

    /// Explains a sweep of a run that ended, or `None` if there is nothing to do about
    /// it.
    pub fn about_sweep(kind: SweepKind, request: &Request, end: &SweepEnd) -> Option<Self> {
        let with = |dry_run, confirm| {
            let Request { run, learner, .. } = request;
            let wanted = Wanted {
                run: Some(run.clone()),
                learner: learner.clone(),
                options: SweepOptions {
                    dry_run,
                    confirm,
                    ..request.options
                },
            };
            sweep(kind, &wanted, None)
        };
        match end.outcome {
            SweepOutcome::Halted if end.options.dry_run => Some(Self {
                why: format!(
                    "{} learners would lose their {}: above the safety limit, at which a sweep is \
                     halted.",
                    end.tally.losing(),
                    at_stake(kind)
                ),
                help: "To do it anyway:".to_owned(),
                commands: vec![with(false, true)],
            }),
            SweepOutcome::Halted => {
                let losing = end.tally.of(&Effect::Left(Left::SafetyLimit));
                let what = at_stake(kind);
                Some(Self {
                    why: format!(
                        "{losing} learners would lose their {what}: above the safety limit, so \
                         none did."
                    ),
                    help: "To see who they are, and to do it anyway:".to_owned(),
                    commands: vec![with(true, false), with(false, true)],
                })
            }
            SweepOutcome::Failed => {
                let (why, fix) = of_a_sweep(kind, end.reason.as_deref().unwrap_or_default());
                Some(Self {
                    why,
                    help: format!("{fix}, and then try again:"),
                    commands: vec![with(request.options.dry_run, request.options.confirm)],
                })
            }
            SweepOutcome::Done if end.options.dry_run => Some(Self {
                why: "Nothing was written.".to_owned(),
                help: "To do it:".to_owned(),
                commands: vec![with(false, false)],
            }),
            SweepOutcome::Done => None,
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
fn cause(
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
        BlockedReason::LmsUnavailable => lms_failure(error.unwrap_or_default()),
        BlockedReason::NotPassed => (
            "The grade is not a pass, or there is none yet.".to_owned(),
            Remedy::noticed("Wait for the LMS to let the learner pass, or set the grade")
                .by(pass(email, course_id)),
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
                    .by(enroll(email, course_id)),
            )
        }
    }
}

/// Returns the cause of an error of the LMS, by its code, and the fix, the latter without
/// a full stop.
pub fn of_the_lms(code: &str) -> (String, String) {
    let (cause, remedy) = lms_failure(code);
    (cause, remedy.fix)
}

/// Returns why a sweep failed, by its code, and the fix, the latter without a full stop.
fn of_a_sweep(kind: SweepKind, code: &str) -> (String, String) {
    match code {
        "no_such_run" => (
            "The course run is gone.".to_owned(),
            "Import the run with `coursehook runs import`".to_owned(),
        ),
        "corrupt_item" => (
            "The item of the course run is not of the expected shape.".to_owned(),
            "Import the run with `coursehook runs import`".to_owned(),
        ),
        _ if kind == SweepKind::Enrollments => of_enrollments(code),
        _ => of_the_lms(code),
    }
}

/// Returns the cause and the fix of an error of the LMS's list of enrollments, which only
/// global staff can read.
pub fn of_enrollments(code: &str) -> (String, String) {
    match code {
        "403" => (
            "The LMS does not let us list enrollments (403).".to_owned(),
            "In the LMS, make the user whose credential is in the secret OpenedxApiSecret global \
             staff, or put another credential there; until then no sweep withdraws a certificate \
             (left: unconfirmed)"
                .to_owned(),
        ),
        _ => of_the_lms(code),
    }
}

/// Returns the cause and the fix of an error of the LMS, by the code that the event
/// stores.
fn lms_failure(code: &str) -> (String, Remedy) {
    const SECRET: &str = "the secret OpenedxApiSecret";
    const SET: &str = "with `coursehook credential set`";
    let status = code.split(' ').next().unwrap_or_default();
    let failed = format!("The LMS failed ({}).", output::printable(code));
    let elsewhere = format!(
        "The LMS, or something in front of it, does not answer as its API does ({}).",
        output::printable(status)
    );
    let lead_to_the_lms = Remedy::unnoticed(
        "Check that LMS_URL is the LMS's own address, and that nothing in between asks for a login \
         or refuses the requests",
    );
    let (cause, remedy) = match code {
        "403" => (
            "The LMS does not let us read grades (403).",
            Remedy::unnoticed(format!(
                "In the LMS, allow the user whose credential is in {SECRET} to read grades \
                 (make them staff), or put another credential there"
            )),
        ),
        "BadClient" => (
            "The LMS does not know our client id and secret.",
            Remedy::unnoticed(format!("Put those that the LMS knows into {SECRET}, {SET}")),
        ),
        "NoToken:unauthorized_client" => (
            "The LMS does not let our client have tokens by client credentials \
             (unauthorized_client).",
            Remedy::unnoticed(format!(
                "In the LMS, set this grant type for the client, or put another client into \
                 {SECRET}, {SET}"
            )),
        ),
        "NoToken:unsupported_grant_type" => (
            "The LMS does not see the grant type that we ask for, client credentials \
             (unsupported_grant_type).",
            Remedy::unnoticed(
                "Check that nothing between us and the LMS changes the body of a request, and that \
                 LMS_URL is the LMS's own address",
            ),
        ),
        "NoToken:invalid_request" => (
            "The LMS cannot read our request for a token (invalid_request).",
            Remedy::unnoticed(
                "Check that nothing between us and the LMS changes the body of a request",
            ),
        ),
        "NoToken:invalid_scope" => (
            "The LMS does not let our client have the scopes that it gets by default \
             (invalid_scope).",
            Remedy::unnoticed(format!(
                "In the LMS, set the client's scopes, or put another client into {SECRET}, {SET}"
            )),
        ),
        "NoToken:invalid_grant" => (
            "The LMS does not accept the grant with which our client asks for a token \
             (invalid_grant).",
            Remedy::unnoticed(format!(
                "In the LMS, check the client, or put another one into {SECRET}, {SET}"
            )),
        ),
        "NoToken:other" => (
            "The LMS gives our client no token, and its error code is not one of OAuth 2.0.",
            Remedy::unnoticed("Check the LMS's log for errors of its token endpoint"),
        ),
        "NoCredentialYet" | "MalformedSecret" => (
            "There is no credential for the LMS.",
            Remedy::unnoticed(format!("Put one into {SECRET}, {SET}")),
        ),
        "404 course_does_not_exist" => (
            "The LMS has no such course run.",
            Remedy::unnoticed("Find out in the LMS what happened to the run"),
        ),
        "404 user_does_not_exist" => (
            "The LMS has no user with the edX username that the portal has for this user.",
            Remedy::unnoticed(
                "Import the user with the right edx_username, with `coursehook users import`",
            ),
        ),
        "400 username" => (
            "The LMS does not accept the edX username that the portal has for this user: its list \
             of enrollments accepts only letters, digits, _ and -, unless configured otherwise.",
            Remedy::unnoticed(
                "Import the user with the right edx_username, with `coursehook users import`, or \
                 make the LMS accept such usernames",
            ),
        ),
        "404 user_not_enrolled" => (
            "The LMS says that the learner was never enrolled there.",
            Remedy::unnoticed("Enroll the learner in the LMS"),
        ),
        "429" => (
            "The LMS asks for fewer requests (429).",
            Remedy::noticed("Wait, or allow our client more requests in the LMS"),
        ),
        "Paused" => (
            "Requests to the LMS were paused, since it had asked for that or had failed several \
             times.",
            Remedy::noticed("Wait until the LMS can be asked again"),
        ),
        "Timeout" | "Unreachable" => (
            "The LMS, or a service that is needed to ask it, could not be reached in time.",
            Remedy::noticed("Check that the LMS is up and that LMS_URL leads to it"),
        ),
        _ if status.starts_with(['2', '3']) || code.ends_with(" not_the_api") => {
            (elsewhere.as_str(), lead_to_the_lms)
        }
        _ if status == "401" => (
            "The LMS does not take our token (401).",
            Remedy::unnoticed(format!("Put a valid credential into {SECRET}, {SET}")),
        ),
        _ if status.starts_with('5') => (
            failed.as_str(),
            Remedy::noticed("Find out why the LMS fails"),
        ),
        _ if status.starts_with('4') => (elsewhere.as_str(), lead_to_the_lms),
        _ if code.starts_with("InvalidResponse:") => (
            "The LMS gave an invalid response.",
            Remedy::unnoticed("Check what is between us and the LMS, and the version of the LMS"),
        ),
        _ => (
            "The LMS gave no grade that can be used.",
            Remedy::unnoticed(format!(
                "Look up the error code (a code that is not the LMS's own is about {SECRET})"
            )),
        ),
    };
    (cause.to_owned(), remedy)
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

/// Returns the command that makes a learner eligible.
pub fn enroll(email: &Email, course_id: &CourseId) -> String {
    about("enrollments set", email, course_id, &["--mode", "verified"])
}

/// Returns the command that sets an enrollment's mode, which the operator has to fill in.
pub fn set_mode(email: &Email, course_id: &CourseId) -> String {
    about("enrollments set", email, course_id, &["--mode", "MODE"])
}

/// Returns the command that makes a grade a pass, which the operator has to fill in.
pub fn pass(email: &Email, course_id: &CourseId) -> String {
    about(
        "grades override",
        email,
        course_id,
        &["--percent", "P", "--letter", "L", "--passed"],
    )
}

/// Returns the command that hands a grade back to the LMS.
pub fn release(email: &Email, course_id: &CourseId) -> String {
    about("grades release", email, course_id, &[])
}

/// Returns the command that issues an earned certificate.
pub fn issue(email: &Email, course_id: &CourseId) -> String {
    about("certificates issue", email, course_id, &[])
}

/// Returns the command that revokes a certificate.
pub fn revoke(email: &Email, course_id: &CourseId) -> String {
    about("certificates revoke", email, course_id, &[])
}

/// Returns the command that restores a certificate that an operator has revoked.
pub fn restore(email: &Email, course_id: &CourseId) -> String {
    about("certificates restore", email, course_id, &[])
}

/// Returns the command that sets the name on a certificate, which the operator has to
/// fill in.
pub fn rename(email: &Email, course_id: &CourseId) -> String {
    about("certificates rename", email, course_id, &["--name", "NAME"])
}

/// Returns a command about a learner in a course run.
pub fn about(name: &str, email: &Email, course_id: &CourseId, options: &[&str]) -> String {
    output::command(name, &[email.as_str(), course_id.as_str()], options)
}

/// Returns what a sweep of this kind may take from a learner.
pub const fn at_stake(kind: SweepKind) -> &'static str {
    match kind {
        SweepKind::Grades => "certificate",
        SweepKind::Enrollments => "enrollment",
    }
}

/// Returns the command of a sweep; of all runs, those after `after`.
pub fn sweep(kind: SweepKind, wanted: &Wanted, after: Option<&CourseId>) -> String {
    let SweepOptions {
        force,
        dry_run,
        confirm,
    } = wanted.options;
    let named = [
        ("--run", wanted.run.as_ref().map(CourseId::to_string)),
        (
            "--learner",
            wanted.learner.as_ref().map(LearnerRef::to_text),
        ),
        ("--after", after.map(CourseId::to_string)),
    ];
    let flags = [
        ("--force", force),
        ("--dry-run", dry_run),
        ("--confirm", confirm),
    ];
    let named = named.into_iter().flat_map(|(name, value)| match value {
        // Without `=` the value would be taken for an option.
        Some(value) if value.starts_with('-') => vec![format!("{name}={value}")],
        Some(value) => vec![name.to_owned(), value],
        None => Vec::new(),
    });
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
    let words: Vec<_> = named
        .chain(flags.map(|(name, _)| name.to_owned()))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    output::command(&format!("sweep {}", kind.as_str()), &[], &words)
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
            attempts: 0,
            waited: Default::default(),
            next_attempt_at: now,
            pending_since: now,
            delivered_at: now,
            version: 1,
        }
    }

    #[test]
    fn a_sweep_command_has_all_requested_options() {
        let email: Email = "ada@example.org".parse().unwrap();
        let (run, dashed) = ("course-v1:Org+Bees+2026", "-Org/C/1");
        let wanted = |run: Option<&str>, learner, dry_run, confirm| Wanted {
            run: run.map(|run| run.parse().unwrap()),
            learner,
            options: SweepOptions {
                force: dry_run || confirm,
                dry_run,
                confirm,
            },
        };
        let grades = |wanted, after: Option<&str>| {
            let after = after.map(|run| run.parse().unwrap());
            sweep(SweepKind::Grades, &wanted, after.as_ref())
        };
        let learner = Some(LearnerRef::Address(email));
        for (command, expected) in [
            (grades(wanted(None, None, false, false), None), ""),
            (
                grades(wanted(None, None, true, false), Some(run)),
                " --after course-v1:Org+Bees+2026 --force --dry-run",
            ),
            (
                grades(wanted(Some(run), learner, false, true), None),
                " --run course-v1:Org+Bees+2026 --learner ada@example.org --force --confirm",
            ),
            (
                grades(wanted(Some(dashed), None, false, false), None),
                " --run=-Org/C/1",
            ),
        ] {
            assert_eq!(command, format!("coursehook sweep grades{expected}"));
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
