//! Events that could not take effect yet, and the schedule of their retries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::sha256_hex;
use super::{CourseId, CourseRole, Email, EventKey, EventKind, Mode};

/// An accepted event that could not take effect yet. There is one for each [`EventKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEvent {
    /// The table's key, made from kind, address and course id.
    pub event_key: EventKey,
    /// The webhook that received it.
    pub kind: EventKind,
    /// The address in its normal form. There may be no user with it yet.
    pub email: Email,
    /// The run that was announced, whether or not the portal has it.
    pub course_id: CourseId,
    /// The roles of all its deliveries; empty if none named one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<CourseRole>,
    /// The last mode that a delivery named, or `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The learner was un-enrolled since: the roles still take effect, but enroll nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unenrolled: bool,
    /// The reason that blocked it when it was last delivered or retried.
    pub reason: BlockedReason,
    /// Details of the reason, if there are any: the code of the error, or the reason why an
    /// enrollment is not eligible. Never an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The state. Each delivery sets it to `Waiting`.
    pub state: EventState,
    /// The number of attempts since the event became pending, or was delivered again after
    /// it had ended.
    pub attempts: u32,
    /// The id of the claim under which it was last retried, by which the claiming process
    /// recognises its own claim; absent until the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<Uuid>,
    /// The end of the lease while an attempt is running: nobody else claims it until then. It is
    /// absent after the attempt, and after the event was made due meanwhile.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::moment::serialize_some"
    )]
    pub claimed_until: Option<Timestamp>,
    /// The time that it has waited, for each reason that blocked an attempt.
    #[serde(default)]
    pub waited: BTreeMap<BlockedReason, Waited>,
    /// The time of the next attempt. It does not change while an attempt is running.
    #[serde(serialize_with = "super::moment::serialize")]
    pub next_attempt_at: Timestamp,
    /// It was made due, by an operator or because what blocked it is gone: until that attempt it
    /// goes before the events that are due by their backoff.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_due: bool,
    /// The time at which it became pending, or was delivered again after it had ended.
    #[serde(serialize_with = "super::moment::serialize")]
    pub pending_since: Timestamp,
    /// The time of its last delivery. The event never undoes a change that is newer than
    /// this.
    #[serde(serialize_with = "super::moment::serialize")]
    pub delivered_at: Timestamp,
    /// Grows with every write. A conditional write requires the version that was read.
    pub version: u64,
}

/// A delivery to store as a pending event.
#[derive(Debug, Clone)]
pub struct NewPendingEvent<'a> {
    /// The kind. Together with `email` and `course_id` it is the event's key.
    pub kind: EventKind,
    /// The learner's address, whether or not a user has it.
    pub email: &'a Email,
    /// The announced run, whether or not the portal knows it.
    pub course_id: &'a CourseId,
    /// A role that is added to the roles stored so far; absent if the delivery named none.
    pub role: Option<&'a CourseRole>,
    /// A mode that replaces the mode stored so far. If it is absent, the stored mode stays.
    pub mode: Option<&'a Mode>,
    /// The reason for which it is blocked now. It replaces the stored reason.
    pub blocked: &'a Blocked,
    /// The time of the delivery, from which a new event's first attempt is scheduled.
    pub delivered_at: Timestamp,
}

impl NewPendingEvent<'_> {
    /// Returns the event that the delivery becomes if there is none with its key.
    pub fn event(&self) -> PendingEvent {
        let Blocked {
            reason,
            error,
            not_before,
        } = self.blocked;
        let event_key = EventKey::of(self.kind, self.email, self.course_id);
        let due = reason.next_attempt_at(&event_key, 0, self.delivered_at);
        let waited = Waited {
            since: self.delivered_at,
            attempts: 0,
        };
        PendingEvent {
            event_key,
            kind: self.kind,
            email: self.email.clone(),
            course_id: self.course_id.clone(),
            roles: self.role.into_iter().cloned().collect(),
            mode: self.mode.cloned(),
            unenrolled: false,
            reason: *reason,
            last_error: error.clone(),
            state: EventState::Waiting,
            attempts: 0,
            claim_id: None,
            claimed_until: None,
            waited: BTreeMap::from([(*reason, waited)]),
            next_attempt_at: not_before.map_or(due, |moment| due.max(moment)),
            made_due: false,
            pending_since: self.delivered_at,
            delivered_at: self.delivered_at,
            version: 1,
        }
    }
}

