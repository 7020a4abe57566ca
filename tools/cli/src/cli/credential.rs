//! `coursehook credential`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Credential {
    /// Store what the LMS is shown, which is asked for and goes nowhere else
    ///
    /// Asks on the terminal for the id and the secret of an OAuth2 client, or
    /// with --static for a service token; what is secret does not appear. Where
    /// standard input is no terminal, it is to hold {"client_id": "...",
    /// "client_secret": "..."} or {"token": "..."}. The LMS at $LMS_URL is asked
    /// for a token first, and what it does not take is not stored. The functions
    /// use the new credential within a minute.
    #[command(after_help = "\
Examples:
  coursehook credential set --stack coursehook-prod
  pass show lms/coursehook.json | coursehook credential set --stack coursehook-prod")]
    Set {
        /// Ask for a static service token, which the LMS takes as it is
        #[arg(long = "static")]
        is_static: bool,
        /// Do not ask the LMS first
        #[arg(long)]
        unchecked: bool,
    },
}
