//! Enrollments: docs/contract.md, "Enrollment", and docs/retries.md, "A new delivery of a pending
//! event".

use super::pending::{self, stored};
use super::{Path, Said, View, later};
use crate::state::{Enrollment, Event, EventState, Pair, Reason, Span};
use crate::steps::Mode;

/// The time by which an event is postponed before the enrollment that it waits for is written.
const BEFORE_WRITE: i64 = 90_000;

/// One announcement: whether it enrolls, its mode, its roles, and its time if it waited.
#[derive(Debug, Clone, Copy)]
struct Announced {
    active: bool,
    mode: Option<Mode>,
    roles: u8,
    waited_since: Option<Span>,
}

/// Returns the reason that blocks an enrollment, if the portal lacks the user or the run.
fn missing(view: &View) -> Option<Reason> {
    match (&view.user, view.run) {
        (None, _) => Some(Reason::NoSuchUser),
        (Some(_), false) => Some(Reason::NoSuchRun),
        (Some(_), true) => None,
    }
}

/// Returns the paths of a delivery, or of the retry of a pending event if `delivered` is `None`:
/// whether it enrolls, its mode, its roles.
pub fn deliver(pair: &Pair, view: &View, delivered: Option<(bool, Option<Mode>, u8)>) -> Vec<Path> {
    let unenrolls = matches!(delivered, Some((false, ..)));
    if let Some(reason) = missing(view) {
        return match delivered {
            Some((true, mode, roles)) => stored(pair.role.as_ref(), reason, mode, roles, view)
                .into_iter()
                .map(|event| {
                    let mut after = pair.clone();
                    after.role = Some(event);
                    Path::to(pair, after, Said::Status(404))
                })
                .collect(),
            Some((false, ..)) => unenroll_pending(pair, view),
            None => Vec::new(),
        };
    }
    let mut list = Vec::new();
    if let Some(event) = &pair.role {
        let active = !event.unenrolled && !unenrolls;
        list.push(Announced {
            active,
            mode: event.mode.filter(|_| active),
            roles: event.roles,
            waited_since: Some(event.delivered),
        });
    }
    if let Some((active, mode, roles)) = delivered {
        list.push(Announced {
            active,
            mode,
            roles,
            waited_since: None,
        });
    }
    let befores = pair.enrollment.as_ref();
    let afters = announce(befores, &list, view.now);
    let mut paths = Vec::new();
    for after in afters {
        let is_new = befores.is_none() && after.is_some();
        let said = Said::Status(if is_new && !unenrolls { 201 } else { 200 });
        let path = Path::nothing(pair, said);
        let wakes = !unenrolls && pair.pass.as_ref().is_some_and(waits_for_enrollment);
        let pays = after.as_ref().is_some_and(is_active_and_paid);
        for wakes in if wakes && !pays {
            vec![true, false]
        } else {
            vec![wakes]
        } {
            let mut path = path.clone();
            write_enrollment(&mut path, after.clone(), wakes, view.now);
            if path.end().role.is_some() {
                let mut done = path.end().clone();
                done.role = None;
                path.then(done);
            }
            paths.push(path);
        }
    }
    paths
}

/// Adds the steps of a write of the enrollment: the pass that waits for it is postponed before, and
/// due after.
pub fn write_enrollment(path: &mut Path, after: Option<Enrollment>, wakes: bool, now: Span) {
    if wakes {
        path.then(with_pass_due(
            path.end(),
            super::plus(now, BEFORE_WRITE, BEFORE_WRITE),
        ));
    }
    let mut written = path.end().clone();
    written.enrollment = after;
    path.then(written);
    path.needs_end();
    if wakes {
        path.then(with_pass_due(path.end(), now));
    }
}

fn with_pass_due(pair: &Pair, due: Span) -> Pair {
    let mut pair = pair.clone();
    if let Some(pass) = &mut pair.pass {
        pass.due = due;
        pass.claimed = None;
    }
    pair
}

/// True if the event is a pass that waits for its enrollment.
pub fn waits_for_enrollment(pass: &Event) -> bool {
    pass.state == EventState::Waiting && pass.reason == Reason::NotEligible
}

/// True if a pass earns a certificate in the enrollment.
pub fn is_active_and_paid(enrollment: &Enrollment) -> bool {
    enrollment.active && enrollment.mode == Mode::Verified
}

