//! The commands and their arguments.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use shared::domain::{CourseId, Email, LetterGrade, Mode, Percent};

use crate::time;

/// What operators of Coursehook do by hand.
///
/// Tables, secrets and endpoints come from the same environment variables as
/// the functions'. For the local stack: set -a; . .local/env; set +a
#[derive(Debug, Parser)]
#[command(name = "coursehook", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Write JSON to standard output.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    done, but an import met bad lines, or a replayed delivery was not accepted
  2    not done, or cut short; the message says why and what to try
  130  an import was interrupted with Ctrl-C";

/// The same codes. clap, too, ends with 2 when it cannot read the command.
pub mod exit_code {
    pub const DONE_BUT: u8 = 1;
    pub const NOT_DONE: u8 = 2;
    pub const INTERRUPTED: u8 = 130;
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The people of the portal
    #[command(subcommand)]
    Users(Users),
    /// The course runs that the portal knows
    #[command(subcommand)]
    Runs(Runs),
    /// Who is in which course run
    #[command(subcommand)]
    Enrollments(Enrollments),
    /// What learners have achieved
    #[command(subcommand)]
    Grades(Grades),
    /// What learners who have passed are given
    #[command(subcommand)]
    Certificates(Certificates),
    /// Show all that is known of a learner, and why they have a certificate or none
    ///
    /// For each course run that the learner has anything in, or for the one that
    /// is named. Where there is no user of the address, what waits for them.
    #[command(after_help = "\
Examples:
  coursehook status ada@example.org
  coursehook status ada@example.org course-v1:Org+Course+Run")]
    Status {
        email: Email,
        /// Only this one, whether or not the learner has anything in it
        course_id: Option<CourseId>,
    },
    /// The tokens that may call the webhooks
    #[command(subcommand)]
    Tokens(Tokens),
    /// The events that could not take effect yet
    #[command(subcommand)]
    Events(Events),
    /// Send sample deliveries to the running stack
    ///
    /// A file holds the body of a delivery and lies in a folder named
    /// `enrollment` or `certificate`, or it holds an event of API Gateway
    /// (version 1 or 2), whose request is made again. They go to
    /// $COURSEHOOK_URL with the token $COURSEHOOK_TOKEN. The exit code is 1 if
    /// one of them got no answer, a 5xx, 401 or 403, or if none of them met a
    /// webhook; with a 202, or a 404 of its own, Coursehook keeps the event.
    #[command(after_help = "\
Example:
  coursehook replay events/enrollment events/gateway/rest-role-added.json")]
    Replay {
        /// Files, or folders whose *.json are taken in order, those below included
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

impl Command {
    /// Whether it changes nothing, so that nothing is amiss if nobody wants its answer.
    pub const fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Users(Users::Show { .. })
                | Self::Runs(Runs::Show { .. })
                | Self::Enrollments(Enrollments::Show { .. })
                | Self::Grades(Grades::Show { .. })
                | Self::Certificates(Certificates::Show { .. })
                | Self::Status { .. }
                | Self::Tokens(Tokens::List)
                | Self::Events(Events::List { .. } | Events::Show { .. })
        )
    }
}

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Import users from CSV or JSON Lines
    ///
    /// Columns: email (required), edx_username, name. An empty cell leaves what
    /// is there. A row is one line. Importing a file again changes nothing.
    #[command(after_help = "\
Examples:
  coursehook users import learners.csv
  export-learners | coursehook users import -")]
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
    /// Show one user
    #[command(after_help = "Example:\n  coursehook users show ada@example.org")]
    Show { email: Email },
}

#[derive(Debug, Subcommand)]
pub enum Runs {
    /// Import course runs from CSV or JSON Lines
    ///
    /// Columns: course_id and title (required), live, is_self_paced,
    /// start_date, end_date, certificate_available_date. A flag is true, false,
    /// yes, no, 1 or 0, and false where it is empty. A date is RFC 3339 with an
    /// offset, or a plain date, which is midnight UTC. A run is replaced whole:
    /// what is empty is empty afterwards. A row is one line.
    #[command(after_help = "Example:\n  coursehook runs import runs.csv")]
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
    /// Show one course run
    #[command(after_help = "Example:\n  coursehook runs show course-v1:Org+Course+Run")]
    Show { course_id: CourseId },
}

#[derive(Debug, Subcommand)]
pub enum Enrollments {
    /// Show a user's enrollments
    #[command(after_help = "Example:\n  coursehook enrollments show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set the mode of an enrollment, and make it active or inactive
    ///
    /// The enrollment is created if there is none; user and course run must
    /// exist. A mode that is set here is no longer the LMS's affair.
    #[command(after_help = "\
Examples:
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode verified
  coursehook enrollments set ada@example.org course-v1:Org+Course+Run --mode audit --inactive")]
    Set(SetEnrollment),
}

#[derive(Debug, Args)]
pub struct SetEnrollment {
    pub email: Email,
    pub course_id: CourseId,
    /// audit, verified, and so on
    #[arg(long, value_parser = plain::<Mode>)]
    pub mode: Mode,
    /// Also set a mode that Open edX is not known to use
    #[arg(long)]
    pub force: bool,
    /// Unenroll the learner
    #[arg(long)]
    pub inactive: bool,
}

#[derive(Debug, Subcommand)]
pub enum Grades {
    /// Show a user's grades
    #[command(after_help = "Example:\n  coursehook grades show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Set a grade by hand; the LMS's never replaces it
    ///
    /// User and course run must exist. Where the grade is a pass and the
    /// enrollment is active and paid ($PAID_MODES), the certificate is issued
    /// at once. A certificate that is in force stays so, whatever the grade.
    #[command(after_help = "\
Examples:
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.87 --letter B --passed
  coursehook grades override ada@example.org course-v1:Org+Course+Run --percent 0.4 --letter F")]
    Override(OverrideGrade),
}

