//! Compares what happened in a step with what the model allows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::{LmsGrade, Path, Said, View, attempts, paths};
use crate::state::{
    Certificate, Enrollment, Event, EventState, Grade, Pair, Span, State, User, read,
};
use crate::steps::{Action, Mood, Of, Role, Sweep, all};
use crate::world::{Answer, Ran, World, is_of_the_world};

/// The time after trouble with the LMS or the secrets for which a pause may still last.
const PAUSE: i64 = 120_000;

/// Holds the state of a portal, and what is still owed to its learners.
pub struct Judge {
    state: State,
    writes: usize,
    /// The roles of accepted deliveries.
    owed_roles: BTreeMap<Of, u8>,
    /// The accepted passes.
    owed_passes: BTreeSet<Of>,
    /// The time until which the LMS may be paused.
    trouble_until: i64,
    /// The learners whose change of address was interrupted.
    half_renamed: BTreeSet<u8>,
    /// The runs whose enrollments may have been swept, and those that have been.
    maybe_swept: BTreeSet<u8>,
    surely_swept: BTreeSet<u8>,
}

impl Judge {
    /// Begins with an empty portal.
    pub fn new() -> Self {
        Self {
            state: State::default(),
            writes: usize::MAX,
            owed_roles: BTreeMap::new(),
            owed_passes: BTreeSet::new(),
            trouble_until: i64::MIN,
            half_renamed: BTreeSet::new(),
            maybe_swept: BTreeSet::new(),
            surely_swept: BTreeSet::new(),
        }
    }

    /// The state as it was last seen.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Compares what the actions of a step did with the model. Returns what is wrong.
    pub fn check(&mut self, world: &World, ran: &[Ran], began: i64) -> Vec<String> {
        let now = (began, world.clock.ms());
        let mut wrong = world.engine.broken();
        let after = if self.writes == world.engine.writes() {
            self.state.clone()
        } else {
            let (after, faults) = read(&world.engine);
            wrong.extend(faults);
            after
        };
        self.writes = world.engine.writes();
        for one in ran {
            if let Answer::Http(500, body) = &one.answer {
                wrong.push(format!("{:?} was answered 500: {body}", one.op));
            }
        }
        let struck = ran
            .iter()
            .any(|ran| ran.struck > 0 || matches!(ran.answer, Answer::Died));
        let trouble = struck || !world.is_calm() || now.0 < self.trouble_until;
        if struck || !world.is_calm() {
            self.trouble_until = now.1 + PAUSE;
        }
        let meets_trouble = |ran: &Ran| trouble && asks_others(ran.op.action);
        let actors = ran
            .iter()
            .filter(|ran| !is_of_the_world(ran.op.action))
            .count();
        let disturbed = struck || actors > 1 || ran.iter().any(meets_trouble);
        let context = Context {
            world,
            before: &self.state,
            after: &after,
            now,
            disturbed,
            trouble,
            maybe_swept: &self.maybe_swept,
            surely_swept: &self.surely_swept,
        };
        for one in ran {
            if let Action::Rename(learner) = one.op.action
                && !matches!(one.answer, Answer::Command(Ok(_)))
            {
                self.half_renamed.insert(learner);
            }
        }
        for learner in after.split.difference(&self.half_renamed) {
            wrong.push(format!("learner {learner} has two events of one kind"));
        }
        // What is left of an interrupted change of address is not modelled: each of two events is
        // attempted by itself. That nothing is lost is checked all the same.
        for of in all().filter(|of| !self.half_renamed.contains(&of.0)) {
            wrong.extend(context.pair(of, ran));
        }
        wrong.extend(context.people(ran));
        self.settle_accounts(ran, &after, now, &mut wrong);
        let surely_before = self.surely_swept.clone();
        let swept_runs = ran.iter().filter_map(|one| match one.op.action {
            Action::SweepEnrollments(_, Sweep::Alone(_) | Sweep::Forced) => None,
            Action::SweepEnrollments(run, _) => Some(run),
            _ => None,
        });
        let swept_runs: Vec<_> = swept_runs.collect();
        for run in &swept_runs {
            // Of two at once, one may come after the other.
            if swept_runs.iter().filter(|other| *other == run).count() > 1 {
                self.maybe_swept.insert(*run);
            }
        }
        for one in ran {
            if let Action::SweepEnrollments(run, sweep) = one.op.action
                // Another sweep with other options has a first dry run of its own.
                && !matches!(sweep, Sweep::Alone(_) | Sweep::Forced)
            {
                let is_known = self.state.runs.contains(&run);
                match &one.answer {
                    Answer::Invoked(Ok(said)) if said["status"] == "done" && is_known => {
                        let was_dry = said["dry_run"] == true;
                        let (maybe, surely) = (
                            self.maybe_swept.contains(&run),
                            surely_before.contains(&run),
                        );
                        if sweep != Sweep::Dry && ((was_dry && surely) || (!was_dry && !maybe)) {
                            wrong
                                .push(format!("{:?} was dry, or should have been: {said}", one.op));
                        }
                        self.surely_swept.insert(run);
                    }
                    _ => {}
                }
                self.maybe_swept.insert(run);
            }
        }
        self.state = after;
        wrong
    }

