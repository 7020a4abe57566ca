//! Pending events: docs/retries.md.

use std::collections::BTreeMap;

use super::{Path, Said, View, certificate, enrollment, later, plus};
use crate::state::{Event, EventState, Pair, Reason, Span};
use crate::steps::Mode;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The lease of a retry batch.
const LEASE: i64 = 2 * MINUTE;

/// The longest pause that the storm's LMS asks for.
pub const LONGEST_PAUSE: i64 = 90_000;

/// The intervals between attempts; the last one repeats.
fn intervals(reason: Reason) -> &'static [i64] {
    match reason {
        Reason::LmsUnavailable | Reason::NoUsername | Reason::Failed => &[
            MINUTE,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            6 * HOUR,
            12 * HOUR,
        ],
        Reason::NotPassed => &[MINUTE, 10 * MINUTE, DAY],
        Reason::NotEligible => &[MINUTE, 30 * DAY],
        Reason::NoSuchUser | Reason::NoSuchRun => &[MINUTE, 5 * MINUTE, DAY],
    }
}

/// The time after which an event ends for this reason.
fn patience(reason: Reason) -> i64 {
    match reason {
        Reason::LmsUnavailable | Reason::NoUsername | Reason::Failed => 7 * DAY,
        _ => 30 * DAY,
    }
}

/// When the next attempt may be.
fn next(reason: Reason, attempts: u32, now: Span, view: &View) -> Span {
    let intervals = intervals(reason);
    let index = usize::try_from(attempts)
        .unwrap_or(usize::MAX)
        .min(intervals.len() - 1);
    let wait = intervals[index];
    let (first, last) = plus(now, wait * 8 / 10, wait * 12 / 10);
    // The LMS may have asked for a pause.
    let pause = if reason == Reason::LmsUnavailable && view.paused {
        LONGEST_PAUSE
    } else {
        0
    };
    (first, last.max(now.1 + pause))
}

/// Returns the event after a delivery that is stored. There are several if it is not certain which
/// delivery is the newer one.
pub fn stored(
    before: Option<&Event>,
    reason: Reason,
    mode: Option<Mode>,
    roles: u8,
    view: &View,
) -> Vec<Event> {
    let now = view.now;
    let new = Event {
        state: EventState::Waiting,
        reason,
        roles,
        mode,
        unenrolled: false,
        attempts: 0,
        waited: BTreeMap::from([(reason, (now, 0))]),
        due: next(reason, 0, now, view),
        claimed: None,
        delivered: now,
    };
    let Some(before) = before else {
        return vec![new];
    };
    let united = |event: Event, mode: Option<Mode>| Event {
        roles: before.roles | roles,
        mode,
        ..event
    };
    let newest = if before.state == EventState::Waiting {
        let event = Event {
            attempts: before.attempts,
            waited: before.waited.clone(),
            due: (before.due.0.min(new.due.0), before.due.1.min(new.due.1)),
            claimed: before.claimed,
            ..new
        };
        united(event, mode.or(before.mode))
    } else {
        united(new, mode.or(before.mode))
    };
    match later(before.delivered, now) {
        None if before.state == EventState::Waiting => {
            vec![newest, united(before.clone(), before.mode.or(mode))]
        }
        _ => vec![newest],
    }
}

/// Returns the event while an attempt runs.
pub fn claimed(event: &Event, view: &View) -> Event {
    Event {
        attempts: event.attempts + 1,
        claimed: Some(plus(view.now, 0, LEASE)),
        ..event.clone()
    }
}

/// Returns the event after an attempt that was blocked; `None` if it is dropped. There are several if
/// it is not certain that its time is over.
pub fn after_attempt(event: &Event, reason: Reason, view: &View) -> Vec<Option<Event>> {
    let now = view.now;
    let mut after = event.clone();
    after.claimed = None;
    if !matches!(reason, Reason::LmsUnavailable | Reason::Failed) {
        after.waited.remove(&Reason::LmsUnavailable);
    }
    let (since, again) = match after.waited.get(&reason) {
        Some((since, again)) => (*since, again + 1),
        None => (now, 0),
    };
    after.waited.insert(reason, (since, again));
    let again = if reason == Reason::NotEligible && event.reason != reason {
        0
    } else {
        again
    };
    after.reason = reason;
    // A new delivery gives each reason its full time again.
    let since = (
        since.0.max(event.delivered.0),
        since.1.max(event.delivered.1),
    );
    let end = plus(since, patience(reason), patience(reason));
    let due = next(reason, again, now, view);
    let waits = Event {
        due: (due.0.min(end.0), due.1.min(end.1).max(due.0.min(end.0))),
        ..after.clone()
    };
    let ended = match reason {
        Reason::NotPassed | Reason::NotEligible => None,
        Reason::NoSuchUser | Reason::NoSuchRun => Some(EventState::Expired),
        Reason::NoUsername | Reason::LmsUnavailable | Reason::Failed => Some(EventState::Dead),
    };
    let ended = ended.map(|state| Event {
        state,
        due: now,
        ..after
    });
    if now.1 < end.0 {
        vec![Some(waits)]
    } else if now.0 >= end.1 {
        vec![ended]
    } else {
        vec![Some(waits), ended]
    }
}

