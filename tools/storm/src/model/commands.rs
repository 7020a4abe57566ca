//! Imports and operators' commands: tools/cli/README.md and docs/operating.md.

use super::certificate::standing;
use super::enrollment::{activate, is_active_and_paid, waits_for_enrollment, write_enrollment};
use super::{Path, Said, View, later};
use crate::state::{
    By, Certificate, Enrollment, Event, EventState, Grade, Pair, Reason, Span, Standing,
};
use crate::steps::{Mode, Score};

/// The reasons that an import of users may end.
pub const IMPORTED_USER: &[Reason] = &[Reason::NoSuchUser, Reason::NoUsername];

/// The reason that an import of runs may end.
pub const IMPORTED_RUN: &[Reason] = &[Reason::NoSuchRun];

/// The time for which an ended event is listed.
const LISTED: i64 = 90 * 24 * 3_600_000;

/// True if user and run are known, and else the path of the refusal.
fn known(pair: &Pair, view: &View) -> Result<(), Vec<Path>> {
    if view.user.is_some() && view.run {
        return Ok(());
    }
    Err(vec![Path::nothing(pair, Said::Refused)])
}

/// Returns the paths of the end of an import: the events that it unblocks are due.
pub fn wake(pair: &Pair, view: &View, reasons: &[Reason]) -> Vec<Path> {
    let mut path = Path::nothing(pair, Said::Done);
    let unblocked = |event: &&mut Event| {
        event.state == EventState::Waiting
            && reasons.contains(&event.reason)
            // One that is due is left alone.
            && later(event.claimable(), view.now) != Some(false)
            && match event.reason {
                Reason::NoSuchUser => view.user.is_some(),
                Reason::NoUsername => view.user.as_ref().is_some_and(|user| user.username),
                _ => view.run,
            }
    };
    let mut role = pair.clone();
    if let Some(event) = role.role.as_mut().filter(|event| unblocked(event)) {
        event.due = view.now;
        event.claimed = None;
    }
    let mut both = role.clone();
    if let Some(event) = both.pass.as_mut().filter(|event| unblocked(event)) {
        event.due = view.now;
        event.claimed = None;
    }
    path.then(role);
    path.then(both);
    path.needs_end();
    vec![path]
}

/// An import of an enrollment only adds.
pub fn import_enrollment(pair: &Pair, view: &View, mode: Mode, active: bool) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    if let Some(there) = &pair.enrollment {
        let same = there.mode == mode && there.active == active;
        return vec![Path::nothing(
            pair,
            if same { Said::Done } else { Said::Refused },
        )];
    }
    let enrollment = Enrollment {
        mode,
        set_by: Some(By::Import),
        active,
        by_operator: false,
        edx: false,
        roles: 0,
        has_status: !active,
        changed: view.now,
        writes: 1,
    };
    written(pair, view, enrollment)
}

/// Returns the paths of a write of the enrollment.
fn written(pair: &Pair, view: &View, enrollment: Enrollment) -> Vec<Path> {
    let waits = pair.pass.as_ref().is_some_and(waits_for_enrollment);
    let pays = is_active_and_paid(&enrollment);
    let choices = if waits && !pays {
        vec![true, false]
    } else {
        vec![waits]
    };
    let paths = choices.into_iter().map(|wakes| {
        let mut path = Path::nothing(pair, Said::Done);
        write_enrollment(&mut path, Some(enrollment.clone()), wakes, view.now);
        path.needs_end();
        path
    });
    paths.collect()
}

/// An import of a grade only adds.
pub fn import_grade(pair: &Pair, view: &View, score: Score) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    if let Some(there) = &pair.grade {
        let same = there.score == score;
        return vec![Path::nothing(
            pair,
            if same { Said::Done } else { Said::Refused },
        )];
    }
    let mut after = pair.clone();
    after.grade = Some(grade(None, score, false, view.now));
    vec![Path::to(pair, after, Said::Done)]
}

fn grade(before: Option<&Grade>, score: Score, overridden: bool, now: Span) -> Grade {
    Grade {
        score,
        overridden,
        zero_since: None,
        changed: now,
        writes: before.map_or(0, |before| before.writes) + 1,
    }
}

