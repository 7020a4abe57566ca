//! The commands and their arguments: one file for each group of commands.

mod argument;
mod certificates;
mod credential;
mod deliveries;
mod deployment;
mod enrollments;
mod events;
mod grades;
mod import;
mod runs;
mod sweep;
mod tokens;
mod users;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use domain::{CourseId, Email, given};

pub use self::certificates::Certificates;
pub use self::credential::Credential;
pub use self::deliveries::Deliveries;
pub use self::deployment::Deployment;
pub use self::enrollments::{Enrollments, SetEnrollment};
pub use self::events::{Events, Filter};
pub use self::grades::{Grades, OverrideGrade};
pub use self::import::{ImportEnrollments, ImportFile, ImportRecords};
pub use self::runs::Runs;
pub use self::sweep::{Sweep, SweepRuns};
pub use self::tokens::Tokens;
pub use self::users::Users;

/// Operate Coursehook by hand.
///
/// Tables, secrets and endpoints come from the same environment variables as the
/// functions', or with --stack from a deployed stack. For the local stack: set -a; .
/// .local/env; set +a
#[derive(Debug, Parser)]
#[command(name = "coursehook", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Write JSON to standard output.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(flatten)]
    pub deployment: Deployment,

    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    done, but an import met bad or differing lines, a replayed delivery was not accepted,
       one of several events could not be retried or dropped, there is no certificate to
       issue, a sweep was halted at its safety limit, failed or could not do all learners, or
       the doctor found an error
  2    not done, or incomplete; the message says why and what to try
  130  an import, a sweep or a change of several events was interrupted with Ctrl-C";

/// Exit codes of the program. clap also exits with 2 when it cannot parse the command.
pub mod exit_code {
    pub const DONE_BUT: u8 = 1;
    pub const NOT_DONE: u8 = 2;
    pub const INTERRUPTED: u8 = 130;
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Users of the portal
    #[command(subcommand)]
    Users(Users),
    /// Course runs of the portal
    #[command(subcommand)]
    Runs(Runs),
    /// Enrollments of users in course runs
    #[command(subcommand)]
    Enrollments(Enrollments),
    /// Grades of learners in course runs
    #[command(subcommand)]
    Grades(Grades),
    /// Certificates of learners who have passed
    #[command(subcommand)]
    Certificates(Certificates),
    /// Correct whole course runs by what the LMS lists of them
    #[command(subcommand)]
    Sweep(Sweep),
    /// Show all that is stored about a learner, and why they have a certificate or none
    ///
    /// Shows each course run in which the learner has anything, or only the one that is
    /// named. If no user has the address, shows what is pending for it.
    #[command(after_help = "\
Examples:
  coursehook status ada@example.org
  coursehook status ada@example.org course-v1:Org+Course+Run")]
    Status {
        #[arg(value_parser = given::email)]
        email: Email,
        /// Only this one, whether or not the learner has anything in it
        #[arg(value_parser = given::course_id)]
        course_id: Option<CourseId>,
    },
    /// Tokens that may call the webhooks
    #[command(subcommand)]
    Tokens(Tokens),
    /// The credential for the LMS
    #[command(subcommand)]
    Credential(Credential),
    /// Pending events: those that could not take effect yet
    #[command(subcommand)]
    Events(Events),
    /// Check that tables, secrets, LMS and webhooks are as they should be
    ///
    /// Prints one line for each check: OK, FIX with what to do, WARN if you have to decide,
    /// or SKIP if the check could not be made. Nothing is changed. The exit code is 1 if something is to be
    /// fixed. If they are set, $COURSEHOOK_URL is called with an invalid token, and with
    /// $COURSEHOOK_TOKEN. The LMS is asked for the grade of the learner who is named, or
    /// of any learner who is found.
    #[command(after_help = "\
Examples:
  coursehook doctor --stack coursehook-prod
  coursehook doctor ada@example.org course-v1:Org+Course+Run")]
    Doctor {
        #[arg(requires = "course_id", value_parser = given::email)]
        email: Option<Email>,
        #[arg(value_parser = given::course_id)]
        course_id: Option<CourseId>,
    },
    /// Show how the deliveries ended, by the webhooks' log lines
    ///
    /// Retries of pending events are shown too, dimmer. Other log lines are skipped, and
    /// so is any prefix of a line.
    #[command(after_help = "\
Examples:
  coursehook deliveries --follow
  aws logs tail LOG_GROUP --format short --follow | coursehook deliveries --log -")]
    Deliveries(Deliveries),
    /// Send sample deliveries to the running stack
    ///
    /// A file holds the body of a delivery and lies in a folder named `enrollment` or
    /// `certificate`, or it holds an event of API Gateway (version 1 or 2), whose request
    /// is rebuilt. They go to $COURSEHOOK_URL with the token $COURSEHOOK_TOKEN. The exit
    /// code is 1 if one of them got no answer, a 5xx, 401 or 403, or if none of them
    /// reached a webhook; with a 202, or a 404 of its own, Coursehook stores the event as
    /// a pending event.
    #[command(after_help = "\
Example:
  coursehook replay events/enrollment events/gateway/rest-role-added.json")]
    Replay {
        /// Files, or folders whose *.json are sent in order, subfolders included
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Write the script that completes this program's commands in a shell
    ///
    /// Put the file where the shell looks for completions: for bash as in the example,
    /// for zsh `_coursehook` in a folder of $fpath, for fish
    /// ~/.config/fish/completions/coursehook.fish. A new shell loads it.
    #[command(after_help = "\
Examples:
  coursehook completions bash > ~/.local/share/bash-completion/completions/coursehook
  coursehook completions zsh > ~/.zfunc/_coursehook
  coursehook completions fish > ~/.config/fish/completions/coursehook.fish")]
    Completions { shell: Shell },
}

/// Shells for which there are completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Command {
    /// True if the named stack must be readable. The doctor reports an unreadable stack
    /// itself, and a log or a shell does not need AWS.
    pub const fn needs_a_stack(&self) -> bool {
        !matches!(
            self,
            Self::Doctor { .. } | Self::Deliveries(_) | Self::Completions { .. }
        )
    }

