//! Compares what happened in a step with what the model allows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::model::{LmsGrade, Path, Said, View, attempts, paths};
use crate::state::{
    Certificate, Enrollment, Event, EventState, Grade, Kind, Pair, Reason, Span, Standing, State,
    User, read,
};
use crate::steps::{Action, Mood, Of, Role, Score, Sweep, all};
use crate::world::{Answer, Ran, World, certificate_id, is_of_the_world};

/// The time after trouble with the LMS or the secrets for which a pause may still last.
const PAUSE: i64 = 120_000;

/// The sweeps of enrollments that reached the end of the list: the run, and whether it was forced.
#[derive(Clone, Default)]
struct Swept(BTreeSet<(u8, bool)>);

impl Swept {
    /// True if a sweep need not be dry any more. A forced one does not count for the scheduled ones.
    fn contains(&self, (run, forced): (u8, bool)) -> bool {
        self.0.contains(&(run, false)) || (forced && self.0.contains(&(run, true)))
    }
}

/// Holds the state of a portal, and what is still owed to its learners.
pub struct Judge {
    state: State,
    writes: usize,
    /// The roles of accepted deliveries.
    owed_roles: BTreeMap<Of, u8>,
    /// The accepted enrollments that have not taken effect.
    owed_enrollments: BTreeSet<Of>,
    /// The accepted passes that have not taken effect.
    owed_passes: BTreeSet<Of>,
    /// The time until which requests to the LMS may be paused.
    paused_until: i64,
    /// The learners whose change of address was interrupted.
    half_renamed: BTreeSet<u8>,
    /// The runs whose enrollments may have been swept, and those that have been.
    maybe_swept: Swept,
    surely_swept: Swept,
}