/// An import of a certificate only adds.
pub fn import_certificate(pair: &Pair, view: &View) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    if pair.certificate.is_some() {
        return vec![
            Path::nothing(pair, Said::Refused),
            Path::nothing(pair, Said::Done),
        ];
    }
    // The id may belong to the certificate of a user who was erased.
    if view.taken {
        return vec![Path::nothing(pair, Said::Refused)];
    }
    let mut after = pair.clone();
    after.certificate = Some(standing(None, Standing::InForce, view.now));
    vec![Path::to(pair, after, Said::Done)]
}

/// An operator sets an enrollment.
pub fn set(
    pair: &Pair,
    view: &View,
    mode: Option<Mode>,
    active: Option<bool>,
    remove: u8,
) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    let before = pair.enrollment.as_ref();
    let mut after = match (before, mode) {
        (Some(before), _) => before.clone(),
        (None, Some(mode)) => Enrollment {
            mode,
            set_by: Some(By::Operator),
            active: true,
            by_operator: false,
            edx: false,
            roles: 0,
            has_status: false,
            changed: view.now,
            writes: 0,
        },
        (None, None) => {
            // A pass that waits may be attempted once too often.
            let mut woken = Path::nothing(pair, Said::Refused);
            if pair.pass.as_ref().is_some_and(waits_for_enrollment) {
                write_enrollment(&mut woken, None, true, view.now);
            }
            return vec![Path::nothing(pair, Said::Refused), woken];
        }
    };
    if let Some(mode) = mode {
        after.mode = mode;
        after.set_by = Some(By::Operator);
    }
    match active {
        Some(true) => activate(&mut after),
        Some(false) => {
            after.active = false;
            after.has_status = true;
            after.by_operator = true;
        }
        None => {}
    }
    after.roles &= !remove;
    if before != Some(&after) {
        after.changed = view.now;
        after.writes += 1;
    }
    written(pair, view, after)
}

/// An operator overrides a grade.
pub fn override_grade(pair: &Pair, view: &View, score: Score) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    let before = pair.grade.as_ref();
    if before.is_some_and(|grade| grade.overridden && grade.score == score) {
        return vec![Path::nothing(pair, Said::Done)];
    }
    let mut after = pair.clone();
    after.grade = Some(grade(before, score, true, view.now));
    vec![Path::to(pair, after, Said::Done)]
}

/// An operator releases a grade.
pub fn release(pair: &Pair, view: &View) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    let Some(before) = &pair.grade else {
        return vec![Path::nothing(pair, Said::Refused)];
    };
    if !before.overridden {
        return vec![Path::nothing(pair, Said::Done)];
    }
    let mut after = pair.clone();
    after.grade = Some(Grade {
        overridden: false,
        changed: view.now,
        writes: before.writes + 1,
        ..before.clone()
    });
    vec![Path::to(pair, after, Said::Done)]
}

/// An operator revokes a certificate.
pub fn revoke(pair: &Pair, view: &View) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    let Some(before) = &pair.certificate else {
        return vec![Path::nothing(pair, Said::Refused)];
    };
    if before.standing == Standing::Revoked {
        return vec![Path::nothing(pair, Said::Done)];
    }
    let mut after = pair.clone();
    after.certificate = Some(standing(Some(before), Standing::Revoked, view.now));
    vec![Path::to(pair, after, Said::Done)]
}

/// An operator restores a revoked certificate, to its state before.
pub fn restore(pair: &Pair, view: &View) -> Vec<Path> {
    if let Err(refused) = known(pair, view) {
        return refused;
    }
    let Some(before) = &pair.certificate else {
        return vec![Path::nothing(pair, Said::Refused)];
    };
    match before.standing {
        Standing::InForce => return vec![Path::nothing(pair, Said::Done)],
        Standing::Withdrawn => return vec![Path::nothing(pair, Said::Refused)],
        Standing::Revoked => {}
    }
    let to = if before.was_withdrawn {
        Standing::Withdrawn
    } else {
        Standing::InForce
    };
    let mut after = pair.clone();
    after.certificate = Some(Certificate {
        standing: to,
        was_withdrawn: false,
        changed: view.now,
        writes: before.writes + 1,
    });
    vec![Path::to(pair, after, Said::Done)]
}