/// An un-enrollment of somebody unknown: the pending enrollment no longer enrolls, and its roles
/// stay. A delivery at the same time may be the newer one.
fn unenroll_pending(pair: &Pair, view: &View) -> Vec<Path> {
    let mut after = pair.clone();
    after.role = pair
        .role
        .clone()
        .filter(|event| event.roles != 0)
        .map(|event| Event {
            mode: None,
            unenrolled: true,
            delivered: view.now,
            ..event
        });
    let mut paths = vec![Path::to(pair, after, Said::Status(404))];
    let delivered = pair.role.as_ref().map(|event| event.delivered);
    if delivered.is_some_and(|delivered| later(delivered, view.now).is_none()) {
        paths.push(Path::nothing(pair, Said::Status(404)));
    }
    paths
}

/// Returns an enrollment that nobody has announced yet.
fn fresh(now: Span) -> Enrollment {
    Enrollment {
        mode: Mode::Audit,
        set_by: None,
        active: false,
        by_operator: false,
        edx: false,
        roles: 0,
        has_status: false,
        changed: now,
        writes: 0,
    }
}

/// Makes an enrollment active.
pub fn activate(enrollment: &mut Enrollment) {
    enrollment.active = true;
    enrollment.by_operator = false;
    enrollment.has_status = false;
}

/// Returns the enrollment after announcements, oldest first; several, if an announcement may or may
/// not be older than the enrollment.
fn announce(before: Option<&Enrollment>, list: &[Announced], now: Span) -> Vec<Option<Enrollment>> {
    let newer = |announced: &Announced| match (before, announced.waited_since) {
        (Some(before), Some(since)) => match later(before.changed, since) {
            Some(changed) => vec![!changed],
            None => vec![true, false],
        },
        _ => vec![true],
    };
    // At most one of them waited, and it is the first.
    let choices = list.first().map_or_else(|| vec![true], newer);
    choices
        .into_iter()
        .map(|first_counts| {
            let mut after = before.cloned();
            let mut enrolled_now = false;
            for (place, announced) in list.iter().enumerate() {
                if after.is_none() && !announced.active && announced.roles == 0 {
                    continue;
                }
                let is_new = after.is_none();
                let enrollment = after.get_or_insert_with(|| fresh(now));
                enrollment.roles |= announced.roles;
                enrollment.edx |= announced.active;
                if place == 0 && !first_counts {
                    continue;
                }
                match (enrollment.active, announced.active) {
                    (false, true) => {
                        activate(enrollment);
                        enrollment.mode = announced.mode.unwrap_or(Mode::Audit);
                        enrollment.set_by = None;
                        enrolled_now = true;
                    }
                    (true, true) => {
                        let Some(mode) = announced.mode else { continue };
                        let upgrade = mode == Mode::Verified
                            && enrollment.mode != Mode::Verified
                            && enrollment.set_by != Some(crate::state::By::Operator);
                        if enrolled_now || upgrade {
                            enrollment.mode = mode;
                            enrollment.set_by = None;
                        }
                    }
                    (true, false) => {
                        enrollment.active = false;
                        enrollment.has_status = true;
                        enrolled_now = false;
                    }
                    (false, false) => enrollment.has_status |= is_new,
                }
            }
            if after.as_ref() != before
                && let Some(after) = &mut after
            {
                after.changed = now;
                after.writes += 1;
            }
            after
        })
        .collect()
}

/// Returns the paths of an attempt at a pending enrollment.
pub fn attempt(pair: &Pair, view: &View) -> Vec<Path> {
    let Some(event) = &pair.role else {
        return Vec::new();
    };
    let claimed = pending::claimed(event, view);
    let mut claimed_pair = pair.clone();
    claimed_pair.role = Some(claimed.clone());
    if let Some(reason) = missing(view) {
        return pending::after_attempt(&claimed, reason, view)
            .into_iter()
            .map(|event| {
                let mut after = claimed_pair.clone();
                after.role = event;
                let mut path = Path::to(pair, claimed_pair.clone(), Said::Done);
                path.then(after);
                path.needs_end();
                path
            })
            .collect();
    }
    deliver(&claimed_pair, view, None)
        .into_iter()
        .map(|mut path| {
            path.states.insert(0, pair.clone());
            path.said = Said::Done;
            path.needs_end();
            path
        })
        .collect()
}