    /// Keeps account of what accepted events have given, and of what has a right to take it.
    fn settle_accounts(&mut self, ran: &[Ran], after: &State, now: Span, wrong: &mut Vec<String>) {
        for one in ran {
            let accepted = matches!(one.answer, Answer::Http(200..=202 | 404, _));
            match one.op.action {
                Action::Enroll(of, role, _) if accepted => {
                    *self.owed_roles.entry(of).or_default() |= role.map_or(0, Role::bit);
                }
                Action::Pass(of) if accepted => {
                    self.owed_passes.insert(of);
                }
                _ => {}
            }
        }
        // Of actions at once, the one that takes may have been the last.
        for one in ran {
            match one.op.action {
                Action::RemoveRole(of, role)
                    if !matches!(one.answer, Answer::Command(Ok(false))) =>
                {
                    *self.owed_roles.entry(of).or_default() &= !role.bit();
                }
                Action::DropEvents(of) => self.forgive(of),
                Action::TimeToLive => {
                    let ended: Vec<_> =
                        all().filter(|of| self.state.has_ended_event(*of)).collect();
                    ended.into_iter().for_each(|of| self.forgive(of));
                }
                Action::Erase(learner) => {
                    for of in all().filter(|of| of.0 == learner) {
                        self.owed_roles.remove(&of);
                        self.owed_passes.remove(&of);
                    }
                }
                _ => {}
            }
        }
        for of in all() {
            let pair = after.pairs.get(&of).cloned().unwrap_or_default();
            let before = self.state.pairs.get(&of).cloned().unwrap_or_default();
            let roles = pair
                .enrollment
                .as_ref()
                .map_or(0, |enrollment| enrollment.roles)
                | pair.role.as_ref().map_or(0, |event| event.roles);
            let lost = self.owed_roles.get(&of).copied().unwrap_or_default() & !roles;
            if lost != 0 {
                wrong.push(format!(
                    "{of:?}: the roles {lost:#b} of accepted deliveries are gone"
                ));
            }
            let has_pass = pair.certificate.is_some() || pair.pass.is_some();
            if self.owed_passes.contains(&of) && !has_pass {
                let event = before.pass.as_ref();
                if event.is_some_and(|event| event.may_be_dropped(now.1)) {
                    self.owed_passes.remove(&of);
                } else if before.certificate.is_none() {
                    wrong.push(format!("{of:?}: an accepted pass is gone"));
                }
            }
        }
    }