/// The time that an event has waited for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// The time at which the reason was first met. For errors of the LMS it starts again
    /// once the LMS has answered.
    pub since: Timestamp,
    /// The number of times the reason was met again since.
    pub attempts: u32,
}

/// The reason why an event is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedReason {
    /// No user has the address.
    NoSuchUser,
    /// The user exists, but the course run does not.
    NoSuchRun,
    /// The user has no username of the LMS, so the LMS cannot be asked.
    NoUsername,
    /// The LMS gave no grade that can be used.
    LmsUnavailable,
    /// Something on our side fails, and the error is not temporary: an item is not of the
    /// expected shape, or a call is refused.
    Failed,
    /// The grade is not a pass, or not yet: the LMS may announce a pass before it stores it.
    NotPassed,
    /// The learner has passed, but has no active enrollment in a paid mode.
    NotEligible,
}

/// The blocked reason of an event, with its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The reason.
    pub reason: BlockedReason,
    /// Details, as in [`PendingEvent::last_error`].
    pub error: Option<String>,
    /// The LMS asked for no requests until then.
    pub not_before: Option<Timestamp>,
}

impl From<BlockedReason> for Blocked {
    fn from(reason: BlockedReason) -> Self {
        Self {
            reason,
            error: None,
            not_before: None,
        }
    }
}

/// The state of a pending event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// It is retried at the time of its next attempt.
    Waiting,
    /// Dead letter: given up after errors that are not caused by the event; raises an
    /// alarm.
    Dead,
    /// Given up because the user or run that it waited for never came; listed, raises no
    /// alarm.
    Expired,
}

impl EventState {
    /// Returns the name of the state in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }
}

/// The result of an attempt in which the event could not take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterAttempt {
    /// The event to be stored: it keeps waiting, or has ended as dead or expired.
    Stored(Box<PendingEvent>),
    /// The event is removed: it has waited long enough, and a sweep does the rest.
    Dropped,
}

const fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

impl BlockedReason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 7] = [
        Self::NoSuchUser,
        Self::NoSuchRun,
        Self::NoUsername,
        Self::LmsUnavailable,
        Self::Failed,
        Self::NotPassed,
        Self::NotEligible,
    ];

    /// Returns the name of the reason in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchUser => "no_such_user",
            Self::NoSuchRun => "no_such_run",
            Self::NoUsername => "no_username",
            Self::LmsUnavailable => "lms_unavailable",
            Self::Failed => "failed",
            Self::NotPassed => "not_passed",
            Self::NotEligible => "not_eligible",
        }
    }

    /// The wait after each attempt until the next one, before jitter; the last one repeats.
    const fn intervals(self) -> &'static [SignedDuration] {
        match self {
            Self::NoSuchUser | Self::NoSuchRun => const { &[minutes(1), minutes(5), hours(24)] },
            Self::LmsUnavailable | Self::NoUsername | Self::Failed => {
                const {
                    &[
                        minutes(1),
                        minutes(5),
                        minutes(30),
                        hours(2),
                        hours(6),
                        hours(12),
                    ]
                }
            }
            Self::NotPassed => const { &[minutes(1), minutes(10), hours(24)] },
            // The first attempt catches an enrollment that was changed while the event was
            // being stored. Any other change of the enrollment schedules an attempt itself.
            Self::NotEligible => const { &[minutes(1), Self::NotEligible.patience()] },
        }
    }

    /// The longest time that an event may wait for this reason.
    const fn patience(self) -> SignedDuration {
        match self {
            Self::LmsUnavailable | Self::NoUsername | Self::Failed => hours(7 * 24),
            Self::NoSuchUser | Self::NoSuchRun | Self::NotPassed | Self::NotEligible => {
                hours(30 * 24)
            }
        }
    }

    /// The time of the next attempt for an event that this reason blocked `attempts` times,
    /// the last time at `now`: the interval, plus or minus 20 %.
    ///
    /// The jitter is computed from the event's key, so that events stored together are not
    /// all due together. It needs no random source.
    pub fn next_attempt_at(self, key: &EventKey, attempts: u32, now: Timestamp) -> Timestamp {
        let intervals = self.intervals();
        let last = intervals.len() - 1;
        let index = usize::try_from(attempts).map_or(last, |attempts| attempts.min(last));
        let digest = sha256_hex(format!("{key}{attempts}").as_bytes());
        let spread = digest
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let permille = 800 + i64::from(spread.unwrap_or(200) % 401);
        let wait = intervals[index].as_secs() * permille;
        later(now, SignedDuration::from_millis(wait))
    }
}

