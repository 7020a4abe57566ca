//! The state of a portal, as its tables have it and as the model expects it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::Value;

use crate::steps::{LEARNERS, Mode, Of, RUNS, Role, Score};
use crate::world::{Engine, course_id, email, other_email};

/// A time in milliseconds since 1970, or the earliest and the latest that it may be.
pub type Span = (i64, i64);

/// A portal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The users, by learner.
    pub users: BTreeMap<u8, User>,
    /// The runs that the portal has.
    pub runs: Vec<u8>,
    /// The records of each learner in each run.
    pub pairs: BTreeMap<Of, Pair>,
    /// The learners who have an event under each of their addresses.
    pub split: BTreeSet<u8>,
    /// The id and the history of each record.
    pub records: BTreeMap<(Of, Kind), Record>,
    /// The ids of all certificates, also of users who were erased.
    pub certificates: BTreeSet<String>,
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Enrollment,
    Grade,
    Certificate,
}

/// What of a record never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The ids: of the user, and its own, if it has one.
    pub ids: (String, String),
    /// The digests of the history's entries that are kept, by their number.
    pub entries: BTreeMap<u64, u64>,
}

impl Record {
    /// True if `self` may become `after`: the ids and the entries stay.
    pub fn may_become(&self, after: &Self) -> bool {
        let mut before = self.entries.iter();
        self.ids == after.ids
            && after.entries.len() >= self.entries.len()
            && before.all(|(number, entry)| {
                let kept = after.entries.get(number);
                // An entry that is neither the first nor one of the last may be left out.
                kept.map_or(*number > 0 && after.entries.len() == KEPT, |kept| {
                    kept == entry
                })
            })
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: String,
    /// True if there is a username.
    pub username: bool,
    /// True if the user has the other address now.
    pub renamed: bool,
}

/// What there is of a learner in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The enrollment.
    pub enrollment: Option<Enrollment>,
    /// The grade.
    pub grade: Option<Grade>,
    /// The certificate.
    pub certificate: Option<Certificate>,
    /// The pending event of the enrollment.
    pub role: Option<Event>,
    /// The pending event of the certificate.
    pub pass: Option<Event>,
}

impl Pair {
    /// Returns the events that wait.
    pub fn waiting(&self) -> impl Iterator<Item = &Event> {
        let events = [&self.role, &self.pass].into_iter().flatten();
        events.filter(|event| event.state == EventState::Waiting)
    }
}

/// The source of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// An operator.
    Operator,
    /// An import.
    Import,
}

/// An enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Enrollment {
    /// The mode.
    pub mode: Mode,
    /// The source of the mode, if it is not the LMS.
    pub set_by: Option<By>,
    /// True if it is active.
    pub active: bool,
    /// True if an operator made it inactive.
    pub by_operator: bool,
    /// True if the LMS has said so.
    pub edx: bool,
    /// The set of roles.
    pub roles: u8,
    /// True if there is a reason for which it is inactive.
    pub has_status: bool,
    /// The time of the last change.
    pub changed: Span,
    /// The number of changes.
    pub writes: u64,
}

/// A grade.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grade {
    /// The percentage, and whether it is a pass.
    pub score: Score,
    /// True if an operator has set it.
    pub overridden: bool,
    /// The time at which a sweep first found 0.
    pub zero_since: Option<Span>,
    /// The time of the last change.
    pub changed: Span,
    /// The number of changes.
    pub writes: u64,
}

/// The state of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It counts.
    InForce,
    /// Withdrawn by a grade of 0.
    Withdrawn,
    /// Revoked by an operator; the flag says that it was withdrawn before.
    Revoked,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// Its state.
    pub standing: Standing,
    /// True if it was withdrawn when it was revoked.
    pub was_withdrawn: bool,
    /// The time of the last change.
    pub changed: Span,
    /// The number of changes.
    pub writes: u64,
}

/// The reason of a pending event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "docs/retries.md has them")]
pub enum Reason {
    NoSuchUser,
    NoSuchRun,
    NoUsername,
    LmsUnavailable,
    Failed,
    NotPassed,
    NotEligible,
}

/// The state of a pending event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "docs/retries.md has them")]
pub enum EventState {
    Waiting,
    Dead,
    Expired,
}