    /// What was owed only by a pending event, which somebody with the right to it has removed.
    fn forgive(&mut self, of: Of) {
        self.owed_roles.remove(&of);
        self.owed_passes.remove(&of);
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// True if the event may be dropped: it has waited for a month.
    fn may_be_dropped(&self, now: i64) -> bool {
        const ALMOST: i64 = 29 * 24 * 3_600_000;
        now - self.delivered.0 >= ALMOST
    }
}

/// A part of an action.
#[derive(Clone, Copy)]
enum Part {
    /// All of it.
    Whole,
    /// A retry batch's attempt at the event of the enrollment.
    Role,
    /// A retry batch's attempt at the event of the certificate.
    Pass,
}

struct Context<'a> {
    world: &'a World,
    before: &'a State,
    after: &'a State,
    now: Span,
    disturbed: bool,
    trouble: bool,
    maybe_swept: &'a BTreeSet<u8>,
    surely_swept: &'a BTreeSet<u8>,
}

impl Context<'_> {
    /// Compares a learner in a run. Returns what is wrong.
    fn pair(&self, of: Of, ran: &[Ran]) -> Option<String> {
        let before = self.before.pairs.get(&of).cloned().unwrap_or_default();
        let after = self.after.pairs.get(&of).cloned().unwrap_or_default();
        let concerned: Vec<_> = ran
            .iter()
            .filter(|ran| concerns(ran.op.action, of))
            .collect();
        let possible = self.possible(of, &before, &concerned);
        if possible
            .iter()
            .any(|state| admits(state, &after, self.disturbed))
        {
            return None;
        }
        let nearest = possible
            .iter()
            .min_by_key(|state| differences(state, &after).len());
        let mut text = format!("{of:?}: ");
        match nearest {
            None => text.push_str("no outcome is allowed that has this answer:"),
            Some(nearest) => {
                text.push_str("the state is none that is allowed. Nearest:");
                for difference in differences(nearest, &after) {
                    text.push_str(&format!("\n    {difference}"));
                }
            }
        }
        text.push_str(&format!("\n  before: {before:?}\n  after:  {after:?}"));
        for one in concerned {
            text.push_str(&format!("\n  {:?} -> {:?}", one.op, one.answer));
        }
        Some(text)
    }

    /// Returns the states in which actions at once may have left a learner in a run.
    fn possible(&self, of: Of, before: &Pair, ran: &[&Ran]) -> HashSet<Pair> {
        let whole: Vec<_> = ran.iter().map(|ran| (*ran, Part::Whole)).collect();
        let mut possible = self.in_any_order(of, before, &whole);
        let is_batch = |ran: &Ran| ran.op.action == Action::Retry;
        if ran.len() > 1 && ran.iter().any(|ran| is_batch(ran)) {
            // Others may come between a batch's attempts at the two events of a learner.
            let parts = ran.iter().flat_map(|ran| {
                let parts: &[Part] = if is_batch(ran) {
                    &[Part::Role, Part::Pass]
                } else {
                    &[Part::Whole]
                };
                parts.iter().map(|part| (*ran, *part))
            });
            possible.extend(self.in_any_order(of, before, &parts.collect::<Vec<_>>()));
        }
        possible
    }

    fn in_any_order(&self, of: Of, before: &Pair, ran: &[(&Ran, Part)]) -> HashSet<Pair> {
        let mut possible = HashSet::new();
        for order in orders(ran.len()) {
            let mut states = HashSet::from([before.clone()]);
            for place in order {
                let (ran, part) = ran[place];
                let ends = states
                    .iter()
                    .flat_map(|state| self.ends(of, state, ran, part));
                states = ends.collect();
            }
            possible.extend(states);
        }
        possible
    }

    /// Returns the states in which an action may have left a learner in a run.
    fn ends(&self, of: Of, state: &Pair, ran: &Ran, part: Part) -> HashSet<Pair> {
        let mut ends = HashSet::new();
        for view in self.views(of, &ran.answer) {
            let paths = match part {
                Part::Whole => paths(ran.op.action, of, state, &view),
                Part::Role => attempts(state, &view).0,
                Part::Pass => attempts(state, &view).1,
            };
            for path in paths {
                ends.extend(self.allowed(&path, ran));
            }
        }
        ends
    }

    /// True if the portal may not know the learner by a username: a sweep of them alone fails.
    fn is_unknown(&self, learner: u8) -> bool {
        let users = [&self.before.users, &self.after.users].map(|users| users.get(&learner));
        users
            .into_iter()
            .any(|user| user.is_none_or(|user| !user.username))
    }

    /// Returns the states of a path in which its answer allows the action to have ended.
    fn allowed(&self, path: &Path, ran: &Ran) -> Vec<Pair> {
        let in_batches = matches!(
            ran.op.action,
            Action::Retry | Action::SweepGrades(..) | Action::SweepEnrollments(..)
        );
        let from = match &ran.answer {
            Answer::Died
            | Answer::Http(503, _)
            | Answer::Command(Err(_))
            | Answer::Invoked(Err(_)) => {
                // Nothing fails by itself.
                let may_fail = self.disturbed
                    || match ran.op.action {
                        Action::SweepGrades(_, Sweep::Alone(learner))
                        | Action::SweepEnrollments(_, Sweep::Alone(learner)) => {
                            self.is_unknown(learner)
                        }
                        _ => false,
                    };
                if !may_fail {
                    return Vec::new();
                }
                0
            }
            answer => {
                if !says(answer, path.said) {
                    return Vec::new();
                }
                match (self.disturbed, in_batches) {
                    (false, _) => path.states.len() - 1,
                    (true, false) => path.needed,
                    (true, true) => 0,
                }
            }
        };
        path.states[from..].to_vec()
    }

    fn views(&self, of: Of, answer: &Answer) -> Vec<View> {
        let choices = |before: Option<&User>, after: Option<&User>| {
            let mut choices = vec![after.cloned()];
            if before != after {
                choices.push(before.cloned());
            }
            choices
        };
        let users = choices(self.before.users.get(&of.0), self.after.users.get(&of.0));
        let mut runs = vec![self.after.runs.contains(&of.1)];
        if self.before.runs.contains(&of.1) != runs[0] {
            runs.push(!runs[0]);
        }
        let lms = &self.world.lms;
        let usable = |grade: Option<u8>| grade.map_or(LmsGrade::None, LmsGrade::Is);
        let mut grades = vec![usable(lms.grade(of))];
        if self.trouble {
            for grade in [usable(lms.old_grade(of)), LmsGrade::None] {
                if !grades.contains(&grade) {
                    grades.push(grade);
                }
            }
        }
        let (maybe, surely) = match answer {
            Answer::Invoked(Ok(said)) if said["dry_run"] == true => (false, false),
            Answer::Invoked(Ok(said)) if said["dry_run"] == false => (true, true),
            _ => (
                self.maybe_swept.contains(&of.1),
                self.surely_swept.contains(&of.1),
            ),
        };
        let mut views = Vec::new();
        for user in users {
            for run in &runs {
                views.push(View {
                    now: self.now,
                    user: user.clone(),
                    run: *run,
                    grades: grades.clone(),
                    lms_enrollment: lms.enrollment(of),
                    available: of.1 == 0,
                    swept: (maybe, surely),
                    paused: self.trouble,
                    disturbed: self.disturbed,
                });
            }
        }
        views
    }

    /// Compares users, runs and the number of certificates. Returns what is wrong.
    fn people(&self, ran: &[Ran]) -> Vec<String> {
        let mut wrong = Vec::new();
        let certificates = |state: &State| {
            let held = state
                .pairs
                .values()
                .filter(|pair| pair.certificate.is_some());
            state.anonymous + held.count()
        };
        if certificates(self.after) < certificates(self.before) {
            wrong.push("a certificate is gone".to_owned());
        }
        for learner in 0..crate::steps::LEARNERS {
            let (before, after) = (
                self.before.users.get(&learner),
                self.after.users.get(&learner),
            );
            let acts = |ran: &&Ran| match ran.op.action {
                Action::ImportUser(other, _) | Action::Erase(other) | Action::Rename(other) => {
                    other == learner
                }
                _ => false,
            };
            let of_learner: Vec<_> = ran.iter().filter(acts).collect();
            let expected = match (of_learner.as_slice(), before, after) {
                ([], before, after) => before == after,
                (_, Some(before), Some(after)) => {
                    before.id == after.id && (after.username || !before.username)
                }
                (acts, Some(_), None) => {
                    let erases = |ran: &&Ran| matches!(ran.op.action, Action::Erase(_));
                    acts.iter().any(erases)
                }
                (_, None, _) => true,
            };
            if !expected {
                wrong.push(format!("user {learner} was {before:?} and is {after:?}"));
            }
            if let [one] = of_learner.as_slice()
                && let Answer::Command(Ok(true)) = one.answer
            {
                let holds = match one.op.action {
                    Action::ImportUser(_, username) => {
                        after.is_some_and(|user| user.username || !username)
                    }
                    Action::Rename(_) => match (before, after) {
                        (Some(before), Some(after)) => before.renamed != after.renamed,
                        _ => false,
                    },
                    _ => after.is_none(),
                };
                if !holds {
                    wrong.push(format!(
                        "{:?} is done, and user {learner} is {after:?}",
                        one.op
                    ));
                }
            }
        }
        for one in ran {
            if let (Action::ImportRun(run), Answer::Command(Ok(true))) =
                (one.op.action, &one.answer)
                && !self.after.runs.contains(&run)
            {
                wrong.push(format!("{:?} is done, and the run is not there", one.op));
            }
        }
        if self
            .before
            .runs
            .iter()
            .any(|run| !self.after.runs.contains(run))
        {
            wrong.push("a run is gone".to_owned());
        }
        wrong
    }
}