impl PendingEvent {
    /// Returns the key of what an import has to bring before the event can take effect, or `None` if
    /// no import would help. The events of one run have sixteen keys.
    pub fn blocked_on(&self) -> Option<String> {
        match self.reason {
            BlockedReason::NoSuchUser | BlockedReason::NoUsername => {
                let digest = sha256_hex(self.email.as_str().as_bytes());
                Some(format!("user:{digest}"))
            }
            BlockedReason::NoSuchRun => {
                Some(format!("run:{}#{}", self.course_id, self.event_key.shard()))
            }
            BlockedReason::LmsUnavailable
            | BlockedReason::Failed
            | BlockedReason::NotPassed
            | BlockedReason::NotEligible => None,
        }
    }

    /// The event after an attempt at `now` that `blocked` prevented from taking effect.
    pub fn after_attempt(mut self, blocked: Blocked, now: Timestamp) -> AfterAttempt {
        let Blocked {
            reason,
            error,
            not_before,
        } = blocked;
        self.claimed_until = None;
        self.made_due = false;
        if !matches!(
            reason,
            BlockedReason::LmsUnavailable | BlockedReason::Failed
        ) {
            self.waited.remove(&BlockedReason::LmsUnavailable);
        }
        // A reason that is met for the first time starts with its first interval, as it
        // does when a delivery meets it: the missing item may have been created just after
        // this attempt read the tables.
        let waited = self.waited.entry(reason);
        let waited = waited
            .and_modify(|waited| waited.attempts = waited.attempts.saturating_add(1))
            .or_insert(Waited {
                since: now,
                attempts: 0,
            });
        // A change to a paid enrollment schedules only the events that wait for it. It may
        // have happened while this event waited for another reason, so the intervals start
        // again.
        let comes_to_wait = reason == BlockedReason::NotEligible && self.reason != reason;
        let attempts = if comes_to_wait { 0 } else { waited.attempts };
        // A new delivery starts the waiting time again.
        let since = waited.since.max(self.delivered_at);

        self.reason = reason;
        self.last_error = error;
        let end = later(since, reason.patience());
        if now < end {
            let due = reason
                .next_attempt_at(&self.event_key, attempts, now)
                .min(end);
            self.next_attempt_at = not_before.map_or(due, |moment| due.max(moment));
            return AfterAttempt::Stored(Box::new(self));
        }
        self.state = match reason {
            BlockedReason::LmsUnavailable | BlockedReason::NoUsername | BlockedReason::Failed => {
                EventState::Dead
            }
            BlockedReason::NoSuchUser | BlockedReason::NoSuchRun => EventState::Expired,
            BlockedReason::NotPassed | BlockedReason::NotEligible => return AfterAttempt::Dropped,
        };
        self.next_attempt_at = now;
        AfterAttempt::Stored(Box::new(self))
    }

    /// The event after a claim that did not become an attempt because requests to the LMS
    /// are paused: the attempt is not counted, and the next one is at `due`.
    #[must_use]
    pub fn release(mut self, due: Timestamp) -> Self {
        self.attempts = self.attempts.saturating_sub(1);
        self.claimed_until = None;
        self.next_attempt_at = due;
        self
    }

    /// True if the event waits, and was delivered later than `new`: that delivery only adds what
    /// is missing.
    pub fn is_newer_than(&self, new: &Self) -> bool {
        self.state == EventState::Waiting && self.delivered_at > new.delivered_at
    }

