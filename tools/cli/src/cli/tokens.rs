//! `coursehook tokens`

use clap::Subcommand;
use jiff::SignedDuration;

use super::argument::name;
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Issue a token and print it, once
    ///
    /// It is printed some three seconds after it was stored: from then on it works.
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
    /// Issue a token in place of another one, and print it, once
    ///
    /// It has the name and the rights of the old one, which is good for a while
    /// longer, so that its bearer can be given the new one. That is printed some
    /// three seconds after it was stored: from then on it works.
    #[command(after_help = "\
Examples:
  coursehook tokens rotate 3f8a51c07be2 --expires-in 90d
  TOKEN=$(coursehook tokens rotate 3f8a51c07be2 --old-ends-in 1h)")]
    Rotate {
        /// The old one's id, as `coursehook tokens list` shows it
        id: String,
        /// How long the old one is good for, if it does not end sooner: a number and m, h, d or w
        #[arg(long, value_name = "TIME", value_parser = time::duration, default_value = "7d")]
        old_ends_in: SignedDuration,
        /// How long the new one is good for: a number and m, h, d or w. Without it, until it is revoked
        #[arg(long, value_name = "TIME", value_parser = time::duration)]
        expires_in: Option<SignedDuration>,
    },
    /// List all tokens; those that died lately too
    ///
    /// Where $COURSEHOOK_LOG names a file of the webhooks' log lines, as the
    /// local stack writes it, also when each was last seen.
    #[command(after_help = "Example:\n  coursehook tokens list")]
    List,
    /// Revoke a token; within a minute nobody takes it any more
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
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List)
    }
}
