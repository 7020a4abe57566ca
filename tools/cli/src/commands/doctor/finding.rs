//! The result of one check of the doctor.

use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    Ok,
    /// Something may be wrong: the operator decides.
    Warn,
    /// A person has to fix something.
    Fix,
    /// The check could not be made.
    Skip,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The object of the check.
    pub check: String,
    pub result: CheckResult,
    /// The state that was found.
    detail: String,
    /// The fix, if there is one.
    advice: Option<String>,
}

impl Finding {
    pub fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            result: CheckResult::Ok,
            detail: detail.into(),
            advice: None,
        }
    }

    pub fn fix(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Fix,
            advice: Some(advice.into()),
            ..Self::ok(check, detail)
        }
    }

    pub fn warn(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Warn,
            ..Self::fix(check, detail, advice)
        }
    }

    pub fn skip(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Skip,
            ..Self::fix(check, detail, advice)
        }
    }

    /// Returns the result of a check, or its error.
    pub fn of(context: &Context, check: &str, made: Result<Self, Failure>) -> Self {
        made.unwrap_or_else(|failure| Self::failed(context, check, failure))
    }

    /// Returns a failed check, with the message that any command has for the error: first
    /// the cause, then the fix.
    pub fn failed(
        context: &Context,
        check: impl Into<String>,
        failure: impl Into<Failure>,
    ) -> Self {
        let failure = failure.into().of_stack(context.deployed());
        if context.is_unknown() && matches!(failure, Failure::Variable { .. }) {
            return Self::skip(check, "the stack could not be read", "fix that first");
        }
        let message = failure.to_string();
        match message.split_once("; ") {
            Some((detail, advice)) => Self::fix(check, detail, advice),
            None => Self {
                result: CheckResult::Fix,
                ..Self::ok(check, message)
            },
        }
    }

    pub fn line(&self, width: usize, is_coloured: bool) -> String {
        let (word, colour) = match self.result {
            CheckResult::Ok => ("OK  ", 32),
            CheckResult::Warn => ("WARN", 33),
            CheckResult::Fix => ("FIX ", 31),
            CheckResult::Skip => ("SKIP", 33),
        };
        let word = if is_coloured {
            format!("\u{1b}[{colour}m{word}\u{1b}[0m")
        } else {
            word.to_owned()
        };
        let (check, detail) = (&self.check, &self.detail);
        let advice = self.advice.as_ref().map(|advice| format!("; {advice}"));
        let message = format!("{check:width$}  {detail}{}", advice.unwrap_or_default());
        format!("{word}  {}", output::printable(&message))
    }
}