impl Judge {
    /// Begins with an empty portal.
    pub fn new() -> Self {
        Self {
            state: State::default(),
            writes: usize::MAX,
            owed_roles: BTreeMap::new(),
            owed_enrollments: BTreeSet::new(),
            owed_passes: BTreeSet::new(),
            paused_until: i64::MIN,
            half_renamed: BTreeSet::new(),
            maybe_swept: Swept::default(),
            surely_swept: Swept::default(),
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
        // The LMS may have asked for a pause, and the circuit breaker may be open.
        let paused = !world.is_calm() || now.0 < self.paused_until;
        if !world.is_calm() || ran.iter().any(Ran::is_struck_outside) {
            self.paused_until = now.1 + PAUSE;
        }
        let context = Context {
            world,
            before: &self.state,
            after: &after,
            now,
            paused,
            maybe_swept: &self.maybe_swept,
            surely_swept: &self.surely_swept,
        };
        let actors = ran.iter().filter(|ran| !is_of_the_world(ran.op.action));
        let is_alone = actors.count() == 1;
        let mut erased = BTreeSet::new();
        for one in ran {
            match one.op.action {
                Action::Rename(learner)
                    if !is_alone || !matches!(one.answer, Answer::Command(Ok(_))) =>
                {
                    self.half_renamed.insert(learner);
                }
                Action::Erase(learner) if !is_alone => {
                    erased.insert(learner);
                    let comes_back = |ran: &Ran| matches!(ran.op.action, Action::ImportUser(other, _) if other == learner);
                    // Of somebody unknown only the events are erased that there are.
                    let was_known = self.state.users.contains_key(&learner);
                    if was_known && !ran.iter().any(comes_back) && !after.is_without(learner) {
                        wrong.push(format!(
                            "learner {learner} is erased, and something is left"
                        ));
                    }
                }
                _ => {}
            }
        }
        for learner in after.split.difference(&self.half_renamed) {
            wrong.push(format!("learner {learner} has two events of one kind"));
        }
        // What is left of a change of address that was interrupted, or was not alone, is not modelled:
        // each of two events is attempted by itself. Neither are the steps of an erasure among others.
        // That nothing is lost, or left, is checked all the same.
        let is_modelled = |of: &Of| !self.half_renamed.contains(&of.0) && !erased.contains(&of.0);
        for of in all().filter(is_modelled) {
            wrong.extend(context.pair(of, ran));
        }
        wrong.extend(all().filter_map(|of| context.records(of, ran)));
        wrong.extend(context.people(ran));
        self.settle_accounts(ran, &after, now, &mut wrong);
        self.note_sweeps(ran, &mut wrong);
        // What an interrupted change of address has left is gone when the next one is done.
        let finished = |ran: &Ran| match (ran.op.action, &ran.answer) {
            (Action::Rename(learner) | Action::Erase(learner), Answer::Command(Ok(true))) => {
                Some(learner)
            }
            _ => None,
        };
        for learner in ran.iter().filter(|_| is_alone).filter_map(finished) {
            if after.split.contains(&learner) {
                wrong.push(format!("learner {learner} has two events of one kind"));
            }
            self.half_renamed.remove(&learner);
        }
        self.state = after;
        wrong
    }

    /// Checks which sweeps of enrollments were dry: the first one of a run is.
    fn note_sweeps(&mut self, ran: &[Ran], wrong: &mut Vec<String>) {
        let swept = |one: &Ran| match one.op.action {
            Action::SweepEnrollments(_, Sweep::Alone(_)) => None,
            Action::SweepEnrollments(run, sweep) => Some((run, sweep == Sweep::Forced)),
            _ => None,
        };
        let all: Vec<_> = ran.iter().filter_map(swept).collect();
        for (place, one) in all.iter().enumerate() {
            // Of two at once, one may come after the other.
            let others = all.iter().enumerate();
            let others = others.filter(|(other, _)| *other != place);
            let others = Swept(others.map(|(_, other)| *other).collect());
            if others.contains(*one) {
                self.maybe_swept.0.insert(*one);
            }
        }
        let surely_before = self.surely_swept.clone();
        for one in ran {
            let Action::SweepEnrollments(run, sweep) = one.op.action else {
                continue;
            };
            let done = match &one.answer {
                Answer::Invoked(Ok(said)) if self.state.runs.contains(&run) => Some(said),
                _ => None,
            };
            let is_dry = done.map(|said| said["dry_run"] == true);
            let may_be_dry = match swept(one) {
                None => vec![false],
                Some(_) if sweep == Sweep::Dry => vec![true],
                Some(run) if surely_before.contains(run) => vec![false],
                Some(run) if self.maybe_swept.contains(run) => vec![true, false],
                Some(_) => vec![true],
            };
            if is_dry.is_some_and(|is_dry| !may_be_dry.contains(&is_dry)) {
                wrong.push(format!(
                    "{:?} was dry, or should have been: {done:?}",
                    one.op
                ));
            }
            if let Some(run) = swept(one) {
                if done.is_some_and(|said| said["status"] == "done") {
                    self.surely_swept.0.insert(run);
                }
                self.maybe_swept.0.insert(run);
            }
        }
    }

    /// Keeps account of what accepted events have given, and of what has a right to take it.
    fn settle_accounts(&mut self, ran: &[Ran], after: &State, now: Span, wrong: &mut Vec<String>) {
        for one in ran {
            let accepted = matches!(one.answer, Answer::Http(200..=202 | 404, _));
            match one.op.action {
                Action::Enroll(of, role, _) if accepted => {
                    *self.owed_roles.entry(of).or_default() |= role.map_or(0, Role::bit);
                    self.owed_enrollments.insert(of);
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
                Action::Unenroll(of) => {
                    self.owed_enrollments.remove(&of);
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
                        self.owed_enrollments.remove(&of);
                        self.owed_passes.remove(&of);
                    }
                }
                _ => {}
            }
        }
        for of in all() {
            let pair = after.pairs.get(&of).cloned().unwrap_or_default();
            let before = self.state.pairs.get(&of).cloned().unwrap_or_default();
            let held = pair.enrollment.as_ref();
            let waiting = pair.role.as_ref();
            let roles = held.map_or(0, |held| held.roles) | waiting.map_or(0, |event| event.roles);
            let lost = self.owed_roles.get(&of).copied().unwrap_or_default() & !roles;
            if lost != 0 {
                wrong.push(format!(
                    "{of:?}: the roles {lost:#b} of accepted deliveries are gone"
                ));
            }
            if held.is_some() {
                self.owed_enrollments.remove(&of);
            } else if self.owed_enrollments.contains(&of) && waiting.is_none() {
                wrong.push(format!("{of:?}: an accepted enrollment is gone"));
            }
            // A sweep of the same step may have withdrawn what it gave.
            let satisfies = |pair: &Pair| {
                let held = pair.certificate.as_ref();
                held.is_some_and(|held| held.standing != Standing::Withdrawn)
            };
            let said = ran.iter().any(|one| {
                one.op.action == Action::Pass(of)
                    && matches!(&one.answer, Answer::Http(200, body) if ["created", "exists", "revoked"]
                        .contains(&body["certificate_status"].as_str().unwrap_or_default()))
            });
            if said || satisfies(&pair) || satisfies(&before) {
                self.owed_passes.remove(&of);
            } else if self.owed_passes.contains(&of) && pair.pass.is_none() {
                let event = before.pass.as_ref();
                if event.is_some_and(|event| event.may_be_dropped(now.1)) {
                    self.owed_passes.remove(&of);
                } else {
                    wrong.push(format!("{of:?}: an accepted pass is gone"));
                }
            }
        }
    }

    /// What was owed only by a pending event, which somebody with the right to it has removed.
    fn forgive(&mut self, of: Of) {
        let pair = self.state.pairs.get(&of);
        let held = pair.and_then(|pair| pair.enrollment.as_ref());
        let roles = held.map_or(0, |held| held.roles);
        *self.owed_roles.entry(of).or_default() &= roles;
        self.owed_enrollments.remove(&of);
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
    paused: bool,
    maybe_swept: &'a Swept,
    surely_swept: &'a Swept,
}

/// What came between the actions of a step and their effect on a learner in a run.
#[derive(Clone, Copy)]
struct Trouble {
    /// Faults, deaths or other actions.
    disturbed: bool,
    /// The LMS may have given no grade.
    lms: bool,
    /// The LMS may have given the grade of before.
    stale: bool,
}

impl Trouble {
    fn of(ran: &[&Ran], paused: bool) -> Self {
        let is_struck = ran.iter().any(|ran| ran.is_struck());
        let actors = ran.iter().filter(|ran| !is_of_the_world(ran.op.action));
        let asks = ran.iter().any(|ran| ran.op.action.asks_others());
        Self {
            disturbed: is_struck || actors.count() > 1 || (paused && asks),
            lms: is_struck || paused,
            stale: ran.iter().any(|ran| ran.has_old_grade()),
        }
    }
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
        let trouble = Trouble::of(&concerned, self.paused);
        let possible = self.possible(of, &before, &concerned, trouble);
        if possible
            .iter()
            .any(|state| admits(state, &after, trouble.disturbed))
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

    /// Compares ids and histories, which stay unless a learner is erased. Returns what is wrong.
    fn records(&self, of: Of, ran: &[Ran]) -> Option<String> {
        if ran.iter().any(|ran| ran.op.action == Action::Erase(of.0)) {
            return None;
        }
        for kind in [Kind::Enrollment, Kind::Grade, Kind::Certificate] {
            let (before, after) = (&self.before.records, &self.after.records);
            if let (Some(before), Some(after)) = (before.get(&(of, kind)), after.get(&(of, kind)))
                && !before.may_become(after)
            {
                return Some(format!(
                    "{of:?}: an id or an old entry of the {kind:?} has changed: {before:?} {after:?}"
                ));
            }
        }
        None
    }

    /// Returns the states in which actions at once may have left a learner in a run.
    fn possible(&self, of: Of, before: &Pair, ran: &[&Ran], trouble: Trouble) -> HashSet<Pair> {
        let whole: Vec<_> = ran.iter().map(|ran| (*ran, Part::Whole)).collect();
        let mut possible = self.in_any_order(of, before, &whole, trouble);
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
            possible.extend(self.in_any_order(of, before, &parts.collect::<Vec<_>>(), trouble));
        }
        possible
    }

    fn in_any_order(
        &self,
        of: Of,
        before: &Pair,
        ran: &[(&Ran, Part)],
        trouble: Trouble,
    ) -> HashSet<Pair> {
        let mut possible = HashSet::new();
        for order in orders(ran.len()) {
            let mut states = HashSet::from([before.clone()]);
            for place in order {
                let (ran, part) = ran[place];
                let ends = states
                    .iter()
                    .flat_map(|state| self.ends(of, state, (ran, part), trouble));
                states = ends.collect();
            }
            possible.extend(states);
        }
        possible
    }

    /// Returns the states in which an action may have left a learner in a run.
    fn ends(
        &self,
        of: Of,
        state: &Pair,
        (ran, part): (&Ran, Part),
        trouble: Trouble,
    ) -> HashSet<Pair> {
        let mut ends = HashSet::new();
        for view in self.views(of, ran, trouble) {
            let paths = match part {
                Part::Whole => paths(ran.op.action, of, state, &view),
                Part::Role => attempts(state, &view).0,
                Part::Pass => attempts(state, &view).1,
            };
            for path in paths {
                ends.extend(self.allowed(&path, ran, trouble));
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
    fn allowed(&self, path: &Path, ran: &Ran, trouble: Trouble) -> Vec<Pair> {
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
                let may_fail = trouble.disturbed
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
            _ => {
                if !says(ran, path) {
                    return Vec::new();
                }
                match (trouble.disturbed, in_batches) {
                    (false, _) => path.states.len() - 1,
                    (true, false) => path.needed,
                    (true, true) => 0,
                }
            }
        };
        path.states[from..].to_vec()
    }

    fn views(&self, of: Of, ran: &Ran, trouble: Trouble) -> Vec<View> {
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
        let usable = |grade: Option<Score>| grade.map_or(LmsGrade::None, LmsGrade::Is);
        let mut grades = vec![usable(lms.grade(of))];
        let stale = trouble.stale.then(|| usable(lms.old_grade(of)));
        let none = trouble.lms.then_some(LmsGrade::None);
        for grade in stale.into_iter().chain(none) {
            if !grades.contains(&grade) {
                grades.push(grade);
            }
        }
        let forced = matches!(ran.op.action, Action::SweepEnrollments(_, Sweep::Forced));
        let (maybe, surely) = match &ran.answer {
            _ if matches!(ran.op.action, Action::SweepEnrollments(_, Sweep::Alone(_))) => {
                (true, true)
            }
            Answer::Invoked(Ok(said)) if said["dry_run"] == true => (false, false),
            Answer::Invoked(Ok(said)) if said["dry_run"] == false => (true, true),
            _ => (
                self.maybe_swept.contains((of.1, forced)),
                self.surely_swept.contains((of.1, forced)),
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
                    paused: trouble.lms,
                    disturbed: trouble.disturbed,
                    taken: self
                        .before
                        .certificates
                        .contains(&certificate_id(of).to_string()),
                });
            }
        }
        views
    }

    /// Compares users, runs and the number of certificates. Returns what is wrong.
    fn people(&self, ran: &[Ran]) -> Vec<String> {
        let mut wrong = Vec::new();
        for id in self
            .before
            .certificates
            .difference(&self.after.certificates)
        {
            wrong.push(format!("the certificate {id} is gone"));
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
            let erases = |ran: &&Ran| matches!(ran.op.action, Action::Erase(_));
            let expected = match (of_learner.as_slice(), before, after) {
                ([], before, after) => before == after,
                (acts, _, _) if acts.len() > 1 && acts.iter().any(erases) => true,
                (_, Some(before), Some(after)) => {
                    before.id == after.id && (after.username || !before.username)
                }
                (acts, Some(_), None) => acts.iter().any(erases),
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
            if let (Action::Retry, Answer::Invoked(Ok(said))) = (one.op.action, &one.answer)
                && ran.len() == 1
                && !one.is_struck()
                && self.after.split.is_empty()
                && said["waiting"].is_number()
                // The other lane's batch ran at the same time.
                && said["lms"]["attempted"] == 0
            {
                let counts = [
                    ("waiting", EventState::Waiting),
                    ("dead", EventState::Dead),
                    ("expired", EventState::Expired),
                ];
                for (name, state) in counts {
                    if said[name] != self.after.events_in(state) {
                        wrong.push(format!("{:?} counted other events: {said}", one.op));
                    }
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
    /// True if there is nothing of the learner.
    fn is_without(&self, learner: u8) -> bool {
        let mut pairs = self.pairs.iter();
        !self.users.contains_key(&learner)
            && !pairs.any(|(of, pair)| of.0 == learner && *pair != Pair::default())
    }

    /// The number of events in a state.
    fn events_in(&self, state: EventState) -> usize {
        let pairs = self.pairs.values();
        let events = pairs.flat_map(|pair| [&pair.role, &pair.pass]).flatten();
        events.filter(|event| event.state == state).count()
    }

    /// True if an event of the learner in the run is dead or expired.
    fn has_ended_event(&self, of: Of) -> bool {
        let pair = self.pairs.get(&of);
        let events = pair.into_iter().flat_map(|pair| [&pair.role, &pair.pass]);
        events
            .flatten()
            .any(|event| event.state != EventState::Waiting)
    }
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

/// True if the answer is the one that the path has.
fn says(ran: &Ran, path: &Path) -> bool {
    // One whose first answer was lost tells what it finds later.
    let is_later = ran.is_struck();
    match (&ran.answer, path.said) {
        (Answer::Http(status, body), Said::Status(expected)) => {
            *status == expected && (*status >= 400 || is_later || says_enrollment(body, path))
        }
        (Answer::Http(status, body), Said::Certificate(expected, name)) => {
            *status == expected
                && body["certificate_status"] == name
                && body["certificate_id"].is_string() == matches!(name, "created" | "exists")
                && (is_later || says_reason(body["reason"].as_str(), name, path))
        }
        (Answer::Command(Ok(done)), Said::Done | Said::Refused) => {
            *done == (path.said == Said::Done)
        }
        (Answer::Invoked(Ok(_)) | Answer::World, Said::Done) => true,
        _ => false,
    }
}

fn says_enrollment(body: &Value, path: &Path) -> bool {
    match &path.end().enrollment {
        Some(held) => body["active"] == held.active && body["edx_enrolled"] == held.edx,
        None => body["enrollment_id"].is_null(),
    }
}

/// True if the answer to a pass has the reason that the path ends with.
fn says_reason(reason: Option<&str>, name: &str, path: &Path) -> bool {
    match name {
        "not_eligible" => {
            let expected = match &path.end().enrollment {
                None => "not_enrolled",
                Some(held) if !held.active => "inactive",
                Some(_) => "unpaid_mode",
            };
            reason == Some(expected)
        }
        "pending" => {
            let event = path.end().pass.as_ref();
            let needs_name = event.is_some_and(|event| event.reason == Reason::NoUsername);
            reason.is_some_and(|reason| needs_name == (reason == "no_username"))
        }
        _ => reason.is_none(),
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
                && seen.claimable().1 <= expected.claimable().1 + LATER
            {
                seen.due = expected.due;
                seen.claimed = expected.claimed;
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
            if let (Some(span), Some(at)) = (a.claimed, b.claimed)
                && within(span, at)
            {
                b.claimed = a.claimed;
            }
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
