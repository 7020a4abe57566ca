//! Passes: docs/contract.md, "Certificate".

use super::enrollment::is_active_and_paid;
use super::{LmsGrade, Path, Said, View, pending};
use crate::state::{Certificate, Grade, Pair, Reason, Span, Standing};
use crate::steps::Score;

/// The outcome of a pass.
enum Outcome {
    /// It took effect, or had before: the state before its event is removed.
    Effect(Pair, &'static str),
    /// It is blocked: the state with its grade.
    Blocked(Pair, Reason),
    /// Requests to the LMS are paused: the attempt of a retry batch is released.
    Paused,
}

/// Returns the grade after the LMS's.
pub fn graded(pair: &Pair, score: Score, now: Span) -> Pair {
    let mut after = pair.clone();
    let before = pair.grade.as_ref();
    if before.is_some_and(|grade| grade.score == score) {
        return after;
    }
    after.grade = Some(Grade {
        score,
        overridden: false,
        zero_since: None,
        changed: now,
        writes: before.map_or(0, |grade| grade.writes) + 1,
    });
    after
}

/// Returns the certificate after one more change.
pub fn standing(before: Option<&Certificate>, standing: Standing, now: Span) -> Certificate {
    Certificate {
        standing,
        was_withdrawn: standing == Standing::Revoked
            && before.is_some_and(|before| before.standing == Standing::Withdrawn),
        changed: now,
        writes: before.map_or(0, |before| before.writes) + 1,
    }
}

/// True if the pair's grade is a pass above 0.
pub fn has_passed(pair: &Pair) -> bool {
    pair.grade
        .as_ref()
        .is_some_and(|grade| grade.score.1 && grade.score.0 > 0)
}

fn outcomes(pair: &Pair, view: &View, retries: bool) -> Vec<Outcome> {
    let Some(user) = &view.user else {
        return vec![Outcome::Blocked(pair.clone(), Reason::NoSuchUser)];
    };
    if !view.run {
        return vec![Outcome::Blocked(pair.clone(), Reason::NoSuchRun)];
    }
    let held = pair
        .certificate
        .as_ref()
        .map(|certificate| certificate.standing);
    if held == Some(Standing::InForce) {
        return vec![Outcome::Effect(pair.clone(), "exists")];
    }
    let decide = |pair: Pair| {
        if held == Some(Standing::Revoked) {
            Outcome::Effect(pair, "revoked")
        } else if !has_passed(&pair) {
            Outcome::Blocked(pair, Reason::NotPassed)
        } else if !pair.enrollment.as_ref().is_some_and(is_active_and_paid) {
            Outcome::Blocked(pair, Reason::NotEligible)
        } else {
            let mut after = pair;
            after.certificate = Some(standing(
                after.certificate.as_ref(),
                Standing::InForce,
                view.now,
            ));
            Outcome::Effect(after, "created")
        }
    };
    if pair.grade.as_ref().is_some_and(|grade| grade.overridden) {
        return vec![decide(pair.clone())];
    }
    if !user.username {
        return vec![Outcome::Blocked(pair.clone(), Reason::NoUsername)];
    }
    let mut outcomes: Vec<_> = view
        .grades
        .iter()
        .map(|grade| match grade {
            LmsGrade::Is(score) => decide(graded(pair, *score, view.now)),
            LmsGrade::None => Outcome::Blocked(pair.clone(), Reason::LmsUnavailable),
        })
        .collect();
    if retries && view.paused {
        outcomes.push(Outcome::Paused);
    }
    outcomes
}

/// Returns the paths of the delivery of a pass.
pub fn pass(pair: &Pair, view: &View) -> Vec<Path> {
    let mut paths = Vec::new();
    for outcome in outcomes(pair, view, false) {
        match outcome {
            Outcome::Effect(after, said) => {
                let mut path = Path::to(pair, after, Said::Certificate(200, said));
                let mut done = path.end().clone();
                done.pass = None;
                path.then(done);
                paths.push(path);
            }
            Outcome::Blocked(graded, reason) => {
                let said = match reason {
                    Reason::NoSuchUser | Reason::NoSuchRun => Said::Status(404),
                    Reason::NotPassed => Said::Certificate(200, "not_passed"),
                    Reason::NotEligible => Said::Certificate(200, "not_eligible"),
                    _ => Said::Certificate(202, "pending"),
                };
                for event in pending::stored(pair.pass.as_ref(), reason, None, 0, view) {
                    let mut path = Path::to(pair, graded.clone(), said);
                    let mut after = graded.clone();
                    after.pass = Some(event);
                    path.then(after);
                    path.needs_end();
                    paths.push(path);
                }
            }
            Outcome::Paused => {}
        }
    }
    paths
}

/// Returns the paths of an attempt at a pending pass.
pub fn attempt(pair: &Pair, view: &View) -> Vec<Path> {
    let Some(event) = &pair.pass else {
        return Vec::new();
    };
    let claimed = pending::claimed(event, view);
    let mut claimed_pair = pair.clone();
    claimed_pair.pass = Some(claimed.clone());
    let mut paths = Vec::new();
    let begin = || Path::to(pair, claimed_pair.clone(), Said::Done);
    for outcome in outcomes(&claimed_pair, view, true) {
        match outcome {
            Outcome::Effect(after, _) => {
                let mut path = begin();
                path.then(after);
                let mut done = path.end().clone();
                done.pass = None;
                path.then(done);
                path.needs_end();
                paths.push(path);
            }
            Outcome::Blocked(graded, reason) => {
                for event in pending::after_attempt(&claimed, reason, view) {
                    let mut path = begin();
                    path.then(graded.clone());
                    let mut after = graded.clone();
                    after.pass = event;
                    path.then(after);
                    path.needs_end();
                    paths.push(path);
                }
            }
            Outcome::Paused => {
                // Not claimed at all, or released.
                paths.push(Path::nothing(pair, Said::Done));
                let mut path = begin();
                let mut after = pair.clone();
                if let Some(event) = &mut after.pass {
                    event.due = super::plus(view.now, 0, pending::LONGEST_PAUSE);
                    event.claimed = None;
                }
                path.then(after);
                path.needs_end();
                paths.push(path);
            }
        }
    }
    paths
}

/// Returns the paths of an operator's command to issue a certificate: what a pass does, and nothing
/// waits.
pub fn issue(pair: &Pair, view: &View) -> Vec<Path> {
    if view.user.is_none() || !view.run {
        return vec![Path::nothing(pair, Said::Refused)];
    }
    let mut paths = Vec::new();
    for outcome in outcomes(pair, view, false) {
        match outcome {
            Outcome::Effect(after, said) => {
                let said = if said == "revoked" {
                    Said::Refused
                } else {
                    Said::Done
                };
                let mut path = Path::to(pair, after, said);
                let mut done = path.end().clone();
                done.pass = None;
                path.then(done);
                paths.push(path);
            }
            Outcome::Blocked(graded, _) => paths.push(Path::to(pair, graded, Said::Refused)),
            Outcome::Paused => {}
        }
    }
    paths
}