/// A pending event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// The state.
    pub state: EventState,
    /// The reason.
    pub reason: Reason,
    /// The set of roles.
    pub roles: u8,
    /// The mode.
    pub mode: Option<Mode>,
    /// True if it enrolls nobody any more.
    pub unenrolled: bool,
    /// The number of attempts.
    pub attempts: u32,
    /// For each reason since when, and how often it was met again.
    pub waited: BTreeMap<Reason, (Span, u32)>,
    /// The time of the next attempt.
    pub due: Span,
    /// The end of the lease of an attempt that runs, or was interrupted.
    pub claimed: Option<Span>,
    /// The time of the last delivery.
    pub delivered: Span,
}

impl Event {
    /// Returns when it may be claimed.
    pub fn claimable(&self) -> Span {
        let claimed = self.claimed.unwrap_or(self.due);
        (self.due.0.max(claimed.0), self.due.1.max(claimed.1))
    }
}

/// What is wrong in the tables by itself.
pub type Faults = Vec<String>;

/// Reads the tables. Returns what is wrong in them by itself, too.
pub fn read(engine: &Engine) -> (State, Faults) {
    let mut state = State::default();
    let mut wrong = Faults::new();
    let emails: BTreeMap<_, _> = (0..LEARNERS)
        .flat_map(|learner| [(email(learner), learner), (other_email(learner), learner)])
        .collect();
    let ids: BTreeMap<_, _> = (0..RUNS).map(|run| (course_id(run), run)).collect();
    let (mut aliases, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for item in engine.items("UsersTable") {
        let Some(learner) = emails.get(&text(&item, "email")) else {
            wrong.push(format!("a user who was not imported: {item}"));
            continue;
        };
        let alias_of = text(&item, "alias_of");
        if !alias_of.is_empty() {
            if emails.get(&alias_of) != Some(learner) {
                wrong.push(format!("an alias of somebody else: {item}"));
            }
            aliases.insert(alias_of);
            continue;
        }
        addresses.insert(text(&item, "email"));
        let user = User {
            id: text(&item, "user_id"),
            username: !item["edx_username"].is_null(),
            renamed: text(&item, "email") == other_email(*learner),
        };
        if let Some(other) = state.users.insert(*learner, user) {
            wrong.push(format!("a learner who is two users: {item} and {other:?}"));
        }
    }
    for alias in aliases.difference(&addresses) {
        wrong.push(format!("an alias of {alias}, which no user has"));
    }
    for item in engine.items("UsernamesTable") {
        let owner = text(&item, "user_id");
        if !state
            .users
            .values()
            .any(|user| user.username && user.id == owner)
        {
            wrong.push(format!("a username without its user: {item}"));
        }
    }
    let runs = engine.items("CourseRunsTable");
    state.runs = runs
        .iter()
        .filter_map(|item| ids.get(&text(item, "course_id")).copied())
        .collect();
    state.runs.sort_unstable();
    let owners: BTreeMap<_, _> = state
        .users
        .iter()
        .map(|(learner, user)| (user.id.clone(), *learner))
        .collect();
    let of = |item: &Value| {
        let run = ids.get(&text(item, "course_id"))?;
        Some(Of(*owners.get(&text(item, "user_id"))?, *run))
    };
    for item in engine.items("EnrollmentsTable") {
        check_history(&item, "enrollment", &mut wrong);
        match of(&item) {
            Some(of) => {
                let record = record(&item, "enrollment_id");
                state.records.insert((of, Kind::Enrollment), record);
                pair(&mut state, of).enrollment = enrollment(&item, &mut wrong);
            }
            None => wrong.push(format!("an enrollment of an unknown user: {item}")),
        }
    }
    for item in engine.items("GradesTable") {
        check_history(&item, "grade", &mut wrong);
        match of(&item) {
            Some(of) => {
                let record = record(&item, "");
                state.records.insert((of, Kind::Grade), record);
                pair(&mut state, of).grade = Some(grade(&item, &mut wrong));
            }
            None => wrong.push(format!("a grade of an unknown user: {item}")),
        }
    }
    for item in engine.items("CertificatesTable") {
        check_history(&item, "certificate", &mut wrong);
        if !state.certificates.insert(text(&item, "certificate_id")) {
            wrong.push(format!("two certificates with one id: {item}"));
        }
        if let Some(of) = of(&item) {
            let record = record(&item, "certificate_id");
            state.records.insert((of, Kind::Certificate), record);
            pair(&mut state, of).certificate = certificate(&item, &mut wrong);
        }
    }
    let items = engine.items("PendingEventsTable").into_iter();
    // The lease of a lane is no event.
    for item in items.filter(|item| item["holder_id"].is_null()) {
        let learner = emails.get(&text(&item, "email"));
        let run = ids.get(&text(&item, "course_id"));
        let (Some(learner), Some(run)) = (learner, run) else {
            wrong.push(format!("an event of an unknown address or run: {item}"));
            continue;
        };
        let event = event(&item);
        if event.is_none() {
            wrong.push(format!("an event that cannot be read: {item}"));
        }
        let pair = pair(&mut state, Of(*learner, *run));
        let place = match text(&item, "kind").as_str() {
            "certificate" => &mut pair.pass,
            _ => &mut pair.role,
        };
        if let Some(other) = place {
            other.roles |= event.map_or(0, |event| event.roles);
            state.split.insert(*learner);
        } else {
            *place = event;
        }
    }
    (state, wrong)
}

fn pair(state: &mut State, of: Of) -> &mut Pair {
    state.pairs.entry(of).or_default()
}

fn text(item: &Value, name: &str) -> String {
    item[name]["S"].as_str().unwrap_or_default().to_owned()
}

fn flag(item: &Value, name: &str) -> bool {
    item[name]["BOOL"] == true
}

fn number(value: &Value) -> f64 {
    value["N"]
        .as_str()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default()
}

fn count(value: &Value) -> u64 {
    number(value) as u64
}

fn time(value: &Value) -> Option<Span> {
    let time: Timestamp = value["S"].as_str()?.parse().ok()?;
    let ms = time.as_millisecond();
    Some((ms, ms))
}

/// The time of the last entry of the history.
fn last_change(item: &Value) -> Span {
    let entries = item["history"]["L"].as_array();
    let last = entries.and_then(|entries| entries.last());
    last.and_then(|entry| time(&entry["M"]["at"]))
        .unwrap_or_default()
}

fn mode(name: &str) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode.as_str() == name)
}