    /// The event after a further delivery of it, which by itself would be the event `new`. Roles
    /// unite, and an absent mode never replaces a stored one. The newer delivery sets the blocked
    /// reason, and may make the event due sooner. An event that had ended starts again.
    #[must_use]
    pub fn redelivered(&self, new: &Self) -> Self {
        let roles = self.roles.union(&new.roles).cloned().collect();
        if self.is_newer_than(new) {
            return Self {
                roles,
                mode: self.mode.clone().or_else(|| new.mode.clone()),
                ..self.clone()
            };
        }
        let after = Self {
            roles,
            mode: new.mode.clone().or_else(|| self.mode.clone()),
            claim_id: self.claim_id,
            version: self.version,
            ..new.clone()
        };
        if self.state != EventState::Waiting {
            return after;
        }
        Self {
            attempts: self.attempts,
            claimed_until: self.claimed_until,
            waited: self.waited.clone(),
            pending_since: self.pending_since,
            next_attempt_at: self.next_attempt_at.min(new.next_attempt_at),
            made_due: self.made_due,
            ..after
        }
    }

    /// The event after an un-enrollment at `at`, without the part that would enroll the learner;
    /// `None` if it has no roles, so that nothing is left of it.
    pub fn after_unenrollment(&self, at: Timestamp) -> Option<Self> {
        if self.roles.is_empty() {
            return None;
        }
        Some(Self {
            mode: None,
            unenrolled: true,
            delivered_at: at,
            ..self.clone()
        })
    }

    /// The event as a new item under another address of the same learner.
    #[must_use]
    pub fn rekeyed(&self, email: &Email) -> Self {
        Self {
            event_key: EventKey::of(self.kind, email, &self.course_id),
            email: email.clone(),
            claimed_until: None,
            version: 1,
            ..self.clone()
        }
    }

    /// This event merged with `other`, which announced the same change to another address
    /// of the learner. If only one of them waits, the merged event waits for that one's
    /// reason. If both wait, it takes the newer one's reason and the earlier of the two
    /// attempts.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let (newer, older) = if self.delivered_at < other.delivered_at {
            (other, self)
        } else {
            (self, other)
        };
        let waits = |event: &Self| event.state == EventState::Waiting;
        let leading = if waits(older) && !waits(newer) {
            older
        } else {
            newer
        };
        let mode = if newer.mode.is_some() || newer.unenrolled {
            newer.mode.clone()
        } else {
            older.mode.clone()
        };
        Self {
            event_key: self.event_key.clone(),
            email: self.email.clone(),
            roles: self.roles.union(&other.roles).cloned().collect(),
            mode,
            unenrolled: newer.unenrolled,
            next_attempt_at: if waits(older) && waits(newer) {
                newer.next_attempt_at.min(older.next_attempt_at)
            } else {
                leading.next_attempt_at
            },
            made_due: leading.made_due || (waits(older) && older.made_due),
            pending_since: self.pending_since,
            delivered_at: newer.delivered_at,
            version: self.version,
            ..leading.clone()
        }
    }

    /// The event after an operator had it retried: it is due at once, and its waiting time
    /// starts again.
    #[must_use]
    pub fn retried(mut self, now: Timestamp) -> Self {
        self.state = EventState::Waiting;
        self.attempts = 0;
        self.waited.clear();
        self.claimed_until = None;
        self.next_attempt_at = now;
        self.made_due = true;
        self
    }
}

fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60;

    fn event(reason: BlockedReason, person: u32) -> PendingEvent {
        let email: Email = format!("learner{person}@example.org").parse().unwrap();
        let course_id: CourseId = "course-v1:a+b+c".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        PendingEvent {
            event_key: EventKey::of(EventKind::Certificate, &email, &course_id),
            kind: EventKind::Certificate,
            email,
            course_id,
            roles: BTreeSet::new(),
            mode: None,
            unenrolled: false,
            reason,
            last_error: None,
            state: EventState::Waiting,
            attempts: 0,
            claim_id: None,
            claimed_until: None,
            waited: BTreeMap::from([(
                reason,
                Waited {
                    since: now,
                    attempts: 0,
                },
            )]),
            next_attempt_at: now,
            made_due: false,
            pending_since: now,
            delivered_at: now,
            version: 1,
        }
    }

    /// Two events announce the same change; one was sent to a former address.
    #[test]
    fn events_of_two_addresses_are_merged_into_one() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let role = |role: &str| BTreeSet::from([role.parse::<CourseRole>().unwrap()]);
        let email: Email = "new@example.org".parse().unwrap();
        let old = PendingEvent {
            roles: role("staff"),
            mode: Some(Mode::audit()),
            next_attempt_at: moment(50),
            delivered_at: moment(20),
            attempts: 3,
            ..event(BlockedReason::NotPassed, 1)
        };
        let moved = old.rekeyed(&email);
        assert_eq!(
            (moved.event_key.clone(), moved.version, moved.attempts),
            (EventKey::of(old.kind, &email, &old.course_id), 1, 3)
        );

        let there = PendingEvent {
            roles: role("instructor"),
            next_attempt_at: moment(90),
            delivered_at: moment(30),
            version: 7,
            ..moved.clone()
        };
        for (there, reason, next_attempt_at, mode) in [
            (
                there.clone(),
                BlockedReason::NotPassed,
                50,
                Some(Mode::audit()),
            ),
            // If one of them has ended, the time of the other one counts.
            (
                PendingEvent {
                    reason: BlockedReason::NoSuchUser,
                    state: EventState::Expired,
                    mode: None,
                    ..there.clone()
                },
                BlockedReason::NotPassed,
                50,
                Some(Mode::audit()),
            ),
            (
                PendingEvent {
                    state: EventState::Dead,
                    delivered_at: moment(10),
                    ..there.clone()
                },
                BlockedReason::NotPassed,
                50,
                Some(Mode::audit()),
            ),
        ] {
            let case = there.state;
            let merged = there.merged(&old);
            assert_eq!((merged.reason, merged.mode), (reason, mode), "{case:?}");
            assert_eq!(merged.state, EventState::Waiting, "{case:?}");
            assert_eq!(merged.next_attempt_at, moment(next_attempt_at), "{case:?}");
            assert_eq!(merged.roles.len(), 2, "{case:?}");
            assert_eq!(
                (&merged.event_key, merged.version),
                (&there.event_key, 7),
                "{case:?}"
            );
            assert_eq!(
                merged.delivered_at,
                there.delivered_at.max(moment(20)),
                "{case:?}"
            );
        }
    }

    /// Each row: the stored event, and what a further delivery makes of it.
    #[test]
    fn a_further_delivery_merges_into_the_stored_event() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let role = |role: &str| role.parse::<CourseRole>().unwrap();
        let of = |event: &PendingEvent, delivered_at, mode: Option<&Mode>| {
            NewPendingEvent {
                kind: event.kind,
                email: &event.email,
                course_id: &event.course_id,
                role: Some(&role("staff")),
                mode,
                blocked: &BlockedReason::NoSuchRun.into(),
                delivered_at: moment(delivered_at),
            }
            .event()
        };
        let claim_id = Some(Uuid::from_u128(7));
        let stored = PendingEvent {
            roles: BTreeSet::from([role("instructor")]),
            mode: Some(Mode::audit()),
            unenrolled: true,
            last_error: Some("502".to_owned()),
            attempts: 3,
            claim_id,
            next_attempt_at: moment(130),
            delivered_at: moment(50),
            version: 7,
            ..event(BlockedReason::LmsUnavailable, 1)
        };
        let verified: Mode = "verified".parse().unwrap();
        let both = BTreeSet::from([role("instructor"), role("staff")]);

        let new = of(&stored, 100, Some(&verified));
        let due = new.next_attempt_at;
        assert!((moment(148)..=moment(172)).contains(&due), "{due}");
        let continues = PendingEvent {
            roles: both.clone(),
            mode: Some(verified.clone()),
            attempts: 3,
            claim_id,
            waited: stored.waited.clone(),
            next_attempt_at: moment(130),
            pending_since: stored.pending_since,
            version: 7,
            ..new.clone()
        };
        let later = PendingEvent {
            next_attempt_at: moment(9000),
            ..stored.clone()
        };
        let sooner = PendingEvent {
            next_attempt_at: due,
            ..continues.clone()
        };
        let ended = PendingEvent {
            state: EventState::Dead,
            ..later.clone()
        };
        let restarted = PendingEvent {
            roles: both.clone(),
            claim_id,
            version: 7,
            ..new.clone()
        };
        for (name, stored, after) in [
            ("keeps waiting", &stored, continues),
            ("is due sooner", &later, sooner),
            ("starts again", &ended, restarted),
        ] {
            assert_eq!(stored.redelivered(&new), after, "{name}");
        }
        assert_eq!(
            stored.redelivered(&of(&stored, 100, None)).mode,
            stored.mode,
            "an absent mode never replaces a stored one"
        );

        // A delivery that is older than the stored one only adds what is missing.
        let older = of(&stored, 40, Some(&verified));
        let expected = PendingEvent {
            roles: both,
            ..stored.clone()
        };
        assert_eq!(stored.redelivered(&older), expected);
        let without_mode = PendingEvent {
            mode: None,
            ..stored.clone()
        };
        assert_eq!(without_mode.redelivered(&older).mode, Some(verified));
        // An event that has ended starts again all the same.
        assert_eq!(ended.redelivered(&older).state, EventState::Waiting);
    }

    #[test]
    fn an_unenrollment_leaves_only_the_roles() {
        let pending = PendingEvent {
            mode: Some(Mode::audit()),
            ..event(BlockedReason::NoSuchUser, 1)
        };
        let at = Timestamp::from_second(60).unwrap();
        assert_eq!(pending.after_unenrollment(at), None);
        let roles = BTreeSet::from(["staff".parse().unwrap()]);
        let with_roles = PendingEvent { roles, ..pending };
        let expected = PendingEvent {
            mode: None,
            unenrolled: true,
            delivered_at: at,
            ..with_roles.clone()
        };
        assert_eq!(with_roles.after_unenrollment(at), Some(expected));
    }

    fn minutes_after(then: Timestamp, now: Timestamp) -> f64 {
        now.duration_since(then).as_secs_f64() / 60.0
    }

    /// Checks the minutes between attempts, and the state in which the event ends.
    #[test]
    fn each_reason_has_its_own_intervals_and_final_state() {
        use EventState::{Dead, Expired};
        let missing: &[i64] = &[1, 5, DAY];
        let intervals: &[i64] = &[1, 5, 30, 120, 360, 720];
        for (reason, intervals, days, end) in [
            (BlockedReason::NoSuchUser, missing, 30, Some(Expired)),
            (BlockedReason::NoSuchRun, missing, 30, Some(Expired)),
            (BlockedReason::NoUsername, intervals, 7, Some(Dead)),
            (BlockedReason::LmsUnavailable, intervals, 7, Some(Dead)),
            (BlockedReason::Failed, intervals, 7, Some(Dead)),
            (BlockedReason::NotPassed, &[1, 10, DAY], 30, None),
            (BlockedReason::NotEligible, &[1, 30 * DAY], 30, None),
        ] {
            let mut event = event(reason, 1);
            let began = event.pending_since;
            let mut now = reason.next_attempt_at(&event.event_key, 0, began);
            let mut last = began;
            for attempt in 0.. {
                let case = format!("{reason:?}, attempt {attempt}");
                let expected = *intervals.get(attempt).unwrap_or(intervals.last().unwrap()) as f64;
                let took = minutes_after(last, now);
                let at_the_end = minutes_after(began, now) == (days * DAY) as f64;
                assert!(
                    (0.8..=1.2).contains(&(took / expected)) || at_the_end,
                    "{case}: {took} minutes"
                );
                last = now;
                match event.clone().after_attempt(reason.into(), now) {
                    AfterAttempt::Stored(next) if next.state == EventState::Waiting => {
                        assert!(!at_the_end, "{case}");
                        now = next.next_attempt_at;
                        event = *next;
                    }
                    after => {
                        let ended = match after {
                            AfterAttempt::Stored(next) => Some(next.state),
                            AfterAttempt::Dropped => None,
                        };
                        assert_eq!(ended, end, "{case}");
                        assert!(at_the_end, "{case}");
                        break;
                    }
                }
            }
        }
    }

    /// Errors of the LMS in between do not restart the wait for a pass and do not end it
    /// early.
    #[test]
    fn each_reason_has_its_own_waiting_time() {
        let day = |day: i64| later(Timestamp::UNIX_EPOCH, hours(24 * day));
        let retry = |event: PendingEvent, reason: BlockedReason, at: i64| match event
            .after_attempt(reason.into(), day(at))
        {
            AfterAttempt::Stored(event) => *event,
            AfterAttempt::Dropped => panic!("dropped at day {at}"),
        };
        let mut pending = event(BlockedReason::NotPassed, 1);
        for (reason, at) in [
            (BlockedReason::NotPassed, 28),
            (BlockedReason::LmsUnavailable, 29),
            (BlockedReason::LmsUnavailable, 35),
        ] {
            pending = retry(pending, reason, at);
            assert_eq!(pending.state, EventState::Waiting, "{reason:?} at day {at}");
        }
        let unavailable = pending.clone();
        assert_eq!(
            retry(unavailable, BlockedReason::LmsUnavailable, 36).state,
            EventState::Dead
        );
        let after = pending.after_attempt(BlockedReason::NotPassed.into(), day(36));
        assert_eq!(after, AfterAttempt::Dropped);

        // An answer of the LMS ends the wait for the LMS.
        let mut pending = event(BlockedReason::LmsUnavailable, 1);
        pending = retry(pending, BlockedReason::NotPassed, 6);
        pending = retry(pending, BlockedReason::LmsUnavailable, 8);
        assert_eq!(
            (
                pending.state,
                pending.waited[&BlockedReason::LmsUnavailable].attempts
            ),
            (EventState::Waiting, 0)
        );
    }

    /// While the event waited for another reason, no enrollment change made it due. It is
    /// retried soon, however often it was not eligible before.
    #[test]
    fn an_event_that_becomes_not_eligible_again_is_retried_soon() {
        let now = Timestamp::UNIX_EPOCH;
        let mut pending = event(BlockedReason::NotEligible, 1);
        for (reason, seconds) in [
            (BlockedReason::NotEligible, 24 * 24 * 3600..),
            (BlockedReason::LmsUnavailable, 48..),
            (BlockedReason::NotEligible, 48..),
        ] {
            let AfterAttempt::Stored(next) = pending.after_attempt(reason.into(), now) else {
                panic!("{reason:?}: dropped");
            };
            pending = *next;
            let wait = pending.next_attempt_at.duration_since(now).as_secs();
            assert!(seconds.contains(&wait), "{reason:?}: {wait}");
        }
        assert!(pending.next_attempt_at.duration_since(now).as_secs() <= 72);
    }

    #[test]
    fn no_attempt_is_due_before_the_time_that_the_lms_asked_for() {
        let now = Timestamp::UNIX_EPOCH;
        for (asked, due) in [(3, 60 * 6), (60 * 6, 60 * 6)] {
            let blocked = Blocked {
                not_before: Some(later(now, minutes(asked))),
                ..Blocked::from(BlockedReason::LmsUnavailable)
            };
            let AfterAttempt::Stored(next) =
                event(BlockedReason::LmsUnavailable, 1).after_attempt(blocked, now)
            else {
                panic!("{asked}: dropped");
            };
            let wait = minutes_after(now, next.next_attempt_at);
            assert!(
                wait >= asked as f64 && wait <= due as f64,
                "{asked}: {wait}"
            );
        }
    }

    #[test]
    fn events_stored_together_are_due_at_different_times() {
        let due: BTreeSet<_> = (0..200)
            .map(|person| event(BlockedReason::NoSuchUser, person))
            .map(|e| e.reason.next_attempt_at(&e.event_key, 0, e.pending_since))
            .collect();
        assert!(due.len() > 150, "only {} moments", due.len());
    }
}