impl State {
    /// True if an event of the learner in the run is dead or expired.
    fn has_ended_event(&self, of: Of) -> bool {
        let pair = self.pairs.get(&of);
        let events = pair.into_iter().flat_map(|pair| [&pair.role, &pair.pass]);
        events
            .flatten()
            .any(|event| event.state != EventState::Waiting)
    }
}

/// True if the action asks the LMS, or Secrets Manager for a token.
fn asks_others(action: Action) -> bool {
    matches!(
        action,
        Action::Enroll(..)
            | Action::Unenroll(_)
            | Action::Pass(_)
            | Action::Intrude(_)
            | Action::Retry
            | Action::SweepGrades(..)
            | Action::SweepEnrollments(..)
            | Action::Issue(_)
    )
}

/// True if the action may change the learner in the run.
fn concerns(action: Action, of: Of) -> bool {
    match action {
        Action::Enroll(other, ..)
        | Action::Unenroll(other)
        | Action::Pass(other)
        | Action::Intrude(other)
        | Action::ImportEnrollment(other, ..)
        | Action::ImportGrade(other, _)
        | Action::ImportCertificate(other)
        | Action::Set(other, ..)
        | Action::RemoveRole(other, _)
        | Action::Override(other, _)
        | Action::Release(other)
        | Action::Issue(other)
        | Action::Revoke(other)
        | Action::Restore(other)
        | Action::DropEvents(other) => other == of,
        Action::SweepGrades(run, _) | Action::SweepEnrollments(run, _) => run == of.1,
        Action::Erase(learner) => learner == of.0,
        Action::Retry
        | Action::Rename(_)
        | Action::ImportUser(..)
        | Action::ImportRun(_)
        | Action::RetryEvents
        | Action::TimeToLive => true,
        Action::LmsGrade(..)
        | Action::LmsForgets(_)
        | Action::LmsEnrollment(..)
        | Action::LmsIs(
            Mood::Up | Mood::Down | Mood::Throttles | Mood::Hangs | Mood::Maintenance,
        )
        | Action::Secrets(_)
        | Action::Restart
        | Action::Wait(_) => false,
    }
}