fn roles(item: &Value) -> u8 {
    let names = item["roles"]["SS"].as_array();
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let bits = names.filter_map(|name| Role::ALL.into_iter().find(|role| role.as_str() == name));
    bits.fold(0, |set, role| set | role.bit())
}

/// The number of entries that a history keeps: the first one, and the last 50.
const KEPT: usize = 51;

/// Returns what of a record never changes. `id` is the attribute of its own id.
fn record(item: &Value, id: &str) -> Record {
    let entries = item["history"]["L"].as_array();
    let entries = entries.map(Vec::as_slice).unwrap_or_default();
    let all = count(&item["history_count"]);
    let left_out = all.saturating_sub(entries.len() as u64);
    let entries = entries.iter().zip(0..).map(|(entry, place)| {
        let mut digest = DefaultHasher::new();
        entry.to_string().hash(&mut digest);
        let number = if place == 0 { 0 } else { place + left_out };
        (number, digest.finish())
    });
    Record {
        ids: (text(item, "user_id"), text(item, id)),
        entries: entries.collect(),
    }
}

fn check_history(item: &Value, what: &str, wrong: &mut Faults) {
    let entries = item["history"]["L"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let all = count(&item["history_count"]) as usize;
    if entries.len() != all.min(KEPT) {
        wrong.push(format!(
            "{what}: {} entries of {all}: {item}",
            entries.len()
        ));
    }
    let mut ids: Vec<_> = entries
        .iter()
        .map(|entry| text(&entry["M"], "change_id"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != entries.len() {
        wrong.push(format!("{what}: an entry is there twice: {item}"));
    }
    let times: Vec<_> = entries
        .iter()
        .map(|entry| time(&entry["M"]["at"]))
        .collect();
    if times.iter().any(Option::is_none) {
        wrong.push(format!("{what}: an entry without a time: {item}"));
    }
    if count(&item["version"]) < all as u64 {
        wrong.push(format!("{what}: fewer versions than changes: {item}"));
    }
}

fn enrollment(item: &Value, wrong: &mut Faults) -> Option<Enrollment> {
    let last = item["history"]["L"]
        .as_array()
        .and_then(|entries| entries.last());
    let last = last.map(|entry| &entry["M"]);
    let changed = time(&item["changed_at"])?;
    if last.is_none_or(|last| time(&last["at"]) != Some(changed)) {
        wrong.push(format!(
            "enrollment: changed_at is not the last entry's time: {item}"
        ));
    }
    if last.is_none_or(|last| flag(last, "active") != flag(item, "active")) {
        wrong.push(format!(
            "enrollment: the last entry has another `active`: {item}"
        ));
    }
    Some(Enrollment {
        mode: mode(&text(item, "mode"))?,
        set_by: match text(item, "mode_set_by").as_str() {
            "operator" => Some(By::Operator),
            "import" => Some(By::Import),
            _ => None,
        },
        active: flag(item, "active"),
        by_operator: flag(item, "inactive_by_operator"),
        edx: flag(item, "edx_enrolled"),
        roles: roles(item),
        has_status: !item["change_status"].is_null(),
        changed,
        writes: count(&item["history_count"]),
    })
}

fn grade(item: &Value, wrong: &mut Faults) -> Grade {
    let entries = item["history"]["L"].as_array();
    let last = entries.and_then(|entries| entries.last());
    for name in ["percent", "passed", "set_by_admin"] {
        if last.is_none_or(|last| last["M"][name] != item[name]) {
            wrong.push(format!("grade: the last entry has another {name}: {item}"));
        }
    }
    Grade {
        score: Score(
            (number(&item["percent"]) * 100.0).round() as u8,
            flag(item, "passed"),
        ),
        overridden: flag(item, "set_by_admin"),
        zero_since: time(&item["zero_since"]),
        changed: last_change(item),
        writes: count(&item["history_count"]),
    }
}

fn certificate(item: &Value, wrong: &mut Faults) -> Option<Certificate> {
    let entries = item["history"]["L"].as_array()?;
    let states: Vec<_> = entries
        .iter()
        .map(|entry| text(&entry["M"], "state"))
        .collect();
    let state = text(item, "state");
    if states.last() != Some(&state) {
        wrong.push(format!(
            "certificate: the last entry has another state: {item}"
        ));
    }
    let before = states.iter().rev().find(|state| *state != "revoked");
    Some(Certificate {
        standing: match state.as_str() {
            "in_force" => Standing::InForce,
            "withdrawn" => Standing::Withdrawn,
            "revoked" => Standing::Revoked,
            _ => return None,
        },
        was_withdrawn: state == "revoked" && before.is_some_and(|state| state == "withdrawn"),
        changed: last_change(item),
        writes: count(&item["history_count"]),
    })
}

fn reason(name: &str) -> Option<Reason> {
    Some(match name {
        "no_such_user" => Reason::NoSuchUser,
        "no_such_run" => Reason::NoSuchRun,
        "no_username" => Reason::NoUsername,
        "lms_unavailable" => Reason::LmsUnavailable,
        "failed" => Reason::Failed,
        "not_passed" => Reason::NotPassed,
        "not_eligible" => Reason::NotEligible,
        _ => return None,
    })
}

fn event(item: &Value) -> Option<Event> {
    let waited = item["waited"]["M"].as_object();
    let waited = waited.into_iter().flatten().map(|(name, waited)| {
        let waited = &waited["M"];
        Some((
            reason(name)?,
            (time(&waited["since"])?, count(&waited["attempts"]) as u32),
        ))
    });
    Some(Event {
        state: match text(item, "state").as_str() {
            "waiting" => EventState::Waiting,
            "dead" => EventState::Dead,
            "expired" => EventState::Expired,
            _ => return None,
        },
        reason: reason(&text(item, "reason"))?,
        roles: roles(item),
        mode: mode(&text(item, "mode")),
        unenrolled: flag(item, "unenrolled"),
        attempts: count(&item["attempts"]) as u32,
        waited: waited.collect::<Option<_>>()?,
        due: time(&item["next_attempt_at"])?,
        claimed: time(&item["claimed_until"]),
        delivered: time(&item["delivered_at"])?,
    })
}
