//! Asks the operator to confirm before data is destroyed.

use std::io::{self, BufRead, IsTerminal};

use thiserror::Error;

use crate::failure::CommandError;
use crate::output;

/// Error of a change that was not confirmed.
#[derive(Debug, Error)]
pub enum ConfirmError {
    #[error(
        "{0} Cannot ask for confirmation, since standard input is not a terminal; \
         --yes confirms in advance"
    )]
    NoTerminal(String),
    #[error("nothing was changed, since the answer was not yes")]
    Declined,
}

impl CommandError for ConfirmError {}

/// Asks `question`, unless `yes` has confirmed it in advance.
///
/// # Errors
/// The answer is not yes, or standard input is not a terminal.
pub fn confirm(question: &str, yes: bool) -> Result<(), ConfirmError> {
    if yes {
        return Ok(());
    }
    let question = output::printable(question);
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(ConfirmError::NoTerminal(question));
    }
    output::question(&format!("{question} [y/N]"));
    if says_yes(input.lock()) {
        Ok(())
    } else {
        Err(ConfirmError::Declined)
    }
}

/// True if the first line is a yes. An empty line or the end of the input is a no.
fn says_yes(mut input: impl BufRead) -> bool {
    let mut line = String::new();
    let read = input.read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::says_yes;

    #[test]
    fn only_yes_is_yes() {
        for (input, is_yes) in [
            ("y\n", true),
            (" Yes \n", true),
            ("y", true),
            ("\n", false),
            ("", false),
            ("n\ny\n", false),
            ("yesterday\n", false),
        ] {
            assert_eq!(says_yes(input.as_bytes()), is_yes, "{input:?}");
        }
        assert!(!says_yes(&b"\xff\n"[..]));
    }
}