/// Returns the event after an operator had it retried.
fn retried(event: &Event, view: &View) -> Event {
    Event {
        state: EventState::Waiting,
        attempts: 0,
        waited: std::collections::BTreeMap::new(),
        due: view.now,
        claimed: None,
        ..event.clone()
    }
}

/// An operator has the events retried.
pub fn retry_events(pair: &Pair, view: &View) -> Vec<Path> {
    let retried = |event: &Event| retried(event, view);
    let mut path = Path::nothing(pair, Said::Done);
    // The events are retried one by one, in either order.
    let mut one = pair.clone();
    one.role = pair.role.as_ref().map(retried);
    let mut other = pair.clone();
    other.pass = pair.pass.as_ref().map(retried);
    let mut both = one.clone();
    both.pass.clone_from(&other.pass);
    path.then(one);
    path.then(both.clone());
    path.needs_end();
    let mut second = Path::nothing(pair, Said::Done);
    second.then(other);
    second.then(both);
    second.needs_end();
    vec![path, second]
}

/// An operator drops the events.
pub fn drop_events(pair: &Pair) -> Vec<Path> {
    let mut one = pair.clone();
    one.role = None;
    let mut other = pair.clone();
    other.pass = None;
    let mut both = one.clone();
    both.pass = None;
    let paths = [one, other].map(|first| {
        let mut path = Path::nothing(pair, Said::Done);
        path.then(first);
        path.then(both.clone());
        path.needs_end();
        path
    });
    paths.into()
}

/// A new address changes nothing, but moves the learner's events. One that waited or had expired for
/// want of the user is due, and so is what an import of users would unblock.
pub fn rename(pair: &Pair, view: &View, is_theirs: bool) -> Vec<Path> {
    let mut paths = Vec::new();
    for mut path in wake(pair, view, IMPORTED_USER) {
        let mut after = path.end().clone();
        for event in [&mut after.role, &mut after.pass].into_iter().flatten() {
            if is_theirs {
                event.claimed = None;
            }
            if is_theirs && event.state == EventState::Expired && event.reason == Reason::NoSuchUser
            {
                *event = retried(event, view);
            }
        }
        path.then(after);
        path.needs_end();
        if view.user.is_none() || !is_theirs {
            paths.push(Path::nothing(pair, Said::Refused));
        }
        paths.push(path);
    }
    paths
}

/// An operator erases a learner: each part goes by itself.
pub fn erase(pair: &Pair) -> Vec<Path> {
    let mut paths = Vec::new();
    let parts: [fn(&mut Pair); 5] = [
        |pair| pair.enrollment = None,
        |pair| pair.grade = None,
        |pair| pair.certificate = None,
        |pair| pair.role = None,
        |pair| pair.pass = None,
    ];
    let end = Pair::default();
    for some in 0..1_u8 << parts.len() {
        let mut partly = pair.clone();
        for (place, part) in parts.iter().enumerate() {
            if some & (1 << place) != 0 {
                part(&mut partly);
            }
        }
        let mut path = Path::nothing(pair, Said::Done);
        path.then(partly);
        path.then(end.clone());
        path.needs_end();
        paths.push(path);
    }
    paths
}

/// DynamoDB removes what has expired: ended events after 90 days.
pub fn time_to_live(pair: &Pair, view: &View) -> Vec<Path> {
    let old = |event: &Event| match (event.state, view.now.1 - event.due.0 - LISTED) {
        (EventState::Waiting, _) => vec![false],
        (_, over) if over > 2000 => vec![true],
        (_, over) if over < -2000 => vec![false],
        _ => vec![true, false],
    };
    let mut paths = Vec::new();
    for role in pair.role.as_ref().map_or_else(|| vec![false], old) {
        for pass in pair.pass.as_ref().map_or_else(|| vec![false], old) {
            let mut after = pair.clone();
            if role {
                after.role = None;
            }
            if pass {
                after.pass = None;
            }
            paths.push(Path::to(pair, after, Said::Done));
        }
    }
    paths
}