    /// True if the command changes nothing, so that an unread answer is not an error.
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::Users(command) => command.only_reads(),
            Self::Runs(command) => command.only_reads(),
            Self::Enrollments(command) => command.only_reads(),
            Self::Grades(command) => command.only_reads(),
            Self::Certificates(command) => command.only_reads(),
            Self::Sweep(command) => command.only_reads(),
            Self::Tokens(command) => command.only_reads(),
            Self::Events(command) => command.only_reads(),
            Self::Status { .. }
            | Self::Deliveries(_)
            | Self::Doctor { .. }
            | Self::Completions { .. } => true,
            Self::Credential(_) | Self::Replay { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use domain::EventKind;

    use super::*;

    /// Returns the commands that have no subcommands, each with its full name.
    fn leaves(command: &clap::Command, above: &str) -> Vec<(String, clap::Command)> {
        let name = format!("{above} {}", command.get_name());
        let name = name.trim_start();
        if command.has_subcommands() {
            let below = command.get_subcommands();
            below.flat_map(|below| leaves(below, name)).collect()
        } else {
            vec![(name.to_owned(), command.clone())]
        }
    }

    /// Returns the calls of this program in a help text, each as a shell would pass it:
    /// without pipes, redirections and the `$(...)` around it.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let call = |line: &str| Some(words(&line[line.find("coursehook ")?..]));
        help.lines().filter_map(call).collect()
    }

    /// Returns the words up to the first character that is special in the shell.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            let word = words.len() - 1;
            match (quote, c) {
                (Some(open), _) if open == c => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '|' | '<' | '>' | ')') => break,
                (None, ' ') => words.push(String::new()),
                _ => words[word].push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn the_help_of_replay_names_the_folder_of_each_webhook() {
        let all = leaves(&Cli::command(), "");
        let (_, replay) = all
            .iter()
            .find(|(name, _)| name == "coursehook replay")
            .unwrap();
        let help = replay.get_long_about().unwrap().to_string();
        for kind in EventKind::ALL {
            assert!(help.contains(&format!("`{}`", kind.as_str())), "{help}");
        }
    }

    #[test]
    fn every_command_has_an_example_that_can_be_run() {
        let all = leaves(&Cli::command(), "");
        assert!(all.len() > 10, "{all:?}");
        for (name, command) in all {
            let help = command.get_after_help().map(ToString::to_string);
            let examples = examples(&help.unwrap_or_default());
            let has_own_example = examples
                .iter()
                .any(|line| line.join(" ").starts_with(&name));
            assert!(has_own_example, "{name} has no example");
            for example in examples {
                if let Err(error) = Cli::try_parse_from(&example) {
                    panic!("{}: {error}", example.join(" "));
                }
            }
        }
    }

    /// An address or a course id with an invisible character would find nothing, and the
    /// operator would not know why.
    #[test]
    fn an_invisible_character_is_refused_in_every_argument() {
        const HIDDEN: char = '\u{200b}';
        let mut refused = 0;
        for (name, command) in leaves(&Cli::command(), "") {
            let help = command.get_after_help().map(ToString::to_string);
            for example in examples(&help.unwrap_or_default()) {
                let is_identifier =
                    |word: &&String| word.contains('@') || word.starts_with("course-v1:");
                for identifier in example.iter().filter(is_identifier) {
                    // The command checks this one itself, as a test of its own shows.
                    if name.ends_with("rename-email") && Some(identifier) == example.get(4) {
                        continue;
                    }
                    let spoiled = |word: &String| match word == identifier {
                        true => format!("{word}{HIDDEN}"),
                        false => word.clone(),
                    };
                    let spoiled = example.iter().map(spoiled);
                    let text = match Cli::try_parse_from(spoiled) {
                        Ok(_) => panic!("{name} takes {identifier} with U+200B"),
                        Err(error) => error.to_string(),
                    };
                    assert!(text.contains("U+200B ZERO WIDTH SPACE at "), "{text}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 30, "{refused}");
    }

    #[test]
    fn global_options_can_follow_the_command() {
        let program = Cli::command();
        for name in ["json", "stack", "profile", "region"] {
            let argument = program.get_arguments().find(|a| a.get_id() == name);
            assert!(argument.unwrap().is_global_set(), "{name}");
        }
        program.debug_assert();
    }
}
