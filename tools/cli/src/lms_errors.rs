//! Says in sentences what an error of the LMS means, by its code, and how to fix it.

use lms::LmsError;

use crate::output;

/// The fix that unblocks an event.
pub struct Remedy {
    /// The fix in the imperative, without a full stop.
    pub fix: String,
    /// The command of the fix, if there is one to copy.
    pub command: Option<String>,
    /// True if a waiting event then takes effect soon without a manual retry.
    pub is_noticed: bool,
}

impl Remedy {
    pub fn noticed(fix: impl Into<String>) -> Self {
        Self {
            fix: fix.into(),
            command: None,
            is_noticed: true,
        }
    }

    pub fn unnoticed(fix: impl Into<String>) -> Self {
        Self {
            is_noticed: false,
            ..Self::noticed(fix)
        }
    }

    pub fn by(self, command: String) -> Self {
        Self {
            command: Some(command),
            ..self
        }
    }
}

/// Describes an error of the LMS, and how to fix it.
pub fn describe(error: &LmsError) -> String {
    let (cause, fix) = explain(&error.code());
    format!("{cause} {fix}.")
}

/// Returns the cause of an error of the LMS, by its code, and the fix, the latter without
/// a full stop.
pub fn explain(code: &str) -> (String, String) {
    let (cause, remedy) = remedy(code);
    (cause, remedy.fix)
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
        _ => explain(code),
    }
}

/// Returns the cause and the fix of an error of the LMS, by the code that the event
/// stores.
pub fn remedy(code: &str) -> (String, Remedy) {
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
