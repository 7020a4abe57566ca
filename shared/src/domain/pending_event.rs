//! Events that could not take effect yet, and when they are retried.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::sha256_hex;
use super::{CourseId, CourseRole, Email, EventKey, EventKind, Mode};

/// An accepted event that waits for its time. There is one for each [`EventKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    /// The table's key, made of kind, address and course id.
    pub event_key: EventKey,
    /// Which webhook it came by.
    pub kind: EventKind,
    /// The address in its normal form; there may be no user of it yet.
    pub email: Email,
    /// The run that was announced, whether or not the portal knows it.
    pub course_id: CourseId,
    /// Those of all its deliveries; empty where none named one.
    pub roles: BTreeSet<CourseRole>,
    /// The last mode that a delivery named; absent where none did.
    pub mode: Option<Mode>,
    /// The learner was un-enrolled since: the roles take effect, and enroll nobody.
    pub unenrolled: bool,
    /// The reason for which it was blocked when it was last delivered or retried.
    pub reason: BlockedReason,
    /// More of the reason, where there is more to tell: the code of what
    /// failed, or what an enrollment lacks. Never an address.
    pub last_error: Option<String>,
    /// Each delivery makes it `Waiting`.
    pub state: EventState,
    /// How often it was retried since it was pending, or stored again.
    pub attempts: u32,
    /// The claim under which it was last retried, by which whoever made it
    /// knows it again; absent until the first attempt.
    pub claim_id: Option<Uuid>,
    /// How long it has waited, for each reason that it was retried for.
    pub waited: BTreeMap<BlockedReason, Waited>,
    /// When it is due; while it is retried, when that is over at the latest.
    pub next_attempt_at: Timestamp,
    /// When it was first pending, or stored again after it had ended.
    pub pending_since: Timestamp,
    /// When it was last delivered: what is newer than this is never undone by it.
    pub delivered_at: Timestamp,
    /// Grows with every write; a change rests on the version that was read.
    pub version: u64,
}

/// How long an event has waited for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// When the reason was first met; LMS errors begins again once the LMS has answered.
    pub since: Timestamp,
    /// How often it was met again since.
    pub attempts: u32,
}

/// Why an event is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedReason {
    /// No user has the address.
    NoSuchUser,
    /// The user is known, and the course run is not.
    NoSuchRun,
    /// The user has no username of the LMS, so the LMS cannot be asked.
    NoUsername,
    /// The LMS gave no grade that can be used.
    LmsUnavailable,
    /// Something of ours fails, and not for a moment: an item is not of the
    /// expected shape, or a call is refused.
    Failed,
    /// The grade is no pass, or not yet: a pass may be announced before it is there.
    NotPassed,
    /// The learner has passed, and has no active enrollment in a paid mode.
    NotEligible,
}

/// The blocked reason of an event, with its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The kind of thing.
    pub reason: BlockedReason,
    /// More of it, as [`PendingEvent::last_error`] has it.
    pub error: Option<String>,
    /// The LMS asked to be left alone until then.
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

/// What is to become of a pending event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// It is retried when its time comes.
    Waiting,
    /// Given up after errors that are not the event's own; alarmed.
    Dead,
    /// Given up because what it waits for never came; listed, not alarmed.
    Expired,
}

impl EventState {
    /// The word that the table has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }
}

/// What becomes of an event that was retried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterAttempt {
    /// It waits on, or has ended as dead or expired: what is to be stored.
    Stored(Box<PendingEvent>),
    /// It has waited long enough, and others will see to it: it goes.
    Dropped,
}

const fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

impl BlockedReason {
    /// In the order in which they are looked for.
    pub const ALL: [Self; 7] = [
        Self::NoSuchUser,
        Self::NoSuchRun,
        Self::NoUsername,
        Self::LmsUnavailable,
        Self::Failed,
        Self::NotPassed,
        Self::NotEligible,
    ];

    /// The word that the table has for it.
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

