//! `coursehook tokens`

use clap::Subcommand;
use jiff::SignedDuration;

use super::argument::name;
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Issue a token and print it, once
    ///
    /// It is printed about three seconds after it was stored: from then on it is valid
    /// everywhere.
    #[command(after_help = "\
Examples:
  coursehook tokens issue lms-production --staff --expires-in 90d
  TOKEN=$(coursehook tokens issue lms-staging --staff)")]
    Issue {
        /// The token's name, for instance that of the system that will use it
        #[arg(value_parser = name)]
        name: String,
        /// Allow the token to call the webhooks
        #[arg(long)]
        staff: bool,
        /// The time for which it is valid: a number and m, h, d or w. Without it, until it is
        /// revoked
        #[arg(long, value_name = "TIME", value_parser = time::duration)]
        expires_in: Option<SignedDuration>,
    },
    /// Issue a token in place of another one, and print it, once
    ///
    /// It has the name and the rights of the old one. The old one stays valid for a
    /// while, so that its user can be given the new one. The new one is printed about
    /// three seconds after it was stored: from then on it is valid everywhere.
    #[command(after_help = "\
Examples:
  coursehook tokens rotate 3f8a51c07be2 --expires-in 90d
  TOKEN=$(coursehook tokens rotate 3f8a51c07be2 --old-ends-in 1h)")]
    Rotate {
        /// The old token's id, as `coursehook tokens list` shows it
        id: String,
        /// The time for which the old one stays valid, unless it ends sooner: a number and m, h, d
        /// or w
        #[arg(long, value_name = "TIME", value_parser = time::duration, default_value = "7d")]
        old_ends_in: SignedDuration,
        /// The time for which the new one is valid: a number and m, h, d or w. Without it, until it
        /// is revoked
        #[arg(long, value_name = "TIME", value_parser = time::duration)]
        expires_in: Option<SignedDuration>,
    },
    /// List all tokens, including those that recently ended
    ///
    /// If $COURSEHOOK_LOG names a file of the webhooks' log lines, as the local stack
    /// writes it, also shows when each was last seen.
    #[command(after_help = "Example:\n  coursehook tokens list")]
    List,
    /// Revoke a token; within a minute no webhook accepts it
    #[command(after_help = "Example:\n  coursehook tokens revoke 3f8a51c07be2")]
    Revoke {
        /// Its id, as `coursehook tokens list` shows it
        id: String,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

impl Tokens {
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List)
    }
}