fn says(answer: &Answer, said: Said) -> bool {
    match (answer, said) {
        (Answer::Http(status, _), Said::Status(expected)) => *status == expected,
        (Answer::Http(status, body), Said::Certificate(expected, name)) => {
            *status == expected && body["certificate_status"] == name
        }
        (Answer::Command(Ok(done)), Said::Done | Said::Refused) => *done == (said == Said::Done),
        (Answer::Invoked(Ok(_)) | Answer::World, Said::Done) => true,
        _ => false,
    }
}

/// Returns all orders of so many actions.
fn orders(actions: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..actions {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |place| {
                    let mut order = order.clone();
                    order.insert(place, next);
                    order
                })
            })
            .collect();
    }
    orders
}

fn within(span: Span, seen: Span) -> bool {
    span.0 <= seen.0 && seen.1 <= span.1
}

/// The time by which the next attempt may be later than expected where others came in between: the
/// time before an enrollment is written, and the lease of a batch.
const LATER: i64 = 3 * 60_000;

/// True if the state is the expected one. If others came in between, an event may be due earlier, or a
/// little later.
fn admits(expected: &Pair, seen: &Pair, loose: bool) -> bool {
    let mut seen = seen.clone();
    if loose {
        for (expected, seen) in [
            (&expected.role, &mut seen.role),
            (&expected.pass, &mut seen.pass),
        ] {
            if let (Some(expected), Some(seen)) = (expected, seen)
                && seen.due.1 <= expected.due.1 + LATER
            {
                seen.due = expected.due;
                // One that was made due again meanwhile may be attempted once more.
                if seen.attempts > expected.attempts {
                    seen.attempts = expected.attempts;
                }
            }
        }
    }
    differences(expected, &seen).is_empty()
}