    /// How long after each attempt the next one is due, before jitter; the last one repeats.
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
            // The first attempt meets an enrollment that came while the event was
            // being pending; any other makes the event due.
            Self::NotEligible => const { &[minutes(1), Self::NotEligible.patience()] },
        }
    }

    /// How long an event may wait for this.
    const fn patience(self) -> SignedDuration {
        match self {
            Self::LmsUnavailable | Self::NoUsername | Self::Failed => hours(7 * 24),
            Self::NoSuchUser | Self::NoSuchRun | Self::NotPassed | Self::NotEligible => {
                hours(30 * 24)
            }
        }
    }

    /// When an event that was retried `attempts` times for this, the last time
    /// at `now`, is due again: the interval give or take 20 %.
    ///
    /// The spread comes from the event's own key, so that events pending together
    /// are not all due together, and needs no source of chance.
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

    /// What the event waits for: the one key under which it is found when that
    /// comes. `None` where nothing that is imported would help.
    pub fn blocked_on(self, email: &Email, course_id: &CourseId) -> Option<String> {
        match self {
            Self::NoSuchUser | Self::NoUsername => {
                Some(format!("user:{}", sha256_hex(email.as_str().as_bytes())))
            }
            Self::NoSuchRun => Some(format!("run:{course_id}")),
            Self::LmsUnavailable | Self::Failed | Self::NotPassed | Self::NotEligible => None,
        }
    }
}

impl PendingEvent {
    /// What becomes of the event after an attempt at `now` that `blocked` describes.
    pub fn after_attempt(mut self, blocked: Blocked, now: Timestamp) -> AfterAttempt {
        let Blocked {
            reason,
            error,
            not_before,
        } = blocked;
        if !matches!(
            reason,
            BlockedReason::LmsUnavailable | BlockedReason::Failed
        ) {
            self.waited.remove(&BlockedReason::LmsUnavailable);
        }
        // A reason that is met for the first time has its first interval before
        // it, as where a delivery meets it: what is about to put it right may
        // have been too late for this look.
        let waited = self.waited.entry(reason);
        let waited = waited
            .and_modify(|waited| waited.attempts = waited.attempts.saturating_add(1))
            .or_insert(Waited {
                since: now,
                attempts: 0,
            });
        // Whoever makes the enrollment paid makes due what waits for that, and
        // nothing else: it may have done so while this event waited for another
        // reason, and was retried.
        let comes_to_wait = reason == BlockedReason::NotEligible && self.reason != reason;
        let attempts = if comes_to_wait { 0 } else { waited.attempts };
        // Whoever delivers it again has as long to wait.
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

    /// The event when it could not be retried after all, since the LMS is
    /// left alone: the try does not count, and it is due again at `due`.
    #[must_use]
    pub fn release(mut self, due: Timestamp) -> Self {
        self.attempts = self.attempts.saturating_sub(1);
        self.next_attempt_at = due;
        self
    }

    /// The event under another address of the same learner, as a new one.
    #[must_use]
    pub fn rekeyed(&self, email: &Email) -> Self {
        Self {
            event_key: EventKey::of(self.kind, email, &self.course_id),
            email: email.clone(),
            version: 1,
            ..self.clone()
        }
    }

    /// This event and `other`, which announced the same to another address of
    /// the learner, in one. Where one of them waits it waits, for what that one
    /// waits for; of two that wait the newer one says for what, and it is looked
    /// at when the first of them would be.
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
        Self {
            event_key: self.event_key.clone(),
            email: self.email.clone(),
            roles: self.roles.union(&other.roles).cloned().collect(),
            mode: newer
                .mode
                .clone()
                .or_else(|| older.mode.clone().filter(|_| !newer.unenrolled)),
            unenrolled: newer.unenrolled,
            next_attempt_at: if waits(older) && waits(newer) {
                newer.next_attempt_at.min(older.next_attempt_at)
            } else {
                leading.next_attempt_at
            },
            pending_since: self.pending_since,
            delivered_at: newer.delivered_at,
            version: self.version,
            ..leading.clone()
        }
    }

