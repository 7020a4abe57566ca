//! Sweeps: docs/sweeps.md.

use super::certificate::{graded, has_passed, standing};
use super::enrollment::{activate, is_active_and_paid, waits_for_enrollment, write_enrollment};
use super::{LmsGrade, Path, Said, View};
use crate::state::{By, Enrollment, Grade, Pair, Span, Standing};
use crate::steps::{Mode, Score};

/// The time for which what a delivery changed counts as changed meanwhile.
const IN_FLIGHT: i64 = 30_000;

/// The time between the two sweeps that find a 0.
const CONFIRMED: i64 = 24 * 3_600_000;

fn nothing(pair: &Pair) -> Path {
    Path::nothing(pair, Said::Done)
}

/// Returns the paths of a sweep of enrollments.
pub fn enrollments(pair: &Pair, view: &View) -> Vec<Path> {
    let is_listed = view.run && view.user.as_ref().is_some_and(|user| user.username);
    let (maybe, surely) = view.swept;
    let Some((mode, active)) = view.lms_enrollment.filter(|_| is_listed && maybe) else {
        return vec![nothing(pair)];
    };
    let before = pair.enrollment.as_ref();
    let after = corrected(before, mode, active, view);
    let mut paths = Vec::new();
    let is_recent = before.is_some_and(|before| before.changed.1 + IN_FLIGHT >= view.now.0);
    if !surely || is_recent || view.disturbed || after.as_ref() == before {
        paths.push(nothing(pair));
    }
    if after.as_ref() != before {
        let pays = after.as_ref().is_some_and(is_active_and_paid);
        let waits = pair.pass.as_ref().is_some_and(waits_for_enrollment);
        for wakes in if waits && !pays {
            vec![true, false]
        } else {
            vec![waits]
        } {
            let mut path = nothing(pair);
            write_enrollment(&mut path, after.clone(), wakes, view.now);
            path.needs_end();
            paths.push(path);
        }
    }
    paths
}

fn corrected(
    before: Option<&Enrollment>,
    mode: Mode,
    active: bool,
    view: &View,
) -> Option<Enrollment> {
    let Some(before) = before else {
        return active.then_some(Enrollment {
            mode,
            set_by: None,
            active: true,
            by_operator: false,
            edx: true,
            roles: 0,
            has_status: false,
            changed: view.now,
            writes: 1,
        });
    };
    let mut after = before.clone();
    match (before.active, active) {
        (false, false) => {}
        (true, false) => {
            after.active = false;
            after.has_status = true;
        }
        (false, true) => {
            if before.by_operator {
                return Some(after);
            }
            activate(&mut after);
            after.mode = mode;
            after.set_by = None;
            after.edx = true;
        }
        (true, true) => {
            after.edx = true;
            let is_upgrade = mode == Mode::Verified && before.mode != Mode::Verified;
            let takes = match before.set_by {
                None => true,
                Some(By::Import) => is_upgrade,
                Some(By::Operator) => false,
            };
            if takes && mode != before.mode {
                after.mode = mode;
                after.set_by = None;
            }
        }
    }
    if after != *before {
        after.changed = view.now;
        after.writes += 1;
    }
    Some(after)
}

/// Returns the paths of a sweep of grades.
pub fn grades(pair: &Pair, view: &View) -> Vec<Path> {
    let is_listed = view.run && view.user.as_ref().is_some_and(|user| user.username);
    if !is_listed {
        return vec![nothing(pair)];
    }
    let mut paths = Vec::new();
    for grade in &view.grades {
        match grade {
            LmsGrade::None => paths.push(nothing(pair)),
            LmsGrade::Is(score) => paths.extend(graded_by_sweep(pair, view, *score)),
        }
    }
    let is_recent = |changed: Span| changed.1 + IN_FLIGHT >= view.now.0;
    let grade = pair.grade.as_ref().map(|grade| grade.changed);
    let certificate = pair
        .certificate
        .as_ref()
        .map(|certificate| certificate.changed);
    if view.disturbed || grade.is_some_and(is_recent) || certificate.is_some_and(is_recent) {
        paths.push(nothing(pair));
        // The certificate may be left as it is, and the grade be stored.
        for grade in &view.grades {
            if let LmsGrade::Is(score) = grade
                && !pair.grade.as_ref().is_some_and(|grade| grade.overridden)
            {
                let mut path = nothing(pair);
                path.then(graded(pair, *score, view.now));
                path.needs_end();
                paths.push(path);
            }
        }
    }
    paths
}

fn graded_by_sweep(pair: &Pair, view: &View, score: Score) -> Vec<Path> {
    let overridden = pair.grade.as_ref().is_some_and(|grade| grade.overridden);
    let after = if overridden {
        pair.clone()
    } else {
        graded(pair, score, view.now)
    };
    let held = pair
        .certificate
        .as_ref()
        .map(|certificate| certificate.standing);
    let is_zero = after
        .grade
        .as_ref()
        .is_some_and(|grade| grade.score == Score(0, false));
    let mut path = nothing(pair);
    match held {
        Some(Standing::InForce) if is_zero && view.available => {
            return withdrawal(pair, after, view, overridden);
        }
        Some(Standing::InForce | Standing::Revoked) => path.then(after),
        None | Some(Standing::Withdrawn) => {
            let earns = has_passed(&after)
                && after.enrollment.as_ref().is_some_and(is_active_and_paid)
                && view.available;
            let mut written = after;
            if earns {
                let certificate =
                    standing(written.certificate.as_ref(), Standing::InForce, view.now);
                written.certificate = Some(certificate);
            }
            path.then(written);
            if earns && pair.pass.is_some() {
                let mut done = path.end().clone();
                done.pass = None;
                path.then(done);
            }
        }
    }
    path.needs_end();
    vec![path]
}

/// A 0 takes a certificate only if it is confirmed.
fn withdrawal(pair: &Pair, after: Pair, view: &View, overridden: bool) -> Vec<Path> {
    let marked = |pair: &Pair| {
        let mut pair = pair.clone();
        pair.grade = pair.grade.map(|grade| Grade {
            zero_since: grade.zero_since.or(Some(view.now)),
            ..grade
        });
        pair
    };
    let since = after.grade.as_ref().and_then(|grade| grade.zero_since);
    let seen_long = |at: i64| since.is_some_and(|since| at - since.0 >= CONFIRMED);
    let (maybe, surely) = if overridden {
        (true, true)
    } else {
        (
            seen_long(view.now.1),
            since.is_some_and(|since| view.now.0 - since.1 >= CONFIRMED),
        )
    };
    // What an operator has set needs no confirmation by the LMS.
    let confirmed = overridden || matches!(view.lms_enrollment, Some((_, true)));
    let mut paths = Vec::new();
    if !(surely && confirmed) || view.disturbed {
        let mut path = nothing(pair);
        path.then(if overridden {
            after.clone()
        } else {
            marked(&after)
        });
        path.needs_end();
        paths.push(path);
    }
    if maybe && confirmed {
        let mut path = nothing(pair);
        let mut taken = after;
        taken.certificate = Some(standing(
            taken.certificate.as_ref(),
            Standing::Withdrawn,
            view.now,
        ));
        path.then(taken);
        path.needs_end();
        paths.push(path);
    }
    paths
}
