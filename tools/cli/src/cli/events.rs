//! `coursehook events`

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use shared::domain::{BlockedReason, CourseId, EventKind, EventState, PendingEvent, given};

use super::argument::{key, one_of};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Events {
    /// List the pending events, those first that are looked at next
    #[command(after_help = "\
Examples:
  coursehook events list
  coursehook events list --dead --reason lms_unavailable")]
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one pending event, why it waits or how it ended, and what would help
    #[command(after_help = "Example:\n  coursehook events show c96cd1f12633")]
    Show {
        /// Its key, or the first digits of it, as `coursehook events list` shows them
        #[arg(value_parser = key)]
        key: String,
    },
    /// Have pending events looked at within a minute, with all their time before them
    ///
    /// One by its key, or all that the options mean. If it is interrupted, the
    /// same command again does the rest.
    #[command(after_help = "\
Examples:
  coursehook events retry c96cd1f12633
  coursehook events retry --dead --reason lms_unavailable")]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Drop pending events; what they announced is lost for good
    ///
    /// One by its key, or all that the options mean. If it is interrupted, the
    /// same command again does the rest.
    #[command(after_help = "\
Examples:
  coursehook events drop c96cd1f12633
  coursehook events drop --expired --run course-v1:Org+Course+Run --older-than 30d")]
    Drop {
        #[command(flatten)]
        which: Which,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

/// One event, or those that a filter means.
#[derive(Debug, Args)]
#[group(
    id = "which",
    required = true,
    multiple = true,
    args = ["key", "dead", "expired", "run", "reason", "kind", "older_than", "newer_than"]
)]
pub struct Which {
    /// Its key, or the first digits of it, as `coursehook events list` shows them
    #[arg(value_parser = key, conflicts_with = "Filter")]
    pub key: Option<String>,
    #[command(flatten)]
    pub filter: Filter,
}

/// What pending events must be to be meant; each option narrows it.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only those that were given up after errors
    #[arg(long, conflicts_with = "expired")]
    dead: bool,
    /// Only those whose user or course run never came
    #[arg(long)]
    expired: bool,
    /// Only those of this course run
    #[arg(long, value_name = "COURSE_ID", value_parser = given::course_id)]
    run: Option<CourseId>,
    /// Only those that wait for this, or did at their end
    #[arg(long, value_parser = one_of(&BlockedReason::ALL, BlockedReason::as_str))]
    reason: Option<BlockedReason>,
    /// Only those that came by this webhook
    #[arg(long, value_parser = one_of(&EventKind::ALL, EventKind::as_str))]
    kind: Option<EventKind>,
    /// Only those pending for at least so long: a number and m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    older_than: Option<SignedDuration>,
    /// Only those pending for at most so long: a number and m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    newer_than: Option<SignedDuration>,
}

impl Filter {
    /// Whether an event is meant, as things stand at `now`.
    pub fn means(&self, event: &PendingEvent, now: Timestamp) -> bool {
        let state = match (self.dead, self.expired) {
            (true, _) => Some(EventState::Dead),
            (_, true) => Some(EventState::Expired),
            _ => None,
        };
        let age = now.duration_since(event.pending_since);
        state.is_none_or(|state| event.state == state)
            && self.run.as_ref().is_none_or(|run| event.course_id == *run)
            && self.reason.is_none_or(|reason| event.reason == reason)
            && self.kind.is_none_or(|kind| event.kind == kind)
            && self.older_than.is_none_or(|time| age >= time)
            && self.newer_than.is_none_or(|time| age <= time)
    }
}

impl Events {
    /// Whether it changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Show { .. })
    }
}