/// Returns the paths of a retry batch's attempts at the event of the enrollment, and at that of the
/// certificate, each by itself.
pub fn attempts(pair: &Pair, view: &View) -> (Vec<Path>, Vec<Path>) {
    let may_be_due = |event: &Option<Event>| {
        event.as_ref().is_some_and(|event| {
            event.state == EventState::Waiting && later(event.claimable(), view.now) != Some(true)
        })
    };
    let mut roles = vec![nothing(pair)];
    if may_be_due(&pair.role) {
        roles.extend(enrollment::attempt(pair, view));
    }
    let mut passes = vec![nothing(pair)];
    if may_be_due(&pair.pass) {
        passes.extend(certificate::attempt(pair, view));
    }
    (roles, passes)
}

/// Returns the paths of a retry batch: each event that is due is attempted.
pub fn retry(pair: &Pair, view: &View) -> Vec<Path> {
    let is_due = |event: &Option<Event>| match event {
        Some(event) if event.state == EventState::Waiting => {
            match later(event.claimable(), view.now) {
                Some(true) => vec![false],
                _ if event.claimable().1 <= view.now.0 && !view.disturbed => vec![true],
                _ => vec![true, false],
            }
        }
        _ => vec![false],
    };
    let mut paths = Vec::new();
    for role in is_due(&pair.role) {
        let firsts = if role {
            enrollment::attempt(pair, view)
        } else {
            vec![nothing(pair)]
        };
        let pass_first = if role && is_due(&pair.pass).contains(&true) {
            // The enrollment's attempt may change the pass under its own, which then leaves it.
            let whole = certificate::attempt(pair, view);
            whole.iter().flat_map(Path::beginnings).collect()
        } else {
            Vec::new()
        };
        for first in firsts {
            // A pass that the enrollment has just made due may be attempted too, in the same batch.
            let mut choices = is_due(&pair.pass);
            if role
                && first
                    .end()
                    .pass
                    .as_ref()
                    .is_some_and(enrollment::waits_for_enrollment)
            {
                choices = vec![true, false];
            }
            for pass in choices {
                if pass {
                    let mut attempts = certificate::attempt(first.end(), view);
                    if role {
                        // The enrollment's attempt may still change the pass under this one, which
                        // then leaves it.
                        attempts = attempts.iter().flat_map(Path::beginnings).collect();
                        let made_due = attempts.iter().filter_map(|path| path.made_due(view));
                        attempts.extend(made_due.collect::<Vec<_>>());
                    }
                    let attempts = attempts.into_iter();
                    paths.extend(attempts.map(|path| first.clone().and(path)));
                } else {
                    paths.push(first.clone());
                }
            }
        }
        // The two run at once: the pass may be first, and be stored after the enrollment's attempt
        // has looked for it. Its attempt after a minute finds the enrollment.
        for first in pass_first {
            let seen = enrollment::attempt(first.end(), view);
            for second in seen.into_iter().chain(without_pass(first.end(), view)) {
                let path = first.clone().and(second);
                if path.end().pass.is_some() {
                    let again = certificate::attempt(path.end(), view);
                    paths.extend(again.into_iter().map(|again| path.clone().and(again)));
                }
                paths.push(path);
            }
        }
    }
    paths
}

/// Returns the paths of an attempt at a pending enrollment that does not see the pass.
fn without_pass(pair: &Pair, view: &View) -> Vec<Path> {
    let mut unseen = pair.clone();
    unseen.pass = None;
    let mut paths = enrollment::attempt(&unseen, view);
    for state in paths.iter_mut().flat_map(|path| &mut path.states) {
        state.pass.clone_from(&pair.pass);
    }
    paths
}

fn nothing(pair: &Pair) -> Path {
    Path::nothing(pair, Said::Done)
}

impl Path {
    /// Returns the path as far as each of its states.
    fn beginnings(&self) -> Vec<Self> {
        let upto = |states: usize| {
            let mut path = self.clone();
            path.states.truncate(states);
            path.needs_end();
            path
        };
        (1..=self.states.len()).map(upto).collect()
    }

    /// Returns the path that goes on with the event of the pass being made due while it is claimed,
    /// which ends the claim; `None` if it does not wait for the enrollment.
    fn made_due(&self, view: &View) -> Option<Self> {
        let pass = self.end().pass.as_ref()?;
        if pass.claimed.is_none() || !enrollment::waits_for_enrollment(pass) {
            return None;
        }
        let mut after = self.end().clone();
        after.pass = Some(Event {
            claimed: None,
            due: view.now,
            ..pass.clone()
        });
        let mut path = self.clone();
        path.then(after);
        path.needs_end();
        Some(path)
    }

    fn and(mut self, second: Self) -> Self {
        self.states.extend(second.states.into_iter().skip(1));
        self.needs_end();
        self
    }
}
