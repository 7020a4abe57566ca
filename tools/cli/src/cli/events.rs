//! `coursehook events`

use clap::Subcommand;

use super::argument::key;

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

impl Events {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Show { .. })
    }
}