#[derive(Debug, Args)]
pub struct OverrideGrade {
    pub email: Email,
    pub course_id: CourseId,
    /// How much of the course, 1 being all of it; extra credit may lead up to 2
    #[arg(long, value_parser = percent, allow_negative_numbers = true)]
    pub percent: Percent,
    /// A or Pass for instance
    #[arg(long, value_parser = plain::<LetterGrade>)]
    pub letter: LetterGrade,
    /// The grade is a pass
    #[arg(long)]
    pub passed: bool,
}

#[derive(Debug, Subcommand)]
pub enum Certificates {
    /// Show a user's certificates
    #[command(after_help = "Example:\n  coursehook certificates show ada@example.org --history")]
    Show {
        email: Email,
        /// Also show each change, oldest first
        #[arg(long)]
        history: bool,
    },
    /// Revoke a certificate; only an operator restores it
    #[command(after_help = "\
Example:
  coursehook certificates revoke ada@example.org course-v1:Org+Course+Run")]
    Revoke {
        email: Email,
        course_id: CourseId,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
    /// Restore a certificate that an operator has revoked
    ///
    /// It is again what it was before: in force, or withdrawn until a pass.
    #[command(after_help = "\
Example:
  coursehook certificates restore ada@example.org course-v1:Org+Course+Run")]
    Restore { email: Email, course_id: CourseId },
}

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Issue a token and print it, once
    #[command(after_help = "\
Examples:
  coursehook tokens issue lms-production --staff --expires-in 90d
  TOKEN=$(coursehook tokens issue lms-staging --staff)")]
    Issue {
        /// What to call it, for instance after the system that will bear it
        #[arg(value_parser = name)]
        name: String,
        /// Its bearer may call the webhooks
        #[arg(long)]
        staff: bool,
        /// How long it is good for: a number and m, h, d or w. Without it, until it is revoked
        #[arg(long, value_name = "TIME", value_parser = time::duration)]
        expires_in: Option<SignedDuration>,
    },
    /// List all tokens; those that died lately too
    #[command(after_help = "Example:\n  coursehook tokens list")]
    List,
    /// Revoke a token; within a minute nobody takes it any more
    #[command(after_help = "Example:\n  coursehook tokens revoke 3f8a51c07be2")]
    Revoke {
        /// Its id, as `coursehook tokens list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Events {
    /// List the kept events, those first that are looked at next
    #[command(after_help = "Examples:\n  coursehook events list\n  coursehook events list --dead")]
    List {
        /// Only those that were given up after trouble
        #[arg(long, conflicts_with = "expired")]
        dead: bool,
        /// Only those whose user or course run never came
        #[arg(long)]
        expired: bool,
    },
    /// Show one kept event, why it waits or how it ended, and what would help
    #[command(after_help = "Example:\n  coursehook events show c96cd1f12633")]
    Show {
        /// Its key, or the first digits of it, as `coursehook events list` shows them
        #[arg(value_parser = key)]
        key: String,
    },
    /// Have a kept event looked at within a minute, with all its time before it
    #[command(after_help = "Example:\n  coursehook events retry c96cd1f12633")]
    Retry {
        /// Its key, or the first digits of it, as `coursehook events list` shows them
        #[arg(value_parser = key)]
        key: String,
    },
    /// Drop a kept event; what it announced is lost for good
    #[command(after_help = "Example:\n  coursehook events drop c96cd1f12633")]
    Drop {
        /// Its key, or the first digits of it, as `coursehook events list` shows them
        #[arg(value_parser = key)]
        key: String,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

/// A name that reads well in a table.
fn name(text: &str) -> Result<String, &'static str> {
    const MAX_CHARS: usize = 100;
    let text = text.trim();
    if text.is_empty() {
        Err("is blank")
    } else if text.chars().any(char::is_control) {
        Err("has a control character")
    } else if text.chars().count() > MAX_CHARS {
        Err("is longer than 100 characters")
    } else {
        Ok(text.to_owned())
    }
}

/// A word that nobody mistakes for another one. Whether it is a known one is
/// judged later, if at all, since `--force` may be given.
pub fn plain<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    if text.chars().any(char::is_control) {
        Err("has a control character".to_owned())
    } else if text.trim() != text {
        Err("has blanks around it".to_owned())
    } else {
        text.parse().map_err(|error: T::Err| error.to_string())
    }
}

/// A percent as the LMS has it, 0.87 and not 87, which is what people write.
fn percent(text: &str) -> Result<Percent, String> {
    text.parse::<Percent>().map_err(|error| {
        let hundredths = text.trim().trim_end_matches('%').trim_end();
        let hundredths: Option<f64> = hundredths.parse().ok();
        let meant = hundredths.and_then(|number| Percent::try_from(number / 100.0).ok());
        let meant = meant.map(|meant| format!("; write {}", meant.get()));
        format!(
            "{error}, 1 being the whole course{}",
            meant.unwrap_or_default()
        )
    })
}

/// The first digits of an event's key, enough of them to mean one event.
fn key(text: &str) -> Result<String, &'static str> {
    const DIGITS: std::ops::RangeInclusive<usize> = 6..=64;
    let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if DIGITS.contains(&text.len()) && text.bytes().all(is_digit) {
        Ok(text.to_owned())
    } else {
        Err("is not 6 to 64 hex digits, as `coursehook events list` shows them")
    }
}
