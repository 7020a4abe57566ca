//! `coursehook events`

use clap::{Args, Subcommand};
use domain::{BlockedReason, CourseId, EventKind, EventState, PendingEvent, given};
use jiff::{SignedDuration, Timestamp};

use super::argument::{key, one_of};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Events {
    /// List the pending events: first those that wait, ordered by their next attempt
    #[command(after_help = "\
Examples:
  coursehook events list
  coursehook events list --dead --reason lms_unavailable")]
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one pending event, why it is blocked or how it ended, and how to fix it
    #[command(after_help = "Example:\n  coursehook events show c96cd1f12633")]
    Show {
        /// Its key, or the first digits of it, as `coursehook events list` shows it
        #[arg(value_parser = key)]
        key: String,
    },
    /// Retry pending events within a minute, and restart their limits of time and
    /// attempts
    ///
    /// One event by its key, or all events that match the options. If the command is
    /// interrupted, run it again to do the rest.
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
    /// One event by its key, or all events that match the options. If the command is
    /// interrupted, run it again to do the rest.
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

/// One event, or those that match a filter.
#[derive(Debug, Args)]
#[group(
    id = "which",
    required = true,
    multiple = true,
    args = ["key", "dead", "expired", "run", "reason", "kind", "older_than", "newer_than"]
)]
pub struct Which {
    /// Its key, or the first digits of it, as `coursehook events list` shows it
    #[arg(value_parser = key, conflicts_with = "Filter")]
    pub key: Option<String>,
    #[command(flatten)]
    pub filter: Filter,
}

/// Conditions that pending events must meet; each option narrows the selection.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only dead events: those that were given up after errors
    #[arg(long, conflicts_with = "expired")]
    dead: bool,
    /// Only expired events: those whose user or course run was never imported
    #[arg(long)]
    expired: bool,
    /// Only those of this course run
    #[arg(long, value_name = "COURSE_ID", value_parser = given::course_id)]
    run: Option<CourseId>,
    /// Only those that are blocked for this reason, or were when they ended
    #[arg(long, value_parser = one_of(&BlockedReason::ALL, BlockedReason::as_str))]
    reason: Option<BlockedReason>,
    /// Only those that were delivered to this webhook
    #[arg(long, value_parser = one_of(&EventKind::ALL, EventKind::as_str))]
    kind: Option<EventKind>,
    /// Only those pending for at least this long: a number and m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    older_than: Option<SignedDuration>,
    /// Only those pending for at most this long: a number and m, h, d or w
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    newer_than: Option<SignedDuration>,
}

impl Filter {
    /// True if the event matches the filter at `now`.
    pub fn matches(&self, event: &PendingEvent, now: Timestamp) -> bool {
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
    /// True if the command changes nothing.
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Show { .. })
    }
}
