//! `coursehook credential`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Credential {
    /// Store the credential for the LMS, which is entered here and shown nowhere
    ///
    /// Asks on the terminal for the id and the secret of an OAuth2 client, or with
    /// --static for a service token; the secret is not echoed. If standard input is not a
    /// terminal, it must hold {"client_id": "...", "client_secret": "..."} or {"token":
    /// "..."}. The LMS at $LMS_URL is asked for a token first, and a client that it does
    /// not accept is not stored. The functions use the new credential within a minute.
    #[command(after_help = "\
Examples:
  coursehook credential set --stack coursehook-prod
  pass show lms/coursehook.json | coursehook credential set --stack coursehook-prod")]
    Set {
        /// Ask for a static service token, which the LMS accepts as it is
        #[arg(long = "static")]
        is_static: bool,
        /// Do not ask the LMS first
        #[arg(long)]
        unchecked: bool,
    },
}