/// Returns what differs from the model's state.
fn differences(expected: &Pair, seen: &Pair) -> Vec<String> {
    let mut found = Vec::new();
    compare(
        &mut found,
        "enrollment",
        &expected.enrollment,
        &seen.enrollment,
        |a, b| {
            let b = b.clone();
            if within(a.changed, b.changed) {
                (
                    a.clone(),
                    Enrollment {
                        changed: a.changed,
                        ..b
                    },
                )
            } else {
                (a.clone(), b)
            }
        },
    );
    compare(&mut found, "grade", &expected.grade, &seen.grade, |a, b| {
        let mut b: Grade = b.clone();
        if let (Some(span), Some(at)) = (a.zero_since, b.zero_since)
            && within(span, at)
        {
            b.zero_since = a.zero_since;
        }
        if within(a.changed, b.changed) {
            b.changed = a.changed;
        }
        (a.clone(), b)
    });
    compare(
        &mut found,
        "certificate",
        &expected.certificate,
        &seen.certificate,
        |a, b| {
            let mut b: Certificate = b.clone();
            if within(a.changed, b.changed) {
                b.changed = a.changed;
            }
            (a.clone(), b)
        },
    );
    for (name, expected, seen) in [
        ("role", &expected.role, &seen.role),
        ("pass", &expected.pass, &seen.pass),
    ] {
        compare(&mut found, name, expected, seen, |a, b| {
            let mut b: Event = b.clone();
            if within(a.delivered, b.delivered) {
                b.delivered = a.delivered;
            }
            for (reason, (since, _)) in &mut b.waited {
                if let Some((span, _)) = a.waited.get(reason)
                    && within(*span, *since)
                {
                    *since = *span;
                }
            }
            b.due = a.due;
            (a.clone(), b)
        });
        if let (Some(a), Some(b)) = (expected, seen)
            && !within(a.due, b.due)
        {
            found.push(format!(
                "{name} due: {:?} expected, {:?} seen",
                a.due, b.due
            ));
        }
    }
    found
}

fn compare<T: PartialEq + std::fmt::Debug>(
    found: &mut Vec<String>,
    name: &str,
    expected: &Option<T>,
    seen: &Option<T>,
    align: impl Fn(&T, &T) -> (T, T),
) {
    match (expected, seen) {
        (None, None) => {}
        (Some(a), Some(b)) => {
            let (a, b) = align(a, b);
            if a != b {
                found.push(format!("{name}: expected {a:?}\n      seen {b:?}"));
            }
        }
        (a, b) => found.push(format!("{name}: expected {a:?}\n      seen {b:?}")),
    }
}