    /// The event when an operator has it retried: at once, and with all
    /// its time before it.
    #[must_use]
    pub fn retried(mut self, now: Timestamp) -> Self {
        self.state = EventState::Waiting;
        self.attempts = 0;
        self.waited.clear();
        self.next_attempt_at = now;
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
            waited: BTreeMap::from([(
                reason,
                Waited {
                    since: now,
                    attempts: 0,
                },
            )]),
            next_attempt_at: now,
            pending_since: now,
            delivered_at: now,
            version: 1,
        }
    }

    /// Of two events about the same, one was announced to a former address.
    #[test]
    fn events_of_two_addresses_are_one() {
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
            // Whichever of them has ended, the other one has its time.
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
            let merged = there.merged(&old);
            assert_eq!((merged.reason, merged.mode), (reason, mode));
            assert_eq!(merged.state, EventState::Waiting);
            assert_eq!(merged.next_attempt_at, moment(next_attempt_at));
            assert_eq!(merged.roles.len(), 2);
            assert_eq!((&merged.event_key, merged.version), (&there.event_key, 7));
            assert_eq!(merged.delivered_at, there.delivered_at.max(moment(20)));
        }
    }

    fn minutes_after(then: Timestamp, now: Timestamp) -> f64 {
        now.duration_since(then).as_secs_f64() / 60.0
    }

    /// Minutes from look to look, and what the event ends as.
    #[test]
    fn each_reason_has_its_intervals_and_its_end() {
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
            for look in 0.. {
                let case = format!("{reason:?}, look {look}");
                let expected = *intervals.get(look).unwrap_or(intervals.last().unwrap()) as f64;
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

    /// LmsFault with the LMS in between neither begins the wait for a pass again
    /// nor ends it early.
    #[test]
    fn each_reason_has_a_time_of_its_own() {
        let day = |day: i64| later(Timestamp::UNIX_EPOCH, hours(24 * day));
        let look = |event: PendingEvent, reason: BlockedReason, at: i64| match event
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
            pending = look(pending, reason, at);
            assert_eq!(pending.state, EventState::Waiting, "{reason:?} at day {at}");
        }
        let unavailable = pending.clone();
        assert_eq!(
            look(unavailable, BlockedReason::LmsUnavailable, 36).state,
            EventState::Dead
        );
        let after = pending.after_attempt(BlockedReason::NotPassed.into(), day(36));
        assert_eq!(after, AfterAttempt::Dropped);

        // An answer of the LMS ends its unavailability.
        let mut pending = event(BlockedReason::LmsUnavailable, 1);
        pending = look(pending, BlockedReason::NotPassed, 6);
        pending = look(pending, BlockedReason::LmsUnavailable, 8);
        assert_eq!(
            (
                pending.state,
                pending.waited[&BlockedReason::LmsUnavailable].attempts
            ),
            (EventState::Waiting, 0)
        );
    }

    /// While it waited for another reason nobody made it due: it is retried
    /// soon, however often it was found not eligible before.
    #[test]
    fn whoever_comes_to_wait_for_the_enrollment_again_is_retried_soon() {
        let now = Timestamp::UNIX_EPOCH;
        let mut pending = event(BlockedReason::NotEligible, 1);
        for (reason, seconds) in [
            (BlockedReason::NotEligible, 24 * 24 * 3600..),
            (BlockedReason::LmsUnavailable, 48..),
            (BlockedReason::NotEligible, 48..),
        ] {
            let AfterAttempt::Stored(next) = pending.after_attempt(reason.into(), now) else {
                panic!("dropped");
            };
            pending = *next;
            let wait = pending.next_attempt_at.duration_since(now).as_secs();
            assert!(seconds.contains(&wait), "{reason:?}: {wait}");
        }
        assert!(pending.next_attempt_at.duration_since(now).as_secs() <= 72);
    }

    #[test]
    fn the_lms_is_left_alone_as_long_as_it_asks() {
        let now = Timestamp::UNIX_EPOCH;
        for (asked, due) in [(3, 60 * 6), (60 * 6, 60 * 6)] {
            let blocked = Blocked {
                not_before: Some(later(now, minutes(asked))),
                ..Blocked::from(BlockedReason::LmsUnavailable)
            };
            let AfterAttempt::Stored(next) =
                event(BlockedReason::LmsUnavailable, 1).after_attempt(blocked, now)
            else {
                panic!("dropped");
            };
            let wait = minutes_after(now, next.next_attempt_at);
            assert!(
                wait >= asked as f64 && wait <= due as f64,
                "{asked}: {wait}"
            );
        }
    }

    #[test]
    fn events_pending_together_are_due_apart() {
        let due: BTreeSet<_> = (0..200)
            .map(|person| event(BlockedReason::NoSuchUser, person))
            .map(|e| e.reason.next_attempt_at(&e.event_key, 0, e.pending_since))
            .collect();
        assert!(due.len() > 150, "only {} moments", due.len());
    }
}
